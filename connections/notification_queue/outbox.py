"""Queues notifications: who is notified of which event.

The rows are written in the event's transaction, so every event has its notifications and a
rolled-back change has none. connections/notifications/delivery.py sends them.
"""

import uuid
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from django.db.models import Q, QuerySet

from connections import models
from connections.access import approvers, permissions, visibility
from connections.access.actor import person_actor
from connections.access.agreement_owners import count_owned, find_owner
from connections.core import clock
from connections.models import ApprovalPolicy, EventCode
from connections.notification_queue.destinations import (
    list_checkpoint_recipients,
    list_event_channels,
)

CHECKPOINT_MADE = "checkpoint.made"
VERIFICATION_FAILED = "record.broken"
CHANGES_DETECTED = EventCode.CHANGES_DETECTED
AGREEMENTS_ENDING = EventCode.AGREEMENTS_ENDING
SYNCS_FAILING = "syncs.failing"
SYNCS_RECOVERED = "syncs.recovered"
# In the details of an agreement's event: the person who answers for the access now didn't before.
NEW_OWNER = "new_owner"
_ID_NAMESPACE = uuid.UUID("5c3b3f0e-6a54-4f0b-9a3e-0b8f7b1d2c90")

# The subjects of events that cause notifications.
type NotificationSubject = (
    models.Deletion
    | models.AccessRequest
    | models.Batch
    | models.AccessReview
    | models.Agreement
    | models.Credential
    | models.Person
    | models.Hold
)
_SUBJECTS: dict[str, type[NotificationSubject]] = {
    "deletion": models.Deletion,
    "access_request": models.AccessRequest,
    "batch": models.Batch,
    "access_review": models.AccessReview,
    "agreement": models.Agreement,
    "credential": models.Credential,
    "person": models.Person,
    "hold": models.Hold,
}


class Audience(StrEnum):
    """Groups of people to notify of an event. The webhook gets all notifications."""

    CAN_APPROVE = "can approve"  # other people who can approve this deletion or access request
    # Who can confirm this access request if its requester can't and no approval is missing.
    CAN_CONFIRM = "can confirm"
    # Who answers for the access that someone asks to change or delete: while it can still be
    # declined, and once it is changed or gone. Of a bulk deletion, everyone who does for a part.
    OWNER = "owner"
    # Who requested, confirmed, approved or declined it, and the owner of requested access.
    INVOLVED = "involved"
    # The person whose roles or sign-in methods changed, who started an access review, or who owns
    # or set an agreement.
    CONCERNED = "concerned"
    REVIEWERS = "reviewers"  # of this access review, who want emails
    APPROVERS = "approvers"
    AUDITORS = "auditors"
    ADMINISTRATORS = "administrators"
    CREDENTIAL_MANAGERS = "credential managers"


