"""Time the audit page with N audit events: `python -m benchmarks.audit_page`.

Uses a temporary SQLite database, or a new database on the server of DATABASE_URL. Fails when a page
takes more than 300 ms. The events have no valid hashes, which the page doesn't check.
"""

import argparse
import json
import os
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

from benchmarks.temporary_django import temporary_django

MAX_SECONDS = 0.3
BATCH = 5000
START = datetime(2024, 1, 1, tzinfo=UTC)
NAMES = UUID(int=7)
CODES = ("deletion.checked", "deletion.sending", "person.signed_in", "credential.verified")


def fill(events: int) -> None:
    """Insert one event a minute by fifty people, with a few rare events among them."""
    from django.db import transaction

    from connections import audit
    from connections.access.actor import person_actor
    from connections.audit import personal_data
    from connections.models import AuditEvent, AuditHead, Person

    people = [Person.objects.create(username=f"p{n}", first_name=f"Person{n}") for n in range(50)]
    with transaction.atomic():
        for person in people:
            actor = person_actor(person=person)
            audit.record(
                code=audit.EventCode.SIGNED_IN,
                actor=actor,
                sentence=audit.Sentence("{person} signed in.", person=personal_data.name_of(actor)),
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
    sentence = f"{name} checked Payments EU → Group SOC ({str(deletion)[-8:]})."
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


def filters(events: int) -> dict[str, dict[str, Any]]:
    """Return the filters to measure by name."""
    middle = START + timedelta(minutes=events // 2)
    return {
        "everything": {},
        "events of deletions": {"code": "deletion."},
        "a rare event": {"code": "credential.retired"},
        "an event that never occurs": {"code": "person.erased"},
        "one person": {"actor": "Person7"},
        "ten people": {"actor": "Person1"},
        "a person's rare events": {"actor": "Person34", "code": "credential."},
        "one day, a year ago": {"since": middle, "until": middle + timedelta(days=1)},
        "half of the whole period": {"since": middle},
        "a common word": {"text": "payments"},
        "a rare word": {"text": "platypus"},
        "a name and a word": {"text": "Person7 soc"},
        "a word that never occurs": {"text": "aardvark"},
        "one request": {"request_id": f"{events // 6:032x}"},
        "one deletion": {"deletion": uuid5(NAMES, str(events // 24))},
    }


def measure(events: int) -> dict[str, float]:
    """Return the fastest of three times (ms) for each first page, and for two later pages."""
    from connections.access.actor import command_actor
    from connections.audit import search
    from connections.audit.search import EventFilter

    milliseconds: dict[str, float] = {}
    pages: list[tuple[str, dict[str, Any], int | None]] = [
        (name, values, None) for name, values in filters(events).items()
    ]
    pages += [("everything, middle page", {}, events // 2)]
    pages += [("a common word, middle page", {"text": "payments"}, events // 2)]
    for name, values, below in pages:
        times = []
        for _ in range(3):
            started = time.perf_counter()
            search.get_event_page(actor=command_actor(), filters=EventFilter(**values), after=below)
            times.append(time.perf_counter() - started)
        milliseconds[name] = round(min(times) * 1000, 1)
    return milliseconds


def main() -> int:
    """Print one JSON document; exit code 1 when a page is too slow."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--keep-in", type=str)
    arguments = parser.parse_args()
    from pathlib import Path

    keep_in = Path(arguments.keep_in) if arguments.keep_in else None
    with temporary_django(keep_in=keep_in) as directory:
        from django.db import connection

        from connections.models import AuditEvent

        if not AuditEvent.objects.exists():
            fill(arguments.events)
            with connection.cursor() as cursor:
                cursor.execute("ANALYZE" if connection.vendor == "postgresql" else "SELECT 1")
        milliseconds = measure(arguments.events)
        size = sum(os.path.getsize(path) for path in directory.glob("*.sqlite3*"))
    document = {
        "events": arguments.events,
        "file_mb": round(size / 1e6),
        "milliseconds": milliseconds,
    }
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
    return int(max(milliseconds.values()) > MAX_SECONDS * 1000)


if __name__ == "__main__":
    sys.exit(main())
