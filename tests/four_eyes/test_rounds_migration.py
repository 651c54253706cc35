"""What stands in a database from before approvals had rounds."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from connections.services.operations.backups import working_on

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
