"""Each way to tamper with a copy of a real database is detected and named."""

import base64
import json
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from io import StringIO
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from pytest_django import DjangoDbBlocker, Settings

from connections.access.actor import command_actor
from connections.audit import checkpoints
from connections.audit.signing import (
    SigningKey,
    new_signing_key_text,
    parse_signing_key,
    read_signing_key,
    sign_checkpoint,
)
from connections.evidence import verification
from connections.evidence.stored_events import Fault
from connections.evidence.verification import CannotVerifyError, VerificationReport
from connections.models import Person
from connections.people import erasure
from connections.verifier.notes import rotation_statement
from tests.evidence.copies import EVENTS, ROTATED, SEEN, Copy, build, copied
from tests.support.database_copies import administer
from tests.support.databases import KINDS, url_of
from tests.support.failing_statements import driver_error, failing_statement, raise_error
from tests.support.processes import clean_environment, manage

NOTHING = (None, None, None)

# Of all ways, the databases differ in few.
pytestmark = pytest.mark.database(every=6)


@pytest.fixture(scope="module", params=KINDS)
def original(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    django_db_blocker: DjangoDbBlocker,
) -> Iterator[Copy]:
    """A database with events of people and commands, four checkpoints and two keys."""
    directory = tmp_path_factory.mktemp("original")
    key_file = directory / "signing_key.json"
    if request.param == "sqlite":
        path = directory / "orgadmin.sqlite3"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        made = Copy(url=f"sqlite:///{path}", key_file=key_file)
        with django_db_blocker.unblock():
            build(made)
        yield made
        return
    server = request.getfixturevalue("postgresql_url")
    template = request.getfixturevalue("postgresql_template")
    name = f"original_{uuid.uuid4().hex[:12]}"
    administer(server, "CREATE DATABASE {n} TEMPLATE {t}", n=name, t=template)
    made = Copy(url=url_of(server, name), key_file=key_file)
    with django_db_blocker.unblock():
        build(made)
    yield made
    administer(server, "DROP DATABASE {n} WITH (FORCE)", n=name)


@pytest.fixture
def copy(
    original: Copy, tmp_path: Path, settings: Settings, django_db_blocker: DjangoDbBlocker
) -> Iterator[Copy]:
    """A copy of it without triggers."""
    with django_db_blocker.unblock(), copied(original, directory=tmp_path) as made:
        settings.SIGNING_KEY_FILE = made.key_file
        yield made


def found(report: VerificationReport) -> tuple[Fault | None, int | None, int | None]:
    return report.fault, report.first_bad_seq, report.at_latest


def exactly(fault: Fault, seq: int) -> tuple[Fault, int, int]:
    return fault, seq, seq


def another_key() -> SigningKey:
    return parse_signing_key(new_signing_key_text())


def test_an_untouched_log_is_intact(copy: Copy):
    report = copy.verify()
    assert found(report) == NOTHING
    assert (report.size, report.checkpoints) == (EVENTS, len(SEEN))


def test_a_rewrite_that_changes_nothing_is_intact(copy: Copy):
    copy.rewrite(lambda texts: texts)
    assert found(copy.verify()) == NOTHING


# --- Events -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        "text = replace(text, 'Act 6', 'Act 66')",
        "text = replace(text, 'Act 6', 'Act 66'), sentence = replace(sentence, '6', '66')",
        "text = 'nonsense'",
        "text = '[]'",
        "text = text || ' '",
        "hash = replace(hash, substr(hash, 1, 1), 'g')",
        "previous = replace(previous, substr(previous, 1, 1), 'g')",
    ],
)
def test_an_edited_event_is_named(copy: Copy, change: str):
    copy.run(f"UPDATE connections_auditevent SET {change} WHERE seq = 6")  # noqa: S608 - our own
    assert found(copy.verify()) == exactly(Fault.EDITED, 6)


def test_an_edited_event_with_a_recomputed_hash_is_named_and_not_the_next(copy: Copy):
    document = copy.document(6) | {"details": {"number": 66}}
    copy.run("DELETE FROM connections_auditevent WHERE seq = 6")
    copy.put(document, after=5)
    assert found(copy.verify()) == exactly(Fault.REHASHED, 6)


def test_a_deleted_event_is_named(copy: Copy):
    copy.run("DELETE FROM connections_auditevent WHERE seq = 6")
    assert found(copy.verify()) == exactly(Fault.DELETED, 6)


def test_a_deleted_first_event_is_named(copy: Copy):
    copy.run("DELETE FROM connections_auditevent WHERE seq = 1")
    assert found(copy.verify()) == exactly(Fault.DELETED, 1)


