"""What the page of one bulk deletion shows: its plan, its rows, its progress and the next steps."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import Count, Max, Min, Q, QuerySet
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.urls import reverse

from connections import audit
from connections.access import approvers, permissions, visibility
from connections.access.actor import Actor
from connections.batches import confirming, drafts, stopping
from connections.batches.progress import Progress, can_continue, get_progress
from connections.batches.texts import (
    batch_headline,
    batch_lines,
    is_discarded,
    no_sender_text,
)
from connections.core import clock
from connections.core.text import format_span, pluralize
from connections.deletions import states
from connections.deletions.history import OutcomeGroup, outcome_group
from connections.deletions.status import status_of
from connections.deletions.texts import approvals_needed_text
from connections.models import (
    OPEN_STATES,
    AccessReview,
    Approval,
    Batch,
    BatchOrigin,
    BatchRow,
    BatchState,
    Credential,
    Deletion,
    Outcome,
    RowProblem,
    SnapshotFields,
    State,
)
from connections.operations import heartbeats
from connections.web.badges import Badge, batch_badge, deletion_badge, row_problem_badge
from connections.web.batches.forms import PlanRequestForm
from connections.web.batches.plan import Plan, PlanFilter, kept_warning, load_plan
from connections.web.framework.forms import ServiceForm
from connections.web.framework.lists import (
    CONNECTION_COLUMNS,
    SELECT_COLUMN,
    Column,
    ViewLink,
    list_url,
    numbered_links,
    numbered_page,
    part_links,
)
from connections.web.framework.support import PageWarning, time_of
from connections.web.timeline import event_entry

_CONNECTION = (
    *CONNECTION_COLUMNS,
    Column(label="Site", css="cell-site cell-medium"),
)
_PROBLEM = Column(label="Left out because", css="cell-flags")
_PLAN_COLUMNS = (
    *_CONNECTION,
    Column(label="Created", css="cell-time"),
    Column(label="Creator", css="cell-person cell-wide"),
    _PROBLEM,
    Column(label="Credential", css="cell-credential"),
)
_EDITED_COLUMNS = (
    SELECT_COLUMN,
    *_PLAN_COLUMNS,
    Column(label="Remove", css="cell-action"),
)
_PLAN_LINKS = (PlanFilter.ALL, PlanFilter.TO_DELETE, PlanFilter.LEFT_OUT)
_RESULT_COLUMNS = (
    Column(label="Status", css="cell-status"),
    *_CONNECTION,
    Column(label="Result", css="cell-result"),
    Column(label="Credential", css="cell-credential cell-wide"),
)
# Seconds between the page's polls.
POLL_SENDING = 2
# After the end, the page polls for checks that are due this soon.
SOON = timedelta(minutes=2)
LEFT_OUT = "left-out"
# The progress bar's parts from left to right. It leaves open rows blank.
_BAR_PARTS = (
    (OutcomeGroup.DELETED, "Deleted", "ok"),
    (OutcomeGroup.GONE, "Gone or not found", "info"),
    (OutcomeGroup.REFUSED, "Failed", "danger"),
    (OutcomeGroup.NOTHING_SENT, "Not sent", "muted"),
    (OutcomeGroup.UNKNOWN, "Unknown", "unknown"),
    (OutcomeGroup.OPEN, "Open", "muted"),
)
_GONE = {OutcomeGroup.DELETED, OutcomeGroup.GONE}
# Bulk deletions in these states wait for people, who need the plan rather than the results.
UNDECIDED = {BatchState.REQUESTED, BatchState.APPROVED}


@dataclass(frozen=True, kw_only=True)
class BatchRowView:
    """One row: of the plan, or the deletion that it became."""

    row: BatchRow | Deletion
    # "<site>/<connection ID>", or the text that isn't an ID.
    key: str
    # "Labs to Mobile", or the key if the orgs are unknown.
    name: str
    url: str
    credential: str
    badge: Badge | None
    # None until the row is a deletion.
    deletion: Deletion | None
    result: str


@dataclass(frozen=True, kw_only=True)
class RowsPage:
    """A page of rows, and the links to the other pages."""

    views: list[BatchRowView]
    links: list[ViewLink]
    columns: Sequence[Column]
    shows_results: bool
    # Whether the plan has a column for why a row is left out.
    has_problems: bool
    first_url: str
    next_url: str


class _GivenApproval(NamedTuple):
    """One person's approval of every row."""

    approver_id: UUID
    approver_name: str
    at: datetime


