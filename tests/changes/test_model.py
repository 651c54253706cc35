"""Whatever happens at Datadog, and in whatever order syncs end, the changes add up to what exists.

Replaying the reported changes must always be possible and must result in what is known, so nothing
is reported twice. After complete syncs of everything, it must result in what Datadog has, so
nothing is missed.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connections.datadog.payloads import OrgConnection
from connections.models import Change, Credential, KnownConnection
from tests.changes.support import make_connection, make_credential, sync, with_creator
from tests.support.clock import SettableClock

pytestmark = [pytest.mark.django_db, pytest.mark.database]

SINKS = ("dev", "lab")
TYPES = (("logs",), ("logs", "metrics"), ("audit",))

NUMBERS = st.integers(min_value=0, max_value=5)
STEPS = st.one_of(
    st.tuples(st.just("add"), NUMBERS),
    st.tuples(st.just("remove"), NUMBERS),
    st.tuples(st.just("recreate"), NUMBERS),
    st.tuples(st.just("retype"), NUMBERS),
    st.tuples(st.just("disable"), NUMBERS),
    st.tuples(st.just("sync"), NUMBERS),
    st.tuples(st.just("sync"), NUMBERS),
    st.tuples(st.just("fail"), NUMBERS),
    st.tuples(st.just("fetch"), NUMBERS),
    st.tuples(st.just("store"), NUMBERS),
)


@dataclass
class Orgs:
    """What Datadog has, who lists what, and the listings that are not stored yet."""

    clock: SettableClock
    connections: list[OrgConnection] = field(default_factory=list)
    fetched: list[tuple[Credential, tuple[OrgConnection, ...], datetime]] = field(
        default_factory=list
    )
    count: int = 0

    def __post_init__(self) -> None:
        self.add(0)
        self.add(1)
        # Everything; one destination; every second connection.
        self.credentials = [
            make_credential("a"),
            make_credential("b", org_id="dev"),
            make_credential("c"),
        ]
        for credential in self.credentials:
            self.store_sync(credential)

    def listed_by(self, credential: Credential) -> tuple[OrgConnection, ...]:
        """What this credential lists now."""
        if credential.name == "b":
            return tuple(
                connection for connection in self.connections if connection.sink_org.id == "dev"
            )
        if credential.name == "c":
            return tuple(
                connection for connection in self.connections if int(connection.id[-2:], 16) % 2
            )
        return tuple(self.connections)

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

    def store_sync(self, credential: Credential, *, is_complete: bool = True) -> None:
        """One sync, from beginning to end."""
        sync(credential, *self.listed_by(credential), is_complete=is_complete)
        self.clock.advance(seconds=1)

    def do(self, step: str, number: int) -> None:
        """One thing that happens."""
        self.clock.advance(seconds=1)
        credential = self.credentials[number % len(self.credentials)]
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
            case "sync":
                self.store_sync(credential)
            case "fail":
                sync(credential, *self.listed_by(credential)[:1], is_complete=False)
            case "fetch":
                self.fetched.append((credential, self.listed_by(credential), self.clock.now()))
            case "store" if self.fetched:
                who, listed, started_at = self.fetched.pop(number % len(self.fetched))
                sync(who, *listed, started_at=started_at)


def replay(known: dict[str, tuple[frozenset[str], bool]]) -> None:
    """Apply every reported change to what was known at the beginning."""
    rows = KnownConnection.objects.filter(connection_id__in=known)
    pairs = {str(row.connection_id): (row.source_org_id, row.sink_org_id) for row in rows}
    for change in Change.objects.order_by("number"):
        pk = str(change.connection_id)
        before, after = change.before or {}, change.after or {}
        match change.kind:
            case Change.Kind.APPEARED:
                assert pk not in known
                # Datadog allows one connection from one org to another.
                assert pair_of(change) not in pairs.values()
                pairs[pk] = pair_of(change)
                known[pk] = state_of(after)
            case Change.Kind.RECREATED:
                assert pk not in known
                assert before["connection_id"] != pk
                known.pop(before["connection_id"], None)
                pairs.pop(before["connection_id"], None)
                pairs[pk] = pair_of(change)
                known[pk] = state_of(after)
            case Change.Kind.REMOVED:
                assert known.pop(pk) == state_of(before)
                pairs.pop(pk)
            case Change.Kind.TYPES_CHANGED:
                types, disabled = known[pk]
                assert types == set(before["connection_types"])
                known[pk] = (frozenset(after["connection_types"]), disabled)
            case Change.Kind.CREATOR_CHANGED:
                types, disabled = known[pk]
                assert (disabled, after["created_by"]["disabled"]) == (False, True)
                known[pk] = (types, True)


def pair_of(change: Change) -> tuple[str, str]:
    return change.source_org_id, change.sink_org_id


def state_of(state: dict[str, Any]) -> tuple[frozenset[str], bool]:
    return frozenset(state["connection_types"]), state["created_by"]["disabled"]


def known_now() -> dict[str, tuple[frozenset[str], bool]]:
    return {
        str(row.connection_id): (frozenset(row.connection_types), bool(row.creator_is_disabled))
        for row in KnownConnection.objects.filter(is_present=True)
    }


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(STEPS, max_size=25))
def test_changes_add_up(steps: list[tuple[str, int]], clock: SettableClock) -> None:
    block = transaction.atomic()
    # Marked as a test's transaction, so that `_lock_order` checks that of each sync.
    block._from_testcase = True  # type: ignore[attr-defined]
    with block:
        orgs = Orgs(clock=clock)
        begin = known_now()
        for step, number in steps:
            orgs.do(step, number)
        replayed = dict(begin)
        replay(replayed)
        assert replayed == known_now()

        for _ in range(2):
            for credential in orgs.credentials:
                orgs.store_sync(credential)
        replayed = dict(begin)
        replay(replayed)
        at_datadog = {
            connection.id: (
                frozenset(connection.connection_types),
                bool(connection.created_by.disabled),
            )
            for connection in orgs.connections
        }
        assert replayed == known_now() == at_datadog
        transaction.set_rollback(True)
