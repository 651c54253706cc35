"""A second person's yes: read again, bound to what was shown, counted, and worth 24 hours."""

import pytest
from django.core.exceptions import PermissionDenied

from connections.access.actor import WORKER, command_actor, person_actor
from connections.core.causes import Cause
from connections.core.errors import BlockedError, ConflictError, InvalidInputError
from connections.deletions import approvals, sending
from connections.deletions import lifecycle as deletion_lifecycle
from connections.models import (
    Approval,
    ApprovalPolicy,
    AuditEvent,
    Credential,
    Deletion,
    Outcome,
    Person,
    Role,
    State,
    approval_digest_of,
)
from connections.operations import due
from sandbox import faults
from sandbox.entities import Connection
from sandbox.server import SandboxServer
from tests.deletions.approvals.conftest import AskFor, approve, confirm
from tests.support.clock import SettableClock

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def event(code: str) -> AuditEvent:
    found = AuditEvent.objects.filter(code=code).first()
    assert found
    return found


def test_asking_types_nothing_and_approving_sends_nothing(
    asked: Deletion, linus: Person, ada: Person, sandbox: SandboxServer, wanted: Connection
) -> None:
    assert (asked.state, asked.confirmed_at) == (State.REQUESTED, None)
    assert approve(asked, linus).state == State.APPROVED
    assert sandbox.world.deletes_received(wanted.id) == 0
    assert confirm(asked, ada).outcome == Outcome.DELETED
    assert sandbox.world.deletes_received(wanted.id) == 1


def test_commands_and_the_worker_never_decide(asked: Deletion) -> None:
    for actor in (command_actor(), WORKER):
        with pytest.raises(PermissionDenied):
            approvals.approve_deletion(deletion=asked, actor=actor, digest=asked.approval_digest)
        with pytest.raises(PermissionDenied):
            approvals.decline_deletion(deletion=asked, actor=actor, reason="no")
    assert not Approval.objects.exists()


@pytest.mark.parametrize("part", ["reason", "ticket", "digest"])
def test_an_approval_is_of_all_that_was_shown(asked: Deletion, linus: Person, part: str) -> None:
    other = Deletion.objects.get(pk=asked.pk)
    setattr(other, part, "something else")
    shown = approval_digest_of(digest=other.digest, reason=other.reason, ticket=other.ticket)
    assert shown != asked.approval_digest
    with pytest.raises(ConflictError, match="The request changed since you opened it"):
        approvals.approve_deletion(deletion=asked, actor=person_actor(person=linus), digest=shown)


def test_what_changed_meanwhile_is_settled_and_cannot_be_approved(
    asked: Deletion, linus: Person, sandbox: SandboxServer, wanted: Connection
) -> None:
    sandbox.world.change_connection(connection_id=wanted.id, connection_types=("audit",))
    with pytest.raises(ConflictError, match="The connection changed after the request"):
        approve(asked, linus)
    assert (asked.outcome, asked.cause) == (Outcome.STALE, Cause.CHANGED_WHEN_READ)
    assert not Approval.objects.exists()


def test_a_new_request_after_a_change_can_be_approved(
    ask_for: AskFor, linus: Person, sandbox: SandboxServer, wanted: Connection
) -> None:
    first = ask_for()
    sandbox.world.change_connection(connection_id=wanted.id, connection_types=("audit",))
    with pytest.raises(ConflictError):
        approve(first, linus)
    again = ask_for()
    assert again.connection_types == ["audit"]
    assert approve(again, linus).state == State.APPROVED


def test_what_is_gone_meanwhile_is_settled_and_cannot_be_approved(
    asked: Deletion, linus: Person, sandbox: SandboxServer, wanted: Connection
) -> None:
    sandbox.world.remove_connection(connection_id=wanted.id)
    with pytest.raises(ConflictError, match="no longer lists the connection"):
        approve(asked, linus)
    assert asked.outcome == Outcome.ALREADY_ABSENT


def test_what_cannot_be_read_is_approved_as_stored_and_the_record_says_so(
    asked: Deletion, linus: Person, sandbox: SandboxServer
) -> None:
    sandbox.world.set_fault(fault=faults.RETURNS_403, operation="list")
    assert approve(asked, linus).state == State.APPROVED
    details = event("deletion.approved").details
    assert (details["was_read"], details["not_read_because"]) == (False, "forbidden")


