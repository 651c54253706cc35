"""The rows on the page of an access review."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from django.http import HttpRequest

from connections.access_reviews import texts
from connections.access_reviews.details import DeletionResult, RowDetails
from connections.agreements.agreed import NotAgreed
from connections.changes.texts import change_title
from connections.core.text import format_relative
from connections.models import AccessReviewDecision, Agreement, OrgPair, RequestKind, RowState
from connections.web.access_reviews.forms import TERMS, DecisionForm
from connections.web.agreed import AgreedView, agreed_view
from connections.web.badges import LEFT_OPEN, ROW_BADGES, Badge, ConnectionStatus, change_badge
from connections.web.framework.addresses import access_request_url, connection_url
from connections.web.framework.http import time_of
from connections.web.framework.lists import current_url


@dataclass(frozen=True, kw_only=True)
class Posted:
    """What was posted about some connections."""

    # Named "<site>/<connection ID>".
    connections: Sequence[str]
    # Whether it comes from the form below the list, which covers all selected connections.
    is_of_selection: bool
    # The form with its errors. None for decisions that were saved.
    form: DecisionForm | None
    # The digests of the headings whose rows are all selected.
    groups: Sequence[str]

    @property
    def is_selected(self) -> bool:
        """Whether the connections stay selected, because their form is to be corrected."""
        return self.is_of_selection and self.form is not None

    def form_of(self, key: str) -> DecisionForm | None:
        """The form to correct in the row of this connection."""
        return self.form if not self.is_of_selection and key in self.connections else None


@dataclass(frozen=True, kw_only=True)
class LastDecision:
    """The newest decision about a connection, from this access review or another one."""

    # "Keep", or "Keep, Q3 2026".
    label: str
    # The most important further detail: why it no longer counts, until when it does, or its reason.
    note: str
    reason: str
    # "Ada Lovelace, 3 h ago".
    who: str


@dataclass(frozen=True, kw_only=True)
class ReviewRowView:
    """One row of the table."""

    details: RowDetails
    key: str
    # "Labs to Mobile", for labels that are read aloud.
    name: str
    # "Labs → Mobile".
    pair: str
    url: str
    badge: Badge
    age: str
    last: LastDecision | None
    changes: list[Badge]
    protected: Badge | None
    # "Removed outside Org Admin", "Not deleted"; "" if a deletion says it or it isn't finished.
    result: str
    # Why it is missing from the newest syncs, or hidden from this person.
    note: str
    # Who answers for it, as agreed now. A closed access review doesn't show it.
    agreed: AgreedView
    # What the agreement lacks, and the form offers to set. Names of the form's fields.
    offered: list[str]
    # The URLs that open a form in the row; "" if nothing can be decided.
    keep_url: str
    delete_url: str
    close_url: str
    # The page that requests other data types.
    change_url: str
    # The form in the row. None while it is closed.
    form: DecisionForm | None
    is_selected: bool


def pair_of(details: RowDetails) -> OrgPair:
    """The orgs that the row's connection connects, in that direction."""
    connection = details.connection
    return OrgPair(details.row.key.site, connection.source_org_id, connection.sink_org_id)


def review_row_view(
    request: HttpRequest,
    details: RowDetails,
    *,
    can_decide: bool,
    is_closed: bool,
    posted: Posted | None,
    agreement: Agreement | None,
    can_agree: bool,
) -> ReviewRowView:
    """The row as the page shows it. Its form is open if the address or the POST says so."""
    row, connection, now = details.row, details.connection, time_of(request)
    can_decide = can_decide and row.current is not None and not row.is_for_another
    place = str(row.position)
    back = f"{current_url(request, open='', decision='')}#row-{place}"
    agreed = agreed_view(agreement, connection.connection_types, today=now.date())
    form = _form(request, details, posted=posted) if can_decide else None
    is_left_open = is_closed and row.state == RowState.PENDING
    return ReviewRowView(
        details=details,
        key=row.key.reference,
        name=connection.pair.replace("→", "to"),
        pair=connection.pair,
        url=connection_url(row.key),
        badge=LEFT_OPEN if is_left_open else ROW_BADGES[row.state],
        age=texts.age_text(connection.connection_created_at, now=now),
        last=_last_decision(details, is_closed=is_closed, now=now),
        changes=[change_badge(change, deletion=None) for change in details.changes],
        protected=ConnectionStatus.PROTECTED.value if row.is_protected else None,
        result=_result_text(details, is_closed=is_closed),
        note=_note(details),
        agreed=agreed,
        offered=_offered(agreed, form) if can_agree else [],
        keep_url=_form_url(request, place, "keep") if can_decide else "",
        delete_url=_form_url(request, place, "delete") if can_decide else "",
        close_url=back,
        change_url=access_request_url(RequestKind.CHANGE, pair_of(details), types=agreed.narrower)
        if can_decide
        else "",
        form=form,
        is_selected=bool(posted and posted.is_selected and row.key.reference in posted.connections),
    )