@dataclass(frozen=True, kw_only=True)
class BarPart:
    """One color of the progress bar. `start` is the sum of the parts before it."""

    group: OutcomeGroup
    label: str
    tone: str
    start: int
    count: int


def progress_parts(progress: Progress) -> list[BarPart]:
    """The parts of the progress bar that aren't empty."""
    counts = Counter[OutcomeGroup]()
    for outcome, count in progress.by_outcome.items():
        counts[outcome_group(state=State.SETTLED, outcome=outcome)] += count
    for state, count in progress.by_open_state.items():
        counts[outcome_group(state=state, outcome="")] += count
    parts, start = [], 0
    for group, label, tone in _BAR_PARTS:
        if counts[group]:
            parts.append(
                BarPart(group=group, label=label, tone=tone, start=start, count=counts[group])
            )
            start += counts[group]
    return parts


class Liveness(NamedTuple):
    """What changes on the page as time passes, even without new results."""

    # Seconds between polls. None if nothing changes automatically soon.
    poll_interval: int | None
    # Whether a process that should send its rows is running.
    is_sender_alive: bool
    worker_seen_at: datetime | None
    # Whether it expired. Until a worker ends it, the services refuse to approve or confirm it.
    has_expired: bool


def get_liveness(batch: Batch, *, now: datetime) -> Liveness:
    """Whether the page polls, and whether a worker or a command is running that sends its rows."""
    seen_at, is_alive = None, True
    if batch.state == BatchState.RUNNING:
        seen_at = heartbeats.last_seen_at()
        is_alive = heartbeats.is_alive(seen_at, now=now) or heartbeats.is_alive(
            heartbeats.last_seen_at(batch=batch), now=now
        )
    return Liveness(
        poll_interval=_poll_interval(batch, now=now),
        is_sender_alive=is_alive,
        worker_seen_at=seen_at,
        has_expired=drafts.has_expired(batch, now=now),
    )


def page_version(batch: Batch, *, liveness: Liveness) -> str:
    """A value that changes whenever what the page shows changes."""
    alive = liveness.poll_interval, liveness.is_sender_alive, liveness.has_expired
    progress = get_progress(batch)
    checks = batch.deletions.aggregate(
        Count("verified_at"), Count("contradicted_at"), Max("due_at"), Max("sending_at")
    )
    times = (batch.approved_at, batch.confirmed_at, batch.paused_at, batch.resumed_at)
    by = sorted(progress.by_outcome.items()), sorted(progress.by_open_state.items())
    shown = repr((batch.state, times, by, alive, sorted(checks.items())))
    return hashlib.sha256(shown.encode()).hexdigest()[:16]


def _steps(
    batch: Batch,
    *,
    actor: Actor,
    approvals: Sequence[_GivenApproval],
    kept: Sequence[Deletion],
    now: datetime,
) -> dict[str, bool]:
    """What this person can do now."""
    person, state = actor.person, BatchState(batch.state)
    has_decided = (
        any(approval.approver_id == person.pk for approval in approvals) if person else True
    )
    is_open = state == BatchState.REQUESTED and not drafts.has_expired(batch, now=now)
    is_to_decide = is_open and not has_decided
    # Until no row is kept, the services refuse to confirm and to resume it.
    is_next = can_continue(batch, actor=actor, now=now) and not kept
    can_stop = permissions.can_stop_batch(actor, batch=batch)
    can_decline = is_to_decide and permissions.can_decline_batch(actor, batch=batch)
    return {
        "approve": is_to_decide and permissions.can_approve_batch(actor, batch=batch),
        "decline": can_decline,
        "confirm": state == BatchState.APPROVED and is_next,
        "pause": state == BatchState.RUNNING and can_stop,
        "resume": state == BatchState.PAUSED and is_next,
        # People who can decline do that instead, with a reason.
        "cancel": not batch.has_ended and can_stop and not can_decline,
        "plan_again": batch.has_ended
        and permissions.can_delete(actor)
        and bool(drafts.list_remaining(batch=batch)),
    }


def _approvals(batch: Batch) -> list[_GivenApproval]:
    """Who approved, oldest first.

    A row withdrawn before that has no approval, so all rows count.
    """
    approved = Approval.objects.filter(
        deletion__batch=batch, round=1, decision=Approval.Decision.APPROVED
    )
    people = approved.order_by().values_list("approver", "approver_name")
    return [
        _GivenApproval._make(approval)
        for approval in people.annotate(at=Min("decided_at")).order_by("at")
    ]