_ROLES = {
    Audience.APPROVERS: models.Role.APPROVER,
    Audience.AUDITORS: models.Role.AUDITOR,
    Audience.CREDENTIAL_MANAGERS: models.Role.CREDENTIAL_MANAGER,
}
_INVOLVED = (Audience.INVOLVED,)
_ALARM = (Audience.INVOLVED, Audience.ADMINISTRATORS)
_SAFEGUARD = (Audience.APPROVERS, Audience.ADMINISTRATORS)
_KEYS = (Audience.CREDENTIAL_MANAGERS, Audience.ADMINISTRATORS)
_RIGHTS = (Audience.CONCERNED, Audience.ADMINISTRATORS)
# Of deletions and access requests, by what happened.
_OF_REQUESTS: dict[str, tuple[Audience, ...]] = {
    "approved": (Audience.INVOLVED, Audience.CAN_CONFIRM),
    "declined": _INVOLVED,
    "withdrawn": _INVOLVED,
    "settled": _INVOLVED,
    "unknown": _INVOLVED,
    "still_unknown": _ALARM,
    "approvals_lapsed": _INVOLVED,
    "contradicted": _ALARM,
    "answered_late": _ALARM,
}
# By event code. Other events cause no notification.
AUDIENCES: dict[EventCode, tuple[Audience, ...]] = {
    **{
        EventCode(f"{kind.noun}.{step}"): audiences
        for kind in models.ChangeRequest.__subclasses__()
        for step, audiences in _OF_REQUESTS.items()
    },
    EventCode.DELETION_REQUESTED: (Audience.CAN_APPROVE, Audience.CAN_CONFIRM, Audience.OWNER),
    EventCode.ACCESS_REQUEST_REQUESTED: (
        *(Audience.CAN_APPROVE, Audience.CAN_CONFIRM, Audience.INVOLVED, Audience.OWNER),
    ),
    EventCode.DELETION_SETTLED: (Audience.INVOLVED, Audience.OWNER),
    EventCode.ACCESS_REQUEST_SETTLED: (Audience.INVOLVED, Audience.OWNER),
    # Sending again needs new approvals, so the approvers are notified too.
    EventCode.DELETION_STILL_PRESENT: (Audience.INVOLVED, Audience.CAN_APPROVE),
    EventCode.ACCESS_REQUEST_NO_EFFECT: (Audience.INVOLVED, Audience.CAN_APPROVE),
    EventCode.ACCESS_REQUEST_INTERRUPTED: (*_ALARM, Audience.OWNER),
    # People learn what becomes of the deletion instead.
    EventCode.ACCESS_REQUEST_ENDED: (),
    EventCode.ACCESS_REQUEST_NOT_ENDED: (*_ALARM, Audience.OWNER),
    EventCode.DELETION_BREAK_GLASS_USED: (*_ALARM, Audience.APPROVERS),
    EventCode.BATCH_REQUESTED: (Audience.CAN_APPROVE, Audience.OWNER),
    EventCode.BATCH_APPROVED: _INVOLVED,
    EventCode.BATCH_DECLINED: _INVOLVED,
    EventCode.BATCH_PAUSED: _INVOLVED,
    EventCode.BATCH_CANCELLED: (Audience.INVOLVED, Audience.OWNER),
    EventCode.BATCH_EXPIRED: _INVOLVED,
    EventCode.BATCH_FINISHED: (Audience.INVOLVED, Audience.OWNER),
    EventCode.ACCESS_REVIEW_STARTED: (Audience.REVIEWERS,),
    EventCode.ACCESS_REVIEW_REVIEWERS_CHANGED: (Audience.REVIEWERS,),
    EventCode.ACCESS_REVIEW_OWNER_CHANGED: (Audience.REVIEWERS,),
    EventCode.ACCESS_REVIEW_REMINDED: (Audience.REVIEWERS,),
    EventCode.ACCESS_REVIEW_REPEAT_FAILED: _RIGHTS,
    # Only of a new owner.
    EventCode.AGREEMENT_SET: (Audience.CONCERNED,),
    # Of who set it, or else of administrators.
    EventCode.AGREEMENT_REFUSED: _RIGHTS,
    EventCode.CREDENTIAL_POLICY_CHANGED: _SAFEGUARD,
    EventCode.CREDENTIAL_CREATOR_CHANGED: _SAFEGUARD,
    EventCode.CREDENTIAL_ACCESS_CHANGED: _SAFEGUARD,
    EventCode.CREDENTIAL_PERMISSION_LOST: _KEYS,
    EventCode.CREDENTIAL_PERMISSION_RESTORED: _KEYS,
    EventCode.PERSON_ADDED: (Audience.ADMINISTRATORS,),
    EventCode.PERSON_CHANGED: _RIGHTS,
    EventCode.PERSON_ENABLED: _RIGHTS,
    EventCode.PERSON_DISABLED: _RIGHTS,
    EventCode.BREAK_GLASS_ALLOWED: _RIGHTS,
    EventCode.BREAK_GLASS_FORBIDDEN: _RIGHTS,
    EventCode.SECOND_FACTOR_LOST: _RIGHTS,
    # Each of these gives a new way to sign in as this person.
    EventCode.SIGN_IN_LINK_MADE: _RIGHTS,
    # It does in this person's name what its scopes allow.
    EventCode.API_TOKEN_MADE: _RIGHTS,
    EventCode.EMAIL_CHANGED: _RIGHTS,
    EventCode.PROVIDER_ACCOUNT_CONNECTED: _RIGHTS,
    EventCode.NOTIFICATION_FAILED: (Audience.ADMINISTRATORS,),
    EventCode.SERVICE_HELD: (Audience.ADMINISTRATORS,),
    EventCode.SERVICE_RELEASED: (Audience.ADMINISTRATORS,),
}
_SETTLED = {EventCode.DELETION_SETTLED, EventCode.ACCESS_REQUEST_SETTLED}
# Of a closed request, the owner of the access is notified only if it changed something.
_EFFECTS = {models.Outcome.DELETED, models.Outcome.GONE_UNATTRIBUTED, *models.COMPLETED}
_REQUESTED = {
    EventCode.DELETION_REQUESTED,
    EventCode.ACCESS_REQUEST_REQUESTED,
    EventCode.BATCH_REQUESTED,
}
# Alerts: what someone has to decide, check or repair. Slack gets only this, and so do people who
# want no other email.
NEEDS_PEOPLE = {
    *_REQUESTED,
    *(
        f"{kind.noun}.{step}"
        for kind in models.ChangeRequest.__subclasses__()
        for step in ("unknown", "still_unknown", "approvals_lapsed", "contradicted")
    ),
    EventCode.DELETION_STILL_PRESENT,
    EventCode.DELETION_BREAK_GLASS_USED,
    EventCode.ACCESS_REQUEST_NO_EFFECT,
    EventCode.ACCESS_REQUEST_INTERRUPTED,
    EventCode.ACCESS_REQUEST_NOT_ENDED,
    EventCode.AGREEMENT_REFUSED,
    EventCode.BATCH_PAUSED,
    EventCode.ACCESS_REVIEW_STARTED,
    EventCode.ACCESS_REVIEW_REVIEWERS_CHANGED,
    EventCode.ACCESS_REVIEW_OWNER_CHANGED,
    EventCode.ACCESS_REVIEW_REMINDED,
    EventCode.ACCESS_REVIEW_REPEAT_FAILED,
    EventCode.CREDENTIAL_PERMISSION_LOST,
    EventCode.SECOND_FACTOR_LOST,
    EventCode.NOTIFICATION_FAILED,
    EventCode.SERVICE_HELD,
    VERIFICATION_FAILED,
    CHANGES_DETECTED,
    AGREEMENTS_ENDING,
    SYNCS_FAILING,
}
# Many of one of these at once are one email to each person. Each of the others is about a decision
# or an outcome of its own.
SENT_TOGETHER = {
    EventCode.AGREEMENT_SET,
    EventCode.AGREEMENT_REFUSED,
    EventCode.CREDENTIAL_POLICY_CHANGED,
    EventCode.CREDENTIAL_CREATOR_CHANGED,
    EventCode.CREDENTIAL_ACCESS_CHANGED,
    EventCode.CREDENTIAL_PERMISSION_RESTORED,
    EventCode.PERSON_ADDED,
    EventCode.PERSON_CHANGED,
    EventCode.PERSON_ENABLED,
    EventCode.PERSON_DISABLED,
    EventCode.SIGN_IN_LINK_MADE,
    EventCode.API_TOKEN_MADE,
    EventCode.EMAIL_CHANGED,
    EventCode.PROVIDER_ACCOUNT_CONNECTED,
}
# The keys in the event's details that hold the IDs of the reviewers to notify.
_REVIEWER_KEYS: dict[str, tuple[str, ...]] = {
    EventCode.ACCESS_REVIEW_STARTED: ("reviewers", "owners"),
    EventCode.ACCESS_REVIEW_REVIEWERS_CHANGED: ("added",),
    EventCode.ACCESS_REVIEW_OWNER_CHANGED: ("owners",),
    EventCode.ACCESS_REVIEW_REMINDED: ("pending",),
}
# A message about a bulk deletion replaces these messages about its rows, but no alarm about a row.
_REPLACED_BY_BATCH_MESSAGE = {
    EventCode.DELETION_REQUESTED,
    EventCode.DELETION_APPROVED,
    EventCode.DELETION_DECLINED,
    EventCode.DELETION_WITHDRAWN,
    EventCode.DELETION_SETTLED,
}


