"""The page of one deletion: its status, the steps that a person can take, and polling."""

import hashlib
from collections.abc import Collection
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render
from django.urls import reverse

from connections import audit, models
from connections.access import permissions, visibility
from connections.access.actor import Actor
from connections.access_reviews.progress import find_keep_decision
from connections.change_requests import (
    approvals,
    attempt_facts,
    lifecycle,
    rechecks,
    sending,
    states,
)
from connections.change_requests.comparison import Recheck, RecheckResult
from connections.core import clock, time_limits
from connections.core.causes import cause_text, unavailable_text
from connections.core.errors import InvalidInputError, OvertakenError, UnavailableError
from connections.core.sites import site_label
from connections.core.text import format_time
from connections.deletions import confirmations
from connections.deletions.action import DELETE
from connections.deletions.confirmations import effect_text
from connections.deletions.status import DeletionStatus, NextStep, status_at, steps_of
from connections.deletions.texts import describe
from connections.inventory import protections
from connections.lookups import objects
from connections.models.org_connections import SnapshotFields
from connections.operations import heartbeats
from connections.web.badges import Badge, deletion_badge
from connections.web.deletions import forms
from connections.web.deletions.earlier import list_earlier
from connections.web.deletions.record import record_context
from connections.web.framework import support
from connections.web.framework.actions import NOT_REFUSED, Refusal
from connections.web.framework.forms import ServiceForm
from connections.web.framework.polling import poll

# The page polls for automatic changes only if one is due this soon.
SOON = timedelta(minutes=2)
# While it waits for people: seconds between polls, by the time since the last action.
POLL_INTERVALS = (
    (timedelta(minutes=2), 5),
    (timedelta(minutes=15), 15),
    (timedelta(hours=2), 60),
    (timedelta.max, 300),
)


_TEMPLATE = "deletions/detail.html"


def deletion_detail(request: HttpRequest, pk: UUID, refusal: Refusal = NOT_REFUSED) -> HttpResponse:
    """One deletion: its outcome, next steps and details."""
    actor = support.actor_of(request)
    deletion = objects.find_deletion(deletions_with_details(), actor=actor, pk=pk)
    target = request.htmx.target if request.method == "GET" else ""  # type: ignore[attr-defined]
    if target == "watch":
        return _poll_response(request, deletion=deletion, actor=actor)
    if target == "record":
        context = _facts_context(deletion, actor=actor)
        context |= record_context(deletion=deletion, actor=actor)
        return render(request, f"{_TEMPLATE}#record", context)
    return render_outcome(
        request,
        deletion=deletion,
        actor=actor,
        form=refusal.form,
        notice=notice_about(refusal, deletion=deletion) if refusal.error else None,
        status=refusal.status,
    )


def deletions_with_details() -> QuerySet[models.Deletion]:
    """Deletions with the related rows that their page shows."""
    return models.Deletion.objects.select_related(
        "credential", "requested_by", "confirmed_by", "break_glass_by", "break_glass_review"
    ).prefetch_related("attempts", "approvals")


def notice_about(refusal: Refusal, *, deletion: models.Deletion | None = None) -> Badge:
    """The text above the status, if no field is at fault.

    `deletion` is the one that the action was about, or None for a new request.
    """
    error = refusal.error
    if isinstance(error, InvalidInputError):
        return Badge(error.fields.get("request_id", ""), "danger", "warning")
    if isinstance(error, UnavailableError):
        nothing = attempt_facts.not_sent_sentence_of(deletion) if deletion else "Nothing was sent."
        text = f"{nothing} {unavailable_text(cause=error.cause, why=str(error))}"
        return Badge(text, "danger", "warning")
    # That someone else was first is information, not an error.
    is_overtaken = isinstance(error, OvertakenError)
    return Badge(str(error), *(("info", "info") if is_overtaken else ("danger", "warning")))


def respond(
    request: HttpRequest, *, deletion: models.Deletion, actor: Actor, is_confirming: bool = False
) -> HttpResponse:
    """The response after an action: a redirect to the deletion or, for htmx, its outcome."""
    url = reverse("deletion-detail", args=[deletion.pk])
    if not support.wants_fragment(request):
        return support.SeeOther(url)
    deletion = deletions_with_details().get(pk=deletion.pk)
    response = render_outcome(request, deletion=deletion, actor=actor)
    if is_confirming:
        response["HX-Push-Url"] = url
    return response


