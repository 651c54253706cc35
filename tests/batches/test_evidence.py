"""The rows of a bulk deletion match their events, as an auditor checks them."""

import json
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection

from connections import audit
from connections.access.actor import WORKER, command_actor, person_actor
from connections.audit import EventCode
from connections.batches import decisions, running, stopping
from connections.evidence import comparison
from connections.evidence.comparison import compare_all
from connections.evidence.differing import DifferingRecords
from connections.evidence.records import kind_of
from connections.evidence.stored_events import Fault
from connections.evidence.verification import verify_audit_log
from connections.models import ApprovalPolicy, Batch, BatchState, Deletion, Person
from connections.people import erasure
from connections.verifier.events import BATCH, DELETION
from sandbox import faults
from sandbox.server import SandboxServer
from tests.batches.conftest import MakeDraft
from tests.batches.support import approve, execute, request
from tests.support.append_only import triggers_off
from tests.support.clock import SettableClock

pytestmark = pytest.mark.django_db


def find_differences(name: str = DELETION) -> list[str]:
    if connection.vendor == "sqlite":
        connection.cursor().execute("PRAGMA reverse_unordered_selects=ON")
    kind = kind_of(name)
    differing = DifferingRecords(noun=kind.noun)
    for _ in compare_all(kind, differing=differing):
        pass
    return differing.descriptions


def test_rows_match_their_events_however_they_ended(
    ada: Person,
    linus: Person,
    barbara: Person,
    make_draft: MakeDraft,
    clock: SettableClock,
    sandbox: SandboxServer,
):
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
    assert find_differences(BATCH) == []
    # Plans can have thousands of rows, so they are read one at a time.
    assert [len(ids) for ids in comparison._id_batches(kind_of(BATCH))] == [1] * 3


# `tests/evidence/test_plans.py` changes every column.
CHANGES = ("reason = 'Another.'", "confirmed_by_id = NULL", "ended_by_name = 'Eve'")


@pytest.mark.django_db(transaction=True)
@pytest.mark.database
def test_a_bulk_deletion_that_was_changed_is_named(
    ada: Person, linus: Person, make_draft: MakeDraft, subtests: pytest.Subtests
):
    make_draft(1)
    batch = request(make_draft(1, policy=ApprovalPolicy.ONE), ada)
    execute(approve(batch, linus), ada)
    stopping.pause_batch(batch=batch, actor=person_actor(person=linus))
    stopping.resume_batch(batch=batch, actor=person_actor(person=ada))
    running.run_due(actor=WORKER)
    batch.refresh_from_db()
    assert verify_audit_log().fault is None
    for change in CHANGES:
        with subtests.test(change=change):
            with triggers_off(), connection.cursor() as cursor:
                cursor.execute(f"UPDATE connections_batch SET {change} WHERE state = 'finished'")  # noqa: S608 - our own
            report = verify_audit_log()
            assert report.differing_ids == {Fault.BATCH: (str(batch.pk),)}
        with triggers_off():
            batch.save()
    row = batch.rows.get()
    for values in ({"digest": "0"}, {"sink_org_name": "Eve"}):
        with triggers_off():
            batch.rows.update(**values)
        assert verify_audit_log().differing_ids == {Fault.BATCH: (str(batch.pk),)}
        with triggers_off():
            row.save()


@pytest.mark.django_db(transaction=True)
def test_a_pause_after_problems_that_was_changed_is_named(
    ada: Person, make_draft: MakeDraft, sandbox: SandboxServer, subtests: pytest.Subtests
):
    batch = request(make_draft(1), ada, stop_at_first_problem=True)
    sandbox.world.set_fault(fault=faults.RETURNS_403, method="DELETE")
    running.send_due(actor=WORKER)
    batch.refresh_from_db()
    assert (batch.state, find_differences(BATCH)) == (BatchState.PAUSED, [])
    for change in ({"pause_cause": ""}, {"pause_credential_name": "Labs EU"}):
        with subtests.test(change=change):
            Batch.objects.update(**change)
            [description] = find_differences(BATCH)
            assert f"“{next(iter(change))}” of the row “batch” is not" in description
        batch.save()


def test_a_name_that_was_changed_before_the_request_is_no_difference(
    ada: Person, make_draft: MakeDraft
):
    batch = make_draft(1)
    ada.first_name = "Augusta"
    ada.save()
    request(Batch.objects.get(pk=batch.pk), ada)
    assert find_differences(BATCH) == []


def test_erasing_one_of_two_people_with_the_same_name_is_no_difference(
    ada: Person, linus: Person, grace: Person, make_draft: MakeDraft
):
    for person in (linus, grace):
        person.first_name, person.last_name = "Sam", "Lee"
        person.save()
        audit.record(
            code=EventCode.EXPORT_STARTED,
            actor=person_actor(person=person),
            sentence=audit.Sentence("Exported."),
        )
    batch = request(make_draft(1, policy=ApprovalPolicy.ONE), ada)
    execute(approve(batch, linus), ada)
    stopping.pause_batch(batch=batch, actor=person_actor(person=linus))
    stopping.cancel_batch(batch=batch, actor=person_actor(person=linus))
    assert erasure.erase_person(actor=command_actor(), person=linus).shared_names == 1
    assert find_differences(BATCH) == []


def test_an_export_can_be_of_one_bulk_deletion(ada: Person, make_draft: MakeDraft):
    batch, _ = request(make_draft(2), ada), request(make_draft(1), ada)
    output = StringIO()
    call_command("export_deletions", format="json", batch=str(batch.pk), stdout=output)
    assert [row["batch"] for row in json.loads(output.getvalue())] == [str(batch.pk)] * 2
