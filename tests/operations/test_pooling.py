"""Org Admin behind PgBouncer, which gives each transaction another connection to PostgreSQL."""

import json
from pathlib import Path

import pytest
from pytest_django import DjangoDbBlocker

from connections.audit.signing import new_signing_key_text
from connections.core.private_files import create_private_text
from connections.models import Deletion
from tests.faults.crashes.stack import stack_on
from tests.support.databases import SharedDatabase
from tests.support.rows import rows_of

pytestmark = [pytest.mark.usefixtures("postgresql_url"), pytest.mark.slow]


def test_workers_the_verification_and_bundles_need_no_connection_of_their_own(
    shared_database: SharedDatabase, tmp_path: Path, django_db_blocker: DjangoDbBlocker
):
    with django_db_blocker.unblock(), stack_on(shared_database, connections=6) as stack:
        first, *others = stack.connection_ids
        signing_key = shared_database.data_dir / "signing_key.json"
        create_private_text(signing_key, new_signing_key_text())
        stack.prepare(waiting=[first], batch=others)
        with stack.opened():
            # As libraries do, for the choices of a form for example.
            assert len(list(Deletion.objects.iterator(chunk_size=1))) == 6
        with stack.start("worker") as worker, stack.start("worker") as second:
            deletions = stack.settled()
            assert (worker.end(), second.end()) == (0, 0)
        assert "failed" not in worker.output + second.output
        assert {row["outcome"] for row in deletions.values()} == {"deleted"}

        verified = stack.run("verify_audit", "--json")
        assert (verified.returncode, verified.stderr) == (0, "")
        assert json.loads(verified.stdout)["whole"]
        [[batch]] = rows_of(shared_database, "SELECT id FROM connections_batch")
        for name, arguments in {"all": [], "batch": ["--batch", str(batch)]}.items():
            path = str(tmp_path / name)
            bundle = stack.run("make_evidence_bundle", "--output", path, *arguments)
            assert (bundle.returncode, bundle.stderr) == (0, "")
