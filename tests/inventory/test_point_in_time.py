"""What the newest complete syncs before a moment showed."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from connections.access.actor import Actor, command_actor
from connections.core.errors import InvalidInputError, NotKeptError
from connections.datadog.payloads import OrgConnection
from connections.inventory.point_in_time import PastConnection, list_connections_at, parse_moment
from connections.inventory.syncs import delete_old_syncs
from connections.models import AccessKind, Credential, CredentialAccess, Person
from tests.changes.support import (
    NAMES,
    kinds,
    make_connection,
    make_credential,
    sync,
    with_creator,
)
from tests.support.clock import SettableClock

pytestmark = [pytest.mark.django_db, pytest.mark.database]

DAY = 24


@pytest.fixture(autouse=True)
def now(clock: SettableClock) -> SettableClock:
    return clock


def rows_at(at: datetime) -> list[PastConnection]:
    return list_connections_at(actor=command_actor(), at=at).connections


def numbers_at(at: datetime) -> list[int]:
    return sorted(row.snapshot.connection_id.int for row in rows_at(at))


def not_covered_at(at: datetime) -> dict[str, datetime | None]:
    past = list_connections_at(actor=command_actor(), at=at)
    return {each.org.org_id: each.last_synced_at for each in past.not_covered}


def sync_at(clock: SettableClock, credential: Credential, *listed: OrgConnection) -> datetime:
    """When the sync was, a quarter of an hour before the clock's time afterwards."""
    at = clock.now()
    sync(credential, *listed)
    clock.advance(minutes=15)
    return at


def prune(clock: SettableClock, *credentials: Credential, listed: list[OrgConnection]) -> None:
    """Let 91 days pass, and delete what is deleted then."""
    clock.advance(hours=91 * DAY)
    for credential in credentials:
        sync(credential, *listed)
    assert delete_old_syncs()


@pytest.mark.parametrize("is_pruned", [False, True])
def test_a_removed_connection_is_listed_until_its_removal_was_detected(
    clock: SettableClock, is_pruned: bool
):
    prod = make_credential("a")
    shown_at = sync_at(clock, prod, make_connection(1), make_connection(2))
    removed_at = sync_at(clock, prod, make_connection(1))
    if is_pruned:
        prune(clock, prod, listed=[make_connection(1)])
    assert numbers_at(shown_at) == [1, 2]
    between = rows_at(removed_at - timedelta(seconds=1))
    assert [(row.snapshot.connection_id.int, row.is_changing) for row in between] == [
        (1, False),
        (2, True),
    ]
    assert numbers_at(removed_at) == [1]
    assert [row.is_changing for row in rows_at(removed_at)] == [False]


@pytest.mark.parametrize("is_pruned", [False, True])
def test_a_connection_has_the_state_of_then_and_is_marked_while_it_changed(
    clock: SettableClock, is_pruned: bool
):
    prod, wider = make_credential("a"), make_connection(types=("audit", "logs"))
    sync_at(clock, prod, make_connection())
    changed_at = sync_at(clock, prod, wider)
    if is_pruned:
        prune(clock, prod, listed=[wider])
    [before] = rows_at(changed_at - timedelta(seconds=1))
    [after] = rows_at(changed_at)
    assert (before.snapshot.connection_types, before.is_changing) == (["logs"], True)
    assert (after.snapshot.connection_types, after.is_changing) == (["audit", "logs"], False)


def test_the_creator_of_then_is_named(clock: SettableClock):
    prod = make_credential("a")
    sync_at(clock, prod, make_connection())
    changed_at = sync_at(clock, prod, with_creator(make_connection(), disabled=True))
    [before] = rows_at(changed_at - timedelta(seconds=1))
    assert (before.snapshot.creator_is_disabled, before.is_changing) == (False, True)


def test_a_renamed_org_has_its_name_of_then(clock: SettableClock, monkeypatch: pytest.MonkeyPatch):
    prod = make_credential("a")
    sync_at(clock, prod, make_connection())
    monkeypatch.setitem(NAMES, "prod", "Acme Production")
    renamed_at = sync_at(clock, prod, make_connection())
    [before] = rows_at(renamed_at - timedelta(seconds=1))
    [after] = rows_at(renamed_at)
    assert (before.snapshot.source_org_name, before.is_changing) == ("Acme Prod", True)
    assert (after.snapshot.source_org_name, after.is_changing) == ("Acme Production", False)