def test_declining_needs_a_reason_that_can_be_read(asked: Deletion, linus: Person) -> None:
    with pytest.raises(InvalidInputError):
        approvals.decline_deletion(
            deletion=asked, actor=person_actor(person=linus), reason=" \u200b"
        )
    assert asked.state == State.REQUESTED


@pytest.mark.parametrize("who", ["ada", "linus"])
def test_the_rights_of_everyone_are_read_again_when_it_is_sent(
    who: str,
    asked: Deletion,
    linus: Person,
    ada: Person,
    sandbox: SandboxServer,
    wanted: Connection,
) -> None:
    approve(asked, linus)
    Person.objects.get(username=who).groups.clear()
    with pytest.raises((BlockedError, PermissionDenied)):
        confirm(asked, Person.objects.get(username="ada"))
    assert sandbox.world.deletes_received(wanted.id) == 0


def test_an_approver_who_became_the_only_one_is_not_enough_for_two(
    ask_for: AskFor, linus: Person, barbara: Person, ada: Person, sandbox: SandboxServer
) -> None:
    deletion = ask_for(ApprovalPolicy.TWO)
    approve(deletion, linus)
    approve(deletion, barbara)
    Person.objects.filter(pk=barbara.pk).update(is_active=False)
    with pytest.raises(BlockedError, match="Barbara no longer has permission to approve"):
        confirm(deletion, ada)


def test_an_attempt_counts_the_approvals_itself(
    ask_for: AskFor, ada: Person, linus: Person
) -> None:
    deletion = ask_for(ApprovalPolicy.TWO)
    approve(deletion, linus)
    # As if a fault of ours had taken it for approved.
    deletion.state = State.APPROVED
    with pytest.raises(BlockedError) as refused:
        sending.require_sendable(deletion=deletion, confirmed_by=ada)
    assert refused.value.cause == Cause.APPROVALS_MISSING


def test_only_the_requester_confirms(asked: Deletion, linus: Person, grace: Person) -> None:
    approve(asked, linus)
    with pytest.raises(ConflictError, match="Only Ada, who requested it"):
        confirm(asked, grace)


def test_24_hours_after_asking_it_cannot_be_approved_and_expires(
    asked: Deletion, linus: Person, clock: SettableClock
) -> None:
    clock.advance(hours=24)
    with pytest.raises(ConflictError):
        approve(asked, linus)
    due.run_due(actor=WORKER)
    asked.refresh_from_db()
    assert (asked.outcome, asked.cause) == (Outcome.EXPIRED, Cause.NOT_APPROVED_IN_TIME)


def test_the_last_approval_gives_24_hours_more_and_an_earlier_one_none(
    ask_for: AskFor, linus: Person, barbara: Person, ada: Person, clock: SettableClock
) -> None:
    deletion = ask_for(ApprovalPolicy.TWO)
    expires_at = deletion.expires_at
    clock.advance(hours=20)
    assert approve(deletion, linus).expires_at == expires_at
    clock.advance(hours=3)
    approve(deletion, barbara)
    clock.advance(hours=23, minutes=59)
    assert deletion.state == State.APPROVED
    clock.advance(minutes=1)
    with pytest.raises(ConflictError, match="This deletion expired"):
        confirm(deletion, ada)
    due.run_due(actor=WORKER)
    deletion.refresh_from_db()
    assert (deletion.outcome, deletion.cause) == (Outcome.EXPIRED, Cause.NOT_CONFIRMED_IN_TIME)


def test_an_approver_withdraws_an_approved_deletion(asked: Deletion, linus: Person) -> None:
    approve(asked, linus)
    deletion_lifecycle.withdraw_deletion(deletion=asked, actor=person_actor(person=linus))
    assert asked.outcome == Outcome.WITHDRAWN


def test_a_person_with_both_roles_still_needs_another(
    ask_for: AskFor, guarded: Credential, root: Person
) -> None:
    deletion = ask_for(person=root)
    with pytest.raises(PermissionDenied, match="Another person must approve"):
        approve(deletion, root)
    assert Role.APPROVER in root.roles
