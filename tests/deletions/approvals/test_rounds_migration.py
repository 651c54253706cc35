"""What stands in a database from before approvals had rounds."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from connections import audit
from connections.access.actor import WORKER, person_actor
from connections.audit import personal_data
from connections.audit.verification import verify_record
from connections.datadog.client import Answer
from connections.datadog.errors import Verdict
from connections.deletions import answers, approvals, sending
from connections.models import Credential, Deletion, Person, Policy, Role, State
from connections.operations.backup import working_on
from connections.verifier import verify
from tests.deletions.approvals.test_evidence import told
from tests.support.clock import SettableClock
from tests.support.people import make_person

pytestmark = pytest.mark.django_db

THEN = datetime(2026, 3, 2, 14, tzinfo=UTC)
BEFORE = [("connections", "0005_four_eyes")]
STATES = ("approved", "sending", "unknown", "still_present", "settled")


def store(apps: Any) -> None:
    """A deletion in each state, each approved once; for the settled one glass was broken."""
    person = apps.get_model("connections", "Person")
    ada, linus = (person.objects.create(username=name) for name in ("ada", "linus"))
    credential = apps.get_model("connections", "Credential").objects.create(
        name="Payments", site="us1", policy="one", keys_set_at=THEN, created_at=THEN
    )
    for state in STATES:
        is_settled = state == "settled"
        deletion = apps.get_model("connections", "Deletion").objects.create(
            request_id=uuid4(),
            connection_id=uuid4(),
            site="us1",
            credential=credential,
            is_reviewed=True,
            policy="one",
            approval_digest="d",
            requested_at=THEN,
            requested_by=ada,
        )
        apps.get_model("connections", "Approval").objects.create(
            deletion=deletion,
            approver=linus,
            requester=ada,
            decision="approved",
            digest="d",
            decided_at=THEN,
        )
        if is_settled:
            deletion.glass_broken_at, deletion.glass_broken_by = THEN, linus
            deletion.glass_reason, deletion.outcome, deletion.settled_at = "why", "deleted", THEN
        deletion.state = state
        deletion.save()


def rows_after(apps: Any) -> dict[str, tuple[int, int | None]]:
    """By state: the deletion's round, and that of its broken glass."""
    rows = apps.get_model("connections", "Deletion").objects.all()
    return {one.state: (one.approval_round, one.glass_round) for one in rows}


