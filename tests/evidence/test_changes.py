"""Changes outside Org Admin and their acknowledgements are compared with their events."""

from collections.abc import Iterator
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from django.db import connection, models

from connections.access.actor import person_actor
from connections.changes.acknowledgement import acknowledge_changes
from connections.evidence import changes as comparison
from connections.evidence.stored_events import Fault
from connections.evidence.verification import verify_in_steps
from connections.models import Change, Person
from tests.changes.support import make_connection, make_credential, sync
from tests.evidence.support import verified
from tests.support.append_only import triggers_off
from tests.support.clock import SettableClock

pytestmark = pytest.mark.database(every=2)

NOTE = "Announced – „Süd“ \u202e"
# No event contains it, as docs/EVIDENCE.md says.
NOT_COMPARED = {"search_text"}


@pytest.fixture
def changes(transactional_db: None, clock: SettableClock, ada: Person) -> Iterator[list[Change]]:
    """Three changes: one of a sync of its own, and two of another; the second is acknowledged.

    The triggers are off, as the owner of the database can turn them off.
    """
    credential = make_credential("a")
    known = [make_connection(number, sink=f"org-{number}") for number in (1, 2, 3)]
    sync(credential, *known)
    clock.advance(minutes=15)
    found = sync(credential, *known[1:])
    clock.advance(minutes=15)
    found += sync(credential, *(replace(each, connection_types=("audit",)) for each in known[1:]))
    acknowledge_changes(actor=person_actor(person=ada), change_ids=[found[1].pk], note=NOTE)
    with triggers_off():
        yield list(Change.objects.order_by("number"))


def sql(statement: str, change_id: UUID) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, [raw_id(change_id)])


def raw_id(pk: UUID) -> str:
    return str(pk) if connection.vendor == "postgresql" else pk.hex


def update(change: Change, **values: object) -> None:
    Change.objects.filter(pk=change.pk).update(**values)


def another_value(change: Change, field: "models.Field[object, object]") -> object:
    """A value of the same type that the change doesn't have."""
    value = getattr(change, field.attname)
    if isinstance(field, models.DateTimeField):
        return change.recorded_at.replace(year=2020)
    if isinstance(field, models.BooleanField):
        return not value
    if isinstance(field, models.JSONField):
        return [str(uuid4())] if isinstance(value, list) else {"connection_types": ["rum"]}
    if isinstance(field, models.BigIntegerField):
        return 99
    if isinstance(field, models.UUIDField):
        return uuid4()
    return f"{value}x"[-16:]


def assert_named(*named: Change) -> None:
    code, document = verified()
    ids = {str(each.pk) for each in named}
    assert (code, document["fault"], set(document["changes"])) == (1, Fault.CHANGE, ids)
    assert all(each in document["message"] for each in ids)


@pytest.mark.parametrize("batch_size", [1, 2, 500])
def test_untouched_changes_match_their_events(
    changes: list[Change], batch_size: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(comparison, "_EVENTS_PER_QUERY", batch_size)
    code, document = verified()
    assert (code, document["fault"], document["changes"]) == (0, None, [])


def test_an_altered_column_of_a_change_is_detected(
    changes: list[Change], subtests: pytest.Subtests
):
    acknowledgement = {"acknowledged_at", "note"}
    fields = {field.name: field for field in Change._meta.concrete_fields}
    for name in fields.keys() - NOT_COMPARED - {"id", "deletion", "acknowledged_by"}:
        change = changes[1] if name in acknowledgement else changes[0]
        with subtests.test(name=name):
            before = getattr(change, fields[name].attname)
            update(change, **{name: another_value(change, fields[name])})
            assert_named(change)
            update(change, **{name: before})
    assert verified()[0] == 0


def test_an_altered_change_is_named_with_the_others_of_its_event(changes: list[Change]):
    update(changes[2], needs_attention=not changes[2].needs_attention)
    assert_named(changes[1], changes[2])


def test_a_removed_change_is_named(changes: list[Change]):
    sql("DELETE FROM connections_change WHERE id = %s", changes[1].pk)
    assert_named(changes[1])


def test_an_invented_change_is_named(changes: list[Change]):
    invented = Change.objects.get(pk=changes[0].pk)
    invented.pk, invented.number = uuid4(), 4
    invented.save(force_insert=True)
    assert_named(invented)


@pytest.mark.parametrize(
    "values",
    [
        {"acknowledged_at": None, "acknowledged_by": None, "note": ""},
        {"acknowledged_by": "linus"},
    ],
    ids=["removed", "by another person"],
)
def test_an_altered_acknowledgement_is_named(
    changes: list[Change], linus: Person, values: dict[str, object]
):
    values = {key: linus if value == "linus" else value for key, value in values.items()}
    update(changes[1], **values)
    assert_named(changes[1])


def test_an_invented_acknowledgement_is_named(changes: list[Change], ada: Person):
    update(changes[0], acknowledged_at=changes[0].recorded_at, acknowledged_by=ada, note="Known.")
    assert_named(changes[0])


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL refuses such a value.")
def test_an_unreadable_change_is_named(changes: list[Change], caplog: pytest.LogCaptureFixture):
    sql("UPDATE connections_change SET connection_id = 'x' WHERE id = %s", changes[0].pk)
    sql("UPDATE connections_change SET id = 'nonsense' WHERE id = %s", changes[1].pk)
    code, document = verified()
    assert (code, document["fault"]) == (1, Fault.CHANGE)
    ids = {str(changes[0].pk), str(changes[1].pk), "nonsense"}
    assert set(document["changes"]) == ids
    assert f"Change {changes[0].pk} cannot be compared with its event." in caplog.messages


def test_what_is_stored_meanwhile_raises_no_alarm(
    changes: list[Change], clock: SettableClock, ada: Person
):
    steps = verify_in_steps()
    next(steps)
    clock.advance(minutes=15)
    credential = make_credential("b")
    sync(credential)
    clock.advance(minutes=15)
    [found] = sync(credential, make_connection(7, sink="new"))
    ids = [changes[0].pk, found.pk]
    acknowledge_changes(actor=person_actor(person=ada), change_ids=ids, note=NOTE)
    report = next(step for step in steps if step is not None)
    assert (report.fault, report.message) == (None, "The audit log is intact.")
