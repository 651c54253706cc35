"""A request makes every row an ordinary deletion, or none."""

from uuid import UUID

import pytest
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.test.utils import CaptureQueriesContext

from connections.access.actor import person_actor
from connections.batches import confirming, drafts
from connections.batches.requesting import PlanChangedError
from connections.change_requests import approvals, lifecycle
from connections.core.errors import ConflictError, InvalidInputError
from connections.inventory.matching import KnownOrg
from connections.models import (
    AccessKind,
    ApprovalPolicy,
    AuditEvent,
    BatchState,
    Credential,
    CredentialAccess,
    Deletion,
    Person,
    RowProblem,
    State,
)
from sandbox import faults
from sandbox.server import SandboxServer
from tests.batches.conftest import MakeDraft
from tests.batches.support import add_connections, draft, key_of, request, sync_now
from tests.flows.support import store_credential
from tests.support.sandbox import connection_between, org_named

pytestmark = pytest.mark.django_db


def test_without_a_policy_the_confirmed_request_queues_every_row(
    ada: Person, make_draft: MakeDraft
):
    batch = request(make_draft(3), ada, ticket="SEC-212")
    assert batch.state == BatchState.RUNNING
    rows = list(batch.deletions.all())
    assert {(row.state, row.ticket, row.confirmed_by) for row in rows} == {
        (State.WAITING, "SEC-212", ada)
    }
    codes = AuditEvent.objects.filter(subject_type__in=["batch", "deletion"])
    assert sorted(codes.values_list("code", flat=True)) == sorted(
        ["batch.requested", "batch.confirmed", *["deletion.requested", "deletion.confirmed"] * 3]
    )


def test_with_a_policy_the_rows_wait_for_approval(ada: Person, make_draft: MakeDraft):
    batch = request(make_draft(2, policy=ApprovalPolicy.ONE), ada, confirmation=None)
    assert batch.state == BatchState.REQUESTED
    assert set(batch.deletions.values_list("state", flat=True)) == {State.REQUESTED}


@pytest.mark.parametrize("typed", ["", "2", "three", None])
def test_a_wrong_confirmation_requests_nothing(
    ada: Person, make_draft: MakeDraft, typed: str | None
):
    with pytest.raises(InvalidInputError, match="Type 3"):
        request(make_draft(3), ada, confirmation=typed)
    assert not Deletion.objects.exists()


def test_the_name_of_an_org_confirms_its_removal(
    ada: Person, payments: Credential, sandbox: SandboxServer
):
    org = org_named(sandbox.world, "Payments US")
    known = KnownOrg(org.site.name, org.id, org.name)
    batch = drafts.create_draft_from_org(actor=person_actor(person=ada), org=known)
    assert confirming.text_to_type(batch) == "Payments US"
    assert request(batch, ada, confirmation=" payments  us ").state == BatchState.RUNNING


def test_another_plan_than_the_shown_one_requests_nothing(ada: Person, make_draft: MakeDraft):
    batch = make_draft(2)
    shown = batch.digest
    key = batch.rows.all()[0].reference
    drafts.remove_rows(batch=batch, actor=person_actor(person=ada), connections=[key])
    with pytest.raises(PlanChangedError, match="Check the plan as it is now"):
        request(batch, ada, digest=shown)
    assert not Deletion.objects.exists()


def test_a_connection_that_changed_since_is_taken_out_and_reviewed_again(
    ada: Person, make_draft: MakeDraft, payments: Credential, sandbox: SandboxServer
):
    batch = make_draft(2)
    gone = batch.rows.all()[0]
    sandbox.world.remove_connection(connection_id=str(gone.connection_id))
    sync_now(payments)
    with pytest.raises(PlanChangedError, match="1 connection changed"):
        request(batch, ada)
    gone.refresh_from_db()
    assert gone.problem == RowProblem.CHANGED
    assert request(batch, ada).deletions.count() == 1


def test_a_failed_sync_takes_no_row_out_of_the_plan(
    ada: Person, make_draft: MakeDraft, payments: Credential, sandbox: SandboxServer
):
    batch = make_draft(2)
    sandbox.world.set_fault(fault=faults.RETURNS_503, method="GET")
    sync_now(payments)
    with pytest.raises(ConflictError, match="last sync of Payments US failed"):
        request(batch, ada)
    sandbox.world.clear_faults()
    sync_now(payments)
    assert request(batch, ada).deletions.count() == 2


