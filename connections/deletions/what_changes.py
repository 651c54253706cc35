"""What a deletion takes away: before it is requested, while it is decided, and in its record."""

from datetime import datetime

from connections.access.actor import Actor
from connections.agreements.agreed import find_agreements
from connections.agreements.approved import find_automatic_end
from connections.agreements.what_changes import (
    Access,
    WhatChanges,
    access_of,
    access_when_requested,
    compare_access,
)
from connections.deletions.confirmations import DeletionTarget
from connections.models import Deletion, OrgPair, SnapshotFields


def changes_of_target(
    target: DeletionTarget, *, actor: Actor, now: datetime
) -> WhatChanges | None:
    """What requesting this would take away. None for a connection that no snapshot shows."""
    snapshot = target.snapshot
    if snapshot is None:
        return None
    pair = OrgPair(snapshot.site, snapshot.source_org_id, snapshot.sink_org_id)
    agreement = find_agreements([pair]).get(pair)
    ends_on = agreement.ends_on if agreement else None
    automatic_end = find_automatic_end(pair, at=now) if ends_on else None
    access = access_of(snapshot, agreement, automatic_end=automatic_end)
    return _compare(snapshot, access, actor=actor, is_over=False)


def changes_of_deletion(deletion: Deletion, *, actor: Actor) -> WhatChanges | None:
    """What it takes away. None if its requester didn't see the connection."""
    if not deletion.is_reviewed:
        return None
    now = access_when_requested(deletion, actor=actor)
    return _compare(deletion, now, actor=actor, is_over=deletion.is_settled)


def _compare(
    connection: SnapshotFields, now: Access, *, actor: Actor, is_over: bool
) -> WhatChanges:
    return compare_access(
        source=connection.source_org_name,
        sink=connection.sink_org_name,
        now=now,
        after=None,
        is_over=is_over,
        reader=actor.person.pk if actor.person else None,
    )