@pytest.mark.parametrize("is_pruned", [False, True])
def test_a_recreated_connection_is_listed_once_under_its_id_of_then(
    clock: SettableClock, is_pruned: bool
):
    prod, dev = make_credential("a"), make_credential("b", org_id="dev")
    for credential in (prod, dev):
        sync_at(clock, credential, make_connection(1))
    recreated_at = clock.now()
    assert kinds(sync(prod, make_connection(2))) == ["recreated"]
    clock.advance(minutes=15)
    sync_at(clock, dev, make_connection(2))
    if is_pruned:
        prune(clock, prod, dev, listed=[make_connection(2)])
    [before] = rows_at(recreated_at - timedelta(seconds=1))
    assert (before.snapshot.connection_id.int, before.is_changing) == (1, True)
    assert numbers_at(recreated_at) == [2]


def test_failed_syncs_show_nothing_and_end_nothing(clock: SettableClock):
    prod = make_credential("a")
    sync_at(clock, prod, make_connection(1))
    sync(prod, make_connection(3), is_complete=False)
    clock.advance(minutes=1)
    assert numbers_at(clock.now()) == [1]


def test_a_sync_that_had_not_ended_shows_nothing(clock: SettableClock):
    prod, started_at = make_credential("a"), clock.now()
    sync_at(clock, prod, make_connection(1))
    started_at = clock.now()
    clock.advance(seconds=20)
    sync(prod, make_connection(1), make_connection(2), started_at=started_at)
    assert numbers_at(started_at + timedelta(seconds=10)) == [1]
    assert numbers_at(clock.now()) == [1, 2]


def test_both_sides_show_one_connection_and_are_named(clock: SettableClock):
    prod, dev = make_credential("b"), make_credential("a", org_id="dev")
    sync_at(clock, prod, make_connection(1))
    at = sync_at(clock, dev, make_connection(1))
    [row] = rows_at(at)
    assert [credential.name for credential in row.listed_by] == ["a", "b"]
    assert row.as_of == at


@pytest.mark.parametrize("is_pruned", [False, True])
def test_orgs_without_a_complete_sync_in_the_day_before_are_not_covered(
    clock: SettableClock, is_pruned: bool
):
    prod, dev = make_credential("a"), make_credential("b", org_id="dev")
    last_at = sync_at(clock, prod, make_connection(1))
    clock.advance(hours=DAY)
    at = sync_at(clock, dev)
    if is_pruned:
        prune(clock, prod, dev, listed=[])
    assert not_covered_at(last_at + timedelta(days=1)) == {"dev": None}
    assert not_covered_at(at) == {"prod": last_at}


def test_an_org_without_any_sync_is_not_covered(clock: SettableClock):
    at = sync_at(clock, make_credential("a"), make_connection(1))
    assert not_covered_at(at) == {"dev": None}


def test_the_last_list_of_a_retired_credential_counts_until_another_one_syncs_its_org(
    clock: SettableClock,
):
    old = make_credential("a")
    sync_at(clock, old, make_connection(1))
    Credential.objects.filter(pk=old.pk).update(retired_at=clock.now())
    clock.advance(minutes=1)
    assert numbers_at(clock.now()) == [1]
    sync(make_credential("b"))
    assert numbers_at(clock.now()) == []


def test_before_the_first_sync_nothing_was_kept(clock: SettableClock):
    at = sync_at(clock, make_credential("a"), make_connection(1))
    with pytest.raises(NotKeptError, match="The first complete sync that is known ended at"):
        rows_at(at - timedelta(seconds=1))


def test_without_a_sync_nothing_was_kept(clock: SettableClock):
    make_credential("a")
    with pytest.raises(NotKeptError, match="No complete sync is stored"):
        rows_at(clock.now())


def test_the_future_is_refused(clock: SettableClock):
    sync(make_credential("a"))
    with pytest.raises(InvalidInputError, match="is in the future"):
        rows_at(clock.now() + timedelta(minutes=1))


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-09-30", "2026-09-30T23:59:59+00:00"),
        ("2026-09-30T12:00:00", "2026-09-30T12:00:00+00:00"),
        ("2026-09-30T12:00:00+02:00", "2026-09-30T10:00:00+00:00"),
    ],
)
def test_a_moment_is_utc_unless_it_says_otherwise_and_a_date_ends(text: str, moment: str):
    assert parse_moment(text).isoformat() == moment


@pytest.mark.parametrize("text", ["", "yesterday", "2026-02-30", "0001-01-01T00:00:00+14:00"])
def test_unusable_text_is_refused(text: str):
    with pytest.raises(InvalidInputError, match="Use a time such as"):
        parse_moment(text)


def test_what_access_lists_hide_is_missing(
    clock: SettableClock, victor: Person, root: Person, actor_for: Callable[[Person], Actor]
):
    prod, hidden = make_credential("a"), make_credential("b", org_id="dev")
    sync_at(clock, prod, make_connection(1))
    sync_at(clock, hidden, make_connection(1), make_connection(2, source="labs"))
    CredentialAccess.objects.create(credential=hidden, kind=AccessKind.SEE, person=root)
    past = list_connections_at(actor=actor_for(victor), at=clock.now())
    assert [row.snapshot.connection_id.int for row in past.connections] == [1]
    assert [row.listed_by for row in past.connections] == [[prod]]
    assert [each.org.org_id for each in past.not_covered] == ["dev"]


