"""The page of one request: its status, what a person can do next, its timeline, and polling."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from operator import attrgetter
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from connections import audit
from connections.access import permissions
from connections.access.actor import Actor
from connections.access.agreement_owners import find_owned
from connections.access_requests.concealing import READABLE_CODES
from connections.change_requests import attempt_facts, exclusion, lifecycle, sending, states
from connections.change_requests.actions import Recheck, RecheckResult, action_of
from connections.change_requests.status import NextStep
from connections.core import clock, time_limits
from connections.core.causes import Cause, cause_text, unavailable_text
from connections.core.errors import InvalidInputError, OvertakenError, UnavailableError
from connections.core.sites import site_label
from connections.core.text import format_time
from connections.models import (
    AccessRequest,
    ApprovalPolicy,
    AttemptFields,
    ChangeRequest,
    Deletion,
    State,
    Step,
)
from connections.notifications.notified import WaitingNote, find_waiting_note
from connections.operations import heartbeats
from connections.web.badges import Badge
from connections.web.change_requests.excluded import Excluded, find_excluded
from connections.web.framework import http
from connections.web.framework.actions import NOT_REFUSED, Refusal
from connections.web.framework.forms import ServiceForm
from connections.web.timeline import TimelineEntry, event_entry

# The page polls for automatic changes only if one is due this soon.
SOON = timedelta(minutes=2)
# Seconds between the polls, while something happens by itself and while it waits for people.
POLL_CHANGING = 2
POLL_WAITING = 10
SHOWN_BODY = 8 * 1024

_NO_OTHERS: Mapping[NextStep, Callable[[], bool]] = MappingProxyType({})


class NextSteps(NamedTuple):
    """The steps that the page offers a person."""

    steps: list[NextStep]
    # Why a confirmation would be refused; "" if it wouldn't be or isn't a next step.
    block: str


class RequestPage[R: ChangeRequest](ABC):
    """The page of one kind of request. Its URL's name starts those of its actions."""

    template: ClassVar[str]
    # The name of the request in the template.
    name: ClassVar[str]
    # On the buttons that approve and decline it.
    noun: ClassVar[str]
    # The names of its URLs, before "-detail" and the like.
    url_prefix: ClassVar[str]
    # The names of its actions.
    actions: ClassVar[tuple[str, ...]]
    # The filter of the audit log by its ID.
    audit_filter: ClassVar[str] = "subject"

    @abstractmethod
    def rows(self) -> QuerySet[R]:
        """The requests with the related rows that their page shows."""

    @abstractmethod
    def find(self, *, actor: Actor, pk: UUID) -> R:
        """The request with these rows. Raises Http404 when the actor can't see it."""

    @abstractmethod
    def version(self, change_request: R, *, actor: Actor, now: datetime) -> str:
        """A value that changes whenever what the page shows changes."""

    @abstractmethod
    def status_context(
        self, change_request: R, *, request: HttpRequest, actor: Actor, now: datetime
    ) -> dict[str, Any]:
        """Template variables of `#outcome` that only this kind has, `next_steps` among them."""

    def facts_context(self, change_request: R, *, actor: Actor) -> dict[str, Any]:
        """Template variables of the outcome and the record."""
        needed = ApprovalPolicy(change_request.policy).approvals_needed
        return {
            self.name: change_request,
            "change_request": change_request,
            "approvals_needed": needed,
        }

    def page_context(self, *, actor: Actor, form: ServiceForm | None) -> dict[str, Any]:
        """Template variables of the page outside the outcome and the record."""
        return {}

    def as_read(self, change_request: R, *, actor: Actor) -> R:
        """The request as this reader may read it."""
        return change_request

    def forms(self) -> Mapping[str, type[ServiceForm]]:
        """The forms of `#outcome` by template variable."""
        return {}

    def show(self, request: HttpRequest, pk: UUID, refusal: Refusal = NOT_REFUSED) -> HttpResponse:
        """One request: its outcome, next steps and details."""
        actor = http.actor_of(request)
        change_request = self.find(actor=actor, pk=pk)
        # The page polls its own address. If nothing is new, it replaces nothing, so input is kept.
        if seen := http.polled_version(request):
            now = clock.now()
            waiting = _find_waiting_note(change_request, actor=actor, now=now)
            version = self.version(change_request, actor=actor, now=now)
            if seen == noted_version(version, waiting):
                return HttpResponse(status=204)
        return self.render(
            request,
            change_request,
            actor=actor,
            form=refusal.form,
            notice=notice_about(refusal, change_request=change_request) if refusal.error else None,
            status=refusal.status,
        )

    def respond(
        self,
        request: HttpRequest,
        change_request: R,
        *,
        actor: Actor,
        is_confirming: bool = False,
    ) -> HttpResponse:
        """The response after an action: a redirect to the request or, for htmx, its outcome."""
        url = self.url(change_request)
        if not http.wants_fragment(request):
            return http.SeeOther(url)
        response = self.render(request, self.rows().get(pk=change_request.pk), actor=actor)
        if is_confirming:
            response["HX-Push-Url"] = url
        return response

    def render(
        self,
        request: HttpRequest,
        change_request: R,
        *,
        actor: Actor,
        form: ServiceForm | None = None,
        notice: Badge | None = None,
        status: int = 200,
    ) -> HttpResponse:
        """The page of one request. htmx takes `#outcome` from it, also on other pages."""
        change_request = self.as_read(change_request, actor=actor)
        query = {self.audit_filter: str(change_request.pk)}
        context = {
            **self.facts_context(change_request, actor=actor),
            "outcome": self._outcome_context(
                request, change_request, actor=actor, form=form, notice=notice
            ),
            "timeline": timeline_of(change_request, actor=actor),
            "audit_url": reverse("audit-list", query=query) if permissions.can_audit(actor) else "",
            **self.page_context(actor=actor, form=form),
        }
        return http.render_for(request, self.template, context, part="outcome", status=status)

    def url(self, change_request: R) -> str:
        """The address of its page."""
        return reverse(f"{self.url_prefix}-detail", args=[change_request.pk])

    def _outcome_context(
        self,
        request: HttpRequest,
        change_request: R,
        *,
        actor: Actor,
        form: ServiceForm | None,
        notice: Badge | None,
    ) -> dict[str, Any]:
        """Template variables of `#outcome`.

        `form` is the posted form if its action was refused, and `notice` says why if no field is at
        fault.
        """
        now = clock.now()
        context = self.status_context(change_request, request=request, actor=actor, now=now)
        waiting = _find_waiting_note(change_request, actor=actor, now=now)
        if waiting:
            # The note says when it expires.
            context["text"] = replace(context["text"], facts=())
        context["version"] = noted_version(context["version"], waiting)
        return {
            "form": form,
            "notice": notice,
            "waiting": waiting,
            "noun": self.noun,
            "url": self.url(change_request),
            "urls": {
                action.replace("-", "_"): reverse(
                    f"{self.url_prefix}-{action}", args=[change_request.pk]
                )
                for action in self.actions
            },
            "confirm_text": ""
            if change_request.is_settled
            else action_of(change_request).confirmation_text(change_request, actor=actor),
            **{
                name: form if isinstance(form, kind) else kind.about(change_request)
                for name, kind in self.forms().items()
            },
            "poll_interval": poll_interval(change_request, now=now),
            "must_verify_itself": must_verify_itself(change_request, actor=actor, now=now),
            "site_label": site_label(change_request.site),
            "excluded": self._find_excluded(change_request, actor=actor),
            "is_owner": not change_request.is_settled
            and bool(find_owned([change_request], actor=actor)),
            **context,
        }

    def _find_excluded(self, change_request: R, *, actor: Actor) -> Excluded | None:
        """What confirming it ends, while people decide whether it is confirmed."""
        if change_request.confirmed_at or change_request.is_settled:
            return None
        is_deletion = isinstance(change_request, Deletion)
        pairs = exclusion.pairs_of([change_request])
        kind = AccessRequest if is_deletion else Deletion
        return find_excluded(kind, pairs[0], actor=actor) if pairs else None


