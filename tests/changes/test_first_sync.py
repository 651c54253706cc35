"""The tests' shorter way to store the first sync stores what a sync stores."""

from typing import Any

import pytest
from django.db import connection, transaction

from sandbox.server import SandboxServer
from tests.flows import support
from tests.support.clock import SettableClock

pytestmark = pytest.mark.django_db
# Random, or numbered.
LEFT_OUT = {"id", "sync_due_at", "api_key_envelope", "application_key_envelope", "credential_id"}


def stored_by(sandbox: SandboxServer, org_name: str) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table, once the credential of this org is stored and synced."""
    with transaction.atomic(), connection.cursor() as cursor:
        support.store_credential(sandbox, org_name)
        rows = {}
        for table in connection.introspection.table_names():
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")  # noqa: S608
            names = [column[0] for column in cursor.description]
            rows[table] = [
                {
                    name: value
                    for name, value in zip(names, row, strict=True)
                    if name not in LEFT_OUT
                }
                for row in cursor.fetchall()
            ]
        transaction.set_rollback(True)
    return rows


@pytest.mark.parametrize("org_name", ["Payments US", "Labs EU"])
def test_it_stores_what_a_sync_stores(
    sandbox: SandboxServer, clock: SettableClock, monkeypatch: pytest.MonkeyPatch, org_name: str
):
    monkeypatch.setattr("django.utils.timezone.now", clock.now)
    shorter = stored_by(sandbox, org_name)
    monkeypatch.setattr(support, "is_nothing_known", lambda: False)
    assert shorter == stored_by(sandbox, org_name)
