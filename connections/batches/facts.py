"""What is known now of the connections that a bulk deletion names, as one person sees it."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from django.db.models import Exists, OuterRef, QuerySet

from connections.access import permissions
from connections.access.actor import Actor
from connections.access.visibility import visible
from connections.inventory import protections, syncs
from connections.inventory.inventory import current_snapshots, sender_sort_key
from connections.models import (
    GONE_OUTCOMES,
    OPEN_STATES,
    SENDABLE,
    Batch,
    BatchRow,
    Credential,
    Deletion,
    OrgConnectionKey,
    OrgConnectionSnapshot,
    ReviewDecision,
    RowProblem,
    newest_decisions,
)


@dataclass(frozen=True, kw_only=True)
class ConnectionFacts:
    """What is known now of some connections, as one person sees it."""

    # The snapshots of visible credentials in use that list it, newest first.
    snapshots: Mapping[OrgConnectionKey, Sequence[OrgConnectionSnapshot]]
    protected: Collection[OrgConnectionKey]
    being_deleted: Collection[OrgConnectionKey]
    # Connections with another open deletion that the person can't see.
    hidden: Collection[OrgConnectionKey]
    # Connections that access reviews have decided to keep, for a plan from an access review.
    kept: Collection[OrgConnectionKey]
    # The credentials that the person can delete with.
    usable: Collection[UUID] = field(default_factory=frozenset)
    # The credentials they could delete with if the newest sync were complete.
    unsynced: Collection[Credential] = field(default_factory=frozenset)

    def choices(self, key: OrgConnectionKey) -> list[OrgConnectionSnapshot]:
        """The snapshots of the credentials that can delete it.

        Those whose newest sync is complete come first, then those of the source side.
        """
        usable = [
            snapshot
            for snapshot in self.snapshots.get(key, ())
            if snapshot.credential_id in self.usable
        ]
        return sorted(
            usable,
            key=lambda snapshot: (
                snapshot.credential in self.unsynced,
                sender_sort_key(snapshot.credential, snapshot=snapshot),
            ),
        )

    def choice(
        self, key: OrgConnectionKey, *, credential_id: UUID | None
    ) -> OrgConnectionSnapshot | None:
        """The snapshot of this credential, if it can delete the connection."""
        choices = self.choices(key)
        return next((choice for choice in choices if choice.credential_id == credential_id), None)

    def problem(self, key: OrgConnectionKey) -> RowProblem | None:
        """Why no credential can delete it."""
        if key in self.hidden or not self.snapshots.get(key):
            return RowProblem.NOT_VISIBLE
        if key in self.protected:
            return RowProblem.PROTECTED
        if key in self.being_deleted:
            return RowProblem.ALREADY_BEING_DELETED
        if key in self.kept:
            return RowProblem.KEPT
        return None if self.choices(key) else RowProblem.NO_CREDENTIAL


def load_facts(
    keys: Collection[OrgConnectionKey],
    *,
    actor: Actor,
    is_from_review: bool,
    can_wait_for_sync: bool = False,
) -> ConnectionFacts:
    """What is known of these connections.

    `is_from_review` says whether an access review's decisions made the plan. With
    `can_wait_for_sync`, a credential whose newest sync failed is usable too.
    """
    ids = {key.connection_id for key in keys}
    snapshots = defaultdict[OrgConnectionKey, list[OrgConnectionSnapshot]](list)
    credentials: dict[UUID, Credential] = {}
    rows = current_snapshots(actor=actor).filter(connection_id__in=ids)
    for snapshot in rows.select_related("credential").order_by("-last_seen_at", "-id"):
        snapshots[snapshot.key].append(snapshot)
        credentials[snapshot.credential_id] = snapshot.credential
    newest = syncs.newest_syncs()
    hidden_credentials = permissions.visibility_of(actor).hidden
    being_deleted, hidden = set[OrgConnectionKey](), set[OrgConnectionKey]()
    for site, connection_id, credential_id in _open_deletions(ids):
        key = OrgConnectionKey(site=site, connection_id=connection_id)
        (hidden if credential_id in hidden_credentials else being_deleted).add(key)
    permitted = {
        credential
        for pk, credential in credentials.items()
        if permissions.can_use(actor, credential_id=pk) and not credential.is_read_only
    }
    synced = {
        credential
        for credential in permitted
        if credential.pk in newest and newest[credential.pk].is_complete
    }
    return ConnectionFacts(
        snapshots=snapshots,
        protected=set(protections.active_protections()),
        being_deleted=being_deleted,
        hidden=hidden,
        kept=find_kept_among(ids) if is_from_review else frozenset(),
        usable={credential.pk for credential in (permitted if can_wait_for_sync else synced)},
        unsynced=permitted - synced,
    )


def _open_deletions(ids: Collection[UUID]) -> QuerySet[Deletion, tuple[str, UUID, UUID]]:
    rows = Deletion.objects.filter(connection_id__in=ids, state__in=OPEN_STATES, settled_at=None)
    return rows.order_by().values_list("site", "connection_id", "credential_id")


def find_later_deletions(rows: Collection[BatchRow], *, actor: Actor) -> dict[int, Deletion]:
    """The visible deletion that keeps each of these rows of a draft from being deleted, by row.

    It is open, or it ended after the plan was made with the connection gone.
    """
    by_key = {(row.site, row.connection_id): row for row in rows}
    ids = [row.connection_id for row in rows if row.connection_id]
    deletions = visible(Deletion.objects.filter(connection_id__in=ids), actor=actor)
    found = {}
    for deletion in deletions.select_related("batch").order_by("requested_at", "pk"):
        row = by_key.get((deletion.site, deletion.connection_id))
        if row is None or deletion.outcome not in {"", *GONE_OUTCOMES}:
            continue
        if deletion.settled_at is None or deletion.settled_at >= row.batch.created_at:
            found[row.pk] = deletion
    return found


def find_kept_among(ids: Collection[UUID]) -> set[OrgConnectionKey]:
    """The connections among these that the newest decision of any access review keeps."""
    kept = newest_decisions().filter(decision=ReviewDecision.KEEP, row__connection_id__in=ids)
    return {
        OrgConnectionKey(site=site, connection_id=connection_id)
        for site, connection_id in kept.values_list("row__site", "row__connection_id")
    }


def find_kept(*, batch: Batch) -> set[int]:
    """The primary keys of sendable rows that the newest decision of any access review keeps."""
    kept = newest_decisions().filter(
        decision=ReviewDecision.KEEP,
        row__site=OuterRef("site"),
        row__connection_id=OuterRef("connection_id"),
    )
    return set(batch.rows.filter(SENDABLE, Exists(kept)).values_list("pk", flat=True))
