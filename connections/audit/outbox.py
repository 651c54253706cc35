"""Who is told of which act: rows of the outbox, written in the transaction of the act itself.

`announce` is called where events are recorded, so no act is without its notices and nothing is
told of what was undone. services/notices/deliveries.py sends them.
"""

import uuid
from collections.abc import Iterable, Sequence
from enum import StrEnum

from django.conf import settings
from django.db.models import Q, QuerySet
from django.utils.crypto import salted_hmac

from connections.access import permissions
from connections.core import clock
from connections.models import (
    ApprovalPolicy,
    AuditEvent,
    AuditVerification,
    Checkpoint,
    Credential,
    Deletion,
    Notification,
    Person,
    Role,
)

Channel = Notification.Channel

CHECKPOINT_MADE = "checkpoint.made"
VERIFICATION_FAILED = "record.broken"
_ID_NAMESPACE = uuid.UUID("5c3b3f0e-6a54-4f0b-9a3e-0b8f7b1d2c90")

# What an event that somebody is told of may be about.
type NotificationSubject = Deletion | Credential | Person


class Audience(StrEnum):
    """People who are told of an act, beside the webhook, which is told of each."""

    CAN_APPROVE = "can approve"  # whoever else could approve this deletion
    INVOLVED = "involved"  # who asked for it, confirmed it, approved or declined it
    CONCERNED = "concerned"  # the person whose rights, or ways to sign in, it changed
    APPROVERS = "approvers"
    AUDITORS = "auditors"
    ADMINISTRATORS = "administrators"


_INVOLVED = (Audience.INVOLVED,)
_ALARM = (Audience.INVOLVED, Audience.ADMINISTRATORS)
_SAFEGUARD = (Audience.APPROVERS, Audience.ADMINISTRATORS)
_RIGHTS = (Audience.CONCERNED, Audience.ADMINISTRATORS)
# By code of the event; of an act that is not here nobody is told.
AUDIENCES: dict[str, tuple[Audience, ...]] = {
    "deletion.requested": (Audience.CAN_APPROVE,),
    "deletion.approved": _INVOLVED,
    "deletion.declined": _INVOLVED,
    "deletion.withdrawn": _INVOLVED,
    "deletion.settled": _INVOLVED,
    "deletion.unknown": _INVOLVED,
    "deletion.still_unknown": _ALARM,
    # Under four eyes another sending needs approval again.
    "deletion.still_present": (Audience.INVOLVED, Audience.CAN_APPROVE),
    "deletion.approvals_lapsed": _INVOLVED,
    "deletion.contradicted": _ALARM,
    "deletion.answered_late": _ALARM,
    "deletion.break_glass_used": (*_ALARM, Audience.APPROVERS),
    "credential.policy_changed": _SAFEGUARD,
    "credential.access_changed": _SAFEGUARD,
    "person.added": (Audience.ADMINISTRATORS,),
    "person.changed": _RIGHTS,
    "person.enabled": _RIGHTS,
    "person.disabled": _RIGHTS,
    "person.break_glass_allowed": _RIGHTS,
    "person.break_glass_forbidden": _RIGHTS,
    # Each lets somebody in as this person.
    "sign_in_link.made": _RIGHTS,
    "person.email_changed": _RIGHTS,
    "provider_account.connected": _RIGHTS,
    "notification.failed": (Audience.ADMINISTRATORS,),
    VERIFICATION_FAILED: (Audience.ADMINISTRATORS, Audience.AUDITORS),
}


def enqueue(*, events: Sequence[AuditEvent]) -> None:
    """Put the notices of events into the outbox; call it in the events' own transaction.

    Nobody is told of what they have just done themselves.
    """
    if not settings.WEBHOOK_URL and not settings.HAS_MAIL:
        return
    for event in events:
        if event.code in AUDIENCES:
            _enqueue_event(event)


def _enqueue_event(event: AuditEvent) -> None:
    people = people_to_notify(AUDIENCES[event.code], subject=get_subject(event))
    _enqueue(
        code=event.code,
        key=event.hash,
        event_seq=event.seq,
        subject=(event.subject_type, event.subject_id),
        people=people.exclude(pk=event.actor_id) if event.actor_id else people,
    )


def get_subject(event: AuditEvent) -> NotificationSubject | None:
    """What an event is about, as stored now; None for anything that nobody is told of."""
    pk = event.subject_id
    match event.subject_type:
        case "deletion":
            return Deletion.objects.filter(pk=pk).first()
        case "credential":
            return Credential.objects.filter(pk=pk).first()
        case "person":
            return Person.objects.filter(pk=pk).first()
    return None