def test_a_deleted_event_with_later_ones_renumbered_is_named(copy: Copy):
    copy.run(
        "DELETE FROM connections_auditevent WHERE seq = 6",
        "UPDATE connections_auditevent SET seq = -seq WHERE seq > 6",
        "UPDATE connections_auditevent SET seq = -seq - 1 WHERE seq < 0",
    )
    assert found(copy.verify()) == exactly(Fault.DELETED, 6)


def test_reordered_events_are_named(copy: Copy):
    copy.run(
        "UPDATE connections_auditevent SET seq = -6 WHERE seq = 6",
        "UPDATE connections_auditevent SET seq = 6 WHERE seq = 10",
        "UPDATE connections_auditevent SET seq = 10 WHERE seq = -6",
    )
    assert found(copy.verify()) == exactly(Fault.REORDERED, 6)


def test_an_event_inserted_in_the_middle_is_named(copy: Copy):
    copy.run(
        "UPDATE connections_auditevent SET seq = -seq WHERE seq > 5",
        "UPDATE connections_auditevent SET seq = 1 - seq WHERE seq < 0",
        "UPDATE connections_audithead SET size = size + 1",
    )
    copy.put(copy.document(5) | {"sentence": "Never done."}, after=5)
    assert found(copy.verify()) == exactly(Fault.INSERTED, 6)


def test_an_event_appended_after_the_end_is_named(copy: Copy):
    copy.put(copy.document(EVENTS) | {"sentence": "Never done."}, after=EVENTS)
    assert found(copy.verify()) == exactly(Fault.INSERTED, EVENTS + 1)


def test_an_event_of_an_unknown_format_is_named(copy: Copy):
    document = copy.document(12)
    del document["refs"]
    copy.run("DELETE FROM connections_checkpoint WHERE size = 12")
    copy.rewrite(lambda texts: [*texts[:-1], json.dumps(document)])
    assert found(copy.verify()) == exactly(Fault.EDITED, 12)


@pytest.mark.parametrize(
    "change",
    [
        "code = 'export.other'",
        "actor_kind = 'worker'",
        "actor_id = NULL",
        "actor = 'Somebody else'",
        "at = '2020-01-01 00:00:00'",
        "request_id = 'x'",
        "subject_id = 'x'",
        "subject_type = 'person'",
        "sentence = 'Act 8.'",
    ],
)
def test_a_changed_column_is_named(copy: Copy, change: str):
    copy.run(f"UPDATE connections_auditevent SET {change} WHERE seq = 7")  # noqa: S608 - our own
    assert found(copy.verify()) == exactly(Fault.COLUMN, 7)


# --- Names --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE connections_personalvalue SET value = 'Eve'",
        "UPDATE connections_personalvalue SET salt = 'nonsense'",
        "UPDATE connections_personalvalue SET kind = 'address'",
        "UPDATE connections_personalvalue SET person_number = 7",
        "UPDATE connections_personalvalue SET person_id = NULL",
        "DELETE FROM connections_personalvalue",
        "UPDATE connections_personalvalue SET value='', salt='', erased_at='2026-03-02 10:00:00'",
    ],
)
def test_a_changed_name_is_reported_at_its_first_event(copy: Copy, statement: str):
    copy.run(statement)
    assert found(copy.verify()) == exactly(Fault.VALUE, 1)


def test_the_commitment_of_an_erased_name_is_still_protected(copy: Copy):
    with copy.open():
        erasure.erase_person(actor=command_actor(), person=Person.objects.get())
    assert found(copy.verify()) == NOTHING
    copy.run("UPDATE connections_personalvalue SET commitment = 'ff'")
    assert found(copy.verify()) == exactly(Fault.VALUE, 1)


# --- The end ------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["hash = 'ff'", "frontier = ''", "frontier = 'nonsense'"])
def test_a_changed_head_is_named(copy: Copy, change: str):
    copy.run(f"UPDATE connections_audithead SET {change}")  # noqa: S608 - our own
    assert found(copy.verify()) == exactly(Fault.HEAD, EVENTS)


def test_a_log_truncated_without_its_head_is_named(copy: Copy):
    copy.run("DELETE FROM connections_auditevent WHERE seq > 9")
    assert found(copy.verify()) == exactly(Fault.DELETED, 10)


def test_a_truncated_log_is_detected_by_a_stored_checkpoint(copy: Copy):
    copy.rewrite(lambda texts: texts[:10])
    assert found(copy.verify()) == exactly(Fault.TRUNCATED, 11)


def test_a_truncated_log_is_detected_by_an_external_checkpoint(copy: Copy):
    note = copy.note_at(12)
    copy.rewrite(lambda texts: texts[:10])
    copy.run("DELETE FROM connections_checkpoint WHERE size > 10")
    assert found(copy.verify()) == NOTHING
    assert found(copy.verify(("kept.txt", note))) == exactly(Fault.TRUNCATED, 11)