def render_outcome(
    request: HttpRequest,
    *,
    deletion: models.Deletion,
    actor: Actor,
    form: ServiceForm | None = None,
    notice: Badge | None = None,
    status: int = 200,
) -> HttpResponse:
    """The page of one deletion. For htmx, only `#outcome` and the title, also on other pages."""
    context = _facts_context(deletion, actor=actor) | {
        "outcome": _status_context(request, deletion=deletion, form=form, notice=notice),
    }
    if not support.wants_fragment(request):
        context |= record_context(deletion=deletion, actor=actor)
        if permissions.can_comment(actor):
            context["comment"] = (
                form if isinstance(form, forms.CommentForm) else forms.CommentForm()
            )
        return render(request, _TEMPLATE, context, status=status)
    response = render(request, f"{_TEMPLATE}#titled_outcome", context, status=status)
    # The details next to the outcome reload themselves.
    response["HX-Trigger"] = "deletionChanged"
    return response


def _facts_context(deletion: models.Deletion, *, actor: Actor) -> dict[str, Any]:
    """Template variables of the outcome and the record."""
    return {
        "deletion": deletion,
        # Whether it belongs to a bulk deletion that this person can see.
        "shows_batch": bool(visibility.visible_batch_ids([deletion], actor=actor)),
        "approvals_needed": models.ApprovalPolicy(deletion.policy).approvals_needed,
    }


def _poll_response(
    request: HttpRequest, *, deletion: models.Deletion, actor: Actor
) -> HttpResponse:
    now = clock.now()
    objections = find_objections(deletion, actor=actor)
    next_steps = find_steps(deletion, objections=objections, actor=actor, now=now)
    version = state_version(deletion, objections=objections, next_steps=next_steps, now=now)
    interval = poll_interval(deletion, now=now)

    def respond() -> HttpResponse:
        response = render_outcome(request, deletion=deletion, actor=actor)
        response["HX-Retarget"] = "#outcome"
        return response

    def watch() -> HttpResponse:
        outcome = {"url": request.path, "version": version, "poll_interval": interval}
        context = {"outcome": outcome, "deletion": deletion}
        return render(request, f"{_TEMPLATE}#watch", context)

    return poll(request, version=version, interval=interval, respond=respond, watch=watch)


def poll_interval(deletion: models.Deletion, *, now: datetime) -> int | None:
    """Seconds between the page's polls. None if nothing can change soon.

    While a deletion waits for people, the page polls less often the longer no one acts.
    """
    if _is_changing_soon(deletion, now=now):
        return 2
    if deletion.state not in {models.State.REQUESTED, models.State.APPROVED}:
        return None
    return idle_interval(
        deletion.requested_at, deletion.approved_at, deletion.confirmed_at, now=now
    )


def idle_interval(*times: datetime | None, now: datetime) -> int:
    """Seconds between the polls of a page that waits for people since the last of these times."""
    idle = now - max(at for at in times if at)
    return next(seconds for limit, seconds in POLL_INTERVALS if idle < limit)


def _is_changing_soon(deletion: models.Deletion, *, now: datetime) -> bool:
    if deletion.state == models.State.SENDING or states.is_being_rechecked(deletion, now=now):
        return True
    is_watched = (
        deletion.state in {models.State.WAITING, models.State.UNKNOWN} or deletion.is_settled
    )
    return is_watched and deletion.due_at is not None and abs(deletion.due_at - now) < SOON


class Objections(NamedTuple):
    """Why others want to keep the connection, while the deletion can still be prevented."""

    # The newest decision of an access review, if it is to keep the connection.
    kept: models.AccessReviewDecision | None
    protection: models.Protection | None


def find_objections(deletion: models.Deletion, *, actor: Actor) -> Objections:
    """The objections that the page shows."""
    return Objections(
        kept=find_keep_decision(actor=actor, key=deletion.key) if _is_undecided(deletion) else None,
        protection=None if deletion.is_settled else protections.find_protection(deletion.key),
    )


BLOCKED_BY_PROTECTION = {NextStep.CONFIRM, NextStep.APPROVE, NextStep.BREAK_GLASS}


class NextSteps(NamedTuple):
    """The steps that the page offers a person."""

    steps: list[NextStep]
    # Why a confirmation would be refused; "" if it wouldn't be or isn't a next step.
    block: str