def enqueue(*, events: Sequence[models.AuditEvent]) -> None:
    """Queue the notifications of events. Call it in the events' own transaction.

    People aren't notified of their own actions.
    """
    if not list_event_channels():
        return
    replaced = _find_replaced_by_batch_message(events)
    for event in events:
        if event.code in AUDIENCES and event.hash not in replaced:
            _enqueue_event(event)


def _find_replaced_by_batch_message(events: Sequence[models.AuditEvent]) -> set[str]:
    """The hashes of the events that a message about their bulk deletion replaces."""
    about_rows = (event for event in events if event.code in _REPLACED_BY_BATCH_MESSAGE)
    rows = {event.hash: UUID(event.subject_id) for event in about_rows}
    if not rows:
        return set()
    deletions = models.Deletion.objects.filter(models.RUN_BY_BATCH, pk__in=rows.values())
    run_by_batch = set(deletions.values_list("pk", flat=True))
    return {key for key, pk in rows.items() if pk in run_by_batch}


def _enqueue_event(event: models.AuditEvent) -> None:
    if event.code == EventCode.AGREEMENT_SET and NEW_OWNER not in event.details:
        return
    subject = get_subject(event)
    if event.code == EventCode.BATCH_APPROVED and _is_undecided(subject):
        return
    audiences = _audiences_of(event, subject=subject)
    people = people_to_notify(audiences, subject=subject)
    if Audience.OWNER in audiences and isinstance(subject, models.Batch):
        # Also who can see only a part of it, for that part.
        people |= _with_address(_audience_filter(Audience.OWNER, subject=subject))
    if "org_policy" in event.details and isinstance(subject, models.Credential):
        people |= _approvers_of_org(subject)
    if event.code in _REVIEWER_KEYS:
        ids = [pk for key in _REVIEWER_KEYS[event.code] for pk in event.details.get(key, ())]
        people = people.filter(pk__in=ids)
    _enqueue(
        code=event.code,
        key=event.hash,
        event_seq=event.seq,
        subject=(event.subject_type, event.subject_id),
        people=people.exclude(pk=event.actor_id) if event.actor_id else people,
        needs_people=_needs_people(event, subject),
    )


