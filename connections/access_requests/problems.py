"""What failed and stays until it is resolved, or until a person acknowledges it."""

from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from django.db.models import Case, Exists, OuterRef, Q, QuerySet, Value, When
from django.http import Http404

from connections import audit
from connections.access import permissions, visibility
from connections.access.actor import Actor
from connections.access_requests.actions import pair_of
from connections.agreements.approved import find_grants
from connections.audit import EventCode
from connections.core import clock
from connections.core.errors import InvalidInputError
from connections.core.tabular import as_time
from connections.core.typed_text import MAX_REASON_LENGTH, too_long_text
from connections.lookups import objects
from connections.models import (
    COMPLETED,
    GAVE_ACCESS,
    AccessOutcome,
    AccessRequest,
    AuditEvent,
    Deletion,
    KnownConnection,
    OrgPair,
    Outcome,
    Person,
    ProblemAcknowledgement,
)

Kind = ProblemAcknowledgement.Kind

_SAME_PAIR = {name: OuterRef(name) for name in OrgPair._fields}
_PAIR_IS_LISTED = Exists(KnownConnection.objects.filter(**_SAME_PAIR, is_present=True))
# How access requests fail.
FAILED_ACCESS = (
    AccessOutcome.REFUSED,
    AccessOutcome.NOT_SENT,
    AccessOutcome.GONE,
    AccessOutcome.CHANGED_ELSEWHERE,
)
_INTERRUPTED = Q(removed_at__isnull=False) & ~Q(outcome__in=(*COMPLETED, AccessOutcome.STALE))
HAS_FAILED = Q(settled_at__isnull=False) & (
    Q(outcome__in=FAILED_ACCESS) | Q(contradicted_at__isnull=False) | _INTERRUPTED
)
# The kind of problem of those that have failed.
_PROBLEM = Case(
    When(_INTERRUPTED & ~Q(_PAIR_IS_LISTED), then=Value(Kind.INTERRUPTED.value)),
    When(contradicted_at__isnull=False, then=Value(Kind.CONTRADICTED.value)),
    default=Value(Kind.FAILED.value),
)
# How deletions fail, and what that is called.
_FAILED_DELETIONS = {Outcome.REFUSED: Kind.REFUSED, Outcome.NOT_SENT: Kind.FAILED}
FAILED_DELETIONS = tuple(_FAILED_DELETIONS)
# After these, people have decided that the connection stays, or its failure has a line of its own.
_DECIDED = (Outcome.DECLINED, Outcome.WITHDRAWN, Outcome.UNRESOLVED, Outcome.REFUSED)


def find_failed_deletions(*, actor: Actor) -> QuerySet[Deletion]:
    """Confirmed deletions that failed, of connections that are still listed.

    Without those that someone has acknowledged or requested again.
    """
    same = {"site": OuterRef("site"), "connection_id": OuterRef("connection_id")}
    again = Deletion.objects.filter(**same, requested_at__gt=OuterRef("requested_at"))
    listed = KnownConnection.objects.filter(**same, is_present=True)
    failed = Deletion.objects.filter(outcome__in=_FAILED_DELETIONS, confirmed_at__isnull=False)
    rows = visibility.visible(failed, actor=actor)
    acknowledged = _is_acknowledged(*_FAILED_DELETIONS.values())
    return rows.filter(~acknowledged, Exists(listed), ~Exists(again))


def find_failed_access_requests(*, actor: Actor) -> QuerySet[AccessRequest]:
    """Closed access requests that failed, each with its `problem`.

    Without those that someone has acknowledged or whose pair has a newer request.
    """
    again = AccessRequest.objects.filter(**_SAME_PAIR, requested_at__gt=OuterRef("requested_at"))
    acknowledged = ProblemAcknowledgement.objects.filter(
        subject_id=OuterRef("pk"), kind=OuterRef("problem")
    )
    rows = visibility.visible_access_requests(actor=actor).filter(HAS_FAILED, ~Exists(again))
    return rows.annotate(problem=_PROBLEM).filter(~Exists(acknowledged))


@dataclass(frozen=True, kw_only=True)
class NotEnded:
    """Access whose end has passed and whose connection Org Admin could not delete."""

    access_request: AccessRequest
    cause: str
    # When that was first recorded.
    at: datetime


def list_not_ended(*, actor: Actor, today: date) -> list[NotEnded]:
    """What has not ended, the oldest first, unless someone has acknowledged it.

    Without what waits for people as a deletion.
    """
    deletion = Deletion.objects.filter(**_SAME_PAIR, settled_at=None)
    rows = visibility.visible_access_requests(actor=actor).filter(
        GAVE_ACCESS, _PAIR_IS_LISTED, ~_is_acknowledged(Kind.NOT_ENDED), ends_on__lt=today
    )
    rows = rows.filter(~Exists(deletion)).exclude(deletion__outcome__in=_DECIDED)
    past = list(rows)
    grants = find_grants([pair_of(each) for each in past])
    by_id = {str(each.pk): each for each in past if grants.get(pair_of(each)) == each}
    events = AuditEvent.objects.filter(
        code=EventCode.ACCESS_REQUEST_NOT_ENDED, subject_id__in=by_id
    )
    not_ended: dict[str, NotEnded] = {}
    for event in events.order_by("seq") if by_id else ():
        first = not_ended.get(event.subject_id)
        not_ended[event.subject_id] = NotEnded(
            access_request=by_id[event.subject_id],
            # The newest one.
            cause=event.details["cause"],
            at=first.at if first else event.at,
        )
    return list(not_ended.values())