_MISSING = {
    NotAgreed.NO_AGREEMENT: set(TERMS),
    NotAgreed.OWNER_LEFT: {"owner", "owner_text"},
    NotAgreed.ENDED: {"ends_on"},
}


def _offered(agreed: AgreedView, form: DecisionForm | None) -> list[str]:
    """What is missing, and what was typed before someone else set it."""
    missing = {name for reason in agreed.flags for name in _MISSING.get(NotAgreed[reason], ())}
    typed = form.typed_terms if form else []
    return [name for name in TERMS if name in missing or name in typed]


def _result_text(details: RowDetails, *, is_closed: bool) -> str:
    if details.result == DeletionResult.REMOVED_OUTSIDE:
        return texts.REMOVED_OUTSIDE
    if is_closed and details.result == DeletionResult.NOT_DELETED and not details.deletion:
        return texts.NOT_DELETED
    return ""


def _note(details: RowDetails) -> str:
    row = details.row
    if row.is_for_another and row.owner_id and row.state == RowState.PENDING:
        return f"{details.owner} decides as the owner."
    if row.is_hidden_now:
        return texts.HIDDEN_NOW
    if row.current and not row.current.is_listed:
        return f"{texts.NOT_LISTED} Last seen {details.last_seen_at:%-d %b %Y}."
    return ""


def _form_url(request: HttpRequest, place: str, decision: str) -> str:
    return f"{current_url(request, open=place, decision=decision)}#row-{place}"


def _form(
    request: HttpRequest, details: RowDetails, *, posted: Posted | None
) -> DecisionForm | None:
    """The form that is open in the row. None for all other rows."""
    if posted:
        return posted.form_of(details.row.key.reference)
    decision = request.GET.get("decision", "")
    if request.GET.get("open") != str(details.row.position) or decision not in {"keep", "delete"}:
        return None
    return DecisionForm(initial={"decision": decision})


def _last_decision(details: RowDetails, *, is_closed: bool, now: datetime) -> LastDecision | None:
    if is_closed and details.row.state not in {RowState.KEEP, RowState.DELETE}:
        return None
    decision = details.decision if is_closed else details.last_decision
    if decision is None:
        return None
    label = ROW_BADGES[decision.decision].label
    is_of_another = decision != details.decision
    if is_of_another:
        label = f"{label}, {decision.row.review.name}"
    note = decision.reason
    if details.row.is_outdated and not is_of_another:
        note = _outdated_text(details, decision, today=now.date())
    elif decision.keep_until:
        note = f"until {decision.keep_until:%-d %b %Y}"
    return LastDecision(
        label=label,
        note=note,
        reason=decision.reason,
        who=f"{decision.decided_by_name}, {format_relative(decision.decided_at, now=now)}",
    )


# What a decision no longer covers, by the title of the change.
_CHANGED = {
    "Widened": "it was widened",
    "Widened to audit": "it was widened to audit",
    "Narrowed": "it was narrowed",
    "Creator changed": "its creator changed",
    "Creator disabled": "its creator was disabled",
}


def _outdated_text(details: RowDetails, decision: AccessReviewDecision, *, today: date) -> str:
    """Why a decision no longer counts: "before it was widened", "ended 31 Mar 2027"."""
    if decision.has_ended(today=today):
        return f"ended {decision.keep_until:%-d %b %Y}"
    titles = [change_title(change, deletion=None) for change in details.changes]
    return (
        f"before {next((_CHANGED[title] for title in titles if title in _CHANGED), 'it changed')}"
    )