def plan_rows(
    request: HttpRequest, *, batch: Batch, actor: Actor, plan: Plan, can_edit: bool
) -> RowsPage:
    """The rows of a plan that has not been confirmed yet."""
    chosen = _selected_filter(request, PlanFilter, PlanFilter.ALL)
    found = plan.shown_by(chosen)
    page = numbered_page(request, found)
    ids = [row.id for row in page.object_list]
    rows = (
        visibility.visible_batch_rows(batch, actor=actor)
        .filter(pk__in=ids)
        .select_related("credential", "deletion")
    )
    views = [_plan_row(row) for row in rows.order_by("position")]
    has_problems = any(view.badge for view in views)
    columns = _EDITED_COLUMNS if can_edit else _PLAN_COLUMNS
    return RowsPage(
        views=views,
        links=part_links(
            request,
            [(each.label, each, len(plan.shown_by(each))) for each in _PLAN_LINKS],
            shown=chosen,
        ),
        columns=[column for column in columns if has_problems or column != _PROBLEM],
        shows_results=False,
        has_problems=has_problems,
        **numbered_links(request, page, seen=""),
    )


def result_rows(
    request: HttpRequest, *, batch: Batch, actor: Actor, progress: Progress
) -> RowsPage:
    """The deletions of a bulk deletion, newest results first."""
    chosen = request.GET.get("show", "")
    left_out = visibility.visible_batch_rows(batch, actor=actor).exclude(problem="")
    found: QuerySet[Any] = left_out.select_related("credential", "deletion").order_by("position")
    if chosen != LEFT_OUT:
        found = _deletions_of(batch, group=_selected_filter(request, OutcomeGroup, None))
    page = numbered_page(request, found)
    links = [("All", "", progress.total)]
    links += [(part.label, part.group.value, part.count) for part in progress_parts(progress)]
    if count := left_out.count():
        links.append(("Left out", LEFT_OUT, count))
    return RowsPage(
        views=[
            _plan_row(row) if isinstance(row, BatchRow) else _result_row(row, now=time_of(request))
            for row in page.object_list
        ],
        links=part_links(request, links, shown=chosen, seen=""),
        columns=_RESULT_COLUMNS,
        shows_results=True,
        has_problems=False,
        **numbered_links(request, page, seen=""),
    )


def _deletions_of(batch: Batch, *, group: OutcomeGroup | None) -> QuerySet[Deletion]:
    deletions = Deletion.objects.filter(batch=batch)
    if group:
        outcomes = [
            outcome
            for outcome in Outcome
            if outcome_group(state=State.SETTLED, outcome=outcome) == group
        ]
        opened = [state for state in OPEN_STATES if outcome_group(state=state, outcome="") == group]
        deletions = deletions.filter(Q(outcome__in=outcomes) | Q(state__in=opened))
    newest = Coalesce("settled_at", "sending_at").desc(nulls_last=True)
    return deletions.order_by(newest, "batch_row__position")


def _selected_filter[T: StrEnum](request: HttpRequest, values: type[T], default: Any) -> Any:
    try:
        return values(request.GET.get("show", ""))
    except ValueError:
        return default


def _plan_row(row: BatchRow) -> BatchRowView:
    deletion: Deletion | None = getattr(row, "deletion", None)
    url = ""
    if deletion:
        url = reverse("deletion-detail", args=[deletion.pk])
    elif row.connection_id and row.problem != RowProblem.NOT_VISIBLE:
        url = reverse("org-connection-detail", args=[row.site, row.connection_id])
    return BatchRowView(
        row=row,
        key=row.reference,
        name=_name(row) or row.reference,
        url=url,
        credential=row.credential.name if row.credential and not row.problem else "",
        # A requested row has no problem, but a withdrawn one must not look like those still to
        # approve.
        badge=deletion_badge(deletion, status=status_of(deletion))
        if deletion and deletion.settled_at
        else row_problem_badge(row.problem)
        if row.problem
        else None,
        deletion=deletion,
        result="",
    )


def _result_row(deletion: Deletion, *, now: datetime) -> BatchRowView:
    badge = deletion_badge(deletion, status=states.status_at(deletion, now=now))
    return BatchRowView(
        row=deletion,
        key=deletion.key.reference,
        name=_name(deletion),
        url=reverse("deletion-detail", args=[deletion.pk]),
        credential=deletion.credential_name,
        badge=badge,
        deletion=deletion,
        result=badge.explanation,
    )