def enqueue_verification_failure(*, verification: AuditVerification) -> None:
    """Tell of a verification that found the record of acts broken; in its own transaction."""
    _enqueue(
        code=VERIFICATION_FAILED,
        key=f"{verification.pk}:{verification.checked_at.isoformat()}",
        subject=("verification", str(verification.pk)),
        people=people_to_notify(AUDIENCES[VERIFICATION_FAILED], subject=None),
    )


def enqueue_checkpoint(*, checkpoint: Checkpoint) -> None:
    """Put a new checkpoint into the outbox for all who keep them; in its own transaction."""
    rows = [
        _notification(channel, code=CHECKPOINT_MADE, key=checkpoint.note, address_key=key)
        for channel, key in recipient_channels()
    ]
    _insert(rows, subject=("checkpoint", str(checkpoint.pk)))


def recipient_channels() -> list[tuple[Channel, str]]:
    """Where checkpoints go by the settings: channels, with the key of an address for mail."""
    keepers: list[tuple[Channel, str]] = []
    if settings.HAS_MAIL:
        keepers += [(Channel.MAIL, address_key(address)) for address in settings.CHECKPOINT_EMAILS]
    if settings.WEBHOOK_URL:
        keepers.append((Channel.WEBHOOK, ""))
    if settings.CHECKPOINT_FILE:
        keepers.append((Channel.FILE, ""))
    return keepers


def address_key(address: str) -> str:
    """What stands for an address that is to keep checkpoints, where it may not stand itself."""
    salt = "connections.notices.address"
    return salted_hmac(salt, address.strip().lower(), algorithm="sha256").hexdigest()[:16]


def people_to_notify(
    audiences: Iterable[Audience], *, subject: NotificationSubject | None
) -> QuerySet[Person]:
    """The active people with an address among these audiences, if they see what it is about."""
    found = Q(pk__in=[])
    for audience in audiences:
        found |= _members(audience, subject=subject)
    people = Person.objects.filter(found, is_active=True).exclude(email="").order_by("pk")
    match subject:
        case Deletion():
            within = permissions.people_who_see(credential_id=subject.credential_id)
        case Credential():
            within = permissions.people_who_see(credential_id=subject.pk)
        case _:
            return people
    return people.filter(pk__in=within.values("pk"))


def _members(audience: Audience, *, subject: NotificationSubject | None) -> Q:
    match audience, subject:
        case Audience.CAN_APPROVE, Deletion() if ApprovalPolicy(subject.policy).approvals_needed:
            return Q(pk__in=permissions.people_who_can_approve(deletion=subject).values("pk"))
        case Audience.INVOLVED, Deletion():
            decided = subject.approvals.values("approver")
            asked = {subject.requested_by_id, subject.confirmed_by_id} - {None}
            return Q(pk__in=asked) | Q(pk__in=decided)
        case Audience.CONCERNED, Person():
            return Q(pk=subject.pk)
        case Audience.APPROVERS, _:
            return _with_role(Role.APPROVER)
        case Audience.AUDITORS, _:
            return _with_role(Role.AUDITOR)
        case Audience.ADMINISTRATORS, _:
            return Q(is_superuser=True)
    return Q(pk__in=[])


def _with_role(role: Role) -> Q:
    # Not by a join, which would give a person once for each group.
    return Q(pk__in=Person.groups.through.objects.filter(group__name=role).values("person"))


def _enqueue(
    *,
    code: str,
    key: str,
    subject: tuple[str, str],
    people: QuerySet[Person],
    event_seq: int | None = None,
) -> None:
    rows = []
    if settings.WEBHOOK_URL:
        rows.append(_notification(Channel.WEBHOOK, code=code, key=key))
    if settings.HAS_MAIL:
        rows += [
            _notification(Channel.MAIL, code=code, key=key, person=person) for person in people
        ]
    for row in rows:
        row.event_seq = event_seq
    _insert(rows, subject=subject)


def _insert(rows: list[Notification], *, subject: tuple[str, str]) -> None:
    if not rows:
        return
    now = clock.now()
    for row in rows:
        row.subject_type, row.subject_id = subject
        row.created_at = row.due_at = now
    # What is there already is the same news for the same destination.
    Notification.objects.bulk_create(rows, ignore_conflicts=True)


def _notification(
    channel: Channel, *, code: str, key: str, person: Person | None = None, address_key: str = ""
) -> Notification:
    to = person.pk if person else address_key
    return Notification(
        # The event's hash is in it: after a restored backup the same number is another event.
        id=uuid.uuid5(_ID_NAMESPACE, f"{code}\n{key}\n{channel}\n{to}"),
        code=code,
        channel=channel,
        person=person,
        address_key=address_key,
    )
