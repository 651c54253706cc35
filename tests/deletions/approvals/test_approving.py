"""Approvals: rechecked, bound to what was shown, counted, and valid for 24 hours."""

from collections.abc import Callable

import pytest
from django.core.exceptions import PermissionDenied
from django.test import Client

from connections.access.actor import WORKER, command_actor, person_actor
from connections.change_requests import approvals, lifecycle, sending
from connections.core.causes import Cause
from connections.core.errors import BlockedError, ConflictError, InvalidInputError, OvertakenError
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
from tests.deletions.approvals.conftest import RequestFor, approve, confirm, decline, polled
from tests.flows.support import read
from tests.support.clock import SettableClock

pytestmark = pytest.mark.django_db


def event(code: str) -> AuditEvent:
    found = AuditEvent.objects.filter(code=code).first()
    assert found
    return found


def test_requesting_needs_no_confirmation_text_and_approving_sends_nothing(
    requested: Deletion, linus: Person, ada: Person, sandbox: SandboxServer, wanted: Connection
):
    assert (requested.state, requested.confirmed_at) == (State.REQUESTED, None)
    assert approve(requested, linus).state == State.APPROVED
    assert sandbox.world.deletes_received(wanted.id) == 0
    assert confirm(requested, ada).outcome == Outcome.DELETED
    assert sandbox.world.deletes_received(wanted.id) == 1


def test_commands_and_the_worker_never_approve_or_decline(requested: Deletion):
    for actor in (command_actor(), WORKER):
        with pytest.raises(PermissionDenied):
            approvals.approve(
                change_request=requested, actor=actor, digest=requested.approval_digest
            )
        with pytest.raises(PermissionDenied):
            approvals.decline(change_request=requested, actor=actor, reason="no")
    assert not Approval.objects.exists()


@pytest.mark.parametrize("part", ["reason", "ticket", "digest"])
def test_an_approval_covers_everything_that_was_shown(
    requested: Deletion, linus: Person, part: str
):
    other = Deletion.objects.get(pk=requested.pk)
    setattr(other, part, "something else")
    shown = approval_digest_of(digest=other.digest, reason=other.reason, ticket=other.ticket)
    assert shown != requested.approval_digest
    with pytest.raises(ConflictError, match="The request has changed since you opened it"):
        approvals.approve(change_request=requested, actor=person_actor(person=linus), digest=shown)


def test_a_changed_connection_closes_the_deletion_and_only_a_new_request_can_be_approved(
    request_deletion: RequestFor, linus: Person, sandbox: SandboxServer, wanted: Connection
):
    requested = request_deletion()
    sandbox.world.change_connection(connection_id=wanted.id, connection_types=("audit",))
    with pytest.raises(ConflictError, match="The connection changed after the request"):
        approve(requested, linus)
    assert (requested.outcome, requested.cause) == (Outcome.STALE, Cause.CHANGED_WHEN_READ)
    assert not Approval.objects.exists()
    again = request_deletion()
    assert again.connection_types == ["audit"]
    assert approve(again, linus).state == State.APPROVED


def test_a_connection_that_disappeared_closes_the_deletion_and_cannot_be_approved(
    requested: Deletion, linus: Person, sandbox: SandboxServer, wanted: Connection
):
    sandbox.world.remove_connection(connection_id=wanted.id)
    with pytest.raises(ConflictError, match="no longer lists the connection"):
        approve(requested, linus)
    assert requested.outcome == Outcome.ALREADY_ABSENT


def test_after_a_failed_sync_the_snapshot_is_approved_and_the_audit_log_says_so(
    requested: Deletion, linus: Person, sandbox: SandboxServer
):
    sandbox.world.set_fault(fault=faults.RETURNS_403, operation="list")
    assert approve(requested, linus).state == State.APPROVED
    details = event("deletion.approved").details
    assert (details["was_read"], details["not_read_because"]) == (False, "forbidden")


def test_declining_needs_a_visible_reason(requested: Deletion, linus: Person):
    with pytest.raises(InvalidInputError):
        approvals.decline(
            change_request=requested, actor=person_actor(person=linus), reason=" \u200b"
        )
    assert requested.state == State.REQUESTED


@pytest.mark.parametrize("who", ["ada", "linus"])
def test_everyones_permissions_are_checked_again_before_sending(
    who: str,
    requested: Deletion,
    linus: Person,
    ada: Person,
    sandbox: SandboxServer,
    wanted: Connection,
):
    approve(requested, linus)
    Person.objects.get(username=who).groups.clear()
    with pytest.raises((BlockedError, PermissionDenied)):
        confirm(requested, Person.objects.get(username="ada"))
    assert sandbox.world.deletes_received(wanted.id) == 0