def _audiences_of(
    event: models.AuditEvent, *, subject: NotificationSubject | None
) -> set[Audience]:
    audiences = set(AUDIENCES[EventCode(event.code)])
    is_over = event.code in _SETTLED and event.details["outcome"] not in _EFFECTS
    if isinstance(subject, models.Agreement) and event.code == EventCode.AGREEMENT_REFUSED:
        setter = find_setter(subject)
        audiences -= {Audience.ADMINISTRATORS} if setter and setter.email else set()
    # At the end of access, its owner is alerted only if people have to decide.
    is_at_end = event.code == EventCode.DELETION_REQUESTED and (
        isinstance(subject, models.Deletion) and subject.automatic
    )
    return audiences - {Audience.OWNER} if is_over or is_at_end else audiences


def find_setter(agreement: models.Agreement) -> models.Person | None:
    """Who set this version, unless that person left or can't see it any more."""
    setter = agreement.set_by
    if setter is None or not setter.is_active:
        return None
    actor = person_actor(person=setter)
    is_seen = permissions.can_see(actor) and visibility.visible_pairs([agreement.pair], actor=actor)
    return setter if is_seen else None


def _needs_people(event: models.AuditEvent, subject: NotificationSubject | None) -> bool:
    """Whether someone has to act on it; on a new request, someone other than its requester."""
    if event.code == EventCode.ACCESS_REVIEW_REVIEWERS_CHANGED:
        return bool(event.details["added"])
    if event.code not in _REQUESTED:
        return event.code in NEEDS_PEOPLE
    return _can_others_decide(subject)


def _can_others_decide(subject: NotificationSubject | None) -> bool:
    others = Q(pk__in=[])
    if isinstance(subject, models.ChangeRequest | models.Batch):
        others |= _can_approve(subject)
    if isinstance(subject, models.ChangeRequest):
        others |= _can_confirm(subject)
    return models.Person.objects.filter(others, is_active=True).exists()


def _is_undecided(subject: NotificationSubject | None) -> bool:
    """Whether a bulk deletion still needs approval. Only the last approval is announced."""
    return isinstance(subject, models.Batch) and subject.state == models.BatchState.REQUESTED


def get_subject(event: models.AuditEvent) -> NotificationSubject | None:
    """The current state of an event's subject. None for other kinds of subjects."""
    model = _SUBJECTS.get(event.subject_type)
    return model._default_manager.filter(pk=event.subject_id).first() if model else None


def enqueue_verification_failure(*, verification: models.AuditVerification) -> None:
    """Queue the notifications of a failed verification. Call it in the same transaction."""
    _enqueue(
        code=VERIFICATION_FAILED,
        key=f"{verification.pk}:{verification.checked_at.isoformat()}",
        subject=("verification", str(verification.pk)),
        people=people_to_notify((Audience.ADMINISTRATORS, Audience.AUDITORS), subject=None),
    )