def test_a_plan_made_after_a_failed_sync_can_be_requested_after_a_complete_one(
    ada: Person, payments: Credential, sandbox: SandboxServer
):
    keys = add_connections(sandbox, 2)
    sync_now(payments)
    sandbox.world.set_fault(fault=faults.RETURNS_503, method="GET")
    sync_now(payments)
    batch = draft(ada, keys)
    assert [(row.problem, row.credential) for row in batch.rows.all()] == [("", payments)] * 2
    with pytest.raises(ConflictError, match="last sync of Payments US failed"):
        request(batch, ada)
    sandbox.world.clear_faults()
    sync_now(payments)
    assert request(batch, ada).deletions.count() == 2


def test_a_credential_whose_last_sync_is_complete_is_preferred(
    ada: Person, payments: Credential, sandbox: SandboxServer
):
    soc = store_credential(sandbox, "Group SOC")
    wanted = key_of(connection_between(sandbox.world, "Payments US", "Group SOC"))
    org = org_named(sandbox.world, "Payments US")
    sandbox.world.set_fault(fault=faults.RETURNS_503, method="GET", org=org)
    sync_now(payments)
    [row] = draft(ada, [wanted]).rows.all()
    assert (row.problem, row.credential) == ("", soc)


@pytest.mark.database
def test_rows_are_stored_in_an_order_that_all_requests_share(
    ada: Person, payments: Credential, sandbox: SandboxServer
):
    # Two requests of the same connections would deadlock on PostgreSQL otherwise.
    keys = add_connections(sandbox, 9)
    sync_now(payments)
    batch = draft(ada, sorted(keys, reverse=True))
    with CaptureQueriesContext(connection) as queries:
        request(batch, ada)
    table = Deletion._meta.db_table
    [inserted] = [
        query["sql"] for query in queries if query["sql"].startswith(f'INSERT INTO "{table}"')
    ]
    ids = [UUID(key.rpartition("/")[2]) for key in sorted(keys)]
    text = inserted.replace("-", "")
    places = [text.index(each.hex) for each in ids]
    assert places == sorted(places)


def test_a_stricter_policy_since_needs_a_new_review(ada: Person, make_draft: MakeDraft):
    batch = make_draft(1)
    Credential.objects.update(policy=ApprovalPolicy.TWO)
    with pytest.raises(PlanChangedError):
        request(batch, ada)
    assert not Deletion.objects.exists()


def test_the_same_form_twice_requests_once(ada: Person, make_draft: MakeDraft):
    batch = make_draft(2)
    request(batch, ada)
    request(batch, ada)
    assert Deletion.objects.count() == 2


def test_someone_who_cannot_use_every_credential_requests_nothing(
    ada: Person, grace: Person, make_draft: MakeDraft, payments: Credential
):
    batch = make_draft(1)
    CredentialAccess.objects.create(credential=payments, kind=AccessKind.USE, person=grace)
    with pytest.raises((PermissionDenied, PlanChangedError)):
        request(batch, ada)
    assert not Deletion.objects.exists()


def test_a_row_is_decided_by_its_bulk_deletion_alone(
    ada: Person, linus: Person, make_draft: MakeDraft
):
    batch = request(make_draft(1, policy=ApprovalPolicy.ONE), ada)
    row = batch.deletions.get()
    with pytest.raises(ConflictError, match="part of a bulk deletion"):
        approvals.approve(
            change_request=row, actor=person_actor(person=linus), digest=row.approval_digest
        )
    with pytest.raises(ConflictError, match="part of a bulk deletion"):
        lifecycle.execute(change_request=row, actor=person_actor(person=ada), confirmation="x")


def test_an_open_deletion_that_was_just_requested_stops_the_whole_request(
    ada: Person, grace: Person, payments: Credential, sandbox: SandboxServer
):
    connections = add_connections(sandbox, 2)
    sync_now(payments)
    mine, theirs = draft(ada, connections), draft(grace, connections[:1])
    request(theirs, grace)
    with pytest.raises(PlanChangedError):
        request(mine, ada)
    assert mine.deletions.count() == 0
