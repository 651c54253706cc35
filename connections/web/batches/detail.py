"""The page of one bulk deletion: its plan, its rows, its progress and the next steps."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import Count, Max, Min, QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import reverse

from connections import audit, models
from connections.access import approvers, permissions, visibility
from connections.access.actor import Actor
from connections.access.agreement_owners import count_owned
from connections.batches import confirming, drafts, facts, stopping, texts
from connections.batches.progress import Progress, can_continue, get_progress
from connections.core import clock
from connections.core.errors import InvalidInputError
from connections.core.text import format_span, pluralize
from connections.deletions.earlier import find_earlier_decisions
from connections.deletions.export import prepare_export
from connections.deletions.history import HistoryFilter
from connections.deletions.status import OutcomeGroup
from connections.lookups.objects import find_batch
from connections.notifications.notified import find_waiting_note
from connections.operations import heartbeats
from connections.web.badges import batch_badge
from connections.web.batches.forms import PlanRequestForm
from connections.web.batches.plan import Plan, load_plan
from connections.web.batches.rows import plan_rows, progress_parts, result_rows
from connections.web.change_requests.page import POLL_CHANGING, POLL_WAITING, noted_version
from connections.web.change_requests.page import notice_about as deletion_notice_about
from connections.web.deletions.bars import BarPart
from connections.web.framework import http
from connections.web.framework.actions import NOT_REFUSED, Refusal
from connections.web.framework.forms import (
    KEPT,
    ConfirmationForm,
    PageWarning,
    ReasonForm,
    ServiceForm,
)
from connections.web.framework.lists import as_page_request, list_url
from connections.web.framework.person_limits import limited
from connections.web.timeline import event_entry

# After the end, the page polls for checks that are due this soon.
SOON = timedelta(minutes=2)
_GONE = {OutcomeGroup.DELETED, OutcomeGroup.GONE}
# Bulk deletions in these states wait for people, who need the plan rather than the results.
UNDECIDED = {models.BatchState.REQUESTED, models.BatchState.APPROVED}


def batch_detail(request: HttpRequest, pk: UUID, refusal: Refusal = NOT_REFUSED) -> HttpResponse:
    """One bulk deletion: its plan, its approval, its progress and its result."""
    actor = http.actor_of(request)
    batch = find_batch(actor=actor, pk=pk)
    if request.method == "POST":
        request = as_page_request(request, path=reverse("batch-detail", args=[pk]))
    # The page polls its own address. If nothing is new, it replaces nothing, so input is kept.
    elif (seen := http.polled_version(request)) and seen == _current_version(batch, actor=actor):
        return HttpResponse(status=204)
    context = _page_context(request, batch=batch, actor=actor, refusal=refusal)
    return http.render_for(
        request, "batches/detail.html", context, part="batch", status=refusal.status
    )


def _current_version(batch: models.Batch, *, actor: Actor) -> str:
    now = clock.now()
    version = page_version(
        batch,
        progress=get_progress(batch),
        interval=poll_interval(batch, now=now),
        no_sender=_no_sender(batch, now=now),
        now=now,
    )
    return noted_version(version, find_waiting_note(batch, actor=actor, now=now))


def notice_about(refusal: Refusal) -> str:
    """Why an action was refused, if the page doesn't show the field that is at fault."""
    error = refusal.error
    if not isinstance(error, InvalidInputError):
        return deletion_notice_about(refusal).label if error else ""
    is_shown = isinstance(refusal.form, ConfirmationForm | ReasonForm)
    if is_shown and error.fields.keys() & refusal.form.fields.keys():
        return ""
    return " ".join(error.fields.values())


@limited("export", per_minute=30)
def batch_export(request: HttpRequest, pk: UUID) -> HttpResponse | StreamingHttpResponse:
    """The deletions of one bulk deletion, streamed as a file."""
    actor = http.actor_of(request)
    batch = find_batch(actor=actor, pk=pk)
    file_format = http.export_format(request)
    export = prepare_export(
        actor=actor,
        filters=HistoryFilter(batch=batch.pk),
        file_format=file_format,
        query=f"batch={batch.pk}",
    )
    return http.download(request, export=export, name=f"bulk-deletion-{str(batch.pk)[-8:]}")