def find_steps(
    deletion: models.Deletion, *, objections: Objections, actor: Actor, now: datetime
) -> NextSteps:
    """What the person can do next, apart from what a check with Datadog would rule out."""
    steps_of_status = steps_of(status_at(deletion, now=now))
    steps = [
        step
        for step in steps_of_status
        if _can_take_step(step, deletion=deletion, actor=actor, now=now)
    ]
    block = ""
    if NextStep.CONFIRM in steps_of_status and _is_confirmable(deletion, now=now):
        # Others learn, too, that the requester can no longer confirm.
        confirmed_by = actor.person if NextStep.CONFIRM in steps else None
        block = _find_block(deletion, confirmed_by=confirmed_by, objections=objections)
    ruled_out = BLOCKED_BY_PROTECTION if objections.protection else set()
    if block:
        ruled_out = ruled_out | {NextStep.CONFIRM}
    return NextSteps(steps=[step for step in steps if step not in ruled_out], block=block)


def _find_block(
    deletion: models.Deletion, *, confirmed_by: models.Person | None, objections: Objections
) -> str:
    """Why this person's confirmation would be refused; "" if it wouldn't be."""
    if objections.protection:
        # The page also shows who protected it and why.
        return "The connection is protected."
    people = [confirmed_by.pk] if confirmed_by else []
    return str(sending.find_block([deletion], confirmed_by=people) or "")


_shown_columns = attrgetter(
    *("state", "outcome", "cause", "epoch", "confirmed_at", "due_at", "last_checked_at"),
    *("verified_at", "contradicted_at", "approval_round", "break_glass_at"),
)