def enqueue_changes(*, numbers: tuple[int, int], people: Sequence[models.Person]) -> None:
    """Queue one message about the changes from the first to the last of these numbers."""
    first, last = numbers
    _enqueue(
        code=CHANGES_DETECTED,
        key=f"{first}-{last}",
        subject=("changes", f"{first}-{last}"),
        people=people,
    )


def enqueue_agreement_ends(*, day: str, people: Sequence[models.Person]) -> None:
    """Queue one message about the agreements that end soon, as of this day (YYYY-MM-DD)."""
    _enqueue(code=AGREEMENTS_ENDING, key=day, subject=("agreements", day), people=people)


def enqueue_sync_problem(*, problem: models.SyncProblem, is_failing: bool, at: datetime) -> None:
    """Queue one message that the syncs of a site fail or work again, for all its orgs."""
    _enqueue(
        code=SYNCS_FAILING if is_failing else SYNCS_RECOVERED,
        key=f"{problem.pk}:{at.isoformat()}",
        subject=("sync_problem", str(problem.pk)),
        people=people_to_notify(_KEYS, subject=None),
    )


def enqueue_checkpoint(*, checkpoint: models.Checkpoint) -> None:
    """Queue a new checkpoint for all its recipients. Call it in the same transaction."""
    rows = [
        _notification(
            recipient.channel,
            code=CHECKPOINT_MADE,
            key=checkpoint.note,
            address_key=recipient.address_key,
        )
        for recipient in list_checkpoint_recipients()
    ]
    _insert(rows, subject=("checkpoint", str(checkpoint.pk)))


def people_to_notify(
    audiences: Iterable[Audience], *, subject: NotificationSubject | None
) -> QuerySet[models.Person]:
    """The active people in these audiences who have an email address and can see the subject."""
    is_addressed = Q(pk__in=[])
    for audience in audiences:
        is_addressed |= _audience_filter(audience, subject=subject)
    people = _with_address(is_addressed)
    match subject:
        case models.ChangeRequest():
            credential_ids = {subject.credential_id}
        case models.Credential():
            credential_ids = {subject.pk}
        case models.Batch():
            credential_ids = set(subject.sending_credential_ids)
        case _:
            credential_ids = set()
    for credential_id in credential_ids:
        can_see = permissions.people_who_can_see(credential_id=credential_id)
        people = people.filter(pk__in=can_see.values("pk"))
    if isinstance(subject, models.AccessRequest):
        return visibility.people_who_know_org(people, site=subject.site, org_id=subject.sink_org_id)
    return people


def is_owner_emailed(deletion: models.Deletion) -> bool:
    """Whether the owner of the access is emailed about this request, as far as emails are on.

    It can be one that isn't stored yet.
    """
    owner = people_to_notify((Audience.OWNER,), subject=deletion).first()
    return owner is not None and (not owner.wants_only_alerts or _can_others_decide(deletion))


def _audience_filter(audience: Audience, *, subject: NotificationSubject | None) -> Q:
    match audience, subject:
        case Audience.CAN_APPROVE, models.ChangeRequest() | models.Batch():
            return _can_approve(subject)
        case Audience.CAN_CONFIRM, models.ChangeRequest():
            return _can_confirm(subject)
        case Audience.OWNER, models.Batch() | models.ChangeRequest():
            return Q(pk__in=_find_owners(subject))
        case Audience.INVOLVED, models.Batch() | models.ChangeRequest():
            return _is_involved(subject)
        case Audience.REVIEWERS, models.AccessReview():
            reviewers = permissions.deciders_of(subject).filter(wants_change_emails=True)
            return Q(pk__in=reviewers.values("pk"))
        case Audience.CONCERNED, models.Person():
            return Q(pk=subject.pk)
        case Audience.CONCERNED, models.AccessReview():
            return Q(pk=subject.created_by_id)
        case Audience.CONCERNED, models.Agreement():
            return Q(pk__in=[subject.owner_id, subject.set_by_id])
        case Audience.ADMINISTRATORS, _:
            return Q(is_superuser=True)
    return _with_role(_ROLES[audience]) if audience in _ROLES else Q(pk__in=[])


def _can_approve(subject: models.ChangeRequest | models.Batch) -> Q:
    if not ApprovalPolicy(subject.policy).approvals_needed:
        return Q(pk__in=[])
    if isinstance(subject, models.Batch):
        return Q(pk__in=permissions.people_who_can_approve_batch(batch=subject).values("pk"))
    return Q(pk__in=approvers.people_who_can_approve(change_request=subject).values("pk"))