def test_a_truncated_log_is_detected_by_an_earlier_verification(copy: Copy):
    with copy.open():
        list(verification.verify_and_store())
    copy.rewrite(lambda texts: texts[:10])
    copy.run("DELETE FROM connections_checkpoint WHERE size > 10")
    assert found(copy.verify()) == exactly(Fault.TRUNCATED, 11)


# --- Recomputed chains --------------------------------------------------------------------------


def test_a_recomputed_chain_is_narrowed_down_by_surrounding_checkpoints(copy: Copy):
    copy.rewrite(lambda texts: [text.replace("Act 6.", "Act 7.") for text in texts])
    assert found(copy.verify()) == (Fault.REHASHED, 5, 8)


def test_external_checkpoints_narrow_the_range(copy: Copy):
    kept = [(f"{size}.txt", copy.note_at(size)) for size in (4, 8)]
    copy.run("DELETE FROM connections_checkpoint WHERE size < 12")
    copy.rewrite(lambda texts: [text.replace("Act 6.", "Act 7.") for text in texts])
    assert found(copy.verify()) == (Fault.REHASHED, 1, 12)
    assert found(copy.verify(*kept)) == (Fault.REHASHED, 5, 8)


def test_a_rewrite_signed_with_another_key_is_named(copy: Copy):
    copy.rewrite(lambda texts: [text.replace("Act 6.", "Act 7.") for text in texts])
    copy.sign_with(another_key())
    assert found(copy.verify()) == (Fault.OTHER_KEY, 1, EVENTS)


def test_an_external_checkpoint_signed_with_another_key_is_named(copy: Copy):
    origin = copy.note_at(4).partition("\n")[0]
    note = sign_checkpoint(origin=origin, size=3, root=bytes(32), key=another_key())
    assert found(copy.verify(("kept.txt", note))) == (Fault.OTHER_KEY, 1, 3)


# --- Keys and checkpoints -----------------------------------------------------------------------


def rotation(copy: Copy, **changed: Any) -> dict[str, Any]:
    """The event of the rotation, with some of its details changed."""
    document = copy.document(ROTATED)
    return document | {"details": document["details"] | changed}


def replaced(document: dict[str, Any]) -> Any:
    def change(texts: list[str]) -> list[str]:
        return [*texts[: ROTATED - 1], json.dumps(document), *texts[ROTATED:]]

    return change


def test_a_rotation_that_the_former_key_did_not_sign_is_named(copy: Copy):
    copy.run("DELETE FROM connections_checkpoint WHERE size > 8")
    forged = rotation(copy, signature_by_previous=base64.b64encode(bytes(64)).decode())
    copy.rewrite(replaced(forged))
    assert found(copy.verify()) == exactly(Fault.ROTATION, ROTATED)


def test_a_rotation_to_a_foreign_key_is_named(copy: Copy):
    """It is signed only by the new key, because the forger doesn't have the current key."""
    theirs = another_key()
    ours = read_signing_key(copy.key_file)
    origin = copy.note_at(4).partition("\n")[0]
    statement = rotation_statement(origin, EVENTS, ours.public_key, theirs.public_key)
    signature = base64.b64encode(theirs.sign(statement)).decode()
    added = rotation(
        copy,
        size=EVENTS,
        previous_public_key=base64.b64encode(ours.public_key).decode(),
        public_key=base64.b64encode(theirs.public_key).decode(),
        signature_by_previous=signature,
        signature_by_new=signature,
    )
    copy.rewrite(lambda texts: [*texts, json.dumps(added)])
    assert found(copy.verify()) == exactly(Fault.ROTATION, EVENTS + 1)


def test_a_rotation_without_its_details_is_named(copy: Copy):
    copy.run("DELETE FROM connections_checkpoint WHERE size > 8")
    copy.rewrite(replaced(copy.document(ROTATED) | {"details": {}}))
    assert found(copy.verify()) == exactly(Fault.ROTATION, ROTATED)


def test_a_removed_rotation_is_named(copy: Copy):
    copy.run("DELETE FROM connections_checkpoint WHERE size > 8")
    copy.rewrite(lambda texts: [*texts[: ROTATED - 1], *texts[ROTATED:]])
    assert found(copy.verify()) == (Fault.ROTATION, 9, EVENTS - 1)


def test_a_checkpoint_signed_with_a_key_before_its_time_is_named(copy: Copy):
    """The newest key signs what the former key had signed."""
    copy.rewrite(lambda texts: texts[: ROTATED - 1])
    copy.sign_with(read_signing_key(copy.key_file), size=8)
    assert found(copy.verify()) == (Fault.ROTATION, 1, 8)


