"""The database refuses changes of recorded results, and a verification detects differences."""

import uuid
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
from django.db import Error as DatabaseError
from django.db import connection, transaction
from django.test import Client

from connections import audit
from connections.access.actor import command_actor, person_actor
from connections.change_requests import reconciliation, sending, verification
from connections.core import clock
from connections.deletions import comments
from connections.evidence import comparison, differing
from connections.evidence.stored_events import Fault
from connections.evidence.verification import verify_audit_log
from connections.inventory import contradictions
from connections.models import Attempt, AuditVerification, Deletion, Person
from connections.people import erasure
from tests.evidence.results import ATTEMPT, DELETION, SET_ONCE, sql_for
from tests.evidence.support import verified
from tests.support.append_only import triggers_off

pytestmark = pytest.mark.database(every=2)

migration = import_module("connections.migrations.0002_database_rules")
REFUSED = (
    "A settled deletion|A deletion can't|The (copied fields|request) of a deletion|"
    "A claimed attempt|An attempt can't|The response"
)


def sql(statement: str) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


def one_of(*, outcome: str) -> Deletion:
    return Deletion.objects.filter(outcome=outcome).latest("requested_at")


def raw_id(deletion: Deletion) -> str:
    return str(deletion.pk) if connection.vendor == "postgresql" else deletion.pk.hex


def change_of_deletion(what: str, deletion: Deletion) -> str:
    change = sql_for(DELETION[what], vendor=connection.vendor)
    return f"UPDATE connections_deletion SET {change} WHERE id = '{raw_id(deletion)}'"  # noqa: S608 - our own words


def change_of_attempt(what: str, attempt: Attempt) -> str:
    change = sql_for(ATTEMPT[what], vendor=connection.vendor)
    return f"UPDATE connections_attempt SET {change} WHERE id = {attempt.pk}"  # noqa: S608 - our own words


def assert_intact() -> None:
    code, document = verified()
    assert (code, document["deletions"], document["message"]) == (0, [], "The audit log is intact.")


def assert_named(*deletions: Deletion) -> None:
    code, document = verified()
    ids = {str(deletion.pk) for deletion in deletions}
    assert (code, document["fault"], set(document["deletions"])) == (1, Fault.DELETION, ids)
    assert all(each in document["message"] for each in ids)


# --- What the database refuses --------------------------------------------------------------------


@pytest.mark.usefixtures("history")
def test_a_settled_deletion_cannot_be_changed(subtests: pytest.Subtests):
    for what in sorted(DELETION.keys() - SET_ONCE):
        with subtests.test(what=what), pytest.raises(DatabaseError, match=REFUSED):
            sql(change_of_deletion(what, one_of(outcome="refused")))
    assert_intact()


@pytest.mark.usefixtures("history")
def test_an_attempt_with_its_response_cannot_be_changed(subtests: pytest.Subtests):
    for what in ATTEMPT:
        with subtests.test(what=what), pytest.raises(DatabaseError, match=REFUSED):
            sql(change_of_attempt(what, one_of(outcome="refused").attempts.get()))


REVERTED_RESULTS = {
    "verification": "verified_at = NULL",
    "earlier verification": "verified_at = '2020-01-01 00:00:00+00:00'",
    "later verification": "verified_at = '2099-01-01 00:00:00+00:00'",
    "what was found before the sending": """cause_details = '{"now_says": {}}'""",
}


@pytest.mark.usefixtures("history")
@pytest.mark.parametrize("what", REVERTED_RESULTS)
def test_a_later_finding_cannot_be_reverted(what: str):
    deletion = one_of(outcome="deleted")
    assert deletion.verified_at
    with pytest.raises(DatabaseError, match=REFUSED):
        sql(
            f"UPDATE connections_deletion SET {REVERTED_RESULTS[what]} "  # noqa: S608 - our own words
            f"WHERE id = '{raw_id(deletion)}'"
        )


@pytest.mark.usefixtures("history")
def test_a_contradiction_cannot_be_removed():
    deletion = one_of(outcome="deleted")
    sql(change_of_deletion("a contradiction", deletion))
    with pytest.raises(DatabaseError, match=REFUSED):
        Deletion.objects.filter(pk=deletion.pk).update(contradicted_at=None)


CLAIM = (
    "number = 9",
    "epoch = 9",
    "credential_name = 'Another'",
    "credential_fingerprint = 'ffffffffffff'",
    "claimed_at = '2026-01-01 00:00:00+00:00'",
    "was_rechecked = NOT was_rechecked",
    # All columns of a response are recorded together.
    "http_status = 200",
    "verdict = 'deleted'",
    "answered_at = '2026-01-01 00:00:00+00:00'",
)


@pytest.mark.usefixtures("history")
def test_a_claimed_attempt_cannot_be_changed(subtests: pytest.Subtests):
    deletion = one_of(outcome="refused")
    claimed = Attempt.objects.create(
        deletion=deletion,
        number=2,
        epoch=2,
        credential_name="Payments US",
        credential_fingerprint="0123456789ab",
        was_rechecked=True,
        claimed_at=deletion.requested_at,
    )
    for change in CLAIM:
        with subtests.test(change=change), pytest.raises(DatabaseError, match=REFUSED):
            sql(f"UPDATE connections_attempt SET {change} WHERE id = {claimed.pk}")  # noqa: S608 - our own words