def state_version(
    deletion: models.Deletion, *, objections: Objections, next_steps: NextSteps, now: datetime
) -> str:
    """A value that changes whenever what the page shows changes."""
    parts = (
        [objection.pk for objection in objections if objection],
        next_steps,
        _shown_columns(deletion),
        [attempt.number for attempt in deletion.attempts.all() if attempt.is_late],
        [approval.pk for approval in deletion.approvals.all()],
        getattr(deletion, "break_glass_review", None) is not None,
        _is_changing_soon(deletion, now=now),
        status_at(deletion, now=now).name,
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _must_verify_itself(deletion: models.Deletion, *, actor: Actor, now: datetime) -> bool:
    """Whether the page should start the first check after a response, because no worker will."""
    is_unchecked = deletion.is_settled and deletion.due_at and not deletion.last_checked_at
    if not is_unchecked or not permissions.can_use(actor, credential_id=deletion.credential_id):
        return False
    return not heartbeats.is_alive(heartbeats.last_seen_at(), now=now)


def _status_context(
    request: HttpRequest,
    *,
    deletion: models.Deletion,
    form: ServiceForm | None,
    notice: Badge | None,
) -> dict[str, Any]:
    """Template variables of `#outcome`.

    `form` is the posted form if its action was refused, and `notice` says why if no field is at
    fault.
    """
    actor, now = support.actor_of(request), clock.now()
    have_expired = states.have_approvals_expired(deletion, now=now)
    is_awaiting_approval = states.can_be_approved(deletion, now=now) or have_expired
    can_decide = is_awaiting_approval and _can_decide(actor, deletion=deletion, now=now)
    preview = rechecks.preview_recheck(change_request=deletion) if can_decide else None
    objections = find_objections(deletion, actor=actor)
    next_steps = find_steps(deletion, objections=objections, actor=actor, now=now)
    steps = {step.value: True for step in next_steps.steps}
    if preview and not preview.can_be_approved:
        steps.pop(NextStep.APPROVE, None)
    status = status_at(deletion, now=now)
    text = describe(
        deletion,
        status=status,
        now=now,
        approvers=tuple(approvals.names_of_possible_approvers(change_request=deletion, now=now))
        if is_awaiting_approval
        else None,
        can_approve=can_decide,
        is_requester=actor.person is not None and actor.person.pk == deletion.requested_by_id,
        have_approvals_expired=have_expired,
        listed_by=_listed_by(deletion, actor=actor) if deletion.contradicted_at else "",
        block=next_steps.block,
    )
    return {
        "badge": deletion_badge(deletion, status=status),
        "text": text,
        "steps": steps,
        "confirm_text": ""
        if deletion.is_settled
        else confirmations.confirmation_text(deletion, actor=actor),
        "form": form,
        **{
            name: form if isinstance(form, kind) else kind.about(deletion)
            for name, kind in _FORMS.items()
        },
        "notice": notice,
        "url": reverse("deletion-detail", args=[deletion.pk]),
        "poll_interval": poll_interval(deletion, now=now),
        "must_verify_itself": _must_verify_itself(deletion, actor=actor, now=now),
        "version": state_version(deletion, objections=objections, next_steps=next_steps, now=now),
        "again_url": confirm_url(
            credential=deletion.credential_id,
            connection_id=deletion.connection_id,
            again=str(deletion.pk),
        ),
        "connection_url": support.connection_url(deletion.key),
        "back_url": back_url(request),
        "can_decide": can_decide and status == DeletionStatus.NEEDS_APPROVAL,
        "is_checking": status in _CHECKING
        and not deletion.last_checked_at
        and NextStep.CHECK not in next_steps.steps,
        "is_gone": deletion.outcome in models.GONE_OUTCOMES
        and (not deletion.contradicted_at or deletion.last_check_listed is False),
        "earlier": list_earlier(deletion, kept=objections.kept, actor=actor)
        if is_awaiting_approval
        else [],
        "can_give_late_approval": deletion.lacks_late_approval
        and permissions.can_give_late_approval(actor, deletion=deletion),
        "preview": preview,
        "preview_note": _preview_note(deletion, recheck=preview) if preview else None,
        "protection": objections.protection,
        "effect": _effect(deletion, steps=next_steps.steps),
        **keep_context(objections.kept, now=now),
        "side": side_of(deletion.credential, connection=deletion),
        "site_label": site_label(deletion.site),
    }


def confirm_url(*, credential: UUID, connection_id: UUID, **more: str) -> str:
    """The URL of the confirmation page.

    `more` can contain `reason`, `ticket`, `request_id`, `back` as in `back_url`, and `again`, which
    is the ID of a deletion whose reason and ticket are reused. These could be too long for a URL.
    """
    query = {"credential": str(credential), "connection_id": str(connection_id)}
    typed = {name: value for name, value in more.items() if value}
    return reverse("deletion-confirm", query=query | typed)


def keep_context(kept: models.AccessReviewDecision | None, *, now: datetime) -> dict[str, Any]:
    """A decision to keep the connection, if there is one, and whether its last day has passed."""
    has_ended = kept is not None and kept.has_ended(today=now.date())
    return {"kept": kept, "keep_has_ended": has_ended}


def _is_undecided(deletion: models.Deletion) -> bool:
    """Whether people still decide whether it is sent."""
    return deletion.state in {
        models.State.REQUESTED,
        models.State.APPROVED,
        models.State.STILL_PRESENT,
    }


# Something is under way, and the page says so until the result replaces it.
_CHECKING = {
    DeletionStatus.DELETED_VERIFYING,
    DeletionStatus.CHECKING,
    DeletionStatus.SENDING,
}
_FORMS: dict[str, type[ServiceForm]] = {
    "execution_form": forms.ExecutionForm,
    "break_glass_form": forms.BreakGlassForm,
    "late_approval_form": forms.LateApprovalForm,
}
_DECISIONS = {NextStep.CONFIRM, NextStep.APPROVE, NextStep.BREAK_GLASS}


def back_url(request: HttpRequest) -> str:
    """The list of connections from which the person came; "" if that is unknown.

    Its address is in the form, in the page's own address, or in that of the page before.
    """
    before = request.headers.get("HX-Current-URL") or request.headers.get("Referer", "")
    for query in (request.POST, request.GET, QueryDict(before.partition("?")[2])):
        path, _, filters = query.get("back", "").partition("?")
        if path == reverse("org-connection-list"):
            return f"{path}?{filters}" if filters else path
    return ""


def side_of(credential: models.Credential, *, connection: SnapshotFields) -> str:
    """Which side of the connection the credential's org is; "" if that is unknown."""
    sides = {connection.source_org_id: "source side", connection.sink_org_id: "destination side"}
    return sides.get(credential.org_id, "") if credential.org_id else ""


def _effect(deletion: models.Deletion, *, steps: Collection[NextStep]) -> str:
    """What deleting the connection would do, for a person who decides; "" if that is unknown."""
    if _DECISIONS.isdisjoint(steps) or not deletion.is_reviewed:
        return ""
    return effect_text(
        source=deletion.source_org_name,
        sink=deletion.sink_org_name,
        types=deletion.connection_types,
    )


def _preview_note(deletion: models.Deletion, *, recheck: Recheck) -> Badge:
    """What a check found just now. Its label is the sentence."""
    who, at = deletion.requested_by_name, format_time(recheck.at, today=recheck.at)
    then = f"It can no longer be approved: decline it, and {who} can request it again."
    if deletion.state == models.State.STILL_PRESENT:
        then = f"It can no longer be approved: {who} can close it and request a new deletion."
    match recheck.result:
        case RecheckResult.SAME:
            return Badge(f"Unchanged at {at}", "ok", "check")
        case RecheckResult.CHANGED:
            text = f"Checked at {at}: changed since the request. {then}"
            return Badge(text, "danger", "warning")
        case RecheckResult.ABSENT:
            text = f"Checked at {at}: Datadog no longer lists it. {then}"
            return Badge(text, "danger", "warning")
        case RecheckResult.UNREADABLE:
            details = f"Stored details from {format_time(deletion.snapshot_at)} are shown."
            if not deletion.is_reviewed:
                details = f"{who} could not see its details either."
            text = f"The check failed just now. {cause_text(recheck.cause)} {details}"
            return Badge(text, "warn", "warning")


def _listed_by(deletion: models.Deletion, *, actor: Actor) -> str:
    """The credential that still listed it; "" if the actor can't see that credential."""
    for event in reversed(audit.events_of(subject=deletion)):
        if event.code == audit.EventCode.DELETION_CONTRADICTED:
            name = str(event.details.get("seen_by", ""))
            is_own = name == deletion.credential_name
            return name if is_own or permissions.can_see_everything(actor) else ""
    return ""


def _can_take_step(
    step: NextStep, *, deletion: models.Deletion, actor: Actor, now: datetime
) -> bool:
    can_use = permissions.can_use(actor, credential_id=deletion.credential_id)
    is_awaiting_approval = states.can_be_approved(deletion, now=now)
    match step:
        case NextStep.CONFIRM:
            can_confirm = DELETE.can_confirm(deletion, person=actor.person)
            return can_use and can_confirm and _is_confirmable(deletion, now=now)
        case NextStep.APPROVE:
            have_expired = states.have_approvals_expired(deletion, now=now)
            is_open = is_awaiting_approval or have_expired
            return is_open and _can_decide(actor, deletion=deletion, now=now)
        case NextStep.DECLINE:
            # Even with all approvals, the approvals of another DELETE can still be declined.
            has_approvals = bool(deletion.current_approvals)
            is_open = is_awaiting_approval or has_approvals
            return is_open and _can_decide(actor, deletion=deletion, now=now)
        case NextStep.BREAK_GLASS:
            is_allowed = permissions.can_break_glass(actor, deletion=deletion)
            # Break glass can be used once per deletion.
            return is_allowed and is_awaiting_approval and deletion.break_glass_at is None
        case NextStep.WITHDRAW:
            # People who can still decide decline instead, with a reason.
            is_to_decide = is_awaiting_approval and _can_decide(actor, deletion=deletion, now=now)
            is_allowed = permissions.can_withdraw(actor, change_request=deletion)
            return is_allowed and not is_to_decide and lifecycle.can_be_withdrawn(deletion)
        case NextStep.CHECK if deletion.state == models.State.SENDING:
            started = deletion.sending_at or now
            return can_use and clock.elapsed_since(started, now=now) >= time_limits.CLAIM_TIMEOUT
        case NextStep.CHECK if deletion.is_settled and deletion.due_at:
            # The next check happens by itself, unless it is overdue.
            return can_use and now - deletion.due_at >= time_limits.CLAIM_TIMEOUT
        case NextStep.REQUEST_AGAIN:
            return can_use and deletion.is_settled
        case NextStep.CHECK | NextStep.CLOSE:
            return can_use


def _is_confirmable(deletion: models.Deletion, *, now: datetime) -> bool:
    """Whether its next step, if that is a confirmation, can be taken on its own page now."""
    is_awaited = lifecycle.is_awaiting_confirmation(deletion)
    is_alone = not deletion.is_run_by_batch
    return is_awaited and is_alone and not states.has_expired(deletion, now=now)


def _can_decide(actor: Actor, *, deletion: models.Deletion, now: datetime) -> bool:
    is_allowed = (
        permissions.can_approve(actor, change_request=deletion) and not deletion.is_run_by_batch
    )
    # Those whose approvals expired can decide again, because that starts a new round.
    is_new_round = states.have_approvals_expired(deletion, now=now)
    return is_allowed and (is_new_round or not deletion.is_decided_by(actor.person))
