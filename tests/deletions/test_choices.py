"""The requester's choices can skip neither the pre-send check nor an approval."""

from collections.abc import Callable
from uuid import UUID, uuid4

import pytest

from connections.access.actor import WORKER, person_actor
from connections.change_requests import approvals, lifecycle, sending, states, verification
from connections.change_requests.sending import ClaimedAttempt
from connections.change_requests.states import Settle
from connections.core.errors import BlockedError, ConflictError, InvalidInputError
from connections.credentials import retirement
from connections.credentials.access_lists import change_access
from connections.credentials.lifecycle import change_policy
from connections.datadog.responses import WriteResponse
from connections.deletions import confirmations
from connections.inventory import fetching, syncs
from connections.models import (
    AccessKind,
    ApprovalPolicy,
    Attempt,
    AuditEvent,
    Credential,
    Deletion,
    Outcome,
    Person,
    Role,
    State,
)
from sandbox.faults import RETURNS_200_WITHOUT_DELETING, RETURNS_404
from sandbox.server import SandboxServer
from tests.deletions.conftest import RequestDeletion
from tests.flows.support import store_credential
from tests.support.clock import SettableClock
from tests.support.deletions import request_deletion
from tests.support.people import make_person
from tests.support.sandbox import connection_between, org_named

pytestmark = pytest.mark.django_db


@pytest.fixture
def wanted(sandbox: SandboxServer) -> UUID:
    return UUID(connection_between(sandbox.world, "Payments US", "Group SOC").id)


@pytest.fixture
def approved(ada: Person, linus: Person, credential: Credential, wanted: UUID) -> Deletion:
    """Requested by Ada under policy one, approved by Linus, not yet confirmed."""
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    credential.refresh_from_db()
    deletion = request_deletion(
        actor=person_actor(person=ada), credential=credential, connection_id=wanted
    )
    return approvals.approve(
        change_request=deletion,
        actor=person_actor(person=linus),
        digest=deletion.approval_digest,
    )


def confirm(deletion: Deletion, person: Person, *, skip_recheck: bool = False) -> Deletion:
    return lifecycle.execute(
        change_request=deletion,
        actor=person_actor(person=person),
        confirmation="Payments US",
        skip_recheck=skip_recheck,
    )


def test_the_pre_send_check_cannot_be_skipped_at_will(
    approved: Deletion, ada: Person, sandbox: SandboxServer
):
    sandbox.world.change_connection(
        connection_id=str(approved.connection_id), connection_types=("audit",)
    )
    assert confirm(approved, ada, skip_recheck=True).outcome == Outcome.STALE
    assert sandbox.world.deletes_received(str(approved.connection_id)) == 0


@pytest.mark.database
def test_a_permission_lost_during_the_pre_send_check_sends_nothing(
    approved: Deletion, ada: Person, sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
):
    fetch: Callable[..., object] = fetching.fetch

    def fetch_and_lose_the_permission(**arguments: object) -> object:
        fetched = fetch(**arguments)
        ada.groups.clear()
        return fetched

    monkeypatch.setattr(fetching, "fetch", fetch_and_lose_the_permission)
    with pytest.raises(BlockedError):
        confirm(approved, ada)
    assert not Attempt.objects.exists()
    assert sandbox.world.deletes_received(str(approved.connection_id)) == 0


@pytest.mark.database
def test_one_of_two_concurrent_confirmations_succeeds(
    approved: Deletion, ada: Person, sandbox: SandboxServer
):
    other_tab = Deletion.objects.get(pk=approved.pk)
    assert confirm(approved, ada).outcome == Outcome.DELETED
    confirm(other_tab, ada)
    assert sandbox.world.deletes_received(str(approved.connection_id)) == 1


@pytest.mark.database
def test_a_closed_deletion_never_changes_state(make_deletion: RequestDeletion):
    deletion = make_deletion()
    assert deletion.outcome == Outcome.DELETED
    assert not states.apply(
        deletion, transition=Settle(outcome=Outcome.REFUSED), actor=WORKER, events=[]
    )
    assert deletion.outcome == Outcome.DELETED


def test_the_credential_with_the_weaker_policy_does_not_avoid_approval(
    ada: Person, credential: Credential, wanted: UUID, sandbox: SandboxServer
):
    store_credential(sandbox, "Group SOC", policy=ApprovalPolicy.TWO)
    shown = confirmations.find_target(
        actor=person_actor(person=ada), credential=credential, connection_id=wanted
    )
    assert shown.policy == ApprovalPolicy.TWO
    deletion = request_deletion(
        actor=person_actor(person=ada), credential=credential, connection_id=wanted
    )
    assert (deletion.state, deletion.policy) == (State.REQUESTED, ApprovalPolicy.TWO)
    assert sandbox.world.deletes_received(str(wanted)) == 0


@pytest.mark.database
def test_a_side_that_was_never_listed_still_requires_its_approval(
    ada: Person, credential: Credential, wanted: UUID, sandbox: SandboxServer
):
    store_credential(sandbox, "Group SOC", policy=ApprovalPolicy.ONE, is_read=False)
    shown = confirmations.find_target(
        actor=person_actor(person=ada), credential=credential, connection_id=wanted
    )
    assert shown.policy == ApprovalPolicy.ONE


def retire(credential: Credential) -> None:
    """Retire it as a Credential manager."""
    keeper = person_actor(person=make_person("keeper", Role.CREDENTIAL_MANAGER))
    retirement.retire_credential(actor=keeper, credential=credential, confirmation=credential.name)