def notice_about(refusal: Refusal, *, change_request: ChangeRequest | None = None) -> Badge:
    """The text above the status, if no field is at fault.

    `change_request` is the one that the action was about, or None for a new request.
    """
    error = refusal.error
    if isinstance(error, InvalidInputError):
        return Badge(error.fields.get("request_id", ""), "danger", "warning")
    if isinstance(error, UnavailableError):
        nothing = (
            attempt_facts.not_sent_sentence_of(change_request)
            if change_request
            else "Nothing was sent."
        )
        text = f"{nothing} {unavailable_text(cause=error.cause, why=str(error))}"
        return Badge(text, "danger", "warning")
    # That someone else was first is information, not an error.
    is_overtaken = isinstance(error, OvertakenError)
    return Badge(str(error), *(("info", "info") if is_overtaken else ("danger", "warning")))


def poll_interval(change_request: ChangeRequest, *, now: datetime) -> int | None:
    """Seconds between the page's polls. None if nothing can change soon."""
    if is_changing_soon(change_request, now=now):
        return POLL_CHANGING
    is_waiting = change_request.state in {State.REQUESTED, State.APPROVED}
    return POLL_WAITING if is_waiting else None


def is_changing_soon(change_request: ChangeRequest, *, now: datetime) -> bool:
    """Whether something happens by itself within SOON."""
    is_sending = change_request.state == State.SENDING
    if is_sending or states.is_being_rechecked(change_request, now=now):
        return True
    is_watched = change_request.state in {State.WAITING, State.UNKNOWN} or change_request.is_settled
    due_at = change_request.due_at
    return is_watched and due_at is not None and abs(due_at - now) < SOON


