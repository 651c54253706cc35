"""Who was notified of a request that waits, or of a refused agreement, as pages say it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet

from connections.access import approvers, permissions
from connections.access.actor import Actor
from connections.core.text import join_names, pluralize
from connections.models import (
    AccessRequest,
    Agreement,
    Batch,
    ChangeRequest,
    EventCode,
    Notification,
    Person,
    State,
)
from connections.notification_queue.destinations import Channel
from connections.notification_queue.outbox import find_setter

# How many people are named.
MAX_NAMES = 3
_CHANNELS = {Channel.SLACK: "Slack", Channel.WEBHOOK: "the webhook"}
_TEXTS = {
    Notification.State.DELIVERED: "{who} {verb} notified{by}.",
    Notification.State.WAITING: "Not notified yet: {who}.",
    Notification.State.GIVEN_UP: "Couldn't be notified: {who}.",
}


@dataclass(frozen=True, kw_only=True)
class WaitingNote:
    """When a request expires and, for its requester, who was notified of it."""

    expires_at: datetime
    # "" for other people.
    text: str = ""
    # Whether the requester has to send the link of the page to someone.
    needs_link: bool = False


def find_waiting_note(
    subject: ChangeRequest | Batch, *, actor: Actor, now: datetime
) -> WaitingNote | None:
    """None unless it waits for its first approvals. A row of a bulk deletion has none of its own.

    Names only people whom the page of a request names as possible approvers, or as the owner.
    """
    is_waiting = subject.state == State.REQUESTED and subject.needs_approval
    is_row = isinstance(subject, ChangeRequest) and subject.is_run_by_batch
    if not is_waiting or is_row or subject.expires_at is None or subject.expires_at <= now:
        return None
    if actor.person is None or actor.person.pk != subject.requested_by_id:
        return WaitingNote(expires_at=subject.expires_at)
    noun = subject.noun if isinstance(subject, ChangeRequest) else "batch"
    rows = Notification.objects.filter(
        code=f"{noun}.requested", subject_type=noun, subject_id=str(subject.pk)
    ).exclude(state=Notification.State.DROPPED)
    notifications = list(rows.select_related("person").order_by("person__username", "channel"))
    known = _people_named_on_the_page(subject) if notifications else set()
    sentences = []
    for state, text in _TEXTS.items():
        if same := [row for row in notifications if row.state == state]:
            who, verb = _join_recipients(same, known=known), "was" if len(same) == 1 else "were"
            by = " by email" if all(row.person for row in same) else ""
            sentences.append(text.format(who=who, verb=verb, by=by))
    if not sentences:
        sentences = [f"No one was notified{'' if settings.HAS_MAIL else ': email is off'}."]
    needs_link = all(row.state == Notification.State.GIVEN_UP for row in notifications)
    has_approver = needs_link and _people_left_to_approve(subject).exists()
    # The page of a single request says it to everyone.
    if needs_link and not has_approver and isinstance(subject, Batch):
        sentences.append("No one else can approve this. Ask an administrator to add an Approver.")
    return WaitingNote(
        expires_at=subject.expires_at,
        text=" ".join(sentences),
        needs_link=needs_link and has_approver,
    )


def refusal_text(agreement: Agreement) -> str:
    """Who is notified that its owner refuses this agreement, or whom its owner has to tell."""
    rows = Notification.objects.filter(
        code=EventCode.AGREEMENT_REFUSED,
        subject_type="agreement",
        subject_id=str(agreement.pk),
        channel=Channel.MAIL,
    )
    setter = find_setter(agreement)
    if setter and rows.filter(person=setter).exists():
        return f"{setter} is notified."
    # A message to someone who can't see it is never sent.
    if count := rows.exclude(person=agreement.set_by).count():
        return f"{pluralize(count, 'administrator')} {'is' if count == 1 else 'are'} notified."
    problem = "No one could be notified" if settings.HAS_MAIL else "Email is off"
    return f"{problem}: tell {setter or 'an administrator'} yourself."


def _people_who_can_approve(subject: ChangeRequest | Batch) -> QuerySet[Person]:
    if isinstance(subject, Batch):
        return permissions.people_who_can_approve_batch(batch=subject)
    return approvers.people_who_can_approve(change_request=subject)


def _people_left_to_approve(subject: ChangeRequest | Batch) -> QuerySet[Person]:
    """Those who can approve it and have not."""
    people = _people_who_can_approve(subject)
    if isinstance(subject, Batch):
        return people
    decided = subject.approvals.filter(round=subject.approval_round)
    return people.exclude(pk__in=decided.values("approver"))


def _people_named_on_the_page(subject: ChangeRequest | Batch) -> set[UUID]:
    people = _people_who_can_approve(subject)
    owner = {subject.owner_id} if isinstance(subject, AccessRequest) and subject.owner_id else set()
    return set(people.values_list("pk", flat=True)) | owner


def _join_recipients(rows: Sequence[Notification], *, known: set[UUID]) -> str:
    """ "Ada Lovelace, 2 others and Slack"."""
    people = [row.person for row in rows if row.person]
    names = [person.display_name for person in people if person.pk in known][:MAX_NAMES]
    if others := len(people) - len(names):
        names.append(pluralize(others, "other") if names else pluralize(others, "approver"))
    return join_names(names + [_CHANNELS[Channel(row.channel)] for row in rows if not row.person])