def _is_acknowledged(*kinds: Kind) -> Exists:
    return Exists(ProblemAcknowledgement.objects.filter(subject_id=OuterRef("pk"), kind__in=kinds))


def can_act(actor: Actor, *, subject: Deletion | AccessRequest) -> bool:
    """Whether the actor can act on what happened to this visible request."""
    own = {subject.requested_by_id, getattr(subject, "owner_id", None)}
    is_own = actor.person is not None and actor.person.pk in own
    return is_own or permissions.can_use(actor, credential_id=subject.credential_id)


def can_acknowledge(actor: Actor, *, subject: Deletion | AccessRequest) -> bool:
    """Whether the actor can acknowledge its problem: people who can act on it, and Auditors."""
    is_allowed = can_act(actor, subject=subject) or permissions.can_audit(actor)
    return actor.person is not None and is_allowed


def acknowledge_problem(*, actor: Actor, kind: str, subject_id: UUID, note: str) -> int:
    """Acknowledge a problem, so that no overview lists it. Return how many were new.

    `subject_id` is that of the deletion or access request, or of a bulk deletion: of its deletions
    that failed, the actor acknowledges those that they can. Raises Http404 when the actor can't see
    such a problem, PermissionDenied, and InvalidInputError for `note`.
    """
    problems = _find(actor=actor, kind=kind, subject_id=subject_id)
    subjects = [each for each in problems if can_acknowledge(actor, subject=each)]
    person = actor.person
    if person is None or not subjects:
        raise permissions.denied("acknowledge this problem")
    note = note.strip()
    if len(note) > MAX_REASON_LENGTH:
        raise InvalidInputError({"note": too_long_text("note")})
    now = clock.now()
    with audit.atomic():
        # Before any event, so that two people who acknowledge the same problem don't deadlock.
        new = [each for each in subjects if _store(each, kind=kind, note=note, by=person, at=now)]
        for subject in new:
            audit.record(
                code=EventCode.PROBLEM_ACKNOWLEDGED,
                actor=actor,
                subject=subject,
                sentence=audit.Sentence(
                    "{actor} acknowledged that the {title} {connection} {happened}.",
                    title=subject.title,
                    connection=subject.description,
                    happened=Kind(kind).label,
                ),
                details={"problem": kind, "acknowledged_at": as_time(now), "note": note},
            )
    return len(new)


def _store(
    subject: Deletion | AccessRequest, *, kind: str, note: str, by: Person, at: datetime
) -> bool:
    """Store an acknowledgement. Return whether there was none: the first one stands."""
    _, is_new = ProblemAcknowledgement.objects.get_or_create(
        kind=kind,
        subject_id=subject.pk,
        defaults={"note": note, "acknowledged_at": at, "acknowledged_by": by},
    )
    return is_new


def _find(*, actor: Actor, kind: str, subject_id: UUID) -> list[Deletion | AccessRequest]:
    """What has this problem: a deletion, those of a bulk deletion, or an access request."""
    subjects: list[Deletion | AccessRequest]
    deletions = Deletion.objects.filter(pk=subject_id)
    of_batch = Deletion.objects.filter(batch=subject_id)
    if deletions.exists():
        subjects = [objects.find_deletion(deletions, actor=actor, pk=subject_id)]
    elif of_batch.exists():
        subjects = list(visibility.visible(of_batch.order_by("pk"), actor=actor))
    else:
        subjects = [objects.find_access_request(actor=actor, pk=subject_id)]
    with_problem = [each for each in subjects if _has_problem(each, kind=kind)]
    if not with_problem:
        raise Http404("No problem of this kind has this ID.")
    return with_problem


def _has_problem(subject: Deletion | AccessRequest, *, kind: str) -> bool:
    if isinstance(subject, Deletion):
        return (subject.outcome, kind) in _FAILED_DELETIONS.items()
    if kind == Kind.NOT_ENDED:
        # Only once it has happened: nobody hides in advance what Org Admin reports then.
        return AuditEvent.objects.filter(
            code=EventCode.ACCESS_REQUEST_NOT_ENDED, subject_id=str(subject.pk)
        ).exists()
    failed = AccessRequest.objects.filter(HAS_FAILED, pk=subject.pk)
    return failed.annotate(problem=_PROBLEM).filter(problem=kind).exists()