REMOVED = {
    "sqlite": (
        "DELETE FROM connections_attempt",
        "DELETE FROM connections_deletion",
        "INSERT OR REPLACE INTO connections_attempt SELECT * FROM connections_attempt",
        "UPDATE OR REPLACE connections_attempt SET rowid = rowid + 1",
    ),
    "postgresql": (
        "DELETE FROM connections_attempt",
        "DELETE FROM connections_deletion",
        "TRUNCATE connections_attempt",
        "TRUNCATE connections_deletion CASCADE",
    ),
}


@pytest.mark.usefixtures("history")
def test_results_cannot_be_removed_or_replaced():
    for statement in REMOVED[connection.vendor]:
        with pytest.raises(DatabaseError, match=REFUSED):
            sql(statement)
    assert_intact()


def test_every_column_is_frozen_or_listed_as_changeable():
    kept = [*migration.REQUESTED, *migration.COPIED, *migration.SETTLED, *migration.NAMES]
    # Break glass is used once, and these columns have their own conditions.
    conditional = ["verified_at", "contradicted_at", "cause_details"]
    glass = [name for name in migration.GLASS if name not in migration.SETTLED]
    # A later sync can verify or contradict the outcome; comments change the search text.
    later_migrations = ["automatic", "agreement_version"]
    may_change = ["due_at", "last_checked_at", "last_check_listed", "search_text"]
    of_deletion = [*kept, *glass, *conditional, *may_change, *later_migrations]
    of_attempt = [*migration.CLAIMED, *migration.RESPONSE]
    for model, names in ((Deletion, of_deletion), (Attempt, of_attempt)):
        columns = {field.column for field in model._meta.local_concrete_fields}
        assert (set(names), len(names)) == (columns, len(columns))


# --- What is still allowed ------------------------------------------------------------------------


@pytest.mark.usefixtures("history")
def test_a_closed_deletion_can_be_commented_on_checked_again_and_have_names_erased(
    ada: Person, linus: Person
):
    deletion = one_of(outcome="deleted")
    comments.comment_on_deletion(
        deletion=deletion, actor=person_actor(person=ada), text="Agreed with the owner."
    )
    reconciliation.check(change_request=deletion, actor=person_actor(person=ada))
    for person in (ada, linus):
        erasure.erase_person(actor=command_actor(), person=person)
    deletion.refresh_from_db()
    assert deletion.requested_by_name == deletion.confirmed_by_name == deletion.settled_by_name
    assert deletion.requested_by_name.startswith("erased person no. ")
    assert_intact()


@pytest.mark.usefixtures("history")
def test_only_one_of_two_concurrent_verifications_is_recorded():
    deletion = one_of(outcome="deleted")
    verified_at = deletion.verified_at
    # As another process has loaded it.
    deletion.verified_at = None
    verification.verify(change_request=deletion, actor=command_actor())
    assert deletion.verified_at == verified_at
    assert_intact()


@pytest.mark.usefixtures("history")
def test_the_name_of_an_erased_person_cannot_be_reused(ada: Person):
    erasure.erase_person(actor=command_actor(), person=ada)
    with pytest.raises(DatabaseError, match=REFUSED):
        sql("UPDATE connections_deletion SET requested_by_name = 'erased person no. 77'")


# --- What a verification finds --------------------------------------------------------------------


@pytest.mark.usefixtures("history")
def test_a_changed_deletion_is_named(subtests: pytest.Subtests):
    deletion = one_of(outcome="refused")
    stored = Deletion.objects.filter(pk=deletion.pk)
    original = stored.values().get()
    for what in DELETION:
        with subtests.test(what=what):
            with triggers_off():
                sql(change_of_deletion(what, deletion))
            assert_named(deletion)
            with triggers_off():
                stored.update(**original)
    assert_intact()


@pytest.mark.usefixtures("history")
def test_a_changed_attempt_is_named_by_its_deletion(subtests: pytest.Subtests):
    deletion = one_of(outcome="refused")
    attempt = deletion.attempts.get()
    stored = Attempt.objects.filter(pk=attempt.pk)
    original = stored.values().get()
    for what in ATTEMPT:
        with subtests.test(what=what):
            with triggers_off():
                sql(change_of_attempt(what, attempt))
            assert_named(deletion)
            with triggers_off():
                stored.update(**original)
    assert_intact()


@pytest.mark.usefixtures("history")
def test_an_attempt_without_an_event_is_reported():
    deletion = one_of(outcome="refused")
    Attempt.objects.create(
        deletion=deletion,
        number=2,
        epoch=2,
        credential_name=deletion.credential_name,
        credential_fingerprint=deletion.credential_fingerprint,
        was_rechecked=True,
        claimed_at=deletion.requested_at,
    )
    assert_named(deletion)


