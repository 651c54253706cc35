"""Fills a database as if after years of real use, the same at each run.

Tests of page costs use it too.
"""

import hashlib
import json
import random
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import batched
from typing import Any

from django.contrib.auth.models import Group
from django.db import connection, transaction
from django.db.models import Max

from benchmarks import world
from connections import audit
from connections.access.actor import WORKER, Actor, person_actor
from connections.agreements.setting import LISTED, MAX_PAIRS, Terms, set_agreements
from connections.audit import EventCode, personal_data
from connections.change_requests import requesting
from connections.changes.detection import changes_digest
from connections.changes.known import connection_state, creator_state
from connections.core import clock
from connections.core.datadog_keys import KeyPair
from connections.core.secret import Secret
from connections.deletions.history import Cursor, search_text_of
from connections.models import (
    AccessKind,
    Attempt,
    AuditHead,
    AuditVerification,
    Change,
    Credential,
    CredentialAccess,
    Deletion,
    KnownConnection,
    Org,
    OrgConnectionSnapshot,
    OrgPair,
    Person,
    Role,
    Sync,
    approval_digest_of,
    snapshot_digest,
)

SITE = world.SITE
TYPES = (["logs"], ["metrics"], ["logs", "metrics"], ["audit"], ["logs", "audit"])
YEARS = 5
REASONS = {
    "vendor contract ended": 30,
    "migrated to the new logging pipeline": 20,
    "duplicate of an older connection": 15,
    "team was dissolved, nobody reads it": 15,
    "found in the quarterly access review": 10,
    "security incident follow-up": 6,
    "wrong destination org": 4,
}
OUTCOMES = {
    "deleted": 8800,
    "already_absent": 400,
    "refused": 300,
    "not_sent": 120,
    "stale": 120,
    "withdrawn": 100,
    "expired": 80,
    "gone_unattributed": 50,
    "declined": 25,
    "unresolved": 5,
}
# The verdict and HTTP status of the attempt, by the outcome of a deletion that was sent.
RESULTS = {
    "deleted": ("deleted", 200),
    "already_absent": ("not_found", 404),
    "refused": ("refused", 403),
    "gone_unattributed": ("ambiguous", None),
}
OPEN_STATES = ("requested", "waiting", "unknown", "still_present")
OPEN = 60
PEOPLE = 60
# Has 1.7 % of the deletions.
RARE_PERSON = 7
BODY = b"{}\n"
# How many deletions are stored with their events in one transaction.
BATCH = 500
CHANGES_PER_EVENT = 100


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much to store. Each org has connections to as many others, and both sides list them."""

    orgs: int = 100
    links: int = 99
    deletions: int = 100_000
    changes: int = 100_000


def fill(size: Size) -> None:
    """Store people, credentials, syncs, connections, agreements, changes and deletions."""
    people = _insert_people()
    credentials = insert_credentials(range(size.orgs))
    CredentialAccess.objects.bulk_create(
        CredentialAccess(credential=credential, kind=AccessKind.SEE, person=people[0])
        for credential in credentials[::3]
    )
    now = clock.now()
    _insert_orgs(size.orgs, at=now)
    _insert_snapshots(size, credentials, now=now)
    _set_agreements(size, people, now=now)
    _insert_deletions(size, people, credentials, now=now)
    _insert_changes(size, credentials, now=now)
    _insert_syncs(credentials, now=clock.now())
    # The worker of a server started today has nothing to verify.
    AuditVerification.objects.create(checked_at=clock.now(), size=AuditHead.objects.get().size)


def facts() -> dict[str, Any]:
    """What `benchmarks/addresses.py` needs to know about the data."""
    ordered = Deletion.objects.filter(outcome="deleted").order_by("-requested_at", "-id")
    middle = ordered[ordered.count() // 2]
    return {
        "after": str(Cursor(requested_at=middle.requested_at, id=middle.id)),
        "deletion": str(middle.pk),
        "credential": str(Credential.objects.get(name=world.org_of(1)[1]).pk),
        "people": [str(Person.objects.get(username=f"person{n}").pk) for n in (0, RARE_PERSON)],
        "events": AuditHead.objects.get().size,
    }


def _insert_people() -> list[Person]:
    """An administrator, a Viewer for whom access lists hide a third, and others."""
    people = [
        Person.objects.create(username=f"person{n}", email=f"p{n}@example.com", is_superuser=n == 0)
        for n in range(PEOPLE)
    ]
    for person in people[1:]:
        person.groups.add(Group.objects.get_or_create(name=Role.VIEWER)[0])
    return people


def insert_credentials(orgs: Iterable[int]) -> list[Credential]:
    """Store a verified credential for each org, with its keys."""
    now = clock.now()
    credentials = []
    for number in orgs:
        org_id, name = world.org_of(number)
        credential = Credential(
            name=name,
            site=SITE,
            org_id=org_id,
            org_name=name,
            keys_set_at=now,
            keys_set_by_name="Root",
            verified_at=now,
            managed_orgs_read_at=now,
            created_at=now,
            created_by_name="Root",
        )
        api_key, application_key = map(Secret, world.keys_of(number))
        credential.seal_keys(KeyPair(api_key=api_key, application_key=application_key))
        credentials.append(credential)
    return Credential.objects.bulk_create(credentials)


def _insert_orgs(count: int, *, at: datetime) -> None:
    Org.objects.bulk_create(
        Org(site=SITE, org_id=org_id, name=name, first_seen_at=at, established_at=at)
        for org_id, name in map(world.org_of, range(count))
    )


def _insert_syncs(credentials: list[Credential], *, now: datetime) -> None:
    """Store a day of syncs. One org in ten has been failing for an hour."""
    rows = _Rows(Sync, leave_out=("id",))
    for age in range(95, -1, -1):
        for number, credential in enumerate(credentials):
            at = now - timedelta(minutes=15 * age)
            is_complete = number % 10 != 3 or age > 3
            rows.add(
                Sync(
                    credential=credential,
                    started_at=at,
                    finished_at=at,
                    is_complete=is_complete,
                    cause="" if is_complete else "forbidden",
                )
            )
    rows.insert()


def refresh_syncs() -> None:
    """Move the newest syncs to now, so that the worker of a server started now syncs nothing."""
    newest = Sync.objects.aggregate(at=Max("started_at"))["at"]
    now = clock.now()
    Sync.objects.filter(started_at=newest).update(started_at=now, finished_at=now)


def _snapshot_fields(source: int, sink: int, *, at: datetime, version: int = 0) -> dict[str, Any]:
    (source_id, source_name), (sink_id, sink_name) = world.org_of(source), world.org_of(sink)
    return {
        "source_org_id": source_id,
        "source_org_name": source_name,
        "sink_org_id": sink_id,
        "sink_org_name": sink_name,
        "connection_types": TYPES[(source * 7 + sink + version) % len(TYPES)],
        "connection_created_at": at,
        "creator_id": f"user-{(source + sink) % 20}",
        "creator_name": f"Creator {(source + sink) % 20}",
    }


def _pairs_of(size: Size) -> list[tuple[int, int]]:
    """The source and destination org of each connection."""
    steps = range(1, size.links + 1)
    return [(org, (org + step) % size.orgs) for step in steps for org in range(size.orgs)]


def _insert_snapshots(size: Size, credentials: list[Credential], *, now: datetime) -> None:
    """Store what both sides list, and what they listed before with other data types."""
    pairs = _pairs_of(size)
    rows = _Rows(OrgConnectionSnapshot, leave_out=("id",))

    def add(source: int, sink: int, lister: int, *, version: int) -> None:
        at = now - timedelta(days=version)
        values = _snapshot_fields(source, sink, at=at, version=version)
        connection_id = world.connection_of(source, sink)
        digest = snapshot_digest(
            site=SITE, connection_id=connection_id, fields=OrgConnectionSnapshot(**values)
        )
        rows.add(
            OrgConnectionSnapshot(
                credential=credentials[lister],
                site=SITE,
                connection_id=uuid.UUID(connection_id),
                digest=digest,
                first_seen_at=at,
                last_seen_at=at,
                is_current=version == 0,
                **values,
            )
        )

    for source, sink in pairs:
        add(source, sink, source, version=0)
        add(source, sink, sink, version=0)
    for number in range(size.changes):
        source, sink = pairs[number % len(pairs)]
        add(source, sink, source, version=1 + number // len(pairs))
    rows.insert()


def _set_agreements(size: Size, people: list[Person], *, now: datetime) -> None:
    """Set an agreement about each connection. One in a hundred lacks its data type."""
    names = [world.org_of(number)[0] for number in range(size.orgs)]
    pairs = [OrgPair(SITE, names[source], names[sink]) for source, sink in _pairs_of(size)]
    kinds: dict[int, list[OrgPair]] = {}
    for number, pair in enumerate(pairs):
        kinds.setdefault(min(number % 100, 10), []).append(pair)
    for kind, alike in kinds.items():
        terms: Terms = {
            "owner": people[kind],
            "purpose": f"Purpose {kind}",
            "ends_on": now.date() + timedelta(days=40 * kind) if kind % 5 else None,
            "connection_types": LISTED if kind else ["rum"],
        }
        for batch in batched(alike, MAX_PAIRS):
            set_agreements(actor=person_actor(person=people[0]), pairs=batch, terms=terms)


def _insert_changes(size: Size, credentials: list[Credential], *, now: datetime) -> None:
    """Store changes of connections, one every five minutes until now."""
    kinds = [kind for kind in Change.Kind if kind != Change.Kind.ORG_RENAMED]
    rows = _Rows(Change)
    pairs = _pairs_of(size)
    found: list[Change] = []
    for number in range(1, size.changes + 1):
        source, sink = pairs[number % len(pairs)]
        at = now - timedelta(minutes=5 * (size.changes - number))
        values = _snapshot_fields(source, sink, at=at - timedelta(days=1))
        orgs = {name: text for name, text in values.items() if "_org_" in name}
        connection_id = uuid.UUID(world.connection_of(source, sink))
        kind = kinds[number % len(kinds)]
        before, after = _states(kind, values, connection_id=connection_id)
        found.append(
            Change(
                number=number,
                kind=kind,
                site=SITE,
                connection_id=connection_id,
                **orgs,
                before=before,
                after=after,
                needs_attention=number % 500 == 0,
                earliest_at=at - timedelta(minutes=15),
                detected_at=at,
                recorded_at=at,
                observed_by=[str(credentials[source].pk)],
                search_text="\n".join(orgs.values()).casefold(),
            )
        )
        rows.add(found[-1])
        if len(found) == CHANGES_PER_EVENT or number == size.changes:
            _record_changes(found, credential=credentials[source])
            found = []
    rows.insert()


def _record_changes(found: list[Change], *, credential: Credential) -> None:
    audit.record(
        code=EventCode.CHANGES_DETECTED,
        actor=WORKER,
        subject=credential,
        sentence=audit.Sentence("A sync found changes."),
        details={"changes": [str(each.pk) for each in found], "sha256": changes_digest(found)},
    )


def _states(
    kind: Change.Kind, values: dict[str, Any], *, connection_id: uuid.UUID
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """A connection before and after a change, as changes of this kind store it."""
    shown = KnownConnection(
        connection_id=connection_id,
        created_at=values["connection_created_at"],
        **{name: values[name] for name in ("connection_types", "creator_id", "creator_name")},
    )
    if kind == Change.Kind.TYPES_CHANGED:
        return {"connection_types": ["logs"]}, {"connection_types": ["logs", "metrics"]}
    if kind == Change.Kind.CREATOR_CHANGED:
        return creator_state(KnownConnection(creator_id="former")), creator_state(shown)
    state = connection_state(shown)
    is_new, is_gone = kind == Change.Kind.APPEARED, kind == Change.Kind.REMOVED
    return None if is_new else state, None if is_gone else state


# --- Deletions ----------------------------------------------------------------------------------


def _insert_deletions(
    size: Size, people: list[Person], credentials: list[Credential], *, now: datetime
) -> None:
    """Store deletions, oldest first, with their attempts and events."""
    randomness = random.Random(1)  # noqa: S311 - a distribution, not a secret
    step = timedelta(days=365 * YEARS) / max(size.deletions, 1)
    deletions, attempts = _Rows(Deletion), _Rows(Attempt, leave_out=("id",))
    for first in range(0, size.deletions, BATCH):
        with audit.atomic():
            for index in range(first, min(first + BATCH, size.deletions)):
                left = size.deletions - 1 - index
                deletion = _make_deletion(
                    index,
                    at=now - timedelta(minutes=5) - step * left,
                    is_open=left < OPEN,
                    people=people,
                    credentials=credentials,
                    randomness=randomness,
                )
                attempt = _make_attempt(deletion)
                deletions.add(deletion)
                if attempt:
                    attempts.add(attempt)
                _record_events(deletion, attempt)
            deletions.insert()
            attempts.insert()


def _pick(randomness: random.Random, weights: dict[str, int]) -> str:
    return randomness.choices(list(weights), list(weights.values()))[0]


def _skewed[Item](randomness: random.Random, items: list[Item]) -> Item:
    """A random item, where the first items are far more likely than the last."""
    return items[min(int(randomness.paretovariate(0.8)) - 1, len(items) - 1)]


def _make_deletion(
    index: int,
    *,
    at: datetime,
    is_open: bool,
    people: list[Person],
    credentials: list[Credential],
    randomness: random.Random,
) -> Deletion:
    credential, person = _skewed(randomness, credentials), _skewed(randomness, people)
    source = credentials.index(credential)
    sink = randomness.randrange(len(credentials))
    outcome = "" if is_open else _pick(randomness, OUTCOMES)
    reason = f"{_pick(randomness, REASONS)}, case {index % 9973}"
    ticket = f"SEC-{index}" if randomness.random() < 0.6 else ""
    settled_at = None if is_open else at + timedelta(seconds=2)
    deletion = Deletion(
        id=uuid.UUID(int=randomness.getrandbits(128), version=4),
        request_id=uuid.UUID(int=randomness.getrandbits(128), version=4),
        site=SITE,
        connection_id=uuid.UUID(int=randomness.getrandbits(128), version=4),
        credential=credential,
        credential_name=credential.name,
        credential_fingerprint=credential.fingerprint,
        is_reviewed=True,
        digest=hashlib.sha256(str(index).encode()).hexdigest(),
        reason=reason,
        ticket=ticket,
        policy="none",
        approval_round=1,
        state=OPEN_STATES[index % len(OPEN_STATES)] if is_open else "settled",
        outcome=outcome,
        requested_at=at,
        requested_by=person,
        requested_by_name=person.display_name,
        settled_at=settled_at,
        settled_by_name=person.display_name if settled_at else "",
        verified_at=settled_at if outcome == "deleted" else None,
        **_snapshot_fields(source, sink, at=at - timedelta(days=90)),
    )
    deletion.approval_digest = approval_digest_of(
        digest=deletion.digest, reason=reason, ticket=ticket
    )
    if outcome in RESULTS:
        deletion.confirmed_at = deletion.sending_at = at
        deletion.confirmed_by, deletion.confirmed_by_name = person, person.display_name
        deletion.epoch = 1
    deletion.search_text = search_text_of(deletion)
    return deletion


def _make_attempt(deletion: Deletion) -> Attempt | None:
    if deletion.sending_at is None:
        return None
    verdict, status = RESULTS[deletion.outcome]
    return Attempt(
        deletion=deletion,
        number=1,
        epoch=1,
        approval_round=1,
        credential_name=deletion.credential_name,
        credential_fingerprint=deletion.credential_fingerprint,
        was_rechecked=True,
        claimed_at=deletion.sending_at,
        verdict=verdict,
        answered_at=deletion.settled_at,
        duration_ms=180,
        http_status=status,
        body=BODY,
        body_sha256=hashlib.sha256(BODY).hexdigest(),
    )


def _record_events(deletion: Deletion, attempt: Attempt | None) -> None:
    """Record what the services record, so that the audit log can be verified."""
    assert deletion.requested_by  # noqa: S101 - set above
    actor = person_actor(person=deletion.requested_by, request_id=deletion.request_id.hex)
    requesting.record_request(deletion, actor=actor)
    status = {"state": deletion.state, "outcome": deletion.outcome, "cause": ""}
    record = partial(_record, deletion=deletion, actor=actor)
    if attempt:
        name = f"attempt {attempt.number}"
        claimed, response = audit.row_of(attempt), dict[str, Any]()
        for column in _RESPONSE_COLUMNS:
            response[column] = claimed.pop(column, None)
        claim = {"state": "sending", "attempt": 1, "epoch": 1, "was_rechecked": True}
        record(
            EventCode.DELETION_SENDING,
            details=claim,
            rows={"deletion": _columns(deletion, "sending_at", "epoch"), name: claimed},
        )
        answer = {column: response[column] for column in ("verdict", "http_status", "duration_ms")}
        record(EventCode.DELETION_ANSWERED, details=answer, rows={name: response})
    if deletion.settled_at:
        names = ("state", "outcome", "cause", "settled_at", "settled_by_name")
        rows: audit.Rows = {"deletion": audit.changed(deletion, *names, actor=actor)}
        record(EventCode.DELETION_SETTLED, details=status, rows=rows)
    elif deletion.state != "requested":
        record(EventCode.DELETION_CHECKED, details=status, rows={})
    if deletion.verified_at:
        details = {"at": _iso(deletion.verified_at)}
        record(
            EventCode.DELETION_VERIFIED,
            details=details,
            rows={"deletion": _columns(deletion, "verified_at")},
        )


_RESPONSE_COLUMNS = (
    *("verdict", "answered_at", "duration_ms", "http_status", "body", "body_sha256", "is_late"),
)


def _columns(deletion: Deletion, *names: str) -> dict[str, Any]:
    return audit.columns_of({name: getattr(deletion, name) for name in names})


def _record(
    code: EventCode,
    *,
    deletion: Deletion,
    actor: Actor,
    details: dict[str, Any],
    rows: audit.Rows,
) -> None:
    sentence = audit.Sentence(
        "{person} changed the deletion of {connection}.",
        person=personal_data.name_of(actor),
        connection=deletion.description,
    )
    audit.record(
        code=code, actor=actor, subject=deletion, sentence=sentence, details=details, rows=rows
    )


def _iso(at: datetime | None) -> str:
    assert at  # noqa: S101 - set by the caller
    return at.isoformat()


# --- Rows ---------------------------------------------------------------------------------------


class _Rows:
    """Rows of one model, inserted without the slow parts of Django's ORM."""

    def __init__(self, model: type[Any], *, leave_out: tuple[str, ...] = ()) -> None:
        fields = [
            field
            for field in model._meta.concrete_fields
            if field.attname not in leave_out and not field.has_db_default()
        ]
        self._names = [field.attname for field in fields]
        columns = ", ".join(f'"{field.column}"' for field in fields)
        placeholders = ", ".join(["?"] * len(fields))
        table = model._meta.db_table
        self._insert = f'INSERT INTO "{table}" ({columns}) VALUES ({placeholders})'  # noqa: S608 - names from the model
        self._copy = f'COPY "{table}" ({columns}) FROM STDIN'
        self._rows: list[tuple[Any, ...]] = []

    def add(self, row: Any) -> None:
        """Keep a row until `insert`."""
        self._rows.append(tuple(_column_value(getattr(row, name)) for name in self._names))

    def insert(self) -> None:
        """Insert the rows that were added."""
        with transaction.atomic():
            raw: Any = connection.connection
            if connection.vendor == "sqlite":
                raw.executemany(self._insert, self._rows)
            else:
                with raw.cursor() as cursor, cursor.copy(self._copy) as copy:
                    for row in self._rows:
                        copy.write_row(row)
        self._rows = []


def _column_value(value: Any) -> Any:
    """The value in the form that Django stores in this database."""
    if isinstance(value, list | dict):
        return json.dumps(value)
    if connection.vendor == "sqlite":
        if isinstance(value, uuid.UUID):
            return value.hex
        if isinstance(value, datetime):
            return str(value.replace(tzinfo=None))
    return value