def _name(row: SnapshotFields) -> str:
    source = row.source_org_name or row.source_org_id
    return f"{source} to {row.sink_org_name or row.sink_org_id}" if source else ""


def batch_context(
    request: HttpRequest,
    *,
    batch: Batch,
    actor: Actor,
    form: ServiceForm | None = None,
    notice: str = "",
) -> dict[str, Any]:
    """Template variables of the page. `form` is the posted form if its action was refused."""
    common = {
        "batch": batch,
        "status": batch_badge(batch, has_expired=drafts.has_expired(batch, now=time_of(request))),
        "access_review": _visible_access_review(batch, actor=actor),
        "notice": notice,
        "url": reverse("batch-detail", args=[batch.pk]),
        "approvals_text": approvals_needed_text(batch.policy),
    }
    if batch.requested_at is None:
        return common | _draft_context(request, batch=batch, actor=actor, form=form)
    return common | _record_context(request, batch=batch, actor=actor, form=form)


def _visible_access_review(batch: Batch, *, actor: Actor) -> AccessReview | None:
    """The access review whose decisions made the plan, if the actor can see it."""
    if batch.access_review_id is None:
        return None
    return visibility.visible_access_reviews(actor=actor).filter(pk=batch.access_review_id).first()


def _draft_context(
    request: HttpRequest, *, batch: Batch, actor: Actor, form: ServiceForm | None
) -> dict[str, Any]:
    """The review of a plan that is not requested yet or was never requested."""
    now = clock.now()
    plan = load_plan(batch, actor=actor, at=now)
    count = pluralize(len(plan.to_delete), "connection")
    has_expired = drafts.has_expired(batch, now=now)
    is_own = actor.person is not None and actor.person.pk == batch.created_by_id
    is_open = batch.state == BatchState.DRAFT and not has_expired
    can_edit = is_open and is_own and permissions.can_delete(actor)
    rows = plan_rows(request, batch=batch, actor=actor, plan=plan, can_edit=can_edit)
    return {
        "is_draft": True,
        "title": f"Delete {count}?" if is_open else _title_of_closed_draft(batch),
        "count": count,
        "delete_label": f"Delete {count}",
        "is_open": is_open,
        "headline": batch_headline(batch, given=0, results="", sending=0, has_expired=has_expired)
        if batch.has_ended
        else drafts.EXPIRED,
        "can_edit": can_edit,
        "confirm_text": confirming.text_to_type(batch),
        "form": form if isinstance(form, PlanRequestForm) else PlanRequestForm(),
        "plan": plan,
        "warnings": _warnings(request, batch=batch, actor=actor, plan=plan),
        "approvers_warning": approvers.missing_batch_approvers_warning(batch=batch),
        "can_split": len(batch.sending_credential_ids) > 1,
        "credentials": drafts.list_choosable_credentials(
            batch=batch,
            actor=actor,
            rows=[view.row for view in rows.views if isinstance(view.row, BatchRow)],
        )
        if can_edit
        else [],
        "filters": request.GET.urlencode(),
        "rows": rows,
    }


def _title_of_closed_draft(batch: Batch) -> str:
    return "Discarded draft" if is_discarded(batch) else "Expired draft"


def _warnings(request: HttpRequest, *, batch: Batch, actor: Actor, plan: Plan) -> list[PageWarning]:
    found = plan.warnings(url_of=lambda chosen: list_url(request, show=chosen))
    if batch.origin == BatchOrigin.ORG and not _has_credential(batch, actor=actor):
        found.insert(0, _unwatched_org_warning(batch, actor=actor))
    kept_ids = drafts.find_kept(batch=batch)
    kept = [row for row in plan.to_delete if row.id in kept_ids]
    if kept:
        found.insert(0, kept_warning(kept))
    return found


def _has_credential(batch: Batch, *, actor: Actor) -> bool:
    """Whether the org to remove has a credential in use that this person can see."""
    of_org = Credential.objects.filter(site=batch.site, org_id=batch.org_id, retired_at=None)
    return visibility.visible(of_org, actor=actor, by="pk").exists()


def _unwatched_org_warning(batch: Batch, *, actor: Actor) -> PageWarning:
    org = batch.org_name or batch.org_id
    seen = "that has a credential"
    headline = f"{org} has no credential"
    if permissions.visibility_of(actor).hidden:
        seen = "whose credential you can see"
        headline = f"You can't see a credential of {org}"
    return PageWarning(
        headline=headline,
        detail=f"Only its connections with an org {seen} are known. Others might remain.",
    )