@pytest.mark.usefixtures("history")
def test_an_invented_response_of_an_attempt_without_one_is_named():
    [unknown] = Deletion.objects.filter(state="unknown")
    [claimed] = sending.claim([unknown], actor=command_actor(), was_rechecked=True)
    attempt = claimed.attempt
    assert_intact()
    now = clock.now()
    Attempt.objects.filter(pk=attempt.pk).update(verdict="deleted", answered_at=now)
    assert_named(unknown)
    with triggers_off():
        Attempt.objects.filter(pk=attempt.pk).update(answered_at=None)
    assert_named(unknown)


@pytest.mark.usefixtures("history")
def test_an_open_deletion_is_also_compared():
    [unknown] = Deletion.objects.filter(state="unknown")
    Deletion.objects.filter(pk=unknown.pk).update(cause="too_late")
    assert_named(unknown)


@pytest.mark.usefixtures("history")
def test_a_removed_attempt_and_a_removed_deletion_are_named():
    refused, deleted = one_of(outcome="refused"), one_of(outcome="deleted")
    with triggers_off(), connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM connections_attempt WHERE deletion_id = '{raw_id(refused)}'")  # noqa: S608 - our own words
        cursor.execute("UPDATE connections_change SET deletion_id = NULL")
        for table, key in (("attempt", "deletion_id"), ("approval", "deletion_id")):
            cursor.execute(f"DELETE FROM connections_{table} WHERE {key} = '{raw_id(deleted)}'")  # noqa: S608 - our own words
        cursor.execute(f"DELETE FROM connections_deletion WHERE id = '{raw_id(deleted)}'")  # noqa: S608 - our own words
    assert_named(refused, deleted)


@pytest.mark.usefixtures("history")
def test_an_invented_deletion_is_named():
    invented = one_of(outcome="deleted")
    invented.pk, invented.request_id = uuid.uuid4(), uuid.uuid4()
    invented.save(force_insert=True)
    assert_named(invented)


@pytest.mark.usefixtures("history")
@pytest.mark.parametrize("form", ["UPPER(id)", "SUBSTR(id, 1, 8) || '-' || SUBSTR(id, 9)"])
def test_a_deletion_whose_id_is_spelled_differently_is_reported(form: str):
    if connection.vendor != "sqlite":
        pytest.skip("only SQLite stores an ID in another form")
    copied = one_of(outcome="refused")
    names = [field.column for field in Deletion._meta.fields]
    instead = {"id": form, "request_id": f"'{uuid.uuid4().hex}'"}
    columns = ", ".join(f'"{name}"' for name in names)
    values = ", ".join(instead.get(str(name), f'"{name}"') for name in names)
    sql(
        f"INSERT INTO connections_deletion ({columns}) SELECT {values} "  # noqa: S608 - our own words
        f"FROM connections_deletion WHERE id = '{raw_id(copied)}'"
    )
    code, document = verified()
    assert (code, document["differing"]) == (1, 1)
    assert "found by its ID" in document["message"]


@pytest.mark.usefixtures("history")
def test_more_differences_than_are_listed_are_counted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(differing, "MAX_DESCRIBED", 1)
    monkeypatch.setattr(comparison, "BATCH_SIZE", 2)
    with triggers_off():
        Deletion.objects.update(reason="something else")
    report = verify_audit_log()
    assert (report.differing, len(report.differing_ids[Fault.DELETION])) == (
        Deletion.objects.count(),
        1,
    )


@pytest.mark.usefixtures("history")
@pytest.mark.parametrize("change", ["settled_at = 'soon'", "request_id = 'nonsense'"])
def test_an_unreadable_column_is_named(change: str):
    if connection.vendor != "sqlite":
        pytest.skip("only SQLite stores what is no time and no UUID")
    deletion = one_of(outcome="refused")
    with triggers_off():
        sql(
            f"UPDATE connections_deletion SET {change} "  # noqa: S608 - our own words
            f"WHERE id = '{raw_id(deletion)}'"
        )
    assert_named(deletion)


@pytest.mark.usefixtures("history")
def test_concurrent_changes_raise_no_false_alarm(monkeypatch: pytest.MonkeyPatch, ada: Person):
    """When a change comes between reading row and events, both are read again."""
    deletion = one_of(outcome="deleted")
    read_events = comparison.read_events
    changes = [lambda: _contradict(deletion)]

    def change_in_between(**subjects: Any) -> Any:
        if changes:
            changes.pop()()
        return read_events(**subjects)

    monkeypatch.setattr(comparison, "read_events", change_in_between)
    assert_intact()
    assert not changes


def _contradict(deletion: Deletion) -> None:
    with audit.atomic():
        contradictions.flag_contradiction(
            deletion=deletion, at=clock.now(), listed_by="Group SOC", actor=command_actor()
        )


@pytest.mark.usefixtures("history")
def test_the_evidence_page_names_it(edith: Person, client_of: Callable[[Person], Client]):
    deletion = one_of(outcome="refused")
    with triggers_off():
        sql(change_of_deletion("outcome", deletion))
    client = client_of(edith)
    client.post("/evidence/verify/")
    assert str(deletion.pk) in client.get("/evidence/").content.decode()
    assert AuditVerification.objects.latest("pk").fault == Fault.DELETION
