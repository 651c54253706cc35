"""Inserts many deletions, distributed like years of real use and the same at each run."""

import hashlib
import json
import random
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib.auth.models import Group
from django.db import connection
from django.utils import timezone

from connections.core.sites import all_sites
from connections.deletions.history import search_text_of
from connections.models import (
    AccessKind,
    Attempt,
    Credential,
    CredentialAccess,
    Deletion,
    Person,
    Role,
)

YEARS = 5
# Five rows in a million hold this word, three in ten the other.
RARE_WORD = "zugzwang"
COMMON_WORD = "contract"
REASONS = (
    ("vendor contract ended", 30),
    ("migrated to the new logging pipeline", 20),
    ("duplicate of an older connection", 15),
    ("team was dissolved, nobody reads it", 15),
    ("found in the quarterly access review", 10),
    ("security incident follow-up", 6),
    ("wrong destination org", 4),
)
OUTCOMES = (
    ("deleted", 8800),
    ("already_absent", 400),
    ("refused", 300),
    ("not_sent", 120),
    ("stale", 120),
    ("withdrawn", 100),
    ("expired", 80),
    ("gone_unattributed", 50),
    ("declined", 25),
    ("unresolved", 5),
)
# Outcome of a deletion that was sent → verdict and status of its attempt.
ATTEMPT_RESULTS = {
    "deleted": ("deleted", 200),
    "already_absent": ("not_found", 404),
    "refused": ("refused", 403),
    "gone_unattributed": ("ambiguous", None),
}
OPEN = ("requested", "approved", "waiting", "unknown", "still_present")
OPEN_ROWS = 60
BATCH = 5000


@dataclass(frozen=True, kw_only=True)
class Entities:
    """The people, credentials and orgs of the deletions."""

    people: list[Person]
    credentials: list[Credential]
    # ID and name; the first orgs have the most deletions.
    orgs: list[tuple[str, str]]


def find_entities() -> Entities | None:
    """Return the entities of a database that was kept; None for an empty one."""
    people = {person.username: person for person in Person.objects.all()}
    if not people:
        return None
    credentials = {credential.name: credential for credential in Credential.objects.all()}
    return Entities(
        people=[people[f"person{n}"] for n in range(60)],
        credentials=[credentials[f"Credential {n}"] for n in range(40)],
        orgs=_orgs(),
    )


def _orgs() -> list[tuple[str, str]]:
    return [(str(uuid.UUID(int=n + 1)), f"Org number {n}") for n in range(200)]


