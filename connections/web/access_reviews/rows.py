"""The rows on the page of an access review."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime

from django.http import HttpRequest

from connections.access_reviews import texts
from connections.access_reviews.decisions import TERMS, find_missing
from connections.access_reviews.details import DeletionResult, RowDetails
from connections.agreements.agreed import NotAgreed
from connections.changes.texts import change_title
from connections.core.text import format_relative
from connections.models import AccessReviewDecision, Agreement, OrgPair, RequestKind, RowState
from connections.web.agreed import AgreedView, agreed_view
from connections.web.badges import LEFT_OPEN, ROW_BADGES, Badge, ConnectionStatus, change_badge
from connections.web.framework.addresses import access_request_url, connection_url
from connections.web.framework.http import time_of
from connections.web.framework.lists import current_url

# What the decision about a whole group leaves out: each with its words for one and for many.
EXCEPTIONS = (
    ("audit", "shares audit events", "share audit events"),
    ("wider", "is wider than agreed", "are wider than agreed"),
    ("no_agreement", "has no agreement", "have no agreement"),
)
# What is said of selected rows.
SELECTED_FACTS = (("protected", "is protected", "are protected"), *EXCEPTIONS)


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
    # What the agreement lacks and the person can set. Names of the form's fields.
    missing: list[str]
    # Names of EXCEPTIONS.
    exceptions: list[str]
    # The URLs that select it and prepare a decision; "" if nothing can be decided.
    keep_url: str
    delete_url: str
    # The page that requests other data types.
    change_url: str

    @property
    def facts(self) -> str:
        """Names of SELECTED_FACTS, separated by spaces."""
        return " ".join([*(["protected"] if self.protected else []), *self.exceptions])


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
    agreement: Agreement | None,
    can_agree: bool,
) -> ReviewRowView:
    """The row as the page shows it."""
    row, connection, now = details.row, details.connection, time_of(request)
    can_decide = can_decide and row.current is not None and not row.is_for_another
    agreed = agreed_view(agreement, connection.connection_types, today=now.date())
    reasons = {NotAgreed[name] for name in agreed.flags}
    missing = find_missing(reasons) if can_agree else ()
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
        missing=[name for name in TERMS if name in missing],
        exceptions=_exceptions(connection.connection_types, reasons),
        keep_url=_decision_url(request, row.position, "keep") if can_decide else "",
        delete_url=_decision_url(request, row.position, "delete") if can_decide else "",
        change_url=access_request_url(RequestKind.CHANGE, pair_of(details), types=agreed.narrower)
        if can_decide
        else "",
    )


def _exceptions(types: Collection[str], reasons: Collection[NotAgreed]) -> list[str]:
    holds = {
        "audit": "audit" in types,
        "wider": NotAgreed.WIDER in reasons,
        "no_agreement": NotAgreed.NO_AGREEMENT in reasons,
    }
    return [name for name, is_so in holds.items() if is_so]


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


def _decision_url(request: HttpRequest, position: int, decision: str) -> str:
    url = current_url(request, select=f"row-{position}", decision=decision)
    return f"{url}#row-{position}"


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