def _can_confirm(change_request: models.ChangeRequest) -> Q:
    requester_id = change_request.requested_by_id
    is_requesters = isinstance(change_request, models.Deletion) and requester_id is not None
    if is_requesters or change_request.confirmed_at or change_request.lacks_approvals:
        return Q(pk__in=[])
    people = permissions.people_who_can_use(credential_id=change_request.credential_id)
    if people.filter(pk__in=[requester_id]).exists():
        return Q(pk__in=[])
    return Q(pk__in=people.values("pk"))


def _find_owners(subject: models.Batch | models.ChangeRequest) -> Collection[UUID]:
    if isinstance(subject, models.Batch):
        return count_owned(subject)
    owner = find_owner(subject)
    return [owner.pk] if owner else []


def _is_involved(subject: models.Batch | models.ChangeRequest) -> Q:
    ids = {subject.requested_by_id, subject.confirmed_by_id}
    if isinstance(subject, models.Batch):
        decisions = models.Approval.objects.filter(deletion__batch=subject)
        return Q(pk__in=ids - {None}) | Q(pk__in=decisions.values("approver"))
    if isinstance(subject, models.AccessRequest):
        ids.add(subject.owner_id)
    else:
        # The end of the access concerns the people whom its beginning concerned.
        ended = models.AccessRequest.objects.filter(deletion=subject.pk)
        ids |= {pk for ids_of in ended.values_list("requested_by", "owner") for pk in ids_of}
    return Q(pk__in=ids - {None}) | Q(pk__in=subject.approvals.values("approver"))


def _approvers_of_org(credential: models.Credential) -> QuerySet[models.Person]:
    """Who can approve with another credential of its org, even if this one is hidden from them."""
    others = models.Credential.objects.filter(
        site=credential.site, org_id=credential.org_id, retired_at=None
    )
    can_approve = Q(pk__in=[])
    for credential_id in others.values_list("pk", flat=True):
        people = permissions.people_who_can_approve_with(credential_id=credential_id)
        can_approve |= Q(pk__in=people.values("pk"))
    return _with_address(can_approve)


def _with_address(is_addressed: Q) -> QuerySet[models.Person]:
    people = models.Person.objects.filter(is_addressed, is_active=True)
    return people.exclude(email="").order_by("pk")


def _with_role(role: models.Role) -> Q:
    # A join would return a person once for each of their groups.
    return Q(pk__in=models.Person.groups.through.objects.filter(group__name=role).values("person"))


def _enqueue(
    *,
    code: str,
    key: str,
    subject: tuple[str, str],
    people: Iterable[models.Person],
    event_seq: int | None = None,
    needs_people: bool | None = None,
) -> None:
    is_alert = code in NEEDS_PEOPLE if needs_people is None else needs_people
    rows = []
    for channel in list_event_channels():
        if channel == models.Notification.Channel.SLACK and not is_alert:
            continue
        is_mail = channel == models.Notification.Channel.MAIL
        recipients = [
            person
            for person in (people if is_mail else [None])
            if is_alert or person is None or _wants_all(person, subject=subject)
        ]
        rows += [_notification(channel, code=code, key=key, person=person) for person in recipients]
    for row in rows:
        row.event_seq = event_seq
    _insert(rows, subject=subject)


def _wants_all(person: models.Person, *, subject: tuple[str, str]) -> bool:
    """Whether the person wants an email that is no alert. What concerns their account always is."""
    return not person.wants_only_alerts or subject == ("person", str(person.pk))


def _insert(rows: list[models.Notification], *, subject: tuple[str, str]) -> None:
    if not rows:
        return
    now = clock.now()
    for row in rows:
        row.subject_type, row.subject_id = subject
        row.created_at = row.due_at = now
    # A conflicting row is the same notification, which is already queued.
    models.Notification.objects.bulk_create(rows, ignore_conflicts=True)


def _notification(
    channel: models.Notification.Channel,
    *,
    code: str,
    key: str,
    person: models.Person | None = None,
    address_key: str = "",
) -> models.Notification:
    to = person.pk if person else address_key
    return models.Notification(
        # Made from the event's hash, because after restoring a backup the same number can be
        # another event.
        id=uuid.uuid5(_ID_NAMESPACE, f"{code}\n{key}\n{channel}\n{to}"),
        code=code,
        channel=channel,
        person=person,
        address_key=address_key,
    )
