"""Time a page of changes with N changes: `python -m benchmarks.changes`.

Uses a temporary SQLite database, or a new database on the server of DATABASE_URL. Measures what
`/changes/` reads, for a person who sees everything and for one from whom access lists hide half.
Fails when a page takes more than 100 ms.
"""

import argparse
import json
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from benchmarks.temporary_django import temporary_django

MAX_SECONDS = 0.1
BATCH = 1000
CONNECTIONS = 10_000
START = datetime(2026, 1, 1, tzinfo=UTC)


def fill(count: int) -> None:
    """Insert changes of 10,000 connections between 200 orgs, seen by two credentials."""
    from connections.models import Change, Credential, OrgConnectionSnapshot

    credentials = [
        Credential.objects.create(
            name=name, site="US1", org_id=name, org_name=name, keys_set_at=START, created_at=START
        )
        for name in ("one", "two")
    ]
    OrgConnectionSnapshot.objects.bulk_create(
        (
            OrgConnectionSnapshot(
                credential=credentials[number % 2],
                site="US1",
                connection_id=UUID(int=number),
                digest="0" * 64,
                first_seen_at=START,
                last_seen_at=START,
                connection_types=["logs"],
                **_orgs(number),
            )
            for number in range(CONNECTIONS)
        ),
        batch_size=BATCH,
    )
    kinds = [kind for kind in Change.Kind if kind != Change.Kind.ORG_RENAMED]
    for start in range(1, count + 1, BATCH):
        Change.objects.bulk_create(
            Change(
                number=number,
                kind=kinds[number % len(kinds)],
                site="US1",
                connection_id=UUID(int=number % CONNECTIONS),
                after={"connection_types": ["logs"]},
                needs_attention=number % 50 == 0,
                earliest_at=START + timedelta(minutes=number),
                detected_at=START + timedelta(minutes=number + 15),
                observed_by=[str(credentials[number % 2].pk)],
                search_text=f"org {number % 200}\nrare {number // 50_000}",
                **_orgs(number % CONNECTIONS),
            )
            for number in range(start, min(start + BATCH, count + 1))
        )


def _orgs(number: int) -> dict[str, str]:
    source, sink = f"org-{number % 200}", f"org-{number // 200 % 200}"
    return {
        "source_org_id": source,
        "source_org_name": source,
        "sink_org_id": sink,
        "sink_org_name": sink,
    }


def _actors() -> dict[str, Any]:
    from django.contrib.auth.models import Group

    from connections.access.actor import person_actor
    from connections.models import Credential, CredentialAccess, Person, Role

    people = {}
    for name, role in (("everything", Role.AUDITOR), ("half", Role.OPERATOR)):
        person = Person.objects.create(username=name)
        person.groups.add(Group.objects.get(name=role))
        people[name] = person
    auditors = Group.objects.get(name=Role.AUDITOR)
    hidden = Credential.objects.get(name="two")
    CredentialAccess.objects.create(credential=hidden, kind="see", group=auditors)
    return {name: person_actor(person=person) for name, person in people.items()}


def measure() -> dict[str, float]:
    """The best of three times of each page, in milliseconds."""
    from connections.changes.changes import (
        ChangeFilter,
        count_awaiting_acknowledgement,
        get_change_page,
    )

    pages: dict[str, dict[str, Any]] = {
        "all": {},
        "kind": {"kind": "removed"},
        "org": {"org": "US1/org-7"},
        "attention": {"needs_attention": True, "acknowledged": "no"},
        "text": {"text": "org 77"},
        "text found nowhere": {"text": "nowhere"},
    }
    milliseconds = {}
    for name, actor in _actors().items():
        for page, values in pages.items():
            filters = ChangeFilter(**values)
            milliseconds[f"{page}, sees {name}"] = _best(
                lambda actor=actor, filters=filters: get_change_page(actor=actor, filters=filters)
            )
        milliseconds[f"count, sees {name}"] = _best(
            lambda actor=actor: count_awaiting_acknowledgement(actor=actor)
        )
    return milliseconds


def _best(read: Any) -> float:
    times = []
    for _ in range(3):
        started = time.perf_counter()
        read()
        times.append(time.perf_counter() - started)
    return round(min(times) * 1000, 1)


def main() -> int:
    """Print one JSON document; exit code 1 when a page is too slow."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--changes", type=int, default=100_000)
    arguments = parser.parse_args()
    with temporary_django():
        fill(arguments.changes)
        milliseconds = measure()
    document = {"changes": arguments.changes, "milliseconds": milliseconds}
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
    return int(max(milliseconds.values()) > MAX_SECONDS * 1000)


if __name__ == "__main__":
    sys.exit(main())
