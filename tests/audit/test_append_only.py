"""The database refuses to change or remove recorded events."""

from collections.abc import Callable
from contextlib import suppress

import pytest
from django.db import Error as DatabaseError
from django.db import connection, transaction
from pytest_django import DjangoAssertNumQueries

from connections import audit
from connections.access.actor import WORKER, Actor, command_actor
from connections.audit import EventCode, checkpoints
from connections.audit.personal_data import name_of
from connections.evidence import verification
from connections.models import AuditEvent, AuditHead, Person, PersonalValue
from connections.verifier.events import commitment_of

pytestmark = pytest.mark.database

REST = (
    "text, previous, hash, at, code, actor_kind, actor_id, actor, request_id, subject_type, "
    "subject_id, sentence"
)
# Inserts the first event again.
INSERT_AGAIN = f"""
    INSERT INTO connections_auditevent
    SELECT {{seq}}, {REST}
    FROM connections_auditevent WHERE seq = 1
"""  # noqa: S608 - our own words
REFUSED = {
    "edit": "UPDATE connections_auditevent SET text = 'x'",
    "edit a copied column": "UPDATE connections_auditevent SET sentence = 'x' WHERE seq = 1",
    "remove": "DELETE FROM connections_auditevent",
    "leave a gap": INSERT_AGAIN.format(seq="seq + 7"),
    "put in again": INSERT_AGAIN.format(seq="seq"),
    "change a name": "UPDATE connections_personalvalue SET value = 'Eve'",
    "change a commitment while erasing": "UPDATE connections_personalvalue SET value = '', "
    "salt = '', erased_at = CURRENT_TIMESTAMP, commitment = 'x'",
    "remove a name": "DELETE FROM connections_personalvalue",
    "wind the head back": "UPDATE connections_audithead SET size = size - 1",
    "change the origin": "UPDATE connections_audithead SET size = size + 1, origin = 'x'",
    "remove the head": "DELETE FROM connections_audithead",
    "add a head": "INSERT INTO connections_audithead (id, origin, size, hash, frontier) "
    "VALUES (2, 'x', 0, 'x', '')",
    "change a checkpoint": "UPDATE connections_checkpoint SET note = 'x'",
    "remove a checkpoint": "DELETE FROM connections_checkpoint",
    "change a verification": "UPDATE connections_auditverification SET fault = ''",
    "remove a verification": "DELETE FROM connections_auditverification",
}
SQLITE = {
    "replace": INSERT_AGAIN.format(seq="seq").replace("INSERT", "INSERT OR REPLACE"),
    "replace by the hidden number": INSERT_AGAIN.format(seq="seq + 2").replace(
        "INSERT INTO connections_auditevent\n    SELECT",
        f"INSERT OR REPLACE INTO connections_auditevent (rowid, seq, {REST})\n    SELECT rowid,",
    ),
    "erase a name and replace another by the hidden number": "UPDATE OR REPLACE "
    "connections_personalvalue SET value = '', salt = '', erased_at = CURRENT_TIMESTAMP, "
    "rowid = 9 WHERE number = 1",
    "replace a checkpoint": "INSERT OR REPLACE INTO connections_checkpoint "
    "SELECT * FROM connections_checkpoint",
    "update or replace": "UPDATE OR REPLACE connections_auditevent SET seq = 1",
}
POSTGRESQL = {
    "upsert": INSERT_AGAIN.format(seq="seq") + "ON CONFLICT (seq) DO UPDATE SET text = 'x'",
    "truncate the events": "TRUNCATE connections_auditevent",
    "truncate the names": "TRUNCATE connections_personalvalue",
    "truncate the head": "TRUNCATE connections_audithead",
    "truncate the checkpoints": "TRUNCATE connections_checkpoint",
    "truncate the verifications": "TRUNCATE connections_auditverification",
}


@pytest.fixture
def record_of_two(ada: Person, actor_for: Callable[[Person], Actor]) -> None:
    """Two events, a name, a checkpoint and a verification."""
    for number in range(2):
        audit.record(
            code=EventCode.EXPORT_STARTED,
            actor=actor_for(ada),
            sentence=audit.Sentence("Act {number}.", number=number),
        )
    checkpoints.make_checkpoint()
    list(verification.verify_and_store())