def _record_context(
    request: HttpRequest, *, batch: Batch, actor: Actor, form: ServiceForm | None
) -> dict[str, Any]:
    """Approval, progress and result of a bulk deletion that was requested."""
    now = clock.now()
    progress, approvals = get_progress(batch), _approvals(batch)
    parts = progress_parts(progress)
    plan = load_plan(batch, actor=actor, at=now) if batch.state in UNDECIDED else None
    total = confirming.count_to_send(batch) if plan else progress.total
    count = pluralize(total, "connection")
    liveness = get_liveness(batch, now=now)
    is_waiting = batch.state in {BatchState.APPROVED, BatchState.PAUSED}
    kept = confirming.list_kept(batch) if is_waiting and not liveness.has_expired else []
    return {
        "title": f"Delete {count}",
        "count": count,
        "confirm_text": confirming.text_to_type(batch),
        "delete_label": f"Delete {count}",
        "form": form,
        "headline": batch_headline(
            batch,
            given=len(approvals),
            results=_results_text(parts),
            sending=progress.sending,
            has_expired=liveness.has_expired,
        ),
        "tone": _tone(batch, parts, has_expired=liveness.has_expired),
        "lines": batch_lines(batch, has_expired=liveness.has_expired),
        "kept": kept,
        "people": _people(batch, approvals=approvals),
        "timeline": [event_entry(event, actor=actor) for event in audit.events_of(subject=batch)],
        "steps": _steps(batch, actor=actor, approvals=approvals, kept=kept, now=now),
        "cancel_label": _cancel_label(batch, progress),
        "must_confirm_resume": stopping.needs_confirmation_to_resume(batch),
        "plan": plan,
        "warnings": _warnings(request, batch=batch, actor=actor, plan=plan) if plan else [],
        "progress": None if plan else progress,
        "parts": parts,
        "time_left": format_span(progress.time_left) if progress.time_left else "",
        "export_query": f"batch={batch.pk}",
        "can_export": permissions.can_export(actor),
        "can_audit": permissions.can_audit(actor),
        "no_worker": "" if liveness.is_sender_alive else no_sender_text(liveness.worker_seen_at),
        "rows": plan_rows(request, batch=batch, actor=actor, plan=plan, can_edit=False)
        if plan
        else result_rows(request, batch=batch, actor=actor, progress=progress),
        "poll_interval": liveness.poll_interval,
        "poll_url": list_url(
            request,
            seen=page_version(batch, liveness=liveness),
            page=request.GET.get("page", ""),
        ),
    }


def _results_text(parts: Sequence[BarPart]) -> str:
    """ "3 deleted, 1 failed"."""
    return ", ".join(f"{part.count:,} {part.label.lower()}" for part in parts)


def _tone(batch: Batch, parts: Sequence[BarPart], *, has_expired: bool) -> str:
    """The tone of the banner: the status's tone, or a warning if some connections are not gone."""
    is_all_gone = all(part.group in _GONE for part in parts)
    is_finished = batch.state == BatchState.FINISHED
    status = batch_badge(batch, has_expired=has_expired)
    return "warn" if is_finished and not is_all_gone else status.tone


def _people(
    batch: Batch, *, approvals: Sequence[_GivenApproval]
) -> list[tuple[str, str, datetime | None]]:
    """Who did what, and when."""
    steps = [("Requested by", batch.requested_by_name, batch.requested_at)]
    steps += [("Approved by", approval.approver_name, approval.at) for approval in approvals]
    steps += [("Confirmed by", batch.confirmed_by_name, batch.confirmed_at)]
    problem = f"Pause after {stopping.MAX_PROBLEMS_IN_A_ROW} problems in a row"
    if batch.stop_at_first_problem:
        problem = "Pause"
    return [step for step in steps if step[1]] + [("If a deletion fails", problem, None)]


def _cancel_label(batch: Batch, progress: Progress) -> str:
    if batch.state in UNDECIDED or not progress.unsent:
        return "Cancel bulk deletion"
    return f"Cancel {pluralize(progress.unsent, 'unsent deletion')}"


def _poll_interval(batch: Batch, *, now: datetime) -> int | None:
    if batch.state == BatchState.RUNNING:
        return POLL_SENDING
    if not batch.confirmed_at:
        return None
    # A row that waits to be sent changes nothing while the bulk deletion is paused.
    others = batch.deletions.exclude(state=State.WAITING)
    checked = others.filter(due_at__gt=now - SOON, due_at__lt=now + SOON)
    return POLL_SENDING if checked.exists() else None
