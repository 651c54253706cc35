"""Whatever happens at Datadog, and in whatever order syncs end, the changes add up to what exists.

Credentials list different connections, hide connections and data types, fail, and are added and
retired. Replaying the reported changes must always be possible and must result in what is known,
so nothing is reported twice. After complete syncs of everything, it must result in what Datadog
has, so nothing is missed. Lists that contradict each other are reported once, and nothing is
reported as removed while a credential in use might still list it.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from connections.core.clock import TOLERANCE
from connections.datadog.payloads import OrgConnection
from connections.models import Change, Credential, KnownConnection, OrgConnectionSnapshot
from tests.changes.support import make_connection, make_credential, sync, with_creator
from tests.support.clock import SettableClock
from tests.support.sweeps import ON_POSTGRESQL, TAKES_ALL

pytestmark = [pytest.mark.django_db, pytest.mark.database, pytest.mark.sweep]

SINKS = ("dev", "lab", "test")
TYPES = (("logs",), ("logs", "metrics"), ("audit",))
DAY = timedelta(hours=24)
# What a credential lists: everything; one destination; every second connection.
KINDS = ("all", "dev", "odd")

NUMBERS = st.integers(min_value=0, max_value=5)
STEPS = st.tuples(
    st.sampled_from(
        (
            *("add", "remove", "recreate", "retype", "disable", "wait"),
            *("sync", "sync", "sync", "fail", "fail", "fetch", "store"),
            *("hide connections", "hide types", "add credential", "retire credential"),
        )
    ),
    NUMBERS,
)

# The data types of a connection, and whether its creator is disabled, by connection ID.
type States = dict[str, tuple[frozenset[str], bool]]


@dataclass(eq=False)
class Lister:
    """One credential: what it lists, and what its stored syncs showed."""

    stored: Credential
    kind: str
    hides_connections: bool = False
    hides_types: bool = False
    # The start and the list of the newest complete sync.
    synced_at: datetime | None = None
    listed: set[str] = field(default_factory=set)
    # When its syncs began to fail.
    failing_since: datetime | None = None

    def lists(self, connections: list[OrgConnection]) -> tuple[OrgConnection, ...]:
        """What this credential lists of these connections."""
        found = []
        for item in connections:
            is_odd = int(item.id[-2:], 16) % 2 == 1
            if self.kind == "dev" and item.sink_org.id != "dev":
                continue
            if (self.kind == "odd" and not is_odd) or (self.hides_connections and is_odd):
                continue
            types = set(item.connection_types)
            if self.hides_types:
                types -= {"metrics", "audit"}
            found.append(replace(item, connection_types=tuple(sorted(types))))
        return tuple(found)


@dataclass
class Orgs:
    """What Datadog has, who lists what, and the lists that are not stored yet."""

    clock: SettableClock
    connections: list[OrgConnection] = field(default_factory=list)
    credentials: list[Lister] = field(default_factory=list)
    fetched: list[tuple[Lister, tuple[OrgConnection, ...], datetime]] = field(default_factory=list)
    count: int = 0
    # What replaying the changes results in, and the pair of orgs of each connection.
    replayed: States = field(default_factory=dict)
    pairs: dict[str, tuple[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.add(0)
        self.add(1)
        for kind in KINDS:
            self.add_credential(kind)
        for credential in self.credentials:
            self.store_sync(credential)

    def add_credential(self, kind: str) -> None:
        """Another credential of the org that lists this."""
        name = f"{kind} {len(self.credentials)} {self.clock.at}"
        org_id = "dev" if kind == "dev" else "prod"
        self.credentials.append(Lister(stored=make_credential(name, org_id=org_id), kind=kind))

    def add(self, number: int) -> None:
        """Another connection; never one of a pair of orgs that has one."""
        sink = SINKS[number % len(SINKS)]
        if sink not in {connection.sink_org.id for connection in self.connections}:
            self.count += 1
            new = make_connection(self.count, sink=sink)
            self.connections.append(replace(new, created_at=self.clock.now()))

    def change(self, number: int, **values: object) -> None:
        """Change one connection, if there is any."""
        if self.connections:
            index = number % len(self.connections)
            self.connections[index] = replace(self.connections[index], **values)  # type: ignore[arg-type]

    def store_sync(self, credential: Lister) -> None:
        """One complete sync, from beginning to end."""
        self.store(credential, credential.lists(self.connections), self.clock.now())
        self.clock.advance(seconds=1)

    def store(
        self, credential: Lister, listed: tuple[OrgConnection, ...], started_at: datetime
    ) -> None:
        """Store a complete sync, and compare what it reports with what it can know."""
        is_baseline = credential.synced_at is None
        before = set(self.replayed)
        changes = sync(credential.stored, *listed, started_at=started_at)
        if credential.synced_at is None or started_at >= credential.synced_at:
            credential.synced_at = started_at
            credential.listed = {item.id for item in listed}
        if not credential.failing_since or started_at >= credential.failing_since:
            credential.failing_since = None
        self.replay(changes)
        new = {item.id: item for item in listed if item.id not in before}
        reported = {str(change.connection_id) for change in changes}
        if is_baseline:
            for pk, item in new.items():
                self._check_baseline(credential, item, is_reported=pk in reported)
        assert self.replayed == known_now()

    def _check_baseline(
        self, credential: Lister, item: OrgConnection, *, is_reported: bool
    ) -> None:
        """A first sync may only keep silent about what others could have listed before."""
        synced_at = [
            other.synced_at
            for other in self.credentials
            if other is not credential
            and other.stored.org_id in {item.source_org.id, item.sink_org.id}
            and other.synced_at
        ]
        created_at = item.created_at
        assert created_at is not None
        if is_reported:
            assert any(created_at > at - TOLERANCE for at in synced_at)
        elif item.id in known_now():
            assert not any(created_at > at for at in synced_at)
            self.replayed[item.id] = known_now()[item.id]
            self.pairs[item.id] = (item.source_org.id, item.sink_org.id)

    def fail(self, credential: Lister, *, count: int) -> None:
        """One sync that fails after it has listed this many connections."""
        listed = credential.lists(self.connections)[:count]
        credential.failing_since = credential.failing_since or self.clock.now()
        self.replay(sync(credential.stored, *listed, is_complete=False))
        assert self.replayed == known_now()

    def replay(self, changes: list[Change]) -> None:
        """Apply new changes to what the earlier ones resulted in."""
        for change in changes:
            pk, pair = str(change.connection_id), (change.source_org_id, change.sink_org_id)
            before, after = change.before or {}, change.after or {}
            match change.kind:
                case Change.Kind.APPEARED:
                    assert pk not in self.replayed
                    # Datadog allows one connection from one org to another.
                    assert pair not in self.pairs.values()
                    self.pairs[pk], self.replayed[pk] = pair, state_of(after)
                case Change.Kind.RECREATED:
                    assert pk not in self.replayed
                    assert before["connection_id"] != pk
                    self.replayed.pop(before["connection_id"], None)
                    self.pairs.pop(before["connection_id"], None)
                    self.pairs[pk], self.replayed[pk] = pair, state_of(after)
                case Change.Kind.REMOVED:
                    assert self.replayed.pop(pk) == state_of(before)
                    self.pairs.pop(pk)
                    self._check_removal(change)
                case Change.Kind.TYPES_CHANGED:
                    types, disabled = self.replayed[pk]
                    assert types == set(before["connection_types"])
                    self.replayed[pk] = (frozenset(after["connection_types"]), disabled)
                case Change.Kind.CREATOR_CHANGED:
                    types, disabled = self.replayed[pk]
                    assert (disabled, after["created_by"]["disabled"]) == (False, True)
                    self.replayed[pk] = (types, True)

    def _check_removal(self, change: Change) -> None:
        """No credential in use lists it, except those that it names: their syncs fail."""
        for credential in self.credentials:
            if str(credential.stored.pk) in change.not_checked_by:
                assert credential.failing_since
                assert self.clock.now() - credential.failing_since >= DAY
            else:
                assert str(change.connection_id) not in credential.listed
            credential.listed.discard(str(change.connection_id))

    def do(self, step: str, number: int) -> None:
        """One thing that happens."""
        self.clock.advance(seconds=1)
        credential = self.credentials[number % len(self.credentials)]
        match step:
            case "sync":
                self.store_sync(credential)
            case "fail":
                self.fail(credential, count=number % 2)
            case "fetch":
                listed = credential.lists(self.connections)
                self.fetched.append((credential, listed, self.clock.now()))
            case "store" if self.fetched:
                self.store(*self.fetched.pop(number % len(self.fetched)))
            case "hide connections":
                credential.hides_connections = not credential.hides_connections
            case "hide types":
                credential.hides_types = not credential.hides_types
            case "add credential":
                self.add_credential(KINDS[number % len(KINDS)])
                self.store_sync(self.credentials[-1])
            case "retire credential" if number:
                # The first one stays, so that one credential can always list everything.
                self.retire(credential)
            case "wait":
                self.clock.advance(hours=13)
            case _:
                self.do_at_datadog(step, number)

    def do_at_datadog(self, step: str, number: int) -> None:
        """One thing that happens at Datadog."""
        match step:
            case "add":
                self.add(number)
            case "remove" if self.connections:
                self.connections.pop(number % len(self.connections))
            case "recreate" if self.connections:
                former = self.connections.pop(number % len(self.connections))
                self.add(SINKS.index(former.sink_org.id))
            case "retype":
                self.change(number, connection_types=TYPES[number % len(TYPES)])
            case "disable" if self.connections:
                item = self.connections[number % len(self.connections)]
                self.change(number, created_by=with_creator(item, disabled=True).created_by)

    def retire(self, credential: Lister) -> None:
        """Retire a credential, unless it is the first one."""
        if credential is not self.credentials[0]:
            self.credentials.remove(credential)
            credential.stored.retired_at = self.clock.now()
            credential.stored.save()
            self.fetched = [each for each in self.fetched if each[0] is not credential]

    def sync_all(self, *, rounds: int) -> None:
        """Complete syncs of everything, twice or more often."""
        for _ in range(rounds):
            for credential in self.credentials:
                self.store_sync(credential)


def state_of(state: dict[str, Any]) -> tuple[frozenset[str], bool]:
    return frozenset(state["connection_types"]), state["created_by"]["disabled"]


def known_now() -> States:
    return {
        str(row.connection_id): (frozenset(row.connection_types), bool(row.creator_is_disabled))
        for row in KnownConnection.objects.filter(is_present=True)
    }


def last_listed_by_retired() -> set[str]:
    """The connections that nothing removes: their last credential was retired."""
    current = OrgConnectionSnapshot.objects.filter(is_current=True).exclude(
        credential__retired_at=None
    )
    return {str(pk) for pk in current.values_list("connection_id", flat=True)}


@pytest.mark.slow
@settings(
    max_examples=100 if TAKES_ALL else 3 if ON_POSTGRESQL else 8,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(STEPS, max_size=25))
@example(steps=[("retype", 2), ("hide types", 1)])
@example(steps=[("add", 2), ("add credential", 0)])
@example(steps=[("hide connections", 1), ("sync", 1), ("fail", 0), ("fail", 2)])
def test_changes_add_up(steps: list[tuple[str, int]], clock: SettableClock):
    block = transaction.atomic()
    # Marked as a test's transaction, so that `_lock_order` checks that of each sync.
    block._from_testcase = True  # type: ignore[attr-defined]
    with block:
        orgs = Orgs(clock=clock)
        for step, number in steps:
            orgs.do(step, number)

        # Lists that keep contradicting each other are reported once.
        orgs.sync_all(rounds=3)
        count = Change.objects.count()
        orgs.sync_all(rounds=3)
        assert Change.objects.count() == count

        for credential in orgs.credentials:
            credential.hides_connections = credential.hides_types = False
        orgs.sync_all(rounds=2)
        at_datadog = {
            connection.id: (
                frozenset(connection.connection_types),
                bool(connection.created_by.disabled),
            )
            for connection in orgs.connections
        }
        known = known_now()
        assert known.keys() - at_datadog.keys() <= last_listed_by_retired()
        assert {pk: known.get(pk) for pk in at_datadog} == at_datadog
        transaction.set_rollback(True)