def make_entities() -> Entities:
    """Create sixty people, forty credentials on all sites and two hundred orgs."""
    people = [
        Person.objects.create(username=f"person{n}", email=f"p{n}@example.com", is_superuser=n == 0)
        for n in range(60)
    ]
    at = timezone.now()
    sites = [site.site for site in all_sites()]
    credentials = [
        Credential.objects.create(
            name=f"Credential {n}",
            site=sites[min(n // 8, len(sites) - 1) if n < 36 else n % len(sites)],
            fingerprint=f"{n:012x}",
            keys_set_at=at,
            keys_set_by_name="Root",
            created_at=at,
            created_by_name="Root",
        )
        for n in range(40)
    ]
    return Entities(people=people, credentials=credentials, orgs=_orgs())


def restrict_viewer(entities: Entities, *, visible: int) -> str:
    """Make only the `visible` least used credentials visible to one viewer; return the username."""
    viewer = entities.people[1]
    viewer.groups.set(Group.objects.filter(name=Role.VIEWER))
    CredentialAccess.objects.all().delete()
    CredentialAccess.objects.bulk_create(
        CredentialAccess(credential=one, kind=AccessKind.SEE, person=entities.people[0])
        for one in entities.credentials[:-visible]
    )
    return viewer.username


def insert(*, count: int, entities: Entities) -> None:
    """Insert `count` deletions, oldest first, with one attempt for each that was sent."""
    randomness = random.Random(1)  # noqa: S311 - a distribution, not a secret
    newest = datetime.now(UTC) - timedelta(minutes=5)
    step = timedelta(days=365 * YEARS) / count
    deletions, attempts = _Writer(Deletion), _Writer(Attempt, leave_out=("id",))
    for index in range(count):
        at = newest - step * (count - 1 - index)
        deletion = _deletion(
            index=index, count=count, at=at, entities=entities, randomness=randomness
        )
        deletions.add(deletion)
        if deletion.outcome in ATTEMPT_RESULTS:
            attempts.add(_attempt(deletion))
        if len(deletions.rows) == BATCH:
            deletions.flush()
            attempts.flush()
    deletions.flush()
    attempts.flush()
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def _pick(randomness: random.Random, choices: tuple[tuple[str, int], ...]) -> str:
    return randomness.choices([choice for choice, _ in choices], [weight for _, weight in choices])[
        0
    ]


def _skewed(randomness: random.Random, items: list[Any]) -> Any:
    """Return a random item, the first ones far more often than the last."""
    return items[min(int(randomness.paretovariate(0.8)) - 1, len(items) - 1)]


def _deletion(
    *, index: int, count: int, at: datetime, entities: Entities, randomness: random.Random
) -> Deletion:
    credential, person = (
        _skewed(randomness, entities.credentials),
        _skewed(randomness, entities.people),
    )
    source, sink = _skewed(randomness, entities.orgs), randomness.choice(entities.orgs)
    is_open = index >= count - OPEN_ROWS
    outcome = "" if is_open else _pick(randomness, OUTCOMES)
    reason = _pick(randomness, REASONS) + f", batch {index % 9973}"
    if index % 200_000 == 100_000:
        reason += f" ({RARE_WORD})"
    deletion = Deletion(
        id=uuid.UUID(int=randomness.getrandbits(128), version=4),
        request_id=uuid.UUID(int=randomness.getrandbits(128), version=4),
        site=credential.site,
        connection_id=uuid.UUID(int=randomness.getrandbits(128), version=4),
        credential=credential,
        credential_name=credential.name,
        credential_fingerprint=credential.fingerprint,
        is_reviewed=True,
        digest=hashlib.sha256(str(index).encode()).hexdigest(),
        reason=reason,
        ticket=f"SEC-{index}" if randomness.random() < 0.6 else "",
        policy="none",
        state=OPEN[index % len(OPEN)] if is_open else "settled",
        outcome=outcome,
        requested_at=at,
        requested_by=person,
        requested_by_name=person.username,
        settled_at=None if is_open else at + timedelta(seconds=2),
        verified_at=at + timedelta(seconds=3) if outcome == "deleted" else None,
        contradicted_at=at if outcome == "deleted" and index % 100_000 == 7 else None,
        source_org_id=source[0],
        source_org_name=source[1],
        sink_org_id=sink[0],
        sink_org_name=sink[1],
        connection_types=["logs", "metrics"],
    )
    deletion.search_text = search_text_of(deletion)
    return deletion


def _attempt(deletion: Deletion) -> Attempt:
    verdict, status = ATTEMPT_RESULTS[deletion.outcome]
    return Attempt(
        deletion=deletion,
        number=1,
        epoch=1,
        credential_name=deletion.credential_name,
        credential_fingerprint=deletion.credential_fingerprint,
        was_rechecked=True,
        claimed_at=deletion.requested_at,
        verdict=verdict,
        answered_at=deletion.settled_at,
        duration_ms=180,
        http_status=status,
        body=b"{}\n",
    )


class _Writer:
    """Inserts rows of one model without the slow parts of Django's ORM."""

    def __init__(self, model: type[Any], *, leave_out: tuple[str, ...] = ()) -> None:
        fields = [
            field
            for field in model._meta.concrete_fields
            if field.attname not in leave_out and not field.has_db_default()
        ]
        self._names = [field.attname for field in fields]
        columns = ", ".join(f'"{field.column}"' for field in fields)
        placeholders = ", ".join(["?" if connection.vendor == "sqlite" else "%s"] * len(fields))
        table = model._meta.db_table
        self._insert = f'INSERT INTO "{table}" ({columns}) VALUES ({placeholders})'  # noqa: S608 - names from the model
        self._copy = f'COPY "{table}" ({columns}) FROM STDIN'
        self.rows: list[tuple[Any, ...]] = []

    def add(self, row: Any) -> None:
        self.rows.append(tuple(_column_value(getattr(row, name)) for name in self._names))

    def flush(self) -> None:
        connection.ensure_connection()
        raw: Any = connection.connection
        if connection.vendor == "sqlite":
            # Inserting isn't measured and needs no durability.
            raw.execute("PRAGMA synchronous = OFF")
            raw.execute("BEGIN IMMEDIATE")
            raw.executemany(self._insert, self.rows)
            raw.execute("COMMIT")
        else:
            with raw.cursor() as cursor, cursor.copy(self._copy) as copy:
                for row in self.rows:
                    copy.write_row(row)
        self.rows = []


def _column_value(value: Any) -> Any:
    """Return the value as Django stores it in this database."""
    if isinstance(value, list | dict):
        return json.dumps(value)
    if connection.vendor == "sqlite":
        if isinstance(value, uuid.UUID):
            return value.hex
        if isinstance(value, datetime):
            return str(value.replace(tzinfo=None))
    return value
