"""Detects changes: compares each complete sync with what earlier complete syncs established.

A change belongs to a connection, however many credentials list it. So syncs are compared with one
row per connection, KnownConnection, and not with the credential's own snapshots. Call this while
the snapshots of the site are locked, in the transaction that stores the sync.
"""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import OuterRef, Q, Subquery

from connections import audit
from connections.access.actor import Actor
from connections.audit.chain import canonical_text
from connections.changes import explained, losses
from connections.changes.known import (
    CREATOR_FIELDS,
    connection_fields,
    connection_state,
    creator_state,
    is_another_creator,
    is_widened,
    keep_what_others_show,
    known_from,
    known_from_deletion,
    merge_unknown,
    same_creator_fields,
    shows_creator,
)
from connections.core import clock
from connections.core.tabular import as_time
from connections.core.text import pluralize
from connections.datadog.payloads import ListedOrg, OrgConnection
from connections.models import (
    Change,
    Credential,
    Deletion,
    KnownConnection,
    Org,
    OrgConnectionSnapshot,
    Sync,
)

Kind = Change.Kind

# The IDs of a source and a destination org.
type _Pair = tuple[str, str]
# The former connection of a recreated one, and Org Admin's deletion that might have removed it.
type _Former = tuple[KnownConnection, Deletion | None]

# Sharing this data type always needs attention.
AUDIT = "audit"
_ESTABLISHED_FIELDS = (
    "connection_types",
    "created_at",
    *CREATOR_FIELDS,
    "is_present",
    "established_at",
    "last_shown_at",
    "lost_at",
)

_DIGESTED_FIELDS = [
    column.attname
    for column in Change._meta.concrete_fields
    if column.name not in {"search_text", "acknowledged_at", "acknowledged_by", "note"}
]


def process_sync(
    *,
    sync: Sync,
    listed: Sequence[OrgConnection],
    own_org: ListedOrg,
    last_complete_at: datetime | None,
    gone: Collection[UUID],
    deleted: Collection[UUID] = (),
    might_be_lost: bool,
    is_outdated: bool,
    actor: Actor,
) -> None:
    """Store the changes that a stored sync shows, with one event.

    `own_org` is the credential's org as Datadog named it. `gone` holds the connections that the
    credential's previous syncs listed and this complete one lacks. `last_complete_at` is when its
    last complete sync before this one started. `deleted` holds the connections whose deletion it
    verifies. `might_be_lost` says whether any connection of the site is lost, which is rare and
    costs several statements. An incomplete or outdated sync is compared with nothing, but it can
    show that a credential was tried since a connection was lost.
    """
    changes: list[Change] = []
    if sync.is_complete and not is_outdated:
        comparison = _Comparison(sync=sync, own_org=own_org, last_complete_at=last_complete_at)
        changes = comparison.run(listed=listed)
    if might_be_lost:
        changes += losses.settle_losses(sync=sync, gone=gone, deleted=deleted)
    if changes:
        explained.clear_attention(changes)
        _store_changes(changes)
        audit.record(
            code=audit.EventCode.CHANGES_DETECTED,
            actor=actor,
            subject=sync.credential,
            sentence=audit.Sentence(
                "A sync with {credential} found {changes}.",
                credential=sync.credential.name,
                changes=pluralize(len(changes), "change"),
            ),
            details={
                "changes": [str(change.pk) for change in changes],
                "sha256": changes_digest(changes),
            },
        )


def changes_digest(changes: Iterable[Change]) -> str:
    """SHA-256 of these changes without acknowledgements: one line of canonical JSON for each."""
    digest = hashlib.sha256()
    for change in changes:
        row = {name: _as_json(getattr(change, name)) for name in _DIGESTED_FIELDS}
        digest.update(f"{canonical_text(row)}\n".encode())
    return digest.hexdigest()


def _as_json(value: Any) -> Any:
    if isinstance(value, datetime):
        return as_time(value)
    return str(value) if isinstance(value, UUID) else value


def _store_changes(changes: list[Change]) -> None:
    """Number, date and insert changes."""
    if connection.vendor == "postgresql":
        # Numbers follow the order of commits only if one transaction at a time assigns them. On
        # PostgreSQL, syncs of two sites can run at the same time; SQLite has a single writer.
        with connection.cursor() as cursor:
            cursor.execute("LOCK TABLE connections_change IN SHARE ROW EXCLUSIVE MODE")
    newest = Change.objects.order_by("-number").values_list("number", clock.now_in_query())
    last, now = newest.first() or (0, clock.now())
    for number, change in enumerate(changes, start=last + 1):
        change.number, change.recorded_at = number, now
        change.search_text = _search_text(change)
    Change.objects.bulk_create(changes)


