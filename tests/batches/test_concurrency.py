"""Workers that change the same rows of a bulk deletion at the same time."""

from datetime import timedelta

import pytest
from django.db import connection, transaction

from connections.access.actor import WORKER
from connections.batches import running
from connections.inventory import rate_limits
from connections.models import Batch, Credential, Deletion, Person
from sandbox import faults
from sandbox.server import SandboxServer
from tests.batches.conftest import MakeDraft
from tests.batches.support import low_limit, request
from tests.support.at_once import start_until_it_waits
from tests.support.clock import SettableClock

pytestmark = [
    pytest.mark.database,
    pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one writer at a time."),
    pytest.mark.django_db(transaction=True),
]


def lock(deletion: Deletion) -> None:
    Deletion.objects.select_for_update(no_key=True).get(pk=deletion.pk)


def test_rows_are_extended_in_the_order_in_which_claims_lock_them(
    ada: Person,
    payments: Credential,
    make_draft: MakeDraft,
    sandbox: SandboxServer,
    clock: SettableClock,
):
    batch: Batch = request(make_draft(2), ada)
    clock.advance(seconds=1)
    sandbox.world.set_fault(fault=faults.rate_limited(reset="7"), method="DELETE")
    running.run_due(actor=WORKER)
    now = clock.now()
    first, second = batch.deletions.order_by("pk")
    Deletion.objects.filter(pk__in=[first.pk, second.pk]).update(epoch=1)
    # The table and its indexes have the first row last.
    Deletion.objects.filter(pk=first.pk).update(due_at=now + timedelta(seconds=9))
    rate_limits.record(
        site=payments.site, org_id=payments.org_id, rate_limits=[low_limit(3600)], now=now
    )
    with transaction.atomic():
        lock(first)
        extending = start_until_it_waits(lambda: running.run_due(actor=WORKER))
        lock(second)
    extending.join(timeout=30)
    extended = now + timedelta(hours=1, minutes=15)
    assert set(batch.deletions.values_list("expires_at", flat=True)) == {extended}
