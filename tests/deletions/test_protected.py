"""A protected connection can't be deleted, and only another person can remove the protection."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from uuid import UUID, uuid4

import pytest
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db import Error as DatabaseError
from django.db import IntegrityError, connection, transaction
from django.test import Client

from connections.access.actor import WORKER, Actor, command_actor, person_actor
from connections.change_requests import approvals, failpoints, lifecycle, sending
from connections.core.errors import BlockedError, ConflictError, InvalidInputError
from connections.inventory import protections, syncs
from connections.models import (
    ApprovalPolicy,
    Attempt,
    AuditEvent,
    Credential,
    Deletion,
    OrgConnectionKey,
    Outcome,
    Person,
    Protection,
    ProtectionRemoval,
    Role,
    State,
)
from connections.operations import due
from connections.people.erasure import erase_person
from sandbox.faults import RESET_AFTER_READING, rate_limited
from sandbox.server import SandboxServer
from tests.deletions.conftest import RequestDeletion
from tests.flows.support import read
from tests.support.clock import SettableClock
from tests.support.deletions import request_deletion
from tests.support.people import make_person
from tests.support.sandbox import connection_between

pytestmark = pytest.mark.django_db

REASON = "the SOC reads it during the audit"


@pytest.fixture
def key(sandbox: SandboxServer, credential: Credential) -> OrgConnectionKey:
    wanted = connection_between(sandbox.world, "Payments US", "Group SOC")
    return OrgConnectionKey(site=credential.site, connection_id=UUID(wanted.id))


def protect(key: OrgConnectionKey, person: Person) -> Protection:
    return protections.protect_connection(actor=person_actor(person=person), key=key, reason=REASON)


def unprotect(protection: Protection, person: Person) -> None:
    protections.remove_protection(
        actor=person_actor(person=person), protection=protection, reason="the audit is over"
    )


def request(*, actor: Actor, credential: Credential, key: OrgConnectionKey) -> Deletion:
    return request_deletion(actor=actor, credential=credential, connection_id=key.connection_id)


@pytest.fixture
def approved(ada: Person, linus: Person, credential: Credential, key: OrgConnectionKey) -> Deletion:
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    credential.refresh_from_db()
    deletion = request(actor=person_actor(person=ada), credential=credential, key=key)
    return approvals.approve(
        change_request=deletion, actor=person_actor(person=linus), digest=deletion.approval_digest
    )


def confirm(deletion: Deletion, person: Person) -> Deletion:
    return lifecycle.execute(
        change_request=deletion, actor=person_actor(person=person), confirmation="Payments US"
    )


def test_the_page_of_a_protected_deletion_asks_for_no_confirmation(
    approved: Deletion,
    key: OrgConnectionKey,
    ada: Person,
    linus: Person,
    client_of: Callable[[Person], Client],
):
    protect(key, linus)
    page = read(client_of(ada).get(f"/deletions/{approved.pk}/"))
    assert not page.has_form_to("/execute/")
    assert (
        "This deletion can't be confirmed. The connection is protected. Nothing has been sent."
        in page.text
    )


def test_a_request_is_refused_and_says_who_protects_the_connection_and_why(
    ada: Person, linus: Person, credential: Credential, key: OrgConnectionKey
):
    protect(key, linus)
    with pytest.raises(BlockedError, match=f"Linus protected it at .*{REASON}") as refused:
        request(actor=person_actor(person=ada), credential=credential, key=key)
    assert refused.value.cause == "connection_protected"
    assert not Deletion.objects.exists()


def test_approving_is_refused(
    ada: Person, linus: Person, margaret: Person, credential: Credential, key: OrgConnectionKey
):
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    credential.refresh_from_db()
    deletion = request(actor=person_actor(person=ada), credential=credential, key=key)
    protect(key, margaret)
    with pytest.raises(ConflictError, match="protected"):
        approvals.approve(
            change_request=deletion,
            actor=person_actor(person=linus),
            digest=deletion.approval_digest,
        )
    assert not deletion.approvals.exists()


def test_confirming_is_refused_and_the_state_does_not_change(
    approved: Deletion, ada: Person, margaret: Person, key: OrgConnectionKey, sandbox: SandboxServer
):
    protect(key, margaret)
    with pytest.raises(BlockedError, match="protected"):
        confirm(approved, ada)
    approved.refresh_from_db()
    assert approved.state == State.APPROVED
    assert approved.confirmed_at is None
    assert sandbox.world.deletes_received(str(key.connection_id)) == 0


@pytest.mark.database
def test_a_connection_protected_during_the_pre_send_check_is_not_sent(
    approved: Deletion,
    ada: Person,
    margaret: Person,
    key: OrgConnectionKey,
    sandbox: SandboxServer,
    monkeypatch: pytest.MonkeyPatch,
):
    def protect_first(point: failpoints.Point, **_: object) -> None:
        if point == failpoints.Point.BEFORE_CLAIM:
            protect(key, margaret)

    monkeypatch.setattr(failpoints, "hit", protect_first)
    with pytest.raises(BlockedError, match="protected"):
        confirm(approved, ada)
    assert not Attempt.objects.exists()
    assert sandbox.world.deletes_received(str(key.connection_id)) == 0


def test_the_worker_closes_a_waiting_deletion_as_not_sent(
    make_deletion: RequestDeletion,
    linus: Person,
    key: OrgConnectionKey,
    clock: SettableClock,
    sandbox: SandboxServer,
):
    deletion = make_deletion(rate_limited(reset="1"))
    assert deletion.state == State.WAITING
    protect(key, linus)
    clock.advance(seconds=2)
    due.run_due(actor=WORKER)
    deletion.refresh_from_db()
    assert (deletion.outcome, deletion.cause) == (Outcome.NOT_SENT, "connection_protected")
    assert sandbox.world.deletes_received(str(key.connection_id)) == 1


def test_after_an_ambiguous_attempt_the_worker_leaves_the_outcome_unknown(
    make_deletion: RequestDeletion, linus: Person, key: OrgConnectionKey, clock: SettableClock
):
    deletion = make_deletion(RESET_AFTER_READING)
    Deletion.objects.update(state=State.WAITING, due_at=clock.now(), expires_at=None)
    protect(key, linus)
    due.run_due(actor=WORKER)
    deletion.refresh_from_db()
    assert (deletion.state, deletion.cause) == (State.UNKNOWN, "connection_protected")


@pytest.mark.database
@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(settings.DATABASE_IS_SQLITE, reason="SQLite has one writer at a time")
def test_a_concurrent_claim_and_protection_are_serialized(
    approved: Deletion, ada: Person, margaret: Person, key: OrgConnectionKey
):
    is_claiming, started = Event(), Event()

    def hold(point: failpoints.Point, **_: object) -> None:
        if point == failpoints.Point.INSIDE_CLAIM:
            is_claiming.set()
            assert started.wait(timeout=10)

    def protect_meanwhile() -> None:
        try:
            assert is_claiming.wait(timeout=10)
            started.set()
            protect(key, margaret)
        finally:
            connection.close()

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(1) as pool:
        patch.setattr(failpoints, "hit", hold)
        protecting = pool.submit(protect_meanwhile)
        sending.claim([approved], actor=WORKER, was_rechecked=True)
        protecting.result(timeout=20)
    event = AuditEvent.objects.get(code="org_connection.protected")
    assert event.details["is_being_sent"] is True
    sent = AuditEvent.objects.get(code="deletion.sending")
    assert sent.seq < event.seq


@pytest.mark.database
def test_it_outlives_every_sync_and_credential(
    ada: Person,
    linus: Person,
    credential: Credential,
    key: OrgConnectionKey,
    sandbox: SandboxServer,
):
    protect(key, linus)
    wanted = sandbox.world.connection(connection_id=str(key.connection_id))
    assert wanted
    sandbox.world.remove_connection(connection_id=wanted.id)
    syncs.sync_credentials(credentials=[credential], actor=WORKER)
    assert protections.find_protection(key)
    sandbox.world.add_connection(
        source_org=wanted.source_org, sink_org=wanted.sink_org, id=wanted.id
    )
    syncs.sync_credentials(credentials=[credential], actor=WORKER)
    with pytest.raises(BlockedError):
        request(actor=person_actor(person=ada), credential=credential, key=key)


def test_a_connection_that_was_never_seen_can_be_protected(
    linus: Person, ada: Person, credential: Credential
):
    key = OrgConnectionKey(site=credential.site, connection_id=uuid4())
    protect(key, linus)
    with pytest.raises(BlockedError):
        request(actor=person_actor(person=ada), credential=credential, key=key)


def test_after_another_person_removes_the_protection_it_can_be_deleted(
    ada: Person, linus: Person, margaret: Person, credential: Credential, key: OrgConnectionKey
):
    unprotect(protect(key, margaret), linus)
    deletion = request(actor=person_actor(person=ada), credential=credential, key=key)
    assert deletion.outcome == Outcome.DELETED
    codes = set(AuditEvent.objects.values_list("code", flat=True))
    assert {"org_connection.protected", "org_connection.protection_lifted"} <= codes


def test_not_even_an_administrator_removes_their_own_protection(
    root: Person, key: OrgConnectionKey
):
    protection = protect(key, root)
    with pytest.raises(PermissionDenied, match="Another person"):
        unprotect(protection, root)
    assert protections.find_protection(key)


@pytest.mark.database
def test_the_database_refuses_ones_own_removal_and_a_false_copy_of_who_protected_it(
    linus: Person, ada: Person, key: OrgConnectionKey
):
    protection = protect(key, linus)
    removal = {"reason": "x", "removed_at": protection.protected_at, "removed_by": linus}
    for protector, error, words in (
        (linus, IntegrityError, None),
        (ada, DatabaseError, "append-only"),
    ):
        with pytest.raises(error, match=words), transaction.atomic():
            ProtectionRemoval.objects.create(protection=protection, protector=protector, **removal)


@pytest.mark.database
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE connections_protection SET reason = 'x'",
        "DELETE FROM connections_protection",
        "UPDATE connections_protectionremoval SET reason = 'x'",
        "DELETE FROM connections_protectionremoval",
        "INSERT INTO connections_protection (site, connection_id, number, reason, protected_at, "
        "protected_by_id) SELECT site, connection_id, 7, 'x', protected_at, protected_by_id "
        "FROM connections_protection WHERE number = 2",
    ],
)
def test_the_database_refuses_to_change_past_protections(
    linus: Person, margaret: Person, key: OrgConnectionKey, statement: str
):
    unprotect(protect(key, margaret), linus)
    protect(key, margaret)
    with (
        pytest.raises(DatabaseError, match="append-only"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)


@pytest.mark.parametrize(
    "role", [Role.OPERATOR, Role.CREDENTIAL_MANAGER, Role.AUDITOR, Role.VIEWER]
)
def test_people_without_the_permission_cannot_unprotect(
    linus: Person, key: OrgConnectionKey, role: Role
):
    protection = protect(key, linus)
    with pytest.raises(PermissionDenied):
        unprotect(protection, make_person("barbara", role))


@pytest.mark.parametrize("role", [Role.AUDITOR, Role.VIEWER])
def test_people_without_the_permission_cannot_protect(key: OrgConnectionKey, db: None, role: Role):
    with pytest.raises(PermissionDenied):
        protect(key, make_person("barbara", role))


def test_no_command_protects_or_unprotects(linus: Person, key: OrgConnectionKey):
    with pytest.raises(PermissionDenied):
        protections.protect_connection(actor=command_actor(), key=key, reason=REASON)
    with pytest.raises(PermissionDenied):
        protections.remove_protection(
            actor=command_actor(), protection=protect(key, linus), reason="x"
        )


@pytest.mark.database
def test_a_protected_connection_cannot_be_protected_again(
    linus: Person, margaret: Person, key: OrgConnectionKey
):
    protect(key, linus)
    with pytest.raises(ConflictError, match="already"):
        protect(key, margaret)


@pytest.mark.database
def test_a_protection_cannot_be_removed_twice(
    linus: Person, margaret: Person, root: Person, key: OrgConnectionKey
):
    protection = protect(key, margaret)
    unprotect(protection, linus)
    with pytest.raises(ConflictError):
        unprotect(protection, root)


@pytest.mark.parametrize("reason", ["", " ", "\u200b", "x" * 4001])
def test_a_reason_must_be_visible(linus: Person, key: OrgConnectionKey, reason: str):
    with pytest.raises(InvalidInputError) as refused:
        protections.protect_connection(actor=person_actor(person=linus), key=key, reason=reason)
    assert "reason" in refused.value.fields


@pytest.mark.database
def test_an_erased_person_who_protected_it_is_still_identified(
    linus: Person, root: Person, key: OrgConnectionKey
):
    protect(key, linus)
    erase_person(actor=person_actor(person=root), person=linus)
    [held] = protections.list_protections(key)
    assert str(held.protected_by).startswith("erased person no.")