def _search_text(change: Change) -> str:
    # The former connection of a recreated one can be hidden from people who see the change.
    both = [change.after] if change.kind == Kind.RECREATED else [change.before, change.after]
    states = [state for state in both if state]
    creators = [state["created_by"]["name"] or "" for state in states if "created_by" in state]
    names = [state.get("name", "") for state in states]
    words = (
        *(change.org_name, change.org_id, *names),
        *(change.source_org_name, change.source_org_id),
        *(change.sink_org_name, change.sink_org_id),
        *(str(change.connection_id or ""), *creators),
    )
    return "\n".join(dict.fromkeys(word for word in words if word)).casefold()


def _pair_of(known: KnownConnection) -> _Pair:
    return known.source_org_id, known.sink_org_id


def _last_shown_at(known: KnownConnection, former: Iterable[OrgConnectionSnapshot]) -> datetime:
    """The start of the last sync that showed what has changed, which the `former` snapshots show.

    Later syncs might have listed the connection without it.
    """
    shown_at = (snapshot.last_seen_at for snapshot in former)
    return min(known.last_shown_at, max(shown_at, default=known.last_shown_at))


@dataclass(kw_only=True)
class _Comparison:
    """Compares one complete sync with what is known, and updates what is known."""

    sync: Sync
    own_org: ListedOrg
    last_complete_at: datetime | None
    changes: list[Change] = field(default_factory=list)
    # Rows to insert or to update, and the IDs of those that the sync showed unchanged.
    established: list[KnownConnection] = field(default_factory=list)
    unchanged: set[UUID] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.site, self.at = self.sync.credential.site, self.sync.started_at
        # A credential's first complete sync is its baseline.
        self.is_baseline = self.last_complete_at is None
        self.previous_at = min(self.last_complete_at or self.at, self.at)

    def run(self, *, listed: Sequence[OrgConnection]) -> list[Change]:
        """The changes that the sync shows."""
        self.names = self._update_orgs(listed)
        by_id = {UUID(item.id): item for item in listed}
        self.unchanged = self._find_unchanged(by_id)
        rest = {pk: item for pk, item in by_id.items() if pk not in self.unchanged}
        of_site = KnownConnection.objects.filter(site=self.site)
        rows = {row.connection_id: row for row in of_site.filter(connection_id__in=rest)}
        snapshots = self._snapshots_of(rows.values())
        new = []
        for connection_id, item in rest.items():
            current = known_from(item, sync=self.sync)
            known = rows.get(connection_id)
            if known is None:
                new.append(current)
            elif known.is_present:
                self._compare(known, current, snapshots=snapshots[connection_id])
            elif not self.is_baseline and self._is_newer_than(known.established_at):
                merge_unknown(known=known, current=current)
                self._report_appeared(current)
        if new:
            self._add_unknown(new, listed=by_id.keys())
        self._save()
        return self.changes

    def _is_newer_than(self, established_at: datetime) -> bool:
        """Whether the sync began after a value was established, so that the sync can't be older."""
        return established_at <= self.at

    def _report(self, *, kind: Kind, **values: Any) -> None:
        defaults = {
            "site": self.site,
            "observed_by": [str(self.sync.credential_id)],
            "detected_at": self.at,
            "earliest_at": self.previous_at,
        }
        change = Change(kind=kind, **(defaults | values))
        # A sync that started later might still have returned the old state, so the start is at most
        # the time of detection.
        change.earliest_at = min(change.earliest_at, self.at)
        self.changes.append(change)

    def _report_connection(self, current: KnownConnection, *, kind: Kind, **values: Any) -> None:
        self._report(kind=kind, **(connection_fields(current, names=self.names) | values))

    # --- Orgs ---

    def _update_orgs(self, listed: Sequence[OrgConnection]) -> dict[str, str]:
        """Store new orgs and names. Return the name of each listed org by its ID."""
        own = self.own_org
        current = {org.id: org.name for item in listed for org in (item.source_org, item.sink_org)}
        current |= {own.id: own.name or current.get(own.id, "")} if own.id else {}
        of_site = Org.objects.filter(site=self.site).order_by()
        known = of_site.filter(org_id__in=list(current)).values_list("org_id", "name")
        names = dict(known)
        new = [
            Org(
                site=self.site,
                org_id=org_id,
                name=name,
                first_seen_at=self.at,
                established_at=self.sync.finished_at,
            )
            for org_id, name in current.items()
            if org_id not in names
        ]
        Org.objects.bulk_create(new)
        others = [org_id for org_id, name in names.items() if current[org_id] not in {"", name}]
        orgs = list(of_site.filter(org_id__in=others)) if others else []
        renamed = {org: current[org.org_id] for org in orgs if self._is_new_name(org)}
        if renamed:
            self._rename(renamed)
        return names | {org.org_id: org.name for org in (*orgs, *new)}

    def _is_new_name(self, org: Org) -> bool:
        """Whether the different name that the sync shows for an org is newer than the known one."""
        is_baseline_of_known = self.is_baseline and org.name != ""
        return not is_baseline_of_known and self._is_newer_than(org.established_at)

    def _rename(self, names: dict[Org, str]) -> None:
        """Store and report new names, except for orgs whose own credentials in use show one."""
        in_use = Credential.objects.filter(site=self.site, retired_at=None)
        others = set(in_use.values_list("org_id", flat=True)) - {self.own_org.id}
        renamed = {
            org: name
            for org, name in names.items()
            if org.org_id not in others and not self._is_name_still_listed(org)
        }
        for org, name in renamed.items():
            if org.name:
                self._report(
                    kind=Kind.ORG_RENAMED,
                    org_id=org.org_id,
                    org_name=name,
                    before={"name": org.name},
                    after={"name": name},
                )
            org.name, org.established_at = name, self.sync.finished_at
        Org.objects.bulk_update(renamed, ["name", "established_at"])

    def _is_name_still_listed(self, org: Org) -> bool:
        """Whether another list shows the known name of an org without credentials of its own."""
        is_side = Q(source_org_id=org.org_id, source_org_name=org.name)
        is_side |= Q(sink_org_id=org.org_id, sink_org_name=org.name)
        listed = OrgConnectionSnapshot.objects.filter(is_side, site=self.site, is_current=True)
        others = listed.filter(credential__in=self._other_credentials)
        return org.name != "" and org.org_id != self.own_org.id and others.exists()

    # --- Connections ---

    def _find_unchanged(self, listed: Mapping[UUID, OrgConnection]) -> set[UUID]:
        """The connections that the sync shows unchanged, which is nearly always nearly all of them.

        Makes no model object for each, because that would take most of a sync's time.
        """
        rows = KnownConnection.objects.filter(
            site=self.site, connection_id__in=listed, is_present=True
        ).values_list("connection_id", "connection_types", *CREATOR_FIELDS)
        unchanged = set()
        for connection_id, types, *creator in rows:
            item = listed[connection_id]
            by = item.created_by
            listed_creator = [by.id, by.name, by.disabled, by.service_account]
            if types == list(item.connection_types) and creator == listed_creator:
                unchanged.add(connection_id)
        return unchanged

    def _snapshots_of(
        self, rows: Iterable[KnownConnection]
    ) -> dict[UUID, list[OrgConnectionSnapshot]]:
        """Every snapshot of these connections, by connection."""
        by_connection: dict[UUID, list[OrgConnectionSnapshot]] = defaultdict(list)
        # Nearly always empty.
        if ids := [row.connection_id for row in rows if row.is_present]:
            of_site = OrgConnectionSnapshot.objects.filter(site=self.site).order_by()
            for snapshot in of_site.filter(connection_id__in=ids):
                by_connection[snapshot.connection_id].append(snapshot)
        return by_connection

    @cached_property
    def _other_credentials(self) -> set[UUID]:
        """The credentials whose newest lists count beside this sync."""
        counting = losses.find_credentials_that_count(site=self.site, now=self.sync.finished_at)
        return counting - {self.sync.credential_id}

    def _compare(
        self,
        known: KnownConnection,
        current: KnownConnection,
        *,
        snapshots: Sequence[OrgConnectionSnapshot],
    ) -> None:
        """Compare a listed connection with what is known about it."""
        merge_unknown(known=known, current=current)
        others = [
            snapshot
            for snapshot in snapshots
            if snapshot.is_current and snapshot.credential_id in self._other_credentials
        ]
        keep_what_others_show(known=known, current=current, others=others)
        has_new_types = set(current.connection_types) != set(known.connection_types)
        has_new_creator = is_another_creator(known=known, current=current)
        if not has_new_types and same_creator_fields(known=known, current=current):
            self.unchanged.add(known.connection_id)
            return
        if self.is_baseline or not self._is_newer_than(known.established_at):
            # The next sync reports it.
            return
        current.lost_at = known.lost_at
        self.established.append(current)
        if has_new_types:
            widened = is_widened(before=known, after=current)
            lost_types = set(known.connection_types) - set(current.connection_types)
            former = [row for row in snapshots if lost_types.intersection(row.connection_types)]
            self._report_connection(
                current,
                kind=Kind.TYPES_CHANGED,
                before={"connection_types": known.connection_types},
                after={"connection_types": current.connection_types},
                widened=widened,
                needs_attention=widened,
                earliest_at=_last_shown_at(known, former),
            )
        if has_new_creator:
            former = [row for row in snapshots if shows_creator(row, known=known)]
            self._report_connection(
                current,
                kind=Kind.CREATOR_CHANGED,
                before=creator_state(known),
                after=creator_state(current),
                needs_attention=current.creator_is_disabled is True,
                earliest_at=_last_shown_at(known, former),
            )

    def _add_unknown(self, new: list[KnownConnection], *, listed: Collection[UUID]) -> None:
        """Report connections that no complete sync had listed before.

        A baseline only establishes them, except those that were created after the newest complete
        sync of another credential in use of one of their orgs.
        """
        others = self._others_of_pairs(new, listed=listed)
        former = self._former(new, others=others)
        lacked_at: dict[UUID, datetime] = {}
        if self.is_baseline:
            lacked_at = self._lacked_at(new)
            created = {_pair_of(current) for current in new if current.connection_id in lacked_at}
            gone = {pair: row for pair, row in former.items() if not row.is_present}
            recreated = self._deletions_of({pair: gone[pair] for pair in created & gone.keys()})
            recreated |= self._deleted_in_org_admin(new, others=others, former=former)
        else:
            recreated = self._deletions_of(former)
        for current in new:
            pair = _pair_of(current)
            other = others.get(pair)
            if pair in recreated:
                self._report_recreated(current, *recreated[pair])
            elif other and other.is_present and self._leaves_to_next_sync(other):
                continue
            elif self.is_baseline and current.connection_id not in lacked_at:
                self.established.append(current)
            else:
                self._report_appeared(current, lacked_at=lacked_at.get(current.connection_id))
        replaced = [known for known, _ in recreated.values() if known.is_present]
        if replaced:
            losses.mark_removed(replaced, site=self.site, at=self.sync.finished_at)

    def _leaves_to_next_sync(self, other: KnownConnection) -> bool:
        """Whether only the next sync can tell if the new connection exists beside the known one.

        A baseline reports no recreated pair, and a sync that began before the known connection was
        last shown might show an older state.
        """
        return self.is_baseline or not self._is_newer_than(other.last_shown_at)

    def _lacked_at(self, new: Iterable[KnownConnection]) -> dict[UUID, datetime]:
        """The connections that were created after another credential's list lacked them.

        For each of them, the start of that newest complete sync. Only credentials in use of one of
        its orgs count, because they would report it at their next sync.
        """
        complete = Sync.objects.filter(credential=OuterRef("pk"), is_complete=True).order_by(
            "-started_at"
        )
        in_use = Credential.objects.filter(site=self.site, retired_at=None)
        others = in_use.exclude(pk=self.sync.credential_id).order_by()
        newest = others.annotate(at=Subquery(complete.values("started_at")[:1]))
        synced_at: dict[str, list[datetime]] = defaultdict(list)
        for org_id, at in newest.exclude(at=None).values_list("org_id", "at"):
            synced_at[org_id].append(at)
        lacked_at = {}
        for current in new:
            times = [at for org_id in _pair_of(current) for at in synced_at[org_id]]
            created_at = current.created_at
            # Datadog's clock and the database's can differ by this much.
            lacked = [at for at in times if created_at and created_at > at - clock.TOLERANCE]
            if lacked:
                lacked_at[current.connection_id] = max(lacked)
        return lacked_at

    def _is_newly_visible(self, current: KnownConnection) -> bool:
        is_older = current.created_at is not None and current.created_at < self.previous_at
        return is_older and not self.is_baseline

    def _report_appeared(
        self, current: KnownConnection, *, lacked_at: datetime | None = None
    ) -> None:
        self.established.append(current)
        self._report_connection(
            current,
            kind=Kind.APPEARED,
            after=connection_state(current),
            newly_visible=self._is_newly_visible(current),
            needs_attention=AUDIT in current.connection_types,
            earliest_at=lacked_at or self.previous_at,
        )

    def _report_recreated(
        self, current: KnownConnection, former: KnownConnection, deletion: Deletion | None
    ) -> None:
        self.established.append(current)
        widened = is_widened(before=former, after=current)
        was_present = former.is_present
        self._report_connection(
            current,
            kind=Kind.RECREATED,
            before=connection_state(former),
            after=connection_state(current),
            widened=widened,
            newly_visible=self._is_newly_visible(current),
            needs_attention=(deletion is not None or widened or AUDIT in current.connection_types),
            deletion=deletion,
            earliest_at=(
                former.last_shown_at if was_present or self.is_baseline else self.previous_at
            ),
        )

    def _others_of_pairs(
        self, new: list[KnownConnection], *, listed: Collection[UUID]
    ) -> dict[_Pair, KnownConnection]:
        """The last known connection of each pair of orgs, if this sync doesn't list it."""
        pairs = {_pair_of(row) for row in new}
        rows = KnownConnection.objects.filter(
            site=self.site,
            source_org_id__in={source for source, _ in pairs},
            sink_org_id__in={sink for _, sink in pairs},
        )
        return {
            _pair_of(row): row
            for row in sorted(rows, key=lambda row: (row.is_present, row.established_at))
            if row.connection_id not in listed and _pair_of(row) in pairs
        }

    def _former(
        self, new: list[KnownConnection], *, others: dict[_Pair, KnownConnection]
    ) -> dict[_Pair, KnownConnection]:
        """The connections among `others` that are gone, or that a new connection replaced."""
        return {
            pair: other
            for current in new
            if (other := others.get(pair := _pair_of(current)))
            and (not other.is_present or self._replaces(current, other))
        }

    def _replaces(self, current: KnownConnection, other: KnownConnection) -> bool:
        """Whether a connection shows that another one between the same two orgs was removed.

        Datadog allows one connection per pair, so only the newer one is left. The creation time
        tells which is newer. Without it, a sync that began later than this one might have shown the
        newer one.
        """
        if current.created_at and other.created_at and current.created_at != other.created_at:
            return current.created_at > other.created_at
        return self._is_newer_than(other.last_shown_at)

    def _deletions_of(self, former: dict[_Pair, KnownConnection]) -> dict[_Pair, _Former]:
        """The former connections, each with Org Admin's deletion that might have removed it."""
        attempts = losses.attempts_that_might_have_removed(former.values(), site=self.site)
        return {
            pair: (row, attempt.deletion if (attempt := attempts.get(row.connection_id)) else None)
            for pair, row in former.items()
        }

    def _deleted_in_org_admin(
        self,
        new: list[KnownConnection],
        *,
        others: dict[_Pair, KnownConnection],
        former: dict[_Pair, KnownConnection],
    ) -> dict[_Pair, _Former]:
        """For pairs whose connection Org Admin deleted: that connection, and the last deletion."""
        pairs = {_pair_of(row) for row in new}
        pairs -= {pair for pair, other in others.items() if other.is_present}
        attempts = list(
            losses.attempts_that_might_have_deleted().filter(
                deletion__site=self.site,
                deletion__source_org_id__in={source for source, _ in pairs},
                deletion__sink_org_id__in={sink for _, sink in pairs},
            )
        )
        of_site = KnownConnection.objects.filter(site=self.site)
        ids = {attempt.deletion.connection_id for attempt in attempts}
        known = {row.connection_id: row for row in of_site.filter(connection_id__in=ids)}
        removed: dict[_Pair, _Former] = {}
        for attempt in attempts:
            deletion = attempt.deletion
            pair = (deletion.source_org_id, deletion.sink_org_id)
            row = known.get(deletion.connection_id) or known_from_deletion(deletion)
            # A connection that is present is listed in addition to the new one.
            is_gone = pair in pairs and not row.is_present
            if is_gone and losses.might_have_removed(attempt, row=row):
                removed[pair] = (row, deletion)
        replaced = {pair: row for pair, row in former.items() if row.is_present}
        return removed | {
            pair: (row, deletion)
            for pair, (row, deletion) in self._deletions_of(replaced).items()
            if deletion
        }

    def _save(self) -> None:
        KnownConnection.objects.bulk_create(
            self.established,
            update_conflicts=True,
            unique_fields=("site", "connection_id"),
            update_fields=_ESTABLISHED_FIELDS,
        )
        KnownConnection.objects.filter(
            site=self.site, connection_id__in=self.unchanged, last_shown_at__lt=self.at
        ).update(last_shown_at=self.at)
