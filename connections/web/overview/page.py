"""The data of the overview: what needs attention, and the inventory."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import (
    Exists,
    OuterRef,
    Q,
    QuerySet,
)

from connections.access import permissions, visibility
from connections.access.actor import Actor
from connections.access_reviews import progress as access_reviews
from connections.access_reviews.progress import ExpiredKeeps, WaitingReview
from connections.batches.progress import list_waiting_batches
from connections.changes.changes import ChangeFilter, ChangePage, get_change_page
from connections.core import clock
from connections.deletions import break_glass, states
from connections.evidence.verification import last_verification
from connections.inventory import protections
from connections.inventory.inventory import current_snapshots
from connections.inventory.orgs import find_connections
from connections.inventory.syncs import credentials_in_use, newest_syncs
from connections.models import (
    RUN_BY_BATCH,
    ApprovalPolicy,
    AuditVerification,
    Batch,
    Credential,
    Deletion,
    OrgConnectionSnapshot,
    Outcome,
    State,
)
from connections.notifications import delivery_log
from connections.operations import checks, heartbeats

# How many of each kind are shown. The history has the others.
MAX_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Split[T]:
    """Items, split by whether this person can do something about them."""

    yours: list[T]
    others: list[T]

    def map[U](self, make: Callable[[list[T]], Iterable[U]]) -> "Split[U]":
        """A split with `make` applied to both lists."""
        return Split(yours=list(make(self.yours)), others=list(make(self.others)))


@dataclass(frozen=True, kw_only=True)
class Pending:
    """What needs attention, oldest first, with at most MAX_SHOWN + 1 of each kind."""

    # Unknown, or sent without effect.
    awaiting_outcome: Split[Deletion]
    # Closed as gone, but a credential in use still lists it.
    contradicted: Split[Deletion]
    # Datadog returned 200, no sync has confirmed it, and no automatic check is left.
    never_verified: Split[Deletion]
    # Sent by break glass, without the late approval yet.
    lacking_late_approval: Split[Deletion]
    # Bulk deletions that wait for approval or confirmation, or are paused.
    batches: Split[Batch]
    # Waiting for approvals.
    to_approve: Split[Deletion]
    # Waiting for the requester to confirm.
    to_confirm: Split[Deletion]
    # Not verified, or failed when last used.
    credentials: Split[Credential]


def pending(*, actor: Actor, credentials: list[Credential], now: datetime) -> Pending:
    """What needs attention and the actor can see. `credentials` are those in use."""
    listed = OrgConnectionSnapshot.objects.filter(
        site=OuterRef("site"),
        connection_id=OuterRef("connection_id"),
        is_current=True,
        credential__retired_at=None,
    )
    deletions = visibility.visible(Deletion.objects.all(), actor=actor)
    awaiting_outcome = deletions.filter(
        state__in=[State.UNKNOWN, State.STILL_PRESENT], settled_at=None
    )
    # Left out if a newer deletion of the same connection awaits its outcome too.
    newer = awaiting_outcome.filter(site=OuterRef("site"), connection_id=OuterRef("connection_id"))
    contradicted = deletions.filter(~Exists(newer), Exists(listed), contradicted_at__isnull=False)
    never_verified = deletions.filter(
        outcome=Outcome.DELETED, verified_at=None, contradicted_at=None, due_at=None
    )
    requested = _list_awaiting_decision(deletions)
    can_manage = permissions.can_manage_credentials(actor)
    return Pending(
        awaiting_outcome=_split_by_credential(awaiting_outcome, actor=actor),
        contradicted=_split_by_credential(contradicted, actor=actor),
        never_verified=_split_by_credential(never_verified, actor=actor),
        lacking_late_approval=_limit(
            _split(
                break_glass.find_lacking_late_approval(actor=actor).order_by("requested_at", "id"),
                lambda deletion: permissions.can_give_late_approval(actor, deletion=deletion),
            )
        ),
        batches=_batches(actor=actor, now=now),
        to_approve=_to_approve(requested, actor=actor, now=now),
        to_confirm=_to_confirm(requested, actor=actor, now=now),
        credentials=_split(
            (each for each in credentials if not each.is_verified or each.last_error),
            lambda credential: can_manage,
        ),
    )


def _batches(*, actor: Actor, now: datetime) -> Split[Batch]:
    waiting = list_waiting_batches(actor=actor, now=now)
    return Split(
        yours=[batch for batch, is_yours in waiting if is_yours],
        others=[batch for batch, is_yours in waiting if not is_yours],
    )


def _split[T](all_of_them: Iterable[T], is_yours: Callable[[T], bool]) -> Split[T]:
    yours: list[T] = []
    others: list[T] = []
    for item in all_of_them:
        (yours if is_yours(item) else others).append(item)
    return Split(yours=yours, others=others)


def _limit(split: Split[Deletion]) -> Split[Deletion]:
    return split.map(lambda deletions: deletions[: MAX_SHOWN + 1])


def _split_by_credential(deletions: QuerySet[Deletion], *, actor: Actor) -> Split[Deletion]:
    """Split by who can use the credential, in the database because there can be many."""
    if not permissions.can_delete(actor):
        return Split(yours=[], others=_oldest(deletions))
    unusable = permissions.visibility_of(actor).unusable
    if not unusable:
        return Split(yours=_oldest(deletions), others=[])
    return Split(
        yours=_oldest(deletions.exclude(credential__in=unusable)),
        others=_oldest(deletions.filter(credential__in=unusable)),
    )


def _oldest(deletions: QuerySet[Deletion]) -> list[Deletion]:
    """The oldest of these deletions, with one for each bulk deletion."""
    of_same_batch = deletions.filter(batch=OuterRef("batch"), id__lt=OuterRef("id"))
    rows = deletions.exclude(Exists(of_same_batch)).select_related("batch")
    return list(rows.order_by("requested_at", "id")[: MAX_SHOWN + 1])


def _list_awaiting_decision(deletions: QuerySet[Deletion]) -> list[Deletion]:
    """Deletions that wait for approval or confirmation, oldest first.

    There are few, because requested and approved ones expire within two days. Python filters them
    by person, because the database would otherwise read every deletion that the person ever
    requested.
    """
    requested = Q(state__in=[State.REQUESTED, State.APPROVED]) & ~RUN_BY_BATCH
    again = Q(state=State.STILL_PRESENT) & ~Q(policy=ApprovalPolicy.NONE)
    waiting = deletions.filter(requested | again, settled_at=None).prefetch_related("approvals")
    return list(waiting.order_by("requested_at", "id"))


def _to_approve(requested: list[Deletion], *, actor: Actor, now: datetime) -> Split[Deletion]:
    awaited = [deletion for deletion in requested if states.is_awaiting_approval(deletion)]
    return _limit(
        _split(
            awaited,
            lambda deletion: (
                states.can_be_approved(deletion, now=now)
                and permissions.can_approve(actor, deletion=deletion)
                and not deletion.is_decided_by(actor.person)
            ),
        )
    )


def _to_confirm(requested: list[Deletion], *, actor: Actor, now: datetime) -> Split[Deletion]:
    waiting = (
        deletion
        for deletion in requested
        if not states.is_being_rechecked(deletion, now=now)
        and not states.is_awaiting_approval(deletion)
    )
    return _limit(
        _split(
            waiting,
            lambda deletion: (
                not states.has_expired(deletion, now=now)
                and permissions.can_use(actor, credential_id=deletion.credential_id)
                and actor.person is not None
                and actor.person.pk in deletion.confirming_ids
            ),
        )
    )


@dataclass(frozen=True, kw_only=True)
class InventorySummary:
    """Counts of the inventory, and the time of the oldest sync."""

    orgs: int
    sites: int
    connections: int
    # Credentials by whether their newest sync is complete. Those never synced are in neither.
    synced: int
    failed: int
    other_side_only: int
    # Connections that are protected, listed or not.
    protected: int
    oldest_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Overview:
    """Everything on the page, as of `at`."""

    at: datetime
    credentials: list[Credential]
    pending: Pending
    # The changes that need attention and have not been acknowledged.
    changes: ChangePage
    # Open access reviews that need this person, by due date.
    reviews: list[WaitingReview]
    expired_keeps: ExpiredKeeps
    inventory: InventorySummary
    has_worker: bool
    # The last heartbeat of a worker that did not stop normally.
    worker_seen_at: datetime | None
    # How many notifications failed; 0 for people who can't do anything about it.
    given_up: int
    # The newest recorded time if it is in the future, which means that a clock is wrong.
    time_ahead: datetime | None
    # The newest verification of the audit log.
    verification: AuditVerification | None


def get_overview(*, actor: Actor) -> Overview:
    """Everything on the overview, from the database alone.

    The number of queries is fixed, and each uses an index.
    """
    now = clock.now()
    credentials = credentials_in_use(actor=actor)
    worker_seen_at = heartbeats.last_seen_at()
    return Overview(
        at=now,
        credentials=credentials,
        pending=pending(actor=actor, credentials=credentials, now=now),
        changes=get_change_page(
            actor=actor,
            filters=ChangeFilter(needs_attention=True, acknowledged="no"),
            size=MAX_SHOWN,
        ),
        reviews=access_reviews.list_waiting_reviews(actor=actor),
        expired_keeps=access_reviews.find_expired_keeps(actor=actor, limit=MAX_SHOWN),
        inventory=_inventory_summary(actor=actor, credentials=credentials, now=now),
        has_worker=heartbeats.is_alive(worker_seen_at, now=now),
        worker_seen_at=worker_seen_at,
        given_up=delivery_log.count_given_up(actor=actor, now=now),
        time_ahead=checks.find_future_time(now=now),
        verification=last_verification(),
    )


def _inventory_summary(
    *, actor: Actor, credentials: list[Credential], now: datetime
) -> InventorySummary:
    within = {credential.pk for credential in credentials}
    listings = {pk: each for pk, each in newest_syncs(now=now).items() if pk in within}
    current = current_snapshots(actor=actor)
    connected_orgs = {
        org
        for column in ("source_org_id", "sink_org_id")
        # With the site included, an index has both columns.
        for org in current.values_list("site", column).distinct()
    }
    own_orgs = {
        (credential.site, credential.org_id) for credential in credentials if credential.org_id
    }
    newest = list(listings.values())
    return InventorySummary(
        orgs=len(own_orgs),
        sites=len({site for site, _ in own_orgs}),
        connections=find_connections(actor=actor).count(),
        synced=sum(listing.is_complete for listing in newest),
        failed=sum(not listing.is_complete for listing in newest),
        other_side_only=len(connected_orgs - own_orgs),
        protected=len(
            visibility.visible_protections(protections.active_protections(), actor=actor)
        ),
        oldest_at=min((listing.started_at for listing in newest), default=None),
    )