def _no_sender(batch: models.Batch, *, now: datetime) -> str:
    """Why nothing is sent, if neither a worker nor a command that sends its rows is running."""
    if batch.state != models.BatchState.RUNNING:
        return ""
    seen_at = heartbeats.last_seen_at()
    times = (seen_at, heartbeats.last_seen_at(batch=batch))
    is_alive = any(heartbeats.is_alive(at, now=now) for at in times)
    return "" if is_alive else texts.no_sender_text(seen_at)


def page_version(
    batch: models.Batch, *, progress: Progress, interval: int | None, no_sender: str, now: datetime
) -> str:
    """A value that changes whenever what the page shows changes."""
    checks = batch.deletions.aggregate(
        *(Count("verified_at"), Count("contradicted_at"), Max("due_at"), Max("sending_at")),
        Max("approvals__decided_at"),
    )
    parts = (
        batch.state,
        (batch.approved_at, batch.confirmed_at, batch.paused_at, batch.resumed_at),
        sorted(progress.by_outcome.items()),
        sorted(progress.by_open_state.items()),
        drafts.has_expired(batch, now=now),
        interval,
        no_sender,
        sorted(checks.items()),
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _steps(
    batch: models.Batch,
    *,
    actor: Actor,
    approvals: Sequence[dict[str, Any]],
    kept: Sequence[models.Deletion],
    unsent: int,
    now: datetime,
) -> dict[str, bool]:
    """What this person can do now."""
    person, state = actor.person, models.BatchState(batch.state)
    has_decided = person is None or any(
        approval["approver_id"] == person.pk for approval in approvals
    )
    is_open = state == models.BatchState.REQUESTED and not drafts.has_expired(batch, now=now)
    is_to_decide = is_open and not has_decided
    # Until no row is kept, the services refuse to confirm and to resume it.
    is_next = can_continue(batch, actor=actor, now=now) and not kept
    # While the last DELETEs are in progress, there is nothing left to stop.
    can_stop = permissions.can_stop_batch(actor, batch=batch) and unsent > 0
    can_decline = is_to_decide and permissions.can_decline_batch(actor, batch=batch)
    return {
        "approve": is_to_decide and permissions.can_approve_batch(actor, batch=batch),
        "decline": can_decline,
        "confirm": state == models.BatchState.APPROVED and is_next,
        "pause": state == models.BatchState.RUNNING and can_stop,
        "resume": state == models.BatchState.PAUSED and is_next,
        # People who can decline do that instead, with a reason.
        "cancel": not batch.has_ended and can_stop and not can_decline,
    }


def _approvals(batch: models.Batch) -> list[Any]:
    """Each person who approved every row, and since when (`at`), oldest first.

    A row withdrawn before that has no approval, so all rows count.
    """
    approvals = models.Approval.objects.filter(
        deletion__batch=batch, round=1, decision=models.Approval.Decision.APPROVED
    )
    people = approvals.order_by().values("approver_id", "approver_name")
    return list(people.annotate(at=Min("decided_at")).order_by("at"))


def _page_context(
    request: HttpRequest, *, batch: models.Batch, actor: Actor, refusal: Refusal = NOT_REFUSED
) -> dict[str, Any]:
    """Template variables of the page."""
    form = refusal.form
    common = {
        "batch": batch,
        "access_review": _visible_access_review(batch, actor=actor),
        "notice": notice_about(refusal),
        "url": reverse("batch-detail", args=[batch.pk]),
    }
    if batch.requested_at is None:
        return common | _draft_context(request, batch=batch, actor=actor, form=form)
    return common | _record_context(request, batch=batch, actor=actor, form=form)


def _visible_access_review(batch: models.Batch, *, actor: Actor) -> models.AccessReview | None:
    """The access review whose decisions made the plan, if the actor can see it."""
    if batch.access_review_id is None:
        return None
    return visibility.visible_access_reviews(actor=actor).filter(pk=batch.access_review_id).first()


def _draft_context(
    request: HttpRequest, *, batch: models.Batch, actor: Actor, form: ServiceForm | None
) -> dict[str, Any]:
    """The review of a plan that is not requested yet or was never requested."""
    now = clock.now()
    has_expired = drafts.has_expired(batch, now=now)
    is_open = batch.state == models.BatchState.DRAFT and not has_expired
    current = drafts.rows_of(batch)
    connection_facts = (
        drafts.set_current_problems(batch, rows=current, actor=actor) if is_open else None
    )
    plan = load_plan(batch, actor=actor, at=now, current=current)
    count = pluralize(len(plan.to_delete), "connection")
    title = f"Delete {count}?" if plan.to_delete else "Nothing to delete"
    status = batch_badge(batch, has_expired=has_expired)
    is_own = actor.person is not None and actor.person.pk == batch.created_by_id
    can_edit = is_open and is_own and permissions.can_delete(actor)
    rows = plan_rows(request, batch=batch, actor=actor, plan=plan, current=current)
    sendable = [row for row in current if not row.problem]
    return {
        "is_draft": True,
        "title": title if is_open else f"{status.label} draft",
        "status": status,
        "delete_label": f"Delete {count}",
        "is_open": is_open,
        "headline": texts.batch_headline(batch, given=0, sending=0, has_expired=has_expired),
        "can_edit": can_edit,
        "confirm_text": confirming.text_to_type(batch, count=len(sendable)),
        "form": _request_form(batch, form, count=len(plan.to_delete)),
        "plan": plan,
        "warnings": [
            *_warnings(request, batch=batch, actor=actor, plan=plan),
            *_again_warnings(current, connection_facts),
        ],
        "approvers_warning": approvers.missing_batch_approvers_warning(batch=batch),
        "can_split": len({row.credential_id for row in sendable}) > 1,
        **_approvals_context(batch, rows=sendable, actor=actor, total=len(plan.to_delete)),
        "credentials": drafts.list_choosable_credentials(
            rows=[view.row for view in rows.views if isinstance(view.row, models.BatchRow)],
            facts=connection_facts,
        )
        if can_edit and connection_facts
        else [],
        "filters": request.GET.urlencode(),
        "rows": rows,
    }


def _approvals_context(
    batch: models.Batch, *, rows: Iterable[models.BatchRow], actor: Actor, total: int
) -> dict[str, Any]:
    """Which credentials require approval, and how many of the `total` connections need it."""
    approvals = drafts.find_approvals(rows) if batch.needs_approval else {}
    if not approvals:
        return {}
    hidden = permissions.visibility_of(actor).hidden
    count = len(set[int]().union(*approvals.values()))
    named = [
        ("another org" if credential.pk in hidden else credential.name, credential.policy)
        for credential in approvals
    ]
    return {
        "approvals_text": texts.approvals_text(named, count=count, total=total),
        "to_split_off": count if count < total else 0,
    }


def _request_form(batch: models.Batch, form: ServiceForm | None, *, count: int) -> PlanRequestForm:
    """The form that requests the plan, always as the plan is now."""
    if not isinstance(form, PlanRequestForm):
        form = PlanRequestForm(initial={"digest": batch.digest})
    elif form.is_bound:
        form.data = dict(form.data.items()) | {"digest": batch.digest}
    if count > 1:
        form.fields["reason"].help_text = f"Applies to all {count:,} connections. {KEPT}"
    return form


def _warnings(
    request: HttpRequest, *, batch: models.Batch, actor: Actor, plan: Plan
) -> list[PageWarning]:
    warnings = plan.warnings(url_of=lambda chosen: list_url(request, show=chosen))
    is_org = batch.origin == models.BatchOrigin.ORG
    if is_org and not _credentials_of_org(batch, actor=actor).exists():
        warnings.insert(0, _unwatched_org_warning(batch, actor=actor))
    return warnings


def _again_warnings(
    rows: Sequence[models.BatchRow], connection_facts: facts.ConnectionFacts | None
) -> list[PageWarning]:
    """A warning that a new plan would have more rows."""
    if connection_facts is None:
        return []
    count = len(drafts.list_deletable_again(rows=rows, facts=connection_facts))
    headline = f"{count} of those left out can be deleted now"
    detail = "Plan them again: this draft still leaves them out"
    return [PageWarning(headline=headline, detail=detail)] if count else []


def _credentials_of_org(batch: models.Batch, *, actor: Actor) -> QuerySet[models.Credential]:
    """The credentials in use of the org to remove that this person can see."""
    of_org = models.Credential.objects.filter(site=batch.site, org_id=batch.org_id, retired_at=None)
    return visibility.visible(of_org, actor=actor, by="pk")


def _unwatched_org_warning(batch: models.Batch, *, actor: Actor) -> PageWarning:
    org = batch.org_name or batch.org_id
    which = "that has a credential"
    headline = f"{org} has no credential"
    if permissions.visibility_of(actor).hidden:
        which = "whose credential you can see"
        headline = f"You can't see a credential of {org}"
    return PageWarning(
        headline=headline,
        detail=f"Only its connections with an org {which} are known. Others might remain.",
    )


def _record_context(
    request: HttpRequest, *, batch: models.Batch, actor: Actor, form: ServiceForm | None
) -> dict[str, Any]:
    """Approval, progress and result of a bulk deletion that was requested."""
    now = clock.now()
    progress, approvals = get_progress(batch), _approvals(batch)
    parts = progress_parts(batch, progress=progress)
    has_expired = drafts.has_expired(batch, now=now)
    interval, no_sender = poll_interval(batch, now=now), _no_sender(batch, now=now)
    version = page_version(
        batch, progress=progress, interval=interval, no_sender=no_sender, now=now
    )
    waiting = find_waiting_note(batch, actor=actor, now=now)
    is_waiting = batch.state in {models.BatchState.APPROVED, models.BatchState.PAUSED}
    kept = confirming.list_kept(batch) if is_waiting and not has_expired else []
    undecided = batch.state in UNDECIDED
    total = confirming.count_to_send(batch) if undecided else progress.total
    count = pluralize(total, "connection")
    steps = _steps(
        batch, actor=actor, approvals=approvals, kept=kept, unsent=progress.unsent, now=now
    )
    can_confirm = steps["confirm"] or steps["resume"]
    return {
        "title": f"Bulk deletion of {count}" if batch.has_ended else f"Delete {count}",
        "count": count,
        "confirm_text": confirming.text_to_type(batch) if can_confirm else "",
        "delete_label": f"Delete {count}",
        "form": form if isinstance(form, ReasonForm) else ReasonForm(),
        "confirmation_form": form if isinstance(form, ConfirmationForm) else ConfirmationForm(),
        "headline": texts.batch_headline(
            batch,
            given=len(approvals),
            sending=progress.sending,
            has_expired=has_expired,
            is_requester=actor.person is not None and actor.person.pk == batch.requested_by_id,
        ),
        "status": batch_badge(batch, has_expired=has_expired, is_all_gone=_is_all_gone(parts)),
        "lines": [*texts.batch_lines(batch, has_expired=has_expired), *_owned(batch, actor=actor)],
        "waiting": waiting,
        "kept": kept,
        "people": _people(batch, approvals=approvals),
        "timeline": [event_entry(event, actor=actor) for event in audit.events_of(subject=batch)],
        "steps": steps,
        "cancel_label": _cancel_label(batch, progress),
        "max_problems": stopping.MAX_PROBLEMS_IN_A_ROW,
        "must_confirm_resume": stopping.needs_confirmation_to_resume(batch),
        "progress": progress,
        "deleted": progress.by_outcome[models.Outcome.DELETED],
        "parts": parts,
        "time_left": format_span(progress.time_left) if progress.time_left else "",
        "plan_again_label": _plan_again_label(batch, actor=actor, total=progress.total),
        "export_query": f"batch={batch.pk}",
        "can_export": permissions.can_export(actor),
        "can_audit": permissions.can_audit(actor),
        "no_worker": no_sender,
        **_rows_context(request, batch=batch, actor=actor, progress=progress, now=now),
        **(
            _approvals_context(
                batch,
                rows=batch.rows.filter(models.SENDABLE).select_related("credential"),
                actor=actor,
                total=total,
            )
            if undecided
            else {}
        ),
        "to_retire": _credential_to_retire(batch, parts, actor=actor),
        "can_retire": permissions.can_manage_credentials(actor),
        "poll_interval": interval,
        "poll_url": list_url(
            request, seen=noted_version(version, waiting), page=request.GET.get("page", "")
        ),
    }


def _owned(batch: models.Batch, *, actor: Actor) -> Iterator[str]:
    """How many of its connections the reader answers for, before anything is sent."""
    person = actor.person if batch.state in UNDECIDED else None
    owned = count_owned(batch).get(person.pk, 0) if person else 0
    if owned:
        yield f"You answer for {owned:,} of these connections."


def _rows_context(
    request: HttpRequest, *, batch: models.Batch, actor: Actor, progress: Progress, now: datetime
) -> dict[str, Any]:
    """The results, or the plan if it was never confirmed. While people decide, also its facts."""
    if batch.confirmed_at:
        rows = result_rows(request, batch=batch, actor=actor, progress=progress)
        return {"rows": rows}
    plan = load_plan(batch, actor=actor, at=now)
    rows = plan_rows(request, batch=batch, actor=actor, plan=plan)
    if batch.state not in UNDECIDED:
        return {"rows": rows}
    return {
        "rows": rows,
        "plan": plan,
        "warnings": _warnings(request, batch=batch, actor=actor, plan=plan),
        "earlier": find_earlier_decisions(
            keys=[row.key for row in plan.to_delete],
            before=batch.requested_at or now,
            actor=actor,
        ),
    }


def _is_all_gone(parts: Sequence[BarPart]) -> bool:
    return all(part.group in _GONE for part in parts)


def _plan_again_label(batch: models.Batch, *, actor: Actor, total: int) -> str:
    """The button that plans what was not deleted. "" if this person can't or nothing is left."""
    if not batch.has_ended or not permissions.can_delete(actor):
        return ""
    rest = drafts.list_remaining(batch=batch)
    if len(rest) == total:
        return f"Plan all {total:,} again" if total > 1 else "Plan it again"
    failed = sum(row.outcome == models.Outcome.REFUSED for row in rest)
    kind = "failed" if failed == len(rest) else "failed or unsent" if failed else "unsent"
    return f"Plan {pluralize(len(rest), f'{kind} connection')} again" if rest else ""


def _credential_to_retire(
    batch: models.Batch, parts: Sequence[BarPart], *, actor: Actor
) -> models.Credential | None:
    """A credential of the org whose connections are all gone now."""
    is_finished = batch.state == models.BatchState.FINISHED and _is_all_gone(parts)
    if batch.origin != models.BatchOrigin.ORG or not is_finished:
        return None
    return _credentials_of_org(batch, actor=actor).first()


def _people(
    batch: models.Batch, *, approvals: Sequence[dict[str, Any]]
) -> list[tuple[str, str, datetime | None]]:
    """Who did what, and when."""
    steps = [("Requested by", batch.requested_by_name, batch.requested_at)]
    steps += [("Approved by", approval["approver_name"], approval["at"]) for approval in approvals]
    steps += [("Confirmed by", batch.confirmed_by_name, batch.confirmed_at)]
    return [step for step in steps if step[1]]


def _cancel_label(batch: models.Batch, progress: Progress) -> str:
    if batch.state in UNDECIDED:
        return "Cancel bulk deletion"
    return f"Stop ({progress.unsent:,} not sent)"


def poll_interval(batch: models.Batch, *, now: datetime) -> int | None:
    """Seconds between the page's polls. None if nothing can change soon."""
    if batch.state == models.BatchState.RUNNING:
        return POLL_CHANGING
    if batch.state in UNDECIDED:
        return POLL_WAITING
    if not batch.confirmed_at:
        return None
    # A row that waits to be sent changes nothing while the bulk deletion is paused.
    others = batch.deletions.exclude(state=models.State.WAITING)
    checked = others.filter(due_at__gt=now - SOON, due_at__lt=now + SOON)
    return POLL_CHANGING if checked.exists() else None
