"""The rows of a bulk deletion match their events, as an auditor checks them."""

import json
from io import StringIO

import pytest
from django.core.management import call_command

from connections.access.actor import WORKER, person_actor
from connections.batches import decisions, running, stopping
from connections.evidence.comparison import DifferingDeletions, compare_all_deletions
from connections.models import ApprovalPolicy, Deletion, Person
from sandbox import faults
from sandbox.server import SandboxServer
from tests.batches.conftest import MakeDraft
from tests.batches.support import approve, execute, request
from tests.support.clock import SettableClock

pytestmark = pytest.mark.django_db


def find_differences() -> list[str]:
    differing = DifferingDeletions()
    for _ in compare_all_deletions(differing):
        pass
    return differing.descriptions


def test_rows_match_their_events_however_they_ended(
    ada: Person,
    linus: Person,
    barbara: Person,
    make_draft: MakeDraft,
    clock: SettableClock,
    sandbox: SandboxServer,
) -> None:
    declined = request(make_draft(1, policy=ApprovalPolicy.TWO), ada)
    decisions.decline_batch(batch=declined, actor=person_actor(person=linus), reason="In use.")
    cancelled = request(make_draft(1, policy=ApprovalPolicy.ONE), ada)
    stopping.cancel_batch(batch=cancelled, actor=person_actor(person=ada))
    sent = request(make_draft(5, policy=ApprovalPolicy.TWO), ada)
    execute(approve(approve(sent, linus), barbara), ada)
    refused, unknown, gone, limited = sent.rows.all()[:4]
    world = sandbox.world
    world.set_fault(fault=faults.RETURNS_403, connection_id=str(refused.connection_id))
    world.set_fault(fault=faults.RETURNS_500, connection_id=str(unknown.connection_id))
    world.set_fault(fault=faults.rate_limited(), connection_id=str(limited.connection_id), times=1)
    world.remove_connection(connection_id=str(gone.connection_id))
    for _ in range(3):
        clock.advance(seconds=10)
        running.run_due(actor=WORKER)
    assert Deletion.objects.filter(batch=sent, epoch=2).exists()
    assert find_differences() == []


def test_an_export_can_be_of_one_bulk_deletion(ada: Person, make_draft: MakeDraft) -> None:
    batch, _ = request(make_draft(2), ada), request(make_draft(1), ada)
    output = StringIO()
    call_command("export_deletions", format="json", batch=str(batch.pk), stdout=output)
    assert [row["batch"] for row in json.loads(output.getvalue())] == [str(batch.pk)] * 2