@pytest.mark.parametrize(
    "change", ["root = 'ff'", "note = 'nonsense'", "note = replace(note, 'orgadmin', 'other')"]
)
def test_a_changed_checkpoint_is_named_with_what_it_no_longer_shows(copy: Copy, change: str):
    copy.run(f"UPDATE connections_checkpoint SET {change} WHERE size = 8")  # noqa: S608 - our own
    assert found(copy.verify()) == (Fault.CHECKPOINT, 5, 8)


@pytest.mark.parametrize("size", SEEN)
def test_the_signature_of_every_checkpoint_is_checked(copy: Copy, size: int):
    note = copy.note_at(size)
    head, _, signature = note.rstrip("\n").rpartition(" ")
    data = bytearray(base64.b64decode(signature))
    data[-1] ^= 1
    forged = f"{head} {base64.b64encode(data).decode()}\n"
    copy.run(f"UPDATE connections_checkpoint SET note = '{forged}' WHERE size = {size}")  # noqa: S608 - our own
    report = copy.verify()
    assert (report.fault, report.at_latest) == (Fault.OTHER_KEY, size)


# --- What cannot be checked ---------------------------------------------------------------------


def test_without_the_public_keys_it_cannot_be_checked(copy: Copy):
    copy.key_file.unlink()
    with pytest.raises(CannotVerifyError):
        copy.verify()


def test_a_checkpoint_of_another_log_cannot_be_checked(copy: Copy):
    key = read_signing_key(copy.key_file)
    note = sign_checkpoint(origin="orgadmin/other", size=1, root=bytes(32), key=key)
    with pytest.raises(CannotVerifyError):
        copy.verify(("kept.txt", note))


# --- The command --------------------------------------------------------------------------------


def run_command(copy: Copy, *arguments: str) -> tuple[int, str]:
    out = StringIO()
    with copy.open():
        try:
            call_command("verify_audit", *arguments, stdout=out)
        except SystemExit as ended:
            return int(str(ended.code)), out.getvalue()
        except CommandError as error:
            return error.returncode, str(error)
    return 0, out.getvalue()


def test_the_command_exits_with_0_for_an_intact_log(copy: Copy):
    code, printed = run_command(copy)
    assert (code, printed.startswith("The audit log is intact.")) == (0, True)


def test_the_command_exits_with_1_and_names_the_range(copy: Copy):
    copy.rewrite(lambda texts: [text.replace("Act 6.", "Act 7.") for text in texts])
    code, printed = run_command(copy)
    assert code == 1
    assert printed.startswith("FAILED (re-hashed) at an event between 5 and 8.")
    code, printed = run_command(copy, "--json")
    document = json.loads(printed)
    assert (code, document["whole"], document["fault"]) == (1, False, "re-hashed")
    assert (document["first_bad_seq"], document["first_bad_at_latest"]) == (5, 8)


@pytest.mark.parametrize("kind", ["connection", "driver", "bug"])
def test_the_command_exits_with_2_whichever_statement_fails(
    original: Copy, settings: Settings, django_db_blocker: DjangoDbBlocker, kind: str
):
    settings.SIGNING_KEY_FILE = original.key_file
    # Not a copy, which on PostgreSQL is a transaction and ends with its connection.
    with django_db_blocker.unblock(), original.open():
        failures: dict[str, Callable[[], object]] = {
            "connection": lambda: connection.connection.close(),
            "driver": partial(raise_error, driver_error()),
            "bug": partial(raise_error, LookupError),
        }
        for number in count(1):
            with failing_statement(number, fail=failures[kind]) as statement:
                code, _ = run_command(replace(original, is_open=True))
            connection.close()
            if not statement.has_failed:
                break
            assert code == 2, f"statement {number}"
    assert (code, number > 10) == (0, True)


def test_the_command_exits_with_2_for_settings_that_are_invalid(tmp_path: Path):
    env = clean_environment(data_dir=tmp_path, DATABASE_URL="mysql://nowhere/x")
    done = manage("verify_audit", env=env)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "Settings: DATABASE_URL must name SQLite or PostgreSQL: postgres://…\n"


def test_the_command_exits_with_2_when_it_could_not_check(copy: Copy, tmp_path: Path):
    code, printed = run_command(copy, "--checkpoint", str(tmp_path / "nowhere.txt"))
    assert (code, "can't be read" in printed) == (2, True)
    copy.run("DELETE FROM connections_audithead")
    assert run_command(copy)[0] == 2


def test_a_copy_stays_intact_after_a_key_rotation(copy: Copy):
    with copy.open():
        checkpoints.rotate_signing_key(actor=command_actor())
    assert found(copy.verify()) == NOTHING
