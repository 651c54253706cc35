"""Approving and declining a bulk deletion: other people, every row, exactly what was shown."""

import pytest
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, transaction

from connections.access import approvers
from connections.access.actor import person_actor
from connections.batches import confirming, decisions
from connections.core.errors import ConflictError, InvalidInputError, OvertakenError
from connections.models import (
    AccessKind,
    Approval,
    ApprovalPolicy,
    Batch,
    BatchState,
    Credential,
    CredentialAccess,
    Deletion,
    Outcome,
    Person,
    Role,
    State,
)
from sandbox.server import SandboxServer
from tests.batches.conftest import MakeDraft
from tests.batches.support import approve, draft, execute, key_of, request
from tests.flows.support import store_credential
from tests.support.clock import SettableClock
from tests.support.people import make_person
from tests.support.sandbox import connection_between

pytestmark = pytest.mark.django_db


@pytest.fixture
def requested(ada: Person, make_draft: MakeDraft) -> Batch:
    """Requested by Ada under policy one, with three rows."""
    return request(make_draft(3, policy=ApprovalPolicy.ONE), ada)


def test_an_approval_approves_every_row_and_sends_nothing(requested: Batch, linus: Person):
    approve(requested, linus)
    assert requested.state == BatchState.APPROVED
    assert set(requested.deletions.values_list("state", "epoch")) == {(State.APPROVED, 0)}
    assert Approval.objects.filter(approver=linus).count() == 3


def test_the_requester_confirms_the_approved_plan(requested: Batch, ada: Person, linus: Person):
    execute(approve(requested, linus), ada)
    assert requested.state == BatchState.RUNNING
    assert set(requested.deletions.values_list("state", flat=True)) == {State.WAITING}


@pytest.mark.parametrize("is_administrator", [False, True])
def test_no_one_approves_their_own(requested: Batch, ada: Person, is_administrator: bool):
    ada.is_superuser = is_administrator
    ada.groups.add(*make_person("model", Role.APPROVER).groups.all())
    ada.save()
    with pytest.raises(PermissionDenied, match="Another person"):
        approve(requested, Person.objects.get(pk=ada.pk))
    assert not Approval.objects.exists()


def test_an_approver_of_only_some_rows_approves_none(
    ada: Person, linus: Person, barbara: Person, payments: Credential, sandbox: SandboxServer
):
    labs = store_credential(sandbox, "Labs EU", policy=ApprovalPolicy.ONE)
    CredentialAccess.objects.create(credential=labs, kind=AccessKind.APPROVE, person=barbara)
    pairs = [("Payments US", "Group SOC"), ("Labs EU", "Data Lake EU")]
    keys = [key_of(connection_between(sandbox.world, *pair)) for pair in pairs]
    batch = draft(ada, keys)
    request(batch, ada)
    with pytest.raises(PermissionDenied, match="all of this bulk deletion"):
        approve(batch, linus)
    assert approve(batch, barbara).state == BatchState.APPROVED


def test_a_draft_says_when_too_few_can_approve_it(make_draft: MakeDraft, linus: Person):
    warning = approvers.missing_batch_approvers_warning
    assert warning(batch=make_draft(1, policy=ApprovalPolicy.ONE)) is None
    assert "needs 2 approvals" in str(warning(batch=make_draft(1, policy=ApprovalPolicy.TWO)))


def test_another_digest_than_the_plans_approves_nothing(requested: Batch, linus: Person):
    with pytest.raises(ConflictError, match="Nothing was approved"):
        decisions.approve_batch(
            batch=requested, actor=person_actor(person=linus), digest=requested.digest
        )
    assert not Approval.objects.exists()


def test_a_half_approved_plan_can_not_be_confirmed(
    ada: Person, linus: Person, barbara: Person, make_draft: MakeDraft
):
    batch = request(make_draft(2, policy=ApprovalPolicy.TWO), ada)
    approve(batch, linus)
    with pytest.raises(OvertakenError, match="isn't waiting for confirmation"):
        execute(batch, ada)
    with pytest.raises(OvertakenError, match="already"):
        approve(batch, linus)
    assert approve(batch, barbara).state == BatchState.APPROVED


@pytest.mark.database
def test_the_database_queues_no_row_without_its_approvals(requested: Batch):
    with transaction.atomic(), pytest.raises(IntegrityError, match="needs more approvals"):
        requested.deletions.update(state=State.WAITING)


@pytest.mark.database
def test_the_database_sends_no_row_unless_its_bulk_deletion_is_running(
    requested: Batch, ada: Person, linus: Person
):
    execute(approve(requested, linus), ada)
    Batch.objects.update(state=BatchState.PAUSED)
    with transaction.atomic(), pytest.raises(IntegrityError, match="must be running"):
        requested.deletions.update(state=State.SENDING)


@pytest.mark.database
def test_the_database_refuses_break_glass_for_a_row(
    requested: Batch, clock: SettableClock, ada: Person
):
    with transaction.atomic(), pytest.raises(IntegrityError, match="break_glass_never_for_a_batch"):
        requested.deletions.update(
            break_glass_at=clock.at,
            break_glass_by=ada,
            break_glass_reason="It is urgent.",
            break_glass_round=1,
        )


def test_only_the_requester_confirms(requested: Batch, grace: Person, linus: Person):
    approve(requested, linus)
    with pytest.raises(ConflictError, match="Only Ada"):
        execute(requested, grace)


def test_a_wrong_confirmation_sends_nothing(requested: Batch, ada: Person, linus: Person):
    approve(requested, linus)
    with pytest.raises(InvalidInputError, match="Type 3"):
        confirming.execute_batch(batch=requested, actor=person_actor(person=ada), confirmation="4")
    assert requested.deletions.filter(state=State.APPROVED).count() == 3


def test_declining_settles_every_row_with_the_reason(requested: Batch, linus: Person):
    decisions.decline_batch(
        batch=requested, actor=person_actor(person=linus), reason="Still in use."
    )
    assert (requested.state, requested.ended_reason) == (BatchState.DECLINED, "Still in use.")
    settled = Deletion.objects.values_list("outcome", "settled_reason").distinct()
    assert set(settled) == {(Outcome.DECLINED, "Still in use.")}


def test_after_24_hours_it_can_no_longer_be_approved(
    requested: Batch, linus: Person, clock: SettableClock
):
    clock.advance(hours=24)
    with pytest.raises(OvertakenError, match="no longer waiting"):
        approve(requested, linus)