_shown_columns = attrgetter(
    *("state", "outcome", "cause", "epoch", "confirmed_at", "due_at", "last_checked_at"),
    *("verified_at", "contradicted_at", "approval_round"),
)


def version_of(change_request: ChangeRequest, *more: object, now: datetime) -> str:
    """A hash of what pages show of every request, and of `more`."""
    parts = (
        more,
        _shown_columns(change_request),
        [attempt.number for attempt in change_request.attempts.all() if attempt.is_late],
        [approval.pk for approval in change_request.approvals.all()],
        is_changing_soon(change_request, now=now),
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _find_waiting_note(
    change_request: ChangeRequest, *, actor: Actor, now: datetime
) -> WaitingNote | None:
    # The response to a confirmation passes few files.
    if change_request.state != State.REQUESTED:
        return None
    return find_waiting_note(change_request, actor=actor, now=now)


def noted_version(version: str, waiting: WaitingNote | None) -> str:
    """The version of a page with a note about who was notified."""
    return hashlib.sha256(f"{version}{waiting}".encode()).hexdigest()[:16] if waiting else version


def must_verify_itself(change_request: ChangeRequest, *, actor: Actor, now: datetime) -> bool:
    """Whether the page should start the first check after a response, because no worker will."""
    is_unchecked = (
        change_request.is_settled
        and change_request.due_at is not None
        and not change_request.last_checked_at
    )
    if not is_unchecked or not permissions.can_use(
        actor, credential_id=change_request.credential_id
    ):
        return False
    return not heartbeats.is_alive(heartbeats.last_seen_at(), now=now)


def find_steps(
    change_request: ChangeRequest,
    steps_of_status: Iterable[NextStep],
    *,
    actor: Actor,
    now: datetime,
    objection: str = "",
    others: Mapping[NextStep, Callable[[], bool]] = _NO_OTHERS,
) -> NextSteps:
    """Which of these steps the person can take, apart from what a check would rule out.

    `objection` is why no one can confirm it now. `others` are the steps that only its kind has,
    with whether the person can take them.
    """
    wanted = list(steps_of_status)
    steps = [
        step
        for step in wanted
        if (
            others[step]()
            if step in others
            else can_take_step(step, change_request=change_request, actor=actor, now=now)
        )
    ]
    block = ""
    if NextStep.CONFIRM in wanted and is_confirmable(change_request, now=now):
        # Others learn, too, that the requester can no longer confirm.
        people = [actor.person.pk] if actor.person and NextStep.CONFIRM in steps else []
        block = objection or str(sending.find_block([change_request], confirmed_by=people) or "")
    return NextSteps(
        steps=[step for step in steps if not block or step != NextStep.CONFIRM], block=block
    )


def can_take_step(
    step: NextStep, *, change_request: ChangeRequest, actor: Actor, now: datetime
) -> bool:
    """Whether the person's permissions and the time allow it, if the status does."""
    can_use = permissions.can_use(actor, credential_id=change_request.credential_id)
    is_awaiting_approval = states.can_be_approved(change_request, now=now)
    match step:
        case NextStep.CONFIRM:
            can_confirm = action_of(change_request).can_confirm(change_request, person=actor.person)
            return can_use and can_confirm and is_confirmable(change_request, now=now)
        case NextStep.APPROVE:
            have_expired = states.have_approvals_expired(change_request, now=now)
            is_open = is_awaiting_approval or have_expired
            return is_open and can_decide(actor, change_request=change_request, now=now)
        case NextStep.DECLINE:
            # Even with all approvals, the approvals of another attempt can still be declined.
            has_approvals = bool(change_request.current_approvals)
            is_open = is_awaiting_approval or has_approvals
            return is_open and can_decide(actor, change_request=change_request, now=now)
        case NextStep.WITHDRAW:
            # People who can still decide decline instead, with a reason.
            is_to_decide = is_awaiting_approval and can_decide(
                actor, change_request=change_request, now=now
            )
            is_allowed = permissions.can_withdraw(actor, change_request=change_request)
            return is_allowed and not is_to_decide and lifecycle.can_be_withdrawn(change_request)
        case NextStep.CHECK if change_request.state == State.SENDING:
            started = change_request.sending_at or now
            return can_use and clock.elapsed_since(started, now=now) >= time_limits.CLAIM_TIMEOUT
        case NextStep.CHECK if change_request.is_settled and change_request.due_at:
            # The next check happens by itself, unless it is overdue.
            return can_use and now - change_request.due_at >= time_limits.CLAIM_TIMEOUT
        case NextStep.REQUEST_AGAIN:
            return can_use and change_request.is_settled
        case NextStep.CHECK | NextStep.CLOSE:
            return can_use
    return False


def is_confirmable(change_request: ChangeRequest, *, now: datetime) -> bool:
    """Whether its next step, if that is a confirmation, can be taken on its own page now."""
    is_awaited = lifecycle.is_awaiting_confirmation(change_request)
    is_alone = not change_request.is_run_by_batch
    return is_awaited and is_alone and not states.has_expired(change_request, now=now)


def can_decide(actor: Actor, *, change_request: ChangeRequest, now: datetime) -> bool:
    """Whether the person can still approve or decline it in this round."""
    is_allowed = (
        permissions.can_approve(actor, change_request=change_request)
        and not change_request.is_run_by_batch
    )
    # Those whose approvals expired can decide again, because that starts a new round.
    is_new_round = states.have_approvals_expired(change_request, now=now)
    return is_allowed and (is_new_round or not change_request.is_decided_by(actor.person))


def preview_note(
    change_request: ChangeRequest, *, recheck: Recheck, without_details: str = ""
) -> Badge:
    """What a check found just now. Its label is the sentence.

    `without_details` replaces the sentence about the stored details.
    """
    who, at = change_request.requested_by_name, format_time(recheck.at, today=recheck.at)
    then = f"It can no longer be approved: decline it, and {who} can request it again."
    if not (change_request.requested_by_id or change_request.has_no_effect):
        then = "It can no longer be approved. Org Admin closes it and checks again."
    elif change_request.has_no_effect:
        then = (
            f"It can no longer be approved: {who} can close it and request a new "
            f"{change_request.label}."
        )
    match recheck.result:
        case RecheckResult.SAME:
            return Badge(f"Unchanged at {at}", "ok", "check")
        case RecheckResult.CHANGED:
            what = "changed since the request."
            if recheck.cause:
                what = f"unchanged. {cause_text(recheck.cause)}"
            text = f"Checked at {at}: {what} {then}"
            return Badge(text, "danger", "warning")
        case RecheckResult.ABSENT:
            text = f"Checked at {at}: Datadog no longer lists it. {then}"
            return Badge(text, "danger", "warning")
        case RecheckResult.UNREADABLE:
            details = without_details or (
                f"Stored details from {format_time(change_request.snapshot_at)} are shown."
            )
            text = f"The check failed just now. {cause_text(recheck.cause)} {details}"
            return Badge(text, "warn", "warning")


def timeline_of(change_request: ChangeRequest, *, actor: Actor) -> list[TimelineEntry]:
    """Its events, each start of an attempt with what was recorded about that."""
    attempts = {attempt.number: attempt for attempt in change_request.attempts.all()}
    start = change_request.event_code(Step.SENDING)
    return [
        _attempt_entry(event_entry(event, actor=actor), attempts.get(event.details["attempt"]))
        if event.code == start
        else event_entry(event, actor=actor)
        for event in audit.events_of(subject=change_request)
        # Refused access is for auditors, and could fill the page.
        if event.code != audit.EventCode.ACCESS_REFUSED
        and (change_request.cause != Cause.CONCEALED or event.code in READABLE_CODES)
    ]


def _attempt_entry(entry: TimelineEntry, attempt: AttemptFields | None) -> TimelineEntry:
    """The start of an attempt: what it sent, and what was recorded about it."""
    if attempt is None:
        return entry
    badge = replace(entry.badge, label=f"Sending the {attempt.method}, attempt {attempt.number}")
    return replace(entry, badge=badge, attempt=_attempt_context(attempt))


def _attempt_context(attempt: AttemptFields) -> dict[str, Any]:
    """One attempt with the stored response. `key` is unique among the IDs on the page."""
    body = bytes(attempt.body).decode("utf-8", errors="replace")
    return {
        "attempt": attempt,
        "key": str(attempt.number),
        "headers": "\n".join(f"{name}: {value}" for name, value in attempt.headers.items()),
        "body": body[:SHOWN_BODY],
        "is_body_shortened": len(body) > SHOWN_BODY or attempt.body_is_complete is False,
    }
