"""Copies of a real database without triggers, as the owner of a database can make them."""

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import dj_database_url
import pytest
from django.db import connection, connections, transaction
from django.db.utils import load_backend

from connections import audit
from connections.access.actor import command_actor, person_actor
from connections.audit import chain, checkpoints, events
from connections.audit.signing import SigningKey, new_signing_key_text, sign_checkpoint
from connections.core.private_files import create_private_text
from connections.evidence.verification import VerificationReport, verify_audit_log
from connections.models import AuditEvent, AuditHead, Checkpoint
from connections.verifier.merkle import leaf_hash
from tests.support.append_only import TABLES
from tests.support.people import make_person

# Events 1 to 8, a new signing key at 9, events 10 to 12; checkpoints at the sizes in SEEN.
EVENTS, ROTATED = 12, 9
SEEN = (4, 8, 9, 12)


@dataclass(frozen=True, kw_only=True)
class Copy:
    """A separate database and its signing key."""

    url: str
    key_file: Path
    is_open: bool = False

    @contextmanager
    def open(self) -> Iterator[None]:
        """Let the models read and write it in this thread."""
        if self.is_open:
            yield
            return
        own = connections["default"]
        given: dict[str, Any] = own.settings_dict | dj_database_url.parse(self.url)
        if self.url.startswith("sqlite"):
            given["OPTIONS"] = {"transaction_mode": "IMMEDIATE"}
        else:
            given.setdefault("OPTIONS", {})
        connections["default"] = load_backend(given["ENGINE"]).DatabaseWrapper(given)
        try:
            yield
        finally:
            connections["default"].close()
            connections["default"] = own

    def run(self, *statements: str) -> None:
        """Run statements as the owner of the database."""
        with self.open(), connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def verify(self, *notes: tuple[str, str]) -> VerificationReport:
        """The result of verifying it."""
        with self.open():
            return verify_audit_log(notes=notes)

    def note_at(self, size: int) -> str:
        """The text of the stored checkpoint of this size."""
        with self.open():
            return Checkpoint.objects.get(size=size).note

    def rewrite(self, change: Callable[[list[str]], list[str]]) -> None:
        """Replace the texts by `change(texts)`; recompute numbers, columns, hashes and the head."""
        with self.open():
            texts = change(list(AuditEvent.objects.order_by("seq").values_list("text", flat=True)))
            AuditEvent.objects.all().delete()
            last, frontier = chain.NO_HASH, list[bytes]()
            for index, text in enumerate(texts):
                document = json.loads(text) | {"seq": index + 1}
                leaf = leaf_hash(chain.canonical_text(document).encode())
                chain.extend(frontier, size=index, leaf=leaf)
                last = self._insert(document, previous=last)
            AuditHead.objects.update(
                size=len(texts), hash=last.hex(), frontier=chain.format_frontier(frontier)
            )

    def put(self, document: dict[str, Any], *, after: int) -> None:
        """Insert an event after the one with this number, chained to it."""
        with self.open():
            previous = AuditEvent.objects.get(seq=after).hash
            self._insert(document | {"seq": after + 1}, previous=bytes.fromhex(previous))

    def document(self, seq: int) -> dict[str, Any]:
        """The document of the event with this number."""
        with self.open():
            document: dict[str, Any] = json.loads(AuditEvent.objects.get(seq=seq).text)
        return document

    def _insert(self, document: dict[str, Any], *, previous: bytes) -> bytes:
        text = chain.canonical_text(document)
        last = chain.event_hash(previous, text.encode())
        AuditEvent.objects.create(
            text=text,
            previous=previous.hex(),
            hash=last.hex(),
            at=datetime.fromisoformat(document["at"]),
            **events.copied_columns(document),
        )
        return last

    def sign_with(self, key: SigningKey, *, size: int = EVENTS) -> None:
        """Replace every checkpoint by one of this size, signed with this key."""
        with self.open():
            head = AuditHead.objects.get()
            root = chain.root_of(chain.parse_frontier(head.frontier))
            Checkpoint.objects.all().delete()
            Checkpoint.objects.create(
                size=size,
                root=root.hex(),
                fingerprint=key.fingerprint,
                note=sign_checkpoint(origin=head.origin, size=size, root=root, key=key),
                made_at=datetime.fromisoformat("2026-01-01T00:00:00Z"),
            )


def build(copy: Copy) -> None:
    """Record events of people and commands in an empty database, with a rotation of the key."""
    create_private_text(copy.key_file, new_signing_key_text())
    with pytest.MonkeyPatch.context() as patch, copy.open():
        patch.setattr("django.conf.settings.SIGNING_KEY_FILE", copy.key_file)
        ada = person_actor(person=make_person("ada"))
        for number in range(1, EVENTS + 1):
            if number == ROTATED:
                checkpoints.rotate_signing_key(actor=command_actor())
                continue
            audit.record(
                code=audit.EventCode.EXPORT_STARTED,
                actor=ada if number % 2 else command_actor(),
                sentence=audit.Sentence("Act {number}.", number=number),
                details={"number": number},
            )
            if number in SEEN:
                checkpoints.make_checkpoint()


@contextmanager
def copied(original: Copy, *, directory: Path) -> Iterator[Copy]:
    """A copy of the original without its triggers."""
    key_file = directory / "copy-signing-key.json"
    shutil.copy(original.key_file, key_file)
    if original.url.startswith("sqlite"):
        path = directory / "copy.sqlite3"
        shutil.copy(original.url.removeprefix("sqlite:///"), path)
        with closing(sqlite3.connect(path)) as database:
            found = database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
            for (name,) in found.fetchall():
                database.execute(f"DROP TRIGGER {name}")
            database.commit()
        yield Copy(url=f"sqlite:///{path}", key_file=key_file)
        return
    # A transaction that is never committed serves as a copy, and is faster.
    with original.open(), transaction.atomic():
        copy = Copy(url=original.url, key_file=key_file, is_open=True)
        copy.run(*(f"ALTER TABLE {table} DISABLE TRIGGER USER" for table in TABLES))
        yield copy
        transaction.set_rollback(True)