def refuses(statement: str) -> None:
    with (
        pytest.raises(DatabaseError, match="append-only"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)
    assert verification.verify_audit_log().fault is None


@pytest.mark.parametrize("how", REFUSED)
def test_the_database_refuses_to(record_of_two: None, how: str):
    refuses(REFUSED[how])


@pytest.mark.parametrize("how", SQLITE)
def test_sqlite_refuses_to(record_of_two: None, how: str):
    if connection.vendor != "sqlite":
        pytest.skip("SQLite's own words")
    refuses(SQLITE[how])


@pytest.mark.parametrize("how", POSTGRESQL)
def test_postgresql_refuses_to(record_of_two: None, how: str):
    if connection.vendor != "postgresql":
        pytest.skip("PostgreSQL's own words")
    refuses(POSTGRESQL[how])


def test_an_event_stores_no_name_but_is_shown_with_it(
    ada: Person, edith: Person, actor_for: Callable[[Person], Actor]
):
    audit.record(
        code=EventCode.PERSON_CHANGED,
        actor=actor_for(ada),
        subject=edith,
        sentence=audit.Sentence("{person} came.", person=name_of(edith)),
    )
    stored = AuditEvent.objects.latest("seq")
    assert "Ada" not in stored.text
    assert "Edith" not in stored.text
    assert stored.actor_name == "Ada"
    assert stored.stored_sentence == "{name:2} came."
    assert stored.sentence == "Edith came."


@pytest.mark.parametrize(
    "text", ["{person}", "{name:1}", "{{name:1}}", "{0}", "}{", "\ufdd0\ufdd1"]
)
def test_text_from_outside_is_neither_a_template_nor_a_reference(
    ada: Person, actor_for: Callable[[Person], Actor], text: str
):
    sentence = audit.Sentence("{person} met {org}.", person=name_of(ada), org=text)
    audit.record(
        code=EventCode.PERSON_CHANGED,
        actor=actor_for(ada),
        sentence=sentence.followed_by(f"{text}!", ""),
    )
    stored = AuditEvent.objects.latest("seq")
    assert stored.references == {1}
    assert stored.sentence == f"Ada met {text}. {text}!"


def test_a_sentence_names_the_actor_of_its_event(ada: Person, actor_for: Callable[[Person], Actor]):
    for actor in (actor_for(ada), WORKER):
        audit.record(
            code=EventCode.EXPORT_STARTED,
            actor=actor,
            sentence=audit.Sentence("{actor} saw a {{brace}}.").followed_by("It was {actor}."),
        )
    by_ada, by_worker = AuditEvent.objects.order_by("seq")
    assert by_ada.sentence == "Ada saw a {brace}. It was {actor}."
    assert by_ada.references == {1}
    assert by_worker.sentence == f"{WORKER.name} saw a {{brace}}. It was {{actor}}."


def test_the_values_of_an_event_must_match_its_template():
    for values in (
        {},
        {"who": "Ada", "what": "it"},
        {"what": "it"},
        {"who": "Ada", "actor": "Bob"},
    ):
        with pytest.raises(TypeError):
            audit.Sentence("{who} came.", **values)


def test_a_name_is_stored_once_for_each_person(ada: Person, actor_for: Callable[[Person], Actor]):
    for _ in range(3):
        audit.record(
            code=EventCode.EXPORT_STARTED, actor=actor_for(ada), sentence=audit.Sentence("Again.")
        )
    [value] = PersonalValue.objects.all()
    assert (value.number, value.value, value.person_id) == (1, "Ada", ada.pk)
    salt = bytes.fromhex(value.salt)
    assert value.commitment == commitment_of(salt, "name", "Ada")


def test_the_same_name_of_two_people_has_two_commitments(
    ada: Person, grace: Person, actor_for: Callable[[Person], Actor]
):
    """Otherwise a commitment would reveal an erased name to anyone who tries names."""
    grace.first_name = ada.first_name
    for person in (ada, grace):
        audit.record(
            code=EventCode.EXPORT_STARTED,
            actor=actor_for(person),
            sentence=audit.Sentence("Exported."),
        )
    one, other = PersonalValue.objects.order_by("number")
    assert one.value == other.value
    assert one.commitment != other.commitment
    assert len({one.salt, other.salt}) == 2
    assert len(bytes.fromhex(one.salt)) == 32


def test_a_rolled_back_event_leaves_no_gap(db: None):
    with transaction.atomic():
        audit.record(
            code=EventCode.EXPORT_STARTED, actor=command_actor(), sentence=audit.Sentence("Undone.")
        )
        transaction.set_rollback(True)
    audit.record(
        code=EventCode.EXPORT_STARTED, actor=command_actor(), sentence=audit.Sentence("Done.")
    )
    [event] = AuditEvent.objects.all()
    assert event.seq == AuditHead.objects.get().size == 1


def test_a_failed_nested_block_leaves_no_event(db: None):
    with audit.atomic():
        audit.record(
            code=EventCode.EXPORT_STARTED, actor=command_actor(), sentence=audit.Sentence("Kept.")
        )
        with suppress(ValueError), audit.atomic():
            audit.record(
                code=EventCode.EXPORT_STARTED,
                actor=command_actor(),
                sentence=audit.Sentence("Undone."),
            )
            raise ValueError
        audit.record(
            code=EventCode.EXPORT_STARTED,
            actor=command_actor(),
            sentence=audit.Sentence("Kept too."),
        )
    events = AuditEvent.objects.order_by("seq").values_list("seq", "stored_sentence")
    assert list(events) == [(1, "Kept."), (2, "Kept too.")]


def test_a_failed_block_leaves_no_event(db: None):
    with suppress(ValueError), audit.atomic():
        audit.record(
            code=EventCode.EXPORT_STARTED, actor=command_actor(), sentence=audit.Sentence("Undone.")
        )
        raise ValueError
    assert not AuditEvent.objects.exists()


def test_the_head_row_is_locked_last(
    ada: Person, django_assert_num_queries: DjangoAssertNumQueries
):
    with audit.atomic():
        with django_assert_num_queries(0):
            audit.record(
                code=EventCode.EXPORT_STARTED,
                actor=command_actor(),
                sentence=audit.Sentence("First."),
            )
        assert not AuditEvent.objects.exists()
    assert AuditEvent.objects.count() == 1


def test_three_events_of_one_transaction_take_no_more_queries_than_one(
    ada: Person,
    actor_for: Callable[[Person], Actor],
    django_assert_max_num_queries: DjangoAssertNumQueries,
):
    actor = actor_for(ada)
    audit.record(code=EventCode.EXPORT_STARTED, actor=actor, sentence=audit.Sentence("First."))
    # Five, plus the savepoint caused by the test's own transaction.
    with django_assert_max_num_queries(7), audit.atomic():
        for _ in range(3):
            audit.record(
                code=EventCode.EXPORT_STARTED,
                actor=actor,
                sentence=audit.Sentence("{person} did it.", person=name_of(ada)),
            )


def test_an_event_takes_three_queries_besides_its_insert_and_the_time(
    ada: Person,
    actor_for: Callable[[Person], Actor],
    django_assert_max_num_queries: DjangoAssertNumQueries,
):
    actor = actor_for(ada)
    audit.record(code=EventCode.EXPORT_STARTED, actor=actor, sentence=audit.Sentence("First."))
    with django_assert_max_num_queries(5):
        audit.record(
            code=EventCode.EXPORT_STARTED,
            actor=actor,
            sentence=audit.Sentence("{person} did it.", person=name_of(ada)),
        )


def test_details_with_two_spellings_are_refused(db: None):
    with pytest.raises(TypeError), transaction.atomic():
        audit.record(
            code=EventCode.EXPORT_STARTED,
            actor=command_actor(),
            sentence=audit.Sentence("No."),
            details={"share": 0.5},
        )
