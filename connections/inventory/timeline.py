"""The history of one org connection: which credentials listed it, when, and what changed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Min, Q
from django.db.models.functions import Coalesce

from connections.access import permissions, visibility
from connections.access.actor import Actor
from connections.audit import EventCode
from connections.models import AuditEvent, Credential, Deletion, OrgConnectionSnapshot, with_values

MAX_DELETIONS = 50


@dataclass(frozen=True, kw_only=True)
class Reappearance:
    """The connection was listed again under the same ID after a list had lacked it."""

    at: datetime
    listed_by: str
    # When it had last been listed before.
    last_seen_at: datetime


@dataclass(frozen=True, kw_only=True)
class SimilarConnection:
    """Another connection between the same two orgs."""

    connection_id: UUID
    began_at: datetime


@dataclass(frozen=True, kw_only=True)
class Observation:
    """The period in which one credential listed the connection.

    It is current while it still does.
    """

    credential: Credential
    last_seen_at: datetime
    is_current: bool
    # Which side the credential's org is: "source", "sink", or "" when it is neither.
    side: str


@dataclass(frozen=True, kw_only=True)
class ConnectionVersion:
    """What Datadog listed from some time on, and the names of the fields that changed."""

    snapshot: OrgConnectionSnapshot
    changed: tuple[str, ...]
    before: OrgConnectionSnapshot | None


@dataclass(frozen=True, kw_only=True)
class ConnectionHistory:
    """Everything stored about one org connection.

    `snapshot` is the newest one, or comes from the newest deletion if no credential ever listed it.
    """

    snapshot: OrgConnectionSnapshot | Deletion
    observations: list[Observation]
    versions: list[ConnectionVersion]
    # Newest first, at most 50.
    deletions: list[Deletion]
    # Audit events about it, oldest first.
    events: list[AuditEvent]
    reappearances: list[Reappearance]
    # The first one that began once this one was gone.
    successor: SimilarConnection | None

    @property
    def is_listed(self) -> bool:
        """Whether the newest complete sync of some credential in use listed it."""
        return any(observation.is_current for observation in self.observations)

    @property
    def is_gone(self) -> bool:
        """Whether a credential listed it, and none in use does now."""
        return bool(self.observations) and not self.is_listed

    @property
    def open_deletion(self) -> Deletion | None:
        """The deletion that has no outcome yet, if there is one."""
        return next((deletion for deletion in self.deletions if not deletion.is_settled), None)


def get_connection_history(
    *, actor: Actor, site: str, connection_id: UUID
) -> ConnectionHistory | None:
    """What is stored about a connection, as far as visible. Raises PermissionDenied.

    None if no visible credential ever listed it and no visible deletion is about it.
    """
    permissions.require(permissions.can_see(actor), "see org connections")
    every = OrgConnectionSnapshot.objects.filter(site=site, connection_id=connection_id)
    snapshots = list(
        visibility.visible(every, actor=actor)
        .select_related("credential")
        .order_by("first_seen_at", "id")
    )
    about_it = visibility.visible(
        Deletion.objects.filter(site=site, connection_id=connection_id), actor=actor
    )
    deletions = list(about_it.order_by("-requested_at", "-id")[:MAX_DELETIONS])
    if not snapshots and not deletions:
        return None
    newest = max(
        snapshots,
        key=lambda snapshot: (snapshot.is_current, snapshot.last_seen_at, snapshot.pk),
        default=None,
    )
    observations = _observations(snapshots, newest=newest) if newest else []
    is_listed = any(observation.is_current for observation in observations)
    return ConnectionHistory(
        snapshot=newest or deletions[0],
        observations=observations,
        versions=_versions(snapshots),
        deletions=deletions,
        events=list_events(site=site, connection_id=connection_id, deletions=deletions),
        reappearances=find_reappearances(snapshots, deletions=deletions),
        successor=None if is_listed or not newest else _find_successor(newest, actor=actor),
    )


def _find_successor(last: OrgConnectionSnapshot, *, actor: Actor) -> SimilarConnection | None:
    """The first visible connection of the same two orgs that began after this snapshot."""
    of_both = OrgConnectionSnapshot.objects.filter(
        site=last.site, source_org_id=last.source_org_id, sink_org_id=last.sink_org_id
    ).exclude(connection_id=last.connection_id)
    began_at = Coalesce(Min("connection_created_at"), Min("first_seen_at"))
    rows = visibility.visible(of_both, actor=actor).values("connection_id")
    later = rows.annotate(began_at=began_at).filter(began_at__gte=last.last_seen_at)
    first = later.order_by("began_at").first()
    return SimilarConnection(**first) if first and last.source_org_id else None


def _observations(
    snapshots: list[OrgConnectionSnapshot], *, newest: OrgConnectionSnapshot
) -> list[Observation]:
    sides = {newest.sink_org_id: "sink", newest.source_org_id: "source"}
    by_credential: dict[UUID, list[OrgConnectionSnapshot]] = {}
    for snapshot in snapshots:
        by_credential.setdefault(snapshot.credential_id, []).append(snapshot)
    observations = [
        Observation(
            credential=listed[0].credential,
            last_seen_at=max(snapshot.last_seen_at for snapshot in listed),
            is_current=any(snapshot.is_current for snapshot in listed)
            and not listed[0].credential.is_retired,
            side=sides.get(listed[0].credential.org_id, ""),
        )
        for listed in by_credential.values()
    ]
    # The source side comes first, because it sends unless the person picks another.
    return sorted(
        observations,
        key=lambda observation: (
            observation.side != "source",
            observation.credential.name.casefold(),
        ),
    )


def _versions(snapshots: list[OrgConnectionSnapshot]) -> list[ConnectionVersion]:
    """The versions, oldest first. Equal snapshots of several credentials are one version."""
    versions: list[ConnectionVersion] = []
    before: OrgConnectionSnapshot | None = None
    for snapshot in snapshots:
        changed: tuple[str, ...] = ()
        if before is not None:
            old, new = before.snapshot_values(), snapshot.snapshot_values()
            changed = tuple(name for name in new if new[name] != old[name])
            if not changed:
                continue
        versions.append(ConnectionVersion(snapshot=snapshot, changed=changed, before=before))
        before = snapshot
    return versions


# The most events shown of one connection. The audit log has all of them.
MAX_EVENTS = 400
# Left out here: events that a deletion's own page shows, and refused access, which is for auditors
# and could fill the page.
_DETAILS = (
    EventCode.ACCESS_REFUSED,
    EventCode.DELETION_RECHECK_FAILED,
    EventCode.DELETION_ANSWERED,
    EventCode.DELETION_ANSWERED_LATE,
    EventCode.DELETION_WAITING,
    EventCode.DELETION_CHECKED,
)


def list_events(
    *, site: str, connection_id: UUID, deletions: Sequence[Deletion]
) -> list[AuditEvent]:
    """The newest 400 audit events about a connection, oldest first, without `_DETAILS`."""
    ids = [str(deletion.pk) for deletion in deletions]
    about = Q(subject_type="deletion", subject_id__in=ids) | Q(
        subject_type="org_connection", subject_id=str(connection_id)
    )
    rows = AuditEvent.objects.filter(about).exclude(code__in=_DETAILS).order_by("-seq")
    events = with_values(rows[:MAX_EVENTS])
    return [event for event in reversed(events) if event.details.get("site", site) == site]


def is_observation(event: AuditEvent) -> bool:
    """Whether an event implies that a sync had just shown the connection."""
    if event.code == EventCode.DELETION_SENDING:
        return bool(event.details.get("was_rechecked"))
    return event.code in {EventCode.DELETION_STILL_PRESENT, EventCode.DELETION_CONTRADICTED}


def find_reappearances(
    snapshots: Iterable[OrgConnectionSnapshot], *, deletions: Iterable[Deletion]
) -> list[Reappearance]:
    """When each credential listed the connection again. `snapshots` are oldest first.

    A change also makes a new snapshot. A new snapshot is a reappearance if nothing changed, because
    then only an absence can have ended the previous one, or if a deletion was closed in between.
    """
    settled = [deletion.settled_at for deletion in deletions if deletion.settled_at]
    before: dict[UUID, OrgConnectionSnapshot] = {}
    reappearances: list[Reappearance] = []
    for snapshot in snapshots:
        earlier = before.get(snapshot.credential_id)
        before[snapshot.credential_id] = snapshot
        if earlier is None or not _was_gone_between(earlier, snapshot, settled=settled):
            continue
        # The other side's credential already listed the same reappearance.
        if reappearances and earlier.last_seen_at <= reappearances[-1].at:
            continue
        reappearances.append(
            Reappearance(
                at=snapshot.first_seen_at,
                listed_by=snapshot.credential.name,
                last_seen_at=earlier.last_seen_at,
            )
        )
    return reappearances


def _was_gone_between(
    earlier: OrgConnectionSnapshot, later: OrgConnectionSnapshot, *, settled: list[datetime]
) -> bool:
    if earlier.snapshot_values() == later.snapshot_values():
        return True
    return any(earlier.last_seen_at <= at <= later.first_seen_at for at in settled)