def test_many_connections_take_no_more_statements(clock: SettableClock):
    prod = make_credential("a")
    counts = []
    for count in (2, 200):
        sync_at(clock, prod, *(make_connection(number) for number in range(1, count + 1)))
        with CaptureQueriesContext(
            connection,
        ) as statements:
            assert len(numbers_at(clock.now())) == count
        counts.append(len(statements))
    assert counts[0] == counts[1]


@dataclass
class World:
    """Orgs that each sync at random times, and what each complete sync listed and when."""

    clock: SettableClock
    chance: random.Random
    credentials: list[Credential]
    present: dict[int, OrgConnection] = field(default_factory=dict)
    lists: list[tuple[datetime, Credential, dict[int, OrgConnection]]] = field(default_factory=list)
    there: list[tuple[datetime, set[int]]] = field(default_factory=list)

    def step(self, number: int) -> None:
        self.clock.advance(minutes=self.chance.randint(1, 90))
        source, sink = self.chance.sample(["prod", "dev", "labs"], 2)
        match self.chance.choice(["sync", "sync", "sync", "fail", "create", "remove", "widen"]):
            case "sync":
                self.sync(self.chance.choice(self.credentials))
            case "fail":
                sync(self.chance.choice(self.credentials), is_complete=False)
            case "create":
                self.present[number] = make_connection(number, source=source, sink=sink)
            case "remove" if self.present:
                del self.present[self.chance.choice(list(self.present))]
            case "widen" if self.present:
                chosen = self.chance.choice(list(self.present))
                types = ("logs", f"type-{number}")
                self.present[chosen] = replace(self.present[chosen], connection_types=types)

    def sync(self, credential: Credential) -> None:
        listed = {
            number: item
            for number, item in self.present.items()
            if credential.org_id in {item.source_org.id, item.sink_org.id}
        }
        sync(credential, *listed.values())
        self.lists.append((self.clock.now(), credential, listed))
        self.there.append((self.clock.now(), set(self.present)))

    def expected_at(self, at: datetime) -> dict[int, list[str]]:
        """As the newest list of those who ever listed a connection shows it."""
        expected: dict[int, list[str]] = {}
        by_then = [each for each in self.lists if each[0] <= at]
        for number in {number for *_, listed in by_then for number in listed}:
            listing = {owner.pk for _, owner, listed in by_then if number in listed}
            newest = [listed for _, owner, listed in by_then if owner.pk in listing][-1]
            if number in newest:
                expected[number] = list(newest[number].connection_types)
        return expected

    def listed_by_one_at(self, at: datetime) -> set[int]:
        """What the newest list of any credential has."""
        newest = {owner.pk: listed for ended_at, owner, listed in self.lists if ended_at <= at}
        return {number for listed in newest.values() for number in listed}

    def present_at(self, at: datetime) -> set[int]:
        """What was there in Datadog at the newest sync."""
        return [present for synced_at, present in self.there if synced_at <= at][-1]


@pytest.mark.parametrize("seed", range(12))
def test_random_syncs_show_at_each_moment_what_a_simple_reading_of_their_lists_shows(
    clock: SettableClock, seed: int
):
    owners = [make_credential(org_id, org_id=org_id) for org_id in ("prod", "dev", "labs")]
    world = World(clock, random.Random(seed), owners)  # noqa: S311 - to be repeatable
    began_at = clock.now()
    for owner in owners:
        world.sync(owner)
        clock.advance(minutes=1)
    for number in range(1, 60):
        world.step(number)
    # Every removal is settled once both orgs are synced.
    for owner in owners:
        clock.advance(minutes=1)
        world.sync(owner)
    minutes = int((clock.now() - began_at).total_seconds() // 60)
    moments = [began_at + timedelta(minutes=world.chance.randint(3, minutes)) for _ in range(25)]
    for at in [*moments, *(ended_at for ended_at, *_ in world.lists[3:])]:
        rows = {row.snapshot.connection_id.int: row for row in rows_at(at)}
        expected = world.expected_at(at)
        # A recreated one counts as there until a list has the new one, if one side lists it, and as
        # gone afterwards, though the side with the new one never listed it.
        replaced = {number for number in rows.keys() - expected.keys() if rows[number].is_changing}
        assert replaced <= world.listed_by_one_at(at)
        gone = expected.keys() - rows.keys()
        assert gone.isdisjoint(world.present_at(at))
        shown = {number: row.snapshot.connection_types for number, row in rows.items()}
        assert {number: shown[number] for number in shown.keys() - replaced} == {
            number: expected[number] for number in expected.keys() - gone
        }