def triggers_of(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as database:
        found = database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        return {name for (name,) in found}


def test_what_is_in_doubt_needs_approval_again_and_no_trigger_is_lost(tmp_path: Path) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("SQLite drops the triggers of a table that it makes anew")
    path = tmp_path / "old.sqlite3"
    path.touch()
    with working_on(path):
        executor = MigrationExecutor(connection)
        executor.migrate(BEFORE)
        store(executor.loader.project_state(BEFORE).apps)
        before = triggers_of(path)
        call_command("migrate", interactive=False, verbosity=0)
        executor = MigrationExecutor(connection)
        newest = executor.loader.graph.leaf_nodes()
        rounds = rows_after(executor.loader.project_state(newest).apps)
    assert rounds == {
        "approved": (1, None),
        "sending": (1, None),
        "unknown": (2, None),
        "still_present": (2, None),
        "settled": (1, 1),
    }
    assert before <= triggers_of(path)


# --- Records of sendings from before approvals had rounds


@contextmanager
def database_of_its_own(tmp_path: Path) -> Iterator[None]:
    """Let the models read and write an empty database."""
    if connection.vendor == "sqlite":
        path = tmp_path / "old.sqlite3"
        path.touch()
        with working_on(path):
            yield
        return
    # Undone with the transaction around the test.
    with connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA old_version; SET LOCAL search_path = old_version")
        cursor.execute("ALTER EXTENSION pg_trgm SET SCHEMA old_version")
    yield


def migrate(*, to: list[Any] | None = None) -> Any:
    """Migrate to there, or as far as can be, and give the models as they are then."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            # A change to a table waits for no check of a transaction that the test is within.
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    executor = MigrationExecutor(connection)
    targets = to or executor.loader.graph.leaf_nodes()
    executor.migrate(targets)
    return executor.loader.project_state(targets).apps


class History:
    """One deletion as the version before rounds stored and recorded it."""

    def __init__(self, apps: Any, *, policy: str, ada: Person, linus: Person) -> None:
        self.apps, self.policy, self.ada = apps, policy, person_actor(person=ada)
        credential = apps.get_model("connections", "Credential").objects.get()
        self.row = apps.get_model("connections", "Deletion").objects.create(
            request_id=uuid4(),
            connection_id=uuid4(),
            site="us1",
            credential=credential,
            credential_name="Payments",
            is_reviewed=True,
            policy=policy,
            approval_digest="d",
            requested_at=THEN,
            requested_by_id=ada.pk,
            requested_by_name=ada.display_name,
        )
        # What can be moved and recorded now is the subject's id alone.
        self.subject = Deletion(pk=self.row.pk)
        row = self.row
        self.record(
            "requested",
            actor=self.ada,
            sentence=f"{personal_data.name(ada)} asked to delete it.",
            reason=row.reason,
            ticket=row.ticket,
            is_reviewed=True,
            policy=policy,
            connection_types=row.connection_types,
            site=row.site,
            connection_id=str(row.connection_id),
            credential=row.credential_name,
            credential_fingerprint=row.credential_fingerprint,
            source_org={"id": row.source_org_id, "name": row.source_org_name},
            sink_org={"id": row.sink_org_id, "name": row.sink_org_name},
            requested_by=str(ada.pk),
            requested_at=THEN.isoformat(),
        )
        if policy != "none":
            apps.get_model("connections", "Approval").objects.create(
                deletion=row,
                approver_id=linus.pk,
                approver_name=linus.display_name,
                requester_id=ada.pk,
                decision="approved",
                digest="d",
                decided_at=THEN,
            )
            self.change(state="approved", approved_at=THEN)
            self.record(
                "approved",
                actor=person_actor(person=linus),
                missing=0,
                approved_at=THEN.isoformat(),
            )

    def change(self, **values: Any) -> None:
        for name, value in values.items():
            setattr(self.row, name, value)
        self.row.save()

    def record(self, word: str, *, actor: Any = WORKER, sentence: str = "It.", **more: Any) -> None:
        moved = {"state": self.row.state, "outcome": self.row.outcome, "cause": ""}
        audit.record(
            code=audit.Code(f"deletion.{word}"),
            actor=actor,
            sentence=sentence,
            subject=self.subject,
            details=({} if word == "requested" else moved) | more,
        )

    def send(self, said: str) -> None:
        """Confirm it, send it, and record what was said: a status, a cut, or nothing yet."""
        row = self.row
        if row.state != "waiting":
            self.change(
                confirmed_at=THEN,
                confirmed_by_id=row.requested_by_id,
                confirmed_by_name=row.requested_by_name,
            )
            self.record("confirmed", actor=self.ada, confirmed_at=THEN.isoformat())
        number = row.epoch + 1
        self.change(state="sending", epoch=number, sending_at=THEN)
        attempt = self.apps.get_model("connections", "Attempt").objects.create(
            deletion=row, number=number, epoch=number, was_read_before=True, claimed_at=THEN
        )
        self.record(
            "sending",
            attempt=number,
            epoch=number,
            credential="",
            fingerprint="",
            was_read_before=True,
        )
        if said == "nothing":
            return
        verdict, status, state = {
            "cut": ("ambiguous", None, "unknown"),
            "429": ("rate_limited", 429, "waiting"),
            "200": ("deleted", 200, "settled"),
        }[said]
        attempt.verdict, attempt.http_status, attempt.answered_at = verdict, status, THEN
        attempt.save()
        if state == "settled":
            row.outcome, row.settled_at, row.settled_by_name = "deleted", THEN, WORKER.name
        self.change(state=state)
        answered: dict[str, Any] = {
            "verdict": verdict,
            "http_status": status,
            "errors": [],
            "body_sha256": "",
        }
        self.record("answered", **answered, duration_ms=None, answered_at=THEN.isoformat())
        self.record(state, **({"settled_at": THEN.isoformat()} if state == "settled" else {}))

    def see(self) -> None:
        """Two listings show it."""
        self.change(state="still_present")
        self.record("still_present")


DELETED = Answer(
    verdict=Verdict.DELETED,
    cause=None,
    http_status=200,
    headers={},
    body=b"",
    body_sha256="",
    body_complete=True,
    errors=(),
    retry_after_seconds=None,
    duration_ms=7,
)

# What came back, sending by sending; "seen" where listings showed it afterwards. Then the rounds.
STORIES = {
    "one: cut seen 200": (2, [1, 2]),
    "one: cut seen nothing": (2, [1, 2]),
    "one: cut seen 429": (2, [1, 2]),
    "one: 429 cut": (2, [1, 1]),
    "one: cut seen": (2, [1]),
    "one: 429 200": (1, [1, 1]),
    "one: cut seen cut seen 200": (3, [1, 2, 3]),
    "none: cut seen cut": (3, [1, 2]),
    "none: cut seen 429 cut seen": (3, [1, 2, 2]),
    "none: 200": (1, [1]),
}


def tell(apps: Any, story: str, *, ada: Person, linus: Person) -> UUID:
    policy, _, words = story.partition(": ")
    history = History(apps, policy=policy, ada=ada, linus=linus)
    for word in words.split():
        if word == "seen":
            history.see()
        else:
            history.send(word)
    deletion_id: UUID = history.row.pk
    return deletion_id


@pytest.fixture
def upgraded(tmp_path: Path, clock: SettableClock) -> Iterator[dict[str, Deletion]]:
    """The deletion of each story, after the upgrade."""
    clock.at = THEN
    with database_of_its_own(tmp_path):
        apps = migrate(to=[*BEFORE, ("auth", "0012_alter_user_first_name_max_length")])
        ada, linus = make_person("ada", Role.OPERATOR), make_person("linus", Role.APPROVER)
        Credential.objects.create(
            name="Payments", site="us1", policy="one", keys_set_at=THEN, created_at=THEN
        )
        ids = {story: tell(apps, story, ada=ada, linus=linus) for story in STORIES}
        migrate()
        yield {story: Deletion.objects.get(pk=each) for story, each in ids.items()}


@pytest.mark.database
def test_what_was_sent_before_is_in_the_rounds_that_its_events_tell_of(
    upgraded: dict[str, Deletion],
) -> None:
    rounds = {
        story: (one.approval_round, [each.approval_round for each in one.attempts.all()])
        for story, one in upgraded.items()
    }
    assert rounds == STORIES
    assert verify_record().message == "The record is whole."
    row, events = told(upgraded["one: cut seen 200"])
    assert [one["approved_by"] for one in row["attempts"]] == [["Linus"], []]
    [lacking] = verify.sent_without_approvals(events) or []
    assert lacking.details["attempt"] == 2


@pytest.mark.database
def test_the_record_holds_when_what_was_open_goes_on_after_the_upgrade(
    upgraded: dict[str, Deletion],
) -> None:
    linus = person_actor(person=Person.objects.get(username="linus"))
    for deletion in upgraded.values():
        if deletion.state == State.SENDING:
            attempt = deletion.attempts.last()
        elif deletion.state == State.STILL_PRESENT:
            if deletion.policy != Policy.NONE:
                approvals.approve_deletion(
                    deletion=deletion,
                    actor=linus,
                    digest=deletion.approval_digest,
                    approval_round=deletion.approval_round,
                )
            attempt = sending.claim(deletion=deletion, actor=WORKER, was_read_before=True)
        else:
            continue
        assert attempt is not None
        assert answers.record_answer(attempt=attempt, answer=DELETED, actor=WORKER)
    assert verify_record().message == "The record is whole."
