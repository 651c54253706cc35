"""What a confirmation page shows, the text to type, and what changes. Stores nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from uuid import UUID

from django.db.models import Exists, Q

from connections.access import permissions, visibility
from connections.access.actor import Actor
from connections.access.policies import strictest_policy
from connections.agreements.agreed import find_agreements
from connections.agreements.what_changes import (
    Access,
    WhatChanges,
    access_at,
    access_when_requested,
    compare_access,
)
from connections.core.data_types import data_text
from connections.core.errors import ConflictError, InvalidInputError
from connections.core.lookalikes import has_invisible
from connections.core.text import join_names
from connections.core.typed_text import fold
from connections.datadog.payloads import canonical_connection_id
from connections.inventory import protections
from connections.models import (
    GONE_OUTCOMES,
    OPEN_STATES,
    ApprovalPolicy,
    Credential,
    Deletion,
    OrgConnectionSnapshot,
    OrgPair,
    Outcome,
    Protection,
    SnapshotFields,
    Sync,
    snapshot_digest,
)
from connections.notification_queue.outbox import is_owner_emailed

MAX_NAME_TO_TYPE_LENGTH = 60


@dataclass(frozen=True, kw_only=True)
class DeletionTarget:
    """What a person is about to delete, from the newest snapshot."""

    credential: Credential
    connection_id: UUID
    snapshot: OrgConnectionSnapshot | None
    digest: str
    text_to_type: str
    other_credentials: list[Credential]
    # The strictest policy of all credentials on either side, so that the choice of a credential
    # doesn't avoid approvals.
    policy: ApprovalPolicy
    open_deletion: Deletion | None
    # The deletion that the same form has already requested.
    already_requested: Deletion | None
    # Whether a credential that the person can't use is the only one that lists it.
    is_hidden: bool
    # Whether a deletion of it is open that is hidden from the person.
    is_open_hidden: bool
    # The protection that prevents its deletion, if any.
    protection: Protection | None

    @cached_property
    def last_sync(self) -> Sync | None:
        """The newest sync with the credential. Only pages need it."""
        return self.credential.syncs.first()

    @property
    def is_listed(self) -> bool:
        return self.snapshot is not None

    @property
    def needs_approval(self) -> bool:
        return self.policy != ApprovalPolicy.NONE


class TargetChangedError(ConflictError):
    """The connection differs from what the page showed. `current` is what it is now."""

    def __init__(self, message: str, *, current: DeletionTarget) -> None:
        super().__init__(message)
        self.current = current


def parse_connection_id(text: str) -> UUID:
    """The pasted ID of an org connection in its canonical form.

    Raises InvalidInputError for `connection_id` unless it is five groups of hex digits.
    """
    try:
        return UUID(canonical_connection_id(text))
    except ValueError as error:
        raise InvalidInputError({"connection_id": str(error)}) from None


def find_target(
    *, actor: Actor, credential: Credential, connection_id: UUID, request_id: UUID | None = None
) -> DeletionTarget:
    """What deleting this connection with this credential would mean, from stored snapshots.

    `request_id` is the ID in the form that requests it. Raises PermissionDenied.
    """
    permissions.require(
        permissions.can_use(actor, credential_id=credential.pk), "delete connections with it"
    )
    current = OrgConnectionSnapshot.objects.filter(
        Q(credential=credential) | Q(credential__retired_at=None),
        site=credential.site,
        connection_id=connection_id,
        is_current=True,
    )
    is_open_here = _is_open(site=credential.site, connection_id=connection_id)
    requested = Deletion.objects.filter(is_open_here | Q(request_id=request_id))
    protected = protections.active_protections_of(
        site=credential.site, connection_ids=[connection_id]
    )
    # Usually there is neither, and reading rows takes longer.
    rows = current.select_related("credential").annotate(
        is_requested=Exists(requested), is_protected=Exists(protected)
    )
    snapshots = {snapshot.credential: snapshot for snapshot in rows}
    # Its own org counts too: a pasted ID might be of a connection that only others list.
    orgs = {(credential.site, credential.org_id)} | {
        (credential.site, org_id)
        for listed in snapshots.values()
        for org_id in (listed.source_org_id, listed.sink_org_id)
    }
    first = next(iter(snapshots.values()), None)
    earlier = list(requested) if first is None or first.is_requested else []
    protection = protected.first() if first is None or first.is_protected else None
    snapshot = snapshots.pop(credential, None)
    others = list(snapshots)
    usable = [other for other in others if permissions.can_use(actor, credential_id=other.pk)]
    already_requested = next(
        (deletion for deletion in earlier if deletion.request_id == request_id), None
    )
    is_open = next((deletion for deletion in earlier if deletion != already_requested), None)
    is_open_hidden = is_open is not None and not visibility.is_visible(is_open, actor=actor)
    return DeletionTarget(
        credential=credential,
        connection_id=connection_id,
        snapshot=snapshot,
        digest=snapshot_digest(
            site=credential.site,
            connection_id=str(connection_id),
            fields=snapshot or OrgConnectionSnapshot(),
        ),
        text_to_type=text_to_type(
            actor=actor, site=credential.site, connection_id=connection_id, listed=snapshot
        ),
        other_credentials=usable,
        policy=strictest_policy(orgs, others=[credential, *others]),
        open_deletion=None if is_open_hidden else is_open,
        already_requested=already_requested,
        is_hidden=snapshot is None and bool(others) and not usable,
        is_open_hidden=is_open_hidden,
        protection=protection,
    )


def text_to_type(
    *, actor: Actor, site: str, connection_id: UUID, listed: SnapshotFields | None
) -> str:
    """What this person types to confirm the deletion of one connection.

    It is the source org's name or, if the person sees other connections of the source org (the org
    with this ID on this site), the destination org's name. It is the last 8 characters of the
    connection's ID if one of those other connections has a destination with the same name, if the
    name can't be typed, or if no sync listed the connection.
    """
    end_of_id = str(connection_id)[-8:]
    if listed is None:
        return end_of_id
    others = OrgConnectionSnapshot.objects.filter(
        site=site,
        source_org_id=listed.source_org_id,
        is_current=True,
        credential__retired_at=None,
    ).exclude(connection_id=connection_id)
    destinations = set(visibility.visible(others, actor=actor).values_list("sink_org_name"))
    name = typable_name(listed.sink_org_name if destinations else listed.source_org_name)
    is_unique = all(fold(destination) != fold(name) for (destination,) in destinations)
    return name if name and is_unique else end_of_id


def typable_name(name: str) -> str:
    """An org's name as a person types it. Empty if it can't be typed."""
    name = " ".join(name.split())
    can_be_typed = name.isprintable() and not has_invisible(name)
    return name if can_be_typed and len(name) <= MAX_NAME_TO_TYPE_LENGTH else ""


def find_open_deletion(*, site: str, connection_id: UUID) -> Deletion | None:
    """The one open deletion of a connection, if there is one."""
    return Deletion.objects.filter(_is_open(site=site, connection_id=connection_id)).first()


def _is_open(*, site: str, connection_id: UUID) -> Q:
    return Q(site=site, connection_id=connection_id, state__in=OPEN_STATES)


def previous_deletion(
    *, actor: Actor, credential: Credential, connection_id: UUID
) -> Deletion | None:
    """The newest visible deletion that left the connection gone and that no list contradicts."""
    gone = Deletion.objects.filter(
        site=credential.site,
        connection_id=connection_id,
        outcome__in=GONE_OUTCOMES,
        contradicted_at=None,
    )
    # A connection that one credential did not find might be listed by another org's credential.
    elsewhere = Q(outcome=Outcome.ALREADY_ABSENT) & ~Q(credential=credential)
    return visibility.visible(gone.exclude(elsewhere), actor=actor).first()


def confirmation_text(deletion: Deletion, *, actor: Actor) -> str:
    """What this person types to confirm this deletion."""
    return text_to_type(
        actor=actor,
        site=deletion.site,
        connection_id=deletion.connection_id,
        listed=deletion if deletion.is_reviewed else None,
    )


def confirming_people(deletion: Deletion) -> str:
    """Who must confirm it, as sentences begin: its requester, or any Operator if none asked."""
    if deletion.requested_by_id:
        return deletion.requested_by_name
    return f"An Operator who can use the {deletion.credential_name} credential"


def loss_text(*, sink: str, lost: Mapping[tuple[str, ...], Sequence[str]]) -> str:
    """ "Labs loses access to logs of Mobile; metrics of Retail EU and Retail US."

    `lost` has the names of the source orgs, by the data types that each one shared.
    """
    parts = [
        f"{data_text(types)} of {join_names(sorted(sources, key=str.casefold))}"
        for types, sources in sorted(lost.items())
    ]
    return f"{sink or 'Unknown org'} loses access to {'; '.join(parts)}."


# --- What changes -------------------------------------------------------------------------------


def changes_of_target(target: DeletionTarget, *, actor: Actor, now: datetime) -> WhatChanges | None:
    """What requesting this would take away. None for a connection that no snapshot shows."""
    snapshot = target.snapshot
    if snapshot is None:
        return None
    pair = OrgPair(snapshot.site, snapshot.source_org_id, snapshot.sink_org_id)
    access = access_at(snapshot, pair, find_agreements([pair]).get(pair), at=now)
    deletion = Deletion(
        credential=target.credential,
        policy=target.policy,
        requested_by=actor.person,
        **pair._asdict(),
    )
    return _compare(snapshot, access, deletion=deletion, actor=actor)


def changes_of_deletion(deletion: Deletion, *, actor: Actor) -> WhatChanges | None:
    """What it takes away. None if its requester didn't see the connection."""
    if not deletion.is_reviewed:
        return None
    now = access_when_requested(deletion, actor=actor)
    return _compare(deletion, now, deletion=deletion, actor=actor)


def _compare(
    connection: SnapshotFields, now: Access, *, deletion: Deletion, actor: Actor
) -> WhatChanges:
    is_over = deletion.is_settled
    has_owner = now.owner != "" and not is_over
    return compare_access(
        source=connection.source_org_name,
        sink=connection.sink_org_name,
        now=now,
        after=None,
        is_over=is_over,
        is_owner_emailed=has_owner and is_owner_emailed(deletion),
        reader=actor.person.pk if actor.person else None,
    )
