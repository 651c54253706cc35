"""Copies of a real database, tampered with by somebody who owns it: each way is named."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connection
from pytest_django import DjangoDbBlocker, Settings

from connections import chain
from connections.actors import command_actor, person_actor
from connections.services import audit, audit_verification, checkpoints
from connections.services.audit_rows import Fault
from connections.services.audit_verification import Report
from connections.services.backups import working_on
from connections.signed_notes import sign
from connections.signing_key import new_signing_key_text, read_signing_key, signing_key_of
from orgadmin.private_files import create_private_text
from tests.support.people import make_person

EVENTS = 12
# There is a checkpoint at each of these sizes.
SEEN = (4, 8, 12)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, django_db_blocker: DjangoDbBlocker) -> Path:
    """A database with events by people and commands, and three checkpoints."""
    directory = tmp_path_factory.mktemp("original")
    path = directory / "orgadmin.sqlite3"
    if connection.vendor != "sqlite":
        pytest.skip("a copy of a file is tampered with")
    create_private_text(directory / "signing_key.json", new_signing_key_text())
    with pytest.MonkeyPatch.context() as patch, django_db_blocker.unblock():
        patch.setattr("django.conf.settings.SIGNING_KEY_FILE", directory / "signing_key.json")
        sqlite3.connect(path).close()
        with working_on(path):
            call_command("migrate", interactive=False, verbosity=0)
            ada = person_actor(person=make_person("ada"))
            for number in range(1, EVENTS + 1):
                audit.record(
                    code=audit.Code.EXPORT_STARTED,
                    actor=ada if number % 2 else command_actor(),
                    sentence=f"Act {number}.",
                    details={"number": number},
                )
                if number in SEEN:
                    checkpoints.make_checkpoint()
    return directory


@pytest.fixture
def copy(original: Path, tmp_path: Path, settings: Settings) -> Path:
    """A copy without triggers, as somebody who owns the file can make it."""
    shutil.copytree(original, tmp_path / "copy")
    settings.SIGNING_KEY_FILE = tmp_path / "copy/signing_key.json"
    path = tmp_path / "copy/orgadmin.sqlite3"
    with closing(sqlite3.connect(path)) as database:
        names = database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        for (name,) in names.fetchall():
            database.execute(f"DROP TRIGGER {name}")
        database.commit()
    return path


@pytest.fixture
def verify(copy: Path, django_db_blocker: DjangoDbBlocker) -> Callable[..., Report]:
    def look(*notes: tuple[str, str]) -> Report:
        with django_db_blocker.unblock(), working_on(copy):
            return audit_verification.verify_record(notes=notes)

    return look


def run(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()


def found(report: Report) -> tuple[Fault | None, int | None]:
    return report.fault, report.first_bad_seq


def rewrite(path: Path, change: Callable[[list[str]], list[str]]) -> None:
    """Replace the texts by `change` of them, with every number, column, hash and the head."""
    with closing(sqlite3.connect(path)) as database:
        rows = database.execute("SELECT text FROM connections_auditevent ORDER BY seq").fetchall()
        database.execute("DELETE FROM connections_auditevent")
        last, frontier = chain.NO_HASH, list[bytes]()
        texts = change([text for (text,) in rows])
        for index, text in enumerate(texts):
            document = json.loads(text) | {"seq": index + 1}
            text = chain.canonical_text(document)
            last = chain.event_hash(last, text.encode())
            chain.extend(frontier, size=index, leaf=chain.leaf_hash(text.encode()))
            insert(database, document, text=text, last=last)
        database.execute(
            "UPDATE connections_audithead SET size = ?, hash = ?, frontier = ?",
            [len(texts), last.hex(), chain.frontier_as_text(frontier)],
        )
        database.commit()


def insert(
    database: sqlite3.Connection, document: dict[str, object], *, text: str, last: bytes
) -> None:
    copied = audit.copied_columns(document)
    row = {
        "at": str(document["at"])[:-1].replace("T", " "),
        "text": text,
        "hash": last.hex(),
        "actor": copied.pop("stored_actor"),
        "sentence": copied.pop("stored_sentence"),
        **copied,
        "actor_id": copied["actor_id"].hex if copied["actor_id"] else None,
    }
    names, marks = ", ".join(row), ", ".join("?" * len(row))
    database.execute(
        f"INSERT INTO connections_auditevent ({names}) VALUES ({marks})",  # noqa: S608 - our own
        list(row.values()),
    )


def test_what_nobody_touched_is_whole(verify: Callable[..., Report]) -> None:
    report = verify()
    assert found(report) == (None, None)
    assert (report.size, report.checkpoints) == (EVENTS, len(SEEN))


def test_a_rewrite_that_changes_nothing_is_whole(copy: Path, verify: Callable[..., Report]) -> None:
    rewrite(copy, lambda texts: texts)
    assert found(verify()) == (None, None)


def test_an_edited_event_is_named(copy: Path, verify: Callable[..., Report]) -> None:
    run(
        copy,
        "UPDATE connections_auditevent SET text = replace(text, 'Act 6', 'Act 66') WHERE seq = 6",
    )
    assert found(verify()) == (Fault.EDITED, 6)


def test_a_deleted_event_is_named(copy: Path, verify: Callable[..., Report]) -> None:
    run(copy, "DELETE FROM connections_auditevent WHERE seq = 6")
    assert found(verify()) == (Fault.DELETED, 6)


def test_a_deleted_event_whose_place_was_closed_is_named(
    copy: Path, verify: Callable[..., Report]
) -> None:
    run(
        copy,
        "DELETE FROM connections_auditevent WHERE seq = 6",
        "UPDATE connections_auditevent SET seq = -seq WHERE seq > 6",
        "UPDATE connections_auditevent SET seq = -seq - 1 WHERE seq < 0",
    )
    assert found(verify()) == (Fault.DELETED, 6)


def test_reordered_events_are_named(copy: Path, verify: Callable[..., Report]) -> None:
    run(
        copy,
        "UPDATE connections_auditevent SET seq = -6 WHERE seq = 6",
        "UPDATE connections_auditevent SET seq = 6 WHERE seq = 9",
        "UPDATE connections_auditevent SET seq = 9 WHERE seq = -6",
    )
    assert found(verify()) == (Fault.REORDERED, 6)


def test_a_chain_made_anew_after_an_edit_is_named(
    copy: Path, verify: Callable[..., Report]
) -> None:
    rewrite(copy, lambda texts: [text.replace("Act 6.", "Act 7.") for text in texts])
    assert found(verify()) == (Fault.REHASHED, 5)


def test_a_truncated_record_is_named_by_a_checkpoint_that_was_kept_elsewhere(
    copy: Path, verify: Callable[..., Report]
) -> None:
    with closing(sqlite3.connect(copy)) as database:
        [(note,)] = database.execute("SELECT note FROM connections_checkpoint WHERE size = 12")
    rewrite(copy, lambda texts: texts[:9])
    run(copy, "DELETE FROM connections_checkpoint WHERE size > 9")
    assert found(verify()) == (None, None)
    assert found(verify(("kept.txt", note))) == (Fault.TRUNCATED, 10)


def test_a_truncated_record_is_named_by_a_stored_checkpoint(
    copy: Path, verify: Callable[..., Report]
) -> None:
    rewrite(copy, lambda texts: texts[:9])
    assert found(verify()) == (Fault.TRUNCATED, 10)


def test_a_record_cut_without_its_head_is_named(copy: Path, verify: Callable[..., Report]) -> None:
    run(copy, "DELETE FROM connections_auditevent WHERE seq > 9")
    assert found(verify()) == (Fault.DELETED, 10)


def test_a_rewrite_signed_with_another_key_is_named(
    copy: Path, verify: Callable[..., Report]
) -> None:
    rewrite(copy, lambda texts: [text.replace("Act 6.", "Act 7.") for text in texts])
    key = signing_key_of(new_signing_key_text())
    with closing(sqlite3.connect(copy)) as database:
        [(origin, frontier)] = database.execute(
            "SELECT origin, frontier FROM connections_audithead"
        )
        root = chain.root_of(chain.frontier_of(frontier))
        note = sign(origin=origin, size=EVENTS, root=root, key=key)
        database.execute("DELETE FROM connections_checkpoint")
        database.execute(
            "INSERT INTO connections_checkpoint (size, root, fingerprint, note, made_at) "
            "VALUES (?, ?, ?, ?, '2026-01-01 00:00:00')",
            [EVENTS, root.hex(), key.fingerprint, note],
        )
        database.commit()
    assert found(verify()) == (Fault.OTHER_KEY, 1)


def test_a_checkpoint_from_elsewhere_signed_with_another_key_is_named(
    copy: Path, verify: Callable[..., Report]
) -> None:
    with closing(sqlite3.connect(copy)) as database:
        [(origin,)] = database.execute("SELECT origin FROM connections_audithead")
    key = signing_key_of(new_signing_key_text())
    note = sign(origin=origin, size=3, root=bytes(32), key=key)
    assert found(verify(("kept.txt", note))) == (Fault.OTHER_KEY, 1)


def test_an_event_put_in_the_middle_is_named(copy: Path, verify: Callable[..., Report]) -> None:
    run(
        copy,
        "UPDATE connections_auditevent SET seq = -seq WHERE seq > 5",
        "UPDATE connections_auditevent SET seq = 1 - seq WHERE seq < 0",
        "UPDATE connections_audithead SET size = size + 1",
    )
    with closing(sqlite3.connect(copy)) as database:
        [(text, last)] = database.execute(
            "SELECT text, hash FROM connections_auditevent WHERE seq = 5"
        )
        document = json.loads(text) | {"seq": 6, "sentence": "Never done."}
        text = chain.canonical_text(document)
        last = chain.event_hash(bytes.fromhex(last), text.encode())
        insert(database, document, text=text, last=last)
        database.commit()
    assert found(verify()) == (Fault.INSERTED, 6)


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
        "sentence = 'Act 8.'",
    ],
)
def test_a_changed_column_is_named(copy: Path, verify: Callable[..., Report], change: str) -> None:
    run(copy, f"UPDATE connections_auditevent SET {change} WHERE seq = 7")  # noqa: S608 - our own
    assert found(verify()) == (Fault.COLUMN, 7)


def test_a_changed_name_is_named(copy: Path, verify: Callable[..., Report]) -> None:
    run(copy, "UPDATE connections_erasablevalue SET value = 'Eve'")
    assert found(verify()) == (Fault.VALUE, 1)


def test_a_changed_head_is_named(copy: Path, verify: Callable[..., Report]) -> None:
    run(copy, "UPDATE connections_audithead SET hash = 'ff'")
    assert found(verify()) == (Fault.HEAD, EVENTS)


def test_a_changed_checkpoint_is_named(copy: Path, verify: Callable[..., Report]) -> None:
    run(copy, "UPDATE connections_checkpoint SET root = 'ff' WHERE size = 8")
    assert found(verify()) == (Fault.CHECKPOINT, 1)


def test_without_the_public_keys_it_cannot_be_checked(
    copy: Path, verify: Callable[..., Report]
) -> None:
    copy.with_name("signing_key.json").unlink()
    with pytest.raises(audit_verification.CannotCheckError):
        verify()


def test_a_checkpoint_of_another_record_cannot_be_checked(
    copy: Path, verify: Callable[..., Report]
) -> None:
    key = read_signing_key(copy.with_name("signing_key.json"))
    note = sign(origin="orgadmin/other", size=1, root=bytes(32), key=key)
    with pytest.raises(audit_verification.CannotCheckError):
        verify(("kept.txt", note))
