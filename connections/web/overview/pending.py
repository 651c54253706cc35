"""What waits for somebody: for this person, who can do something about it, or for others."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Exists, OuterRef, Q, QuerySet

from connections.access import permissions, visibility
from connections.access.actor import Actor
from connections.deletions import break_glass, states
from connections.models import (
    ApprovalPolicy,
    Credential,
    Deletion,
    OrgConnectionSnapshot,
    Outcome,
    State,
)

# Of each kind; the history shows the rest.
SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Split[T]:
    """What waits, parted by whether this person may do something about it."""

    yours: list[T]
    others: list[T]

    def each[U](self, make: Callable[[list[T]], Iterable[U]]) -> "Split[U]":
        """Both parts made into something else."""
        return Split(yours=list(make(self.yours)), others=list(make(self.others)))


@dataclass(frozen=True, kw_only=True)
class Pending:
    """What somebody should look at, oldest first, at most one more than SHOWN of each kind."""

    # Unknown, and sent without effect.
    in_doubt: Split[Deletion]
    # Settled as gone, and yet some credential in use still lists it.
    contradicted: Split[Deletion]
    # Answered 200, and no listing ever proved it; nothing looks any more by itself.
    never_verified: Split[Deletion]
    # Sent without the approvals they needed, and nobody has looked back at it.
    glass_broken: Split[Deletion]
    # Under four eyes and lacking approvals.
    to_approve: Split[Deletion]
    # Approved, or asked and held back before anything was sent.
    to_confirm: Split[Deletion]
    # Not verified, or failing the last time they were used.
    credentials: Split[Credential]


def pending(*, actor: Actor, credentials: list[Credential], now: datetime) -> Pending:
    """Everything within reach that waits; `credentials` are those in use."""
    listed = OrgConnectionSnapshot.objects.filter(
        site=OuterRef("site"),
        connection_id=OuterRef("connection_id"),
        is_current=True,
        credential__retired_at=None,
    )
    every = visibility.visible(Deletion.objects.all(), actor=actor)
    in_doubt = every.filter(state__in=[State.UNKNOWN, State.STILL_PRESENT], settled_at=None)
    # Of a connection with a newer deletion in doubt, that one says it all.
    newer = in_doubt.filter(site=OuterRef("site"), connection_id=OuterRef("connection_id"))
    contradicted = every.filter(~Exists(newer), Exists(listed), contradicted_at__isnull=False)
    never_verified = every.filter(
        outcome=Outcome.DELETED, verified_at=None, contradicted_at=None, due_at=None
    )
    asked = _awaiting_a_decision(every)
    keeps_credentials = permissions.can_manage_credentials(actor)
    return Pending(
        in_doubt=_to_check(in_doubt, actor=actor),
        contradicted=_to_check(contradicted, actor=actor),
        never_verified=_to_check(never_verified, actor=actor),
        glass_broken=_shown(
            _parted(
                break_glass.unreviewed(actor=actor).order_by("requested_at", "id"),
                lambda deletion: permissions.can_review_break_glass(actor, deletion=deletion),
            )
        ),
        to_approve=_to_approve(asked, actor=actor),
        to_confirm=_to_confirm(asked, actor=actor, now=now),
        credentials=_parted(
            (each for each in credentials if not each.is_verified or each.last_error),
            lambda credential: keeps_credentials,
        ),
    )


def _parted[T](all_of_them: Iterable[T], is_yours: Callable[[T], bool]) -> Split[T]:
    yours: list[T] = []
    others: list[T] = []
    for each in all_of_them:
        (yours if is_yours(each) else others).append(each)
    return Split(yours=yours, others=others)


def _shown(parted: Split[Deletion]) -> Split[Deletion]:
    return parted.each(lambda deletions: deletions[: SHOWN + 1])


def _to_check(deletions: QuerySet[Deletion], *, actor: Actor) -> Split[Deletion]:
    """Parted by the database, since there may be many: who may use a credential checks with it."""
    if not permissions.can_delete(actor):
        return Split(yours=[], others=_oldest(deletions))
    unusable = permissions.visibility_of(actor).unusable
    return Split(
        yours=_oldest(deletions.exclude(credential__in=unusable)),
        others=_oldest(deletions.filter(credential__in=unusable)),
    )


def _oldest(deletions: QuerySet[Deletion]) -> list[Deletion]:
    return list(deletions.order_by("requested_at", "id")[: SHOWN + 1])


def _awaiting_a_decision(every: QuerySet[Deletion]) -> list[Deletion]:
    """What other people approve or a person confirms before it is sent, oldest first: few.

    Asked for or approved, which lasts two days at most, and still present under four eyes. Whose
    they are is sorted out here: the database would rather read all that a person ever asked.
    """
    asked = Q(state__in=[State.REQUESTED, State.APPROVED])
    again = Q(state=State.STILL_PRESENT) & ~Q(policy=ApprovalPolicy.NONE)
    waiting = every.filter(asked | again, settled_at=None).prefetch_related("approvals")
    return list(waiting.order_by("requested_at", "id"))


def _to_approve(asked: list[Deletion], *, actor: Actor) -> Split[Deletion]:
    awaited = [deletion for deletion in asked if states.awaits_approval(deletion)]
    return _shown(
        _parted(
            awaited,
            lambda deletion: (
                permissions.can_approve(actor, deletion=deletion)
                and not deletion.is_decided_by(actor.person)
            ),
        )
    )


def _to_confirm(asked: list[Deletion], *, actor: Actor, now: datetime) -> Split[Deletion]:
    waiting = (
        deletion
        for deletion in asked
        if not states.is_being_rechecked(deletion, now=now) and not states.awaits_approval(deletion)
    )
    return _shown(
        _parted(
            waiting,
            lambda deletion: (
                permissions.can_use(actor, credential_id=deletion.credential_id)
                and actor.person is not None
                and actor.person.pk in deletion.confirming_ids
            ),
        )
    )
