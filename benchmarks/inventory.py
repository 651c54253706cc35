"""Time the pages of connections and orgs: `python -m benchmarks.inventory`.

100 orgs with 9,900 connections, each listed by both sides, and 100,000 changes. Uses a temporary
SQLite database, or a new database on the server of DATABASE_URL. Fails when a page takes more than
100 ms, or when the matrix of 50 orgs, each with a connection to each, has more than 40 kB
compressed. Times are the fastest of five, in the process: reading a request and sending its
response come on top.
"""

import argparse
import json
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

from benchmarks.temporary_django import temporary_django

MAX_MILLISECONDS = 100
MAX_MATRIX_BYTES = 40_000
NAMES = UUID(int=7)
ORGS = 100
SITE = "datadoghq.com"
TYPES = (["logs"], ["metrics"], ["logs", "metrics"], ["audit"], ["logs", "audit"])


def org_of(number: int) -> tuple[str, str]:
    """Return the ID and name of an org; the first half are called Alpha, the others Beta."""
    kind = "Alpha" if number < ORGS // 2 else "Beta"
    return str(uuid5(NAMES, f"org {number}")), f"{kind} Team {number:02}"


def fill(changes: int) -> None:
    """Insert people, credentials, syncs, snapshots and changes."""
    from django.contrib.auth.models import Group
    from django.db import connection

    from connections.models import (
        AccessKind,
        Credential,
        CredentialAccess,
        Person,
        Role,
    )

    people = {role: Person.objects.create(username=role.value) for role in Role}
    for role, person in people.items():
        person.groups.set(Group.objects.filter(name=role))
    credentials = Credential.objects.bulk_create(_credential(number) for number in range(ORGS))
    CredentialAccess.objects.bulk_create(
        CredentialAccess(credential=each, kind=AccessKind.SEE, person=people[Role.OPERATOR])
        for each in credentials[::3]
    )
    _insert_orgs()
    _insert_syncs(credentials)
    _insert_snapshots(credentials, old=changes)
    _insert_changes(changes)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def _credential(number: int) -> Any:
    from django.utils import timezone

    from connections.models import Credential

    org_id, name = org_of(number)
    now = timezone.now()
    return Credential(
        name=name,
        site=SITE,
        org_id=org_id,
        org_name=name,
        fingerprint=f"{number:012x}",
        keys_set_at=now,
        keys_set_by_name="Root",
        verified_at=now,
        created_at=now,
        created_by_name="Root",
    )


def _insert_orgs() -> None:
    from django.utils import timezone

    from connections.models import Org

    now = timezone.now()
    Org.objects.bulk_create(
        Org(
            site=SITE,
            org_id=org_of(number)[0],
            name=org_of(number)[1],
            first_seen_at=now,
            established_at=now,
        )
        for number in range(ORGS)
    )


def _insert_syncs(credentials: list[Any]) -> None:
    """Insert a day of syncs; one org in ten has failed for an hour."""
    from django.utils import timezone

    from connections.models import Sync

    now = timezone.now()
    Sync.objects.bulk_create(
        Sync(
            credential=credential,
            started_at=now - timedelta(minutes=15 * age),
            finished_at=now - timedelta(minutes=15 * age),
            is_complete=number % 10 != 0 or age > 3,
        )
        for age in range(96)
        for number, credential in enumerate(credentials)
    )