def test_retiring_the_stricter_side_does_not_remove_its_approval(
    ada: Person, credential: Credential, wanted: UUID, sandbox: SandboxServer
):
    retire(store_credential(sandbox, "Group SOC", policy=ApprovalPolicy.TWO))
    shown = confirmations.find_target(
        actor=person_actor(person=ada), credential=credential, connection_id=wanted
    )
    assert shown.policy == ApprovalPolicy.TWO


@pytest.mark.parametrize("is_pasted", [False, True], ids=["listed", "pasted ID"])
def test_a_retired_credential_counts_until_an_administrator_changes_its_policy(
    ada: Person,
    root: Person,
    credential: Credential,
    wanted: UUID,
    sandbox: SandboxServer,
    is_pasted: bool,
):
    pair = sandbox.world.add_key_pair(org=org_named(sandbox.world, "Payments US"))
    policy = ApprovalPolicy.TWO
    strict = store_credential(sandbox, "Payments US", name="strict", pair=pair, policy=policy)
    retire(strict)

    def find_policy() -> ApprovalPolicy:
        return confirmations.find_target(
            actor=person_actor(person=ada),
            credential=credential,
            connection_id=uuid4() if is_pasted else wanted,
        ).policy

    assert find_policy() == ApprovalPolicy.TWO
    change_policy(actor=person_actor(person=root), credential=strict, policy=ApprovalPolicy.ONE)
    assert find_policy() == ApprovalPolicy.ONE


def test_policy_two_requires_two_approvals_and_then_the_confirmation(
    ada: Person, linus: Person, credential: Credential, wanted: UUID, sandbox: SandboxServer
):
    Credential.objects.update(policy=ApprovalPolicy.TWO)
    credential.refresh_from_db()
    second = make_person("barbara", *linus.roles)
    deletion = request_deletion(
        actor=person_actor(person=ada), credential=credential, connection_id=wanted
    )
    for person, state in ((linus, State.REQUESTED), (second, State.APPROVED)):
        approvals.approve(
            change_request=deletion,
            actor=person_actor(person=person),
            digest=deletion.approval_digest,
        )
        assert deletion.state == state
    assert sandbox.world.deletes_received(str(wanted)) == 0
    assert confirm(deletion, ada).outcome == Outcome.DELETED


def test_a_connection_listed_by_another_credential_must_be_reviewed_first(
    ada: Person, credential: Credential, sandbox: SandboxServer, wanted: UUID
):
    soc = store_credential(sandbox, "Group SOC")
    soc.snapshots.filter(connection_id=wanted).update(is_current=False)
    with pytest.raises(ConflictError, match="Choose that credential"):
        request_deletion(actor=person_actor(person=ada), credential=soc, connection_id=wanted)
    assert not Deletion.objects.exists()


def test_a_connection_that_only_an_unusable_credential_lists_is_refused_and_recorded(
    ada: Person, root: Person, credential: Credential, sandbox: SandboxServer, wanted: UUID
):
    soc = store_credential(sandbox, "Group SOC")
    soc.snapshots.filter(connection_id=wanted).update(is_current=False)
    change_access(
        actor=person_actor(person=root),
        credential=credential,
        wanted={AccessKind.USE: [f"person:{root.pk}"]},
    )
    with pytest.raises(ConflictError, match="a credential that you can't use"):
        request_deletion(actor=person_actor(person=ada), credential=soc, connection_id=wanted)
    assert AuditEvent.objects.filter(code="access.refused").exists()


@pytest.mark.parametrize("reason", ["", "  ", "\u200b", "\u2060\ufeff", "\n\t"])
def test_an_invisible_reason_is_refused(
    ada: Person, credential: Credential, wanted: UUID, reason: str
):
    with pytest.raises(InvalidInputError) as refused:
        request_deletion(
            actor=person_actor(person=ada),
            credential=credential,
            connection_id=wanted,
            reason=reason,
        )
    assert "reason" in refused.value.fields


def test_a_failed_check_after_sending_does_not_claim_that_nothing_was_sent(
    make_deletion: RequestDeletion, sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
):
    sent = "connections.change_requests.sending.send_claimed"
    send = sending.send_claimed

    def send_and_lose_the_ring(claimed: ClaimedAttempt) -> WriteResponse:
        response = send(claimed)
        Credential.objects.update(secret_version=99)
        return response

    monkeypatch.setattr(sent, send_and_lose_the_ring)
    deletion = make_deletion(RETURNS_404)
    assert deletion.outcome == Outcome.ALREADY_ABSENT
    assert sandbox.world.deletes_received(str(deletion.connection_id)) == 1


def test_a_resolved_contradiction_is_shown_as_resolved(
    make_deletion: RequestDeletion,
    sandbox: SandboxServer,
    clock: SettableClock,
    credential: Credential,
):
    deletion = make_deletion(RETURNS_200_WITHOUT_DELETING)
    clock.advance(minutes=6)
    syncs.sync_credentials(credentials=[credential], actor=WORKER)
    deletions_due = Deletion.objects.get(pk=deletion.pk)
    verification.verify(change_request=deletions_due, actor=WORKER)
    assert deletions_due.contradicted_at
    sandbox.world.remove_connection(connection_id=str(deletion.connection_id))
    clock.advance(minutes=1)
    verification.verify(change_request=deletions_due, actor=WORKER)
    assert (deletions_due.last_check_listed, deletions_due.outcome) == (False, Outcome.DELETED)