def test_a_confirmation_that_would_be_refused_is_not_offered(
    requested: Deletion, linus: Person, ada: Person, client_of: Callable[[Person], Client]
):
    url = f"/deletions/{requested.pk}/"
    approve(requested, linus)
    assert read(client_of(ada).get(url)).has_form_to("/execute/")
    linus.groups.clear()
    page = read(client_of(ada).get(url))
    assert not page.has_form_to("/execute/")
    assert page.has_form_to("/withdraw/")
    why = "Linus no longer has permission to approve deletions."
    assert f"This deletion can't be confirmed. {why} Nothing has been sent." in page.text
    assert 'tabindex="-1">Ada must confirm' not in page.html


def test_others_read_why_the_requester_can_no_longer_confirm(
    requested: Deletion, linus: Person, ada: Person, client_of: Callable[[Person], Client]
):
    approve(requested, linus)
    ada.groups.clear()
    page = read(client_of(linus).get(f"/deletions/{requested.pk}/"))
    why = "Ada no longer has permission to delete connections."
    assert f"This deletion can't be confirmed. {why} Nothing has been sent." in page.text
    assert 'tabindex="-1">Ada must confirm' not in page.html


def test_an_open_page_offers_the_confirmation_again_once_it_would_be_accepted(
    requested: Deletion, linus: Person, ada: Person, client_of: Callable[[Person], Client]
):
    approve(requested, linus)
    client, roles = client_of(ada), list(linus.groups.all())
    linus.groups.clear()
    page = read(client.get(f"/deletions/{requested.pk}/"))
    assert polled(client, page).status == 204
    linus.groups.set(roles)
    page = polled(client, page)
    assert page.has_form_to("/execute/")
    linus.groups.clear()
    assert not polled(client, page).has_form_to("/execute/")


def test_one_remaining_approver_does_not_satisfy_policy_two(
    request_deletion: RequestFor,
    linus: Person,
    barbara: Person,
    ada: Person,
    sandbox: SandboxServer,
):
    deletion = request_deletion(ApprovalPolicy.TWO)
    approve(deletion, linus)
    approve(deletion, barbara)
    Person.objects.filter(pk=barbara.pk).update(is_active=False)
    with pytest.raises(BlockedError, match="Barbara no longer has permission to approve"):
        confirm(deletion, ada)


@pytest.mark.database
def test_starting_an_attempt_counts_the_approvals_itself(
    request_deletion: RequestFor, ada: Person, linus: Person
):
    deletion = request_deletion(ApprovalPolicy.TWO)
    approve(deletion, linus)
    # As if a bug had marked it as approved.
    deletion.state = State.APPROVED
    with pytest.raises(BlockedError) as refused:
        sending.require_sendable(change_request=deletion, confirmed_by=ada)
    assert refused.value.cause == Cause.APPROVALS_MISSING


def test_only_the_requester_can_confirm(requested: Deletion, linus: Person, grace: Person):
    approve(requested, linus)
    with pytest.raises(ConflictError, match="Only Ada, who requested it"):
        confirm(requested, grace)


@pytest.mark.database
def test_24_hours_after_the_request_it_cannot_be_approved_and_expires(
    requested: Deletion, linus: Person, clock: SettableClock
):
    clock.advance(hours=24)
    with pytest.raises(ConflictError):
        approve(requested, linus)
    due.run_due(actor=WORKER)
    requested.refresh_from_db()
    assert (requested.outcome, requested.cause) == (Outcome.EXPIRED, Cause.NOT_APPROVED_IN_TIME)


@pytest.mark.database
def test_only_the_last_approval_extends_the_deadline_by_24_hours(
    request_deletion: RequestFor, linus: Person, barbara: Person, ada: Person, clock: SettableClock
):
    deletion = request_deletion(ApprovalPolicy.TWO)
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


def test_what_was_approved_is_not_declined(requested: Deletion, linus: Person, barbara: Person):
    approve(requested, linus)
    with pytest.raises(OvertakenError, match="no longer waiting for approval"):
        decline(requested, barbara)
    assert requested.state == State.APPROVED


def test_what_expired_is_not_declined(requested: Deletion, linus: Person, clock: SettableClock):
    clock.advance(hours=24)
    with pytest.raises(OvertakenError):
        decline(requested, linus)
    assert not requested.is_settled


def test_an_approver_can_withdraw_an_approved_deletion(requested: Deletion, linus: Person):
    approve(requested, linus)
    lifecycle.withdraw(change_request=requested, actor=person_actor(person=linus))
    assert requested.outcome == Outcome.WITHDRAWN


def test_a_person_with_both_roles_still_needs_another_approver(
    request_deletion: RequestFor, guarded: Credential, root: Person
):
    deletion = request_deletion(person=root)
    with pytest.raises(PermissionDenied, match="Another person must approve"):
        approve(deletion, root)
    assert Role.APPROVER in root.roles