def _insert_snapshots(credentials: list[Any], *, old: int) -> None:
    """Insert both sides' snapshots of each connection, and older ones with other data types."""
    from django.utils import timezone

    from connections.models import OrgConnectionSnapshot

    now = timezone.now()
    pairs = [(one, two) for one in range(ORGS) for two in range(ORGS) if one != two]

    def snapshot(source: int, sink: int, lister: int, *, age: int) -> Any:
        at = now - timedelta(days=age)
        return OrgConnectionSnapshot(
            credential=credentials[lister],
            site=SITE,
            connection_id=uuid5(NAMES, f"{source} {sink}"),
            digest="0" * 64,
            first_seen_at=at,
            last_seen_at=at,
            is_current=age == 0,
            source_org_id=org_of(source)[0],
            source_org_name=org_of(source)[1],
            sink_org_id=org_of(sink)[0],
            sink_org_name=org_of(sink)[1],
            connection_types=TYPES[(source * 7 + sink + age) % len(TYPES)],
            connection_created_at=at,
            creator_id="user",
            creator_name=f"Creator {(source + sink) % 20}",
        )

    OrgConnectionSnapshot.objects.bulk_create(
        (snapshot(*pair, lister, age=0) for pair in pairs for lister in pair), batch_size=2000
    )
    OrgConnectionSnapshot.objects.bulk_create(
        (
            snapshot(*pairs[number % len(pairs)], pairs[number % len(pairs)][0], age=1 + number)
            for number in range(old)
        ),
        batch_size=2000,
    )


def _insert_changes(count: int) -> None:
    """Insert changes of the types of connections, the last ones today."""
    from django.utils import timezone

    from connections.models import Change

    now = timezone.now()
    Change.objects.bulk_create(
        (
            Change(
                number=number + 1,
                kind=Change.Kind.TYPES_CHANGED,
                site=SITE,
                connection_id=uuid5(NAMES, f"{number % ORGS} {number // ORGS % ORGS}"),
                source_org_id=org_of(number % ORGS)[0],
                source_org_name=org_of(number % ORGS)[1],
                sink_org_id=org_of(number // ORGS % ORGS)[0],
                sink_org_name=org_of(number // ORGS % ORGS)[1],
                before={"connection_types": ["logs"]},
                after={"connection_types": ["logs", "metrics"]},
                widened=True,
                earliest_at=now - timedelta(minutes=(count - number) * 5),
                detected_at=now - timedelta(minutes=(count - number) * 5),
                search_text="",
            )
            for number in range(count)
        ),
        batch_size=2000,
    )


PAGES = {
    "inventory": "/connections/",
    "inventory, second page by destination": "/connections/?sort=-destination&page=2",
    "matrix of 50 × 50": "/connections/?view=matrix&source=alpha&destination=alpha",
    "orgs": "/orgs/",
    "an org": f"/orgs/{SITE}/{org_of(1)[0]}/",
}


def measure() -> tuple[dict[str, float], dict[str, int]]:
    """Return the fastest of five times (ms) and the compressed size (bytes) of each page."""
    from django.test import Client

    from connections.models import Person, Role

    milliseconds: dict[str, float] = {}
    sizes: dict[str, int] = {}
    for role in (Role.AUDITOR, Role.VIEWER):
        client = Client(HTTP_HOST="localhost", HTTP_ACCEPT_ENCODING="gzip")
        client.force_login(Person.objects.get(username=role.value))
        for name, url in PAGES.items():
            times = []
            for _ in range(5):
                started = time.process_time()
                response = client.get(url)
                times.append(time.process_time() - started)
            if response.status_code != 200:
                raise RuntimeError(f"{url} returned {response.status_code}.")
            label = name if role is Role.AUDITOR else f"{name}, for a reader who sees two thirds"
            milliseconds[label] = round(min(times) * 1000, 1)
            sizes[label] = len(response.content)
    return milliseconds, sizes


def main() -> int:
    """Print one JSON document; exit code 1 when a page is too slow or too large."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--changes", type=int, default=100_000)
    parser.add_argument("--keep-in", type=Path)
    arguments = parser.parse_args()
    with temporary_django(keep_in=arguments.keep_in):
        from connections.models import Credential

        if not Credential.objects.exists():
            fill(arguments.changes)
        milliseconds, sizes = measure()
    document = {"changes": arguments.changes, "milliseconds": milliseconds, "bytes": sizes}
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
    is_fast = max(milliseconds.values()) <= MAX_MILLISECONDS
    is_small = max(size for name, size in sizes.items() if "matrix" in name) <= MAX_MATRIX_BYTES
    return int(not (is_fast and is_small))


if __name__ == "__main__":
    sys.exit(main())
