"""Fill the record with N events and time the audit page: `python -m benchmarks.audit_page`.

It works in a throw-away data directory (SQLite), or in a new database on the server that
DATABASE_URL names, and fails when a page takes longer than 300 ms. The events are plain rows: their
hashes are of nobody's concern here.
"""

import argparse
import json
import os
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

from benchmarks.temporary_django import throwaway_django

MOST_SECONDS = 0.3
BATCH = 5000
START = datetime(2024, 1, 1, tzinfo=UTC)
NAMES = UUID(int=7)
CODES = ("deletion.looked", "deletion.sending", "person.signed_in", "credential.verified")


def fill(events: int) -> None:
    """Append events of fifty people, one every minute, and a few rare ones among them."""
    from django.db import transaction

    from connections.actors import person_actor
    from connections.models import AuditEvent, AuditHead, Person
    from connections.services.record import audit, erasable

    people = [Person.objects.create(username=f"p{n}", first_name=f"Person{n}") for n in range(50)]
    with transaction.atomic():
        for person in people:
            actor = person_actor(person=person)
            audit.record(
                code=audit.Code.SIGNED_IN, actor=actor, sentence=f"{erasable.name(actor)} came."
            )
    first = AuditHead.objects.get().size + 1
    for start in range(first, events + 1, BATCH):
        numbers = range(start, min(start + BATCH, events + 1))
        AuditEvent.objects.bulk_create([_event(number, people) for number in numbers])
    AuditHead.objects.get()


def _event(number: int, people: list[Any]) -> Any:
    from connections.models import AuditEvent

    at = START + timedelta(minutes=number)
    person = people[number % 50]
    name = f"{{name:{number % 50 + 1}}}"
    is_rare = number % 200_000 == 1234
    deletion = uuid5(NAMES, str(number // 12))
    sentence = f"{name} looked at Payments EU → Group SOC ({str(deletion)[-8:]})."
    document = {
        "actor": {"id": str(person.pk), "kind": "person", "name": name},
        "at": f"{at:%Y-%m-%dT%H:%M:%S.%f}Z",
        "details": {"found": "not listed", "number": number, "state": "unknown", "cause": ""},
        "sentence": sentence,
        "seq": number,
    }
    return AuditEvent(
        seq=number,
        text=json.dumps(document, ensure_ascii=False),
        hash="0" * 64,
        at=at,
        code="credential.retired" if is_rare else CODES[number % 4],
        actor_kind="person",
        actor_id=person.pk,
        stored_actor=name,
        request_id=f"{number // 3:032x}",
        subject_type="deletion",
        subject_id=str(deletion),
        stored_sentence=sentence + (" A rare platypus." if is_rare else ""),
    )


def questions(events: int) -> dict[str, dict[str, Any]]:
    """What an auditor asks, each as a filter."""
    middle = START + timedelta(minutes=events // 2)
    return {
        "everything": {},
        "one noun": {"code": "deletion."},
        "a rare act": {"code": "credential.retired"},
        "an act that never was": {"code": "person.erased"},
        "one person": {"actor": "Person7"},
        "ten people": {"actor": "Person1"},
        "a person's rare acts": {"actor": "Person34", "code": "credential."},
        "one day long ago": {"since": middle, "until": middle + timedelta(days=1)},
        "half of all time": {"since": middle},
        "a common word": {"text": "payments"},
        "a rare word": {"text": "platypus"},
        "a name and a word": {"text": "Person7 soc"},
        "a word that never was": {"text": "aardvark"},
        "one request": {"request_id": f"{events // 6:032x}"},
        "one deletion": {"deletion": uuid5(NAMES, str(events // 24))},
    }


def measure(events: int) -> dict[str, float]:
    """The best of three times (ms) for each first page, and for a page in the middle."""
    from connections.actors import command_actor
    from connections.services.record import audit_trail
    from connections.services.record.audit_search import EventFilter

    found: dict[str, float] = {}
    asked: list[tuple[str, dict[str, Any], int | None]] = [
        (name, values, None) for name, values in questions(events).items()
    ]
    asked += [("everything, from the middle", {}, events // 2)]
    asked += [("a common word, from the middle", {"text": "payments"}, events // 2)]
    for name, values, below in asked:
        times = []
        for _ in range(3):
            started = time.perf_counter()
            audit_trail.event_page(actor=command_actor(), only=EventFilter(**values), below=below)
            times.append(time.perf_counter() - started)
        found[name] = round(min(times) * 1000, 1)
    return found


def main() -> int:
    """Print one JSON document; exit code 1 when a page was too slow."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--keep-in", type=str)
    arguments = parser.parse_args()
    from pathlib import Path

    keep_in = Path(arguments.keep_in) if arguments.keep_in else None
    with throwaway_django(keep_in=keep_in) as directory:
        from django.db import connection

        from connections.models import AuditEvent

        if not AuditEvent.objects.exists():
            fill(arguments.events)
            with connection.cursor() as cursor:
                cursor.execute("ANALYZE" if connection.vendor == "postgresql" else "SELECT 1")
        found = measure(arguments.events)
        size = sum(os.path.getsize(path) for path in directory.glob("*.sqlite3*"))
    document = {"events": arguments.events, "file_mb": round(size / 1e6), "milliseconds": found}
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
    return int(max(found.values()) > MOST_SECONDS * 1000)


if __name__ == "__main__":
    sys.exit(main())
