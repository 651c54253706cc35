"""An attempt is recorded before its request leaves, and only under a valid claim."""

import json
from uuid import uuid4

import pytest
from django.db import IntegrityError, connection, transaction

from connections import audit
from connections.access.actor import WORKER, person_actor
from connections.change_requests import reconciliation, sending
from connections.change_requests.failpoints import Point
from connections.change_requests.sending import ClaimedAttempt
from connections.core.datadog_keys import KeyPair
from connections.core.errors import BlockedError
from connections.core.secret import Secret
from connections.datadog.responses import WriteResponse
from connections.inventory import syncs
from connections.models import (
    Attempt,
    AuditEvent,
    Credential,
    Deletion,
    Outcome,
    Person,
    State,
)
from connections.operations import due
from sandbox.faults import (
    EXECUTES_THEN_NO_RESPONSE,
    RESET_AFTER_READING,
    RETURNS_404,
    rate_limited,
)
from sandbox.server import SandboxServer
from tests.deletions.conftest import RequestDeletion
from tests.flows.support import store_credential
from tests.support.clock import SettableClock

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def test_the_attempt_and_its_event_are_committed_before_the_request_leaves(
    make_deletion: RequestDeletion, monkeypatch: pytest.MonkeyPatch
):
    seen: list[tuple[str, list[str]]] = []
    send = sending.send_claimed

    def spy(claimed: ClaimedAttempt) -> WriteResponse:
        attempt = Attempt.objects.get()
        codes = AuditEvent.objects.values_list("code", flat=True)
        seen.append((attempt.verdict, list(codes)))
        assert attempt.deletion.state == State.SENDING
        return send(claimed)

    monkeypatch.setattr("connections.change_requests.sending.send_claimed", spy)
    make_deletion()
    [(verdict, codes)] = seen
    assert verdict == ""
    assert audit.EventCode.DELETION_SENDING in codes


def test_no_transaction_is_open_during_the_request(
    make_deletion: RequestDeletion, monkeypatch: pytest.MonkeyPatch
):
    depths: list[int] = []
    send = sending.send_claimed

    def spy(claimed: ClaimedAttempt) -> WriteResponse:
        depths.append(len(connection.savepoint_ids))
        return send(claimed)

    monkeypatch.setattr("connections.change_requests.sending.send_claimed", spy)
    before = len(connection.savepoint_ids)
    make_deletion()
    assert depths == [before]


def test_without_its_event_nothing_is_sent(
    make_deletion: RequestDeletion, monkeypatch: pytest.MonkeyPatch
):
    def refuse(**_: object) -> None:
        raise IntegrityError("the record cannot be written")

    monkeypatch.setattr("connections.audit.record", refuse)
    with pytest.raises(Exception, match=r"record cannot be written|just ended"):
        make_deletion()
    assert Deletion.objects.count() == 0


def test_a_late_response_is_stored_and_changes_no_state(
    make_deletion: RequestDeletion, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
):
    send = sending.send_claimed

    def frozen(claimed: ClaimedAttempt) -> WriteResponse:
        # The process is paused for longer than a claim lasts, then resumes with a response.
        response = send(claimed)
        clock.advance(seconds=61)
        reconciliation.expire_lost_claim(change_request=Deletion.objects.get(), actor=WORKER)
        return response

    monkeypatch.setattr("connections.change_requests.sending.send_claimed", frozen)
    deletion = make_deletion()
    attempt = deletion.attempts.get()
    assert deletion.state == State.UNKNOWN
    assert (attempt.is_late, attempt.verdict, attempt.http_status) == (True, "deleted", 200)
    codes = [event.code for event in audit.events_of(subject=deletion)]
    assert audit.EventCode.DELETION_ANSWERED_LATE in codes


def test_two_claims_of_the_same_deletion_cannot_both_succeed(
    make_deletion: RequestDeletion, ada: Person
):
    deletion = make_deletion(rate_limited())
    actor = person_actor(person=ada)
    one, other = (Deletion.objects.get(pk=deletion.pk) for _ in range(2))
    assert sending.claim([one], actor=actor, was_rechecked=True)
    assert not sending.claim([other], actor=actor, was_rechecked=True)
    assert deletion.attempts.count() == 2


def test_a_deletion_that_was_read_while_it_is_sent_is_not_claimed_again(
    make_deletion: RequestDeletion, ada: Person
):
    deletion = make_deletion(rate_limited())
    actor = person_actor(person=ada)
    assert sending.claim([deletion], actor=actor, was_rechecked=True)
    read_later = Deletion.objects.get(pk=deletion.pk)
    assert not sending.claim([read_later], actor=actor, was_rechecked=True)
    assert deletion.attempts.count() == 2
    with (
        pytest.raises(IntegrityError, match="being sent can't be claimed again"),
        transaction.atomic(),
    ):
        Deletion.objects.filter(pk=deletion.pk).update(epoch=deletion.epoch + 1)


def test_a_second_open_deletion_of_one_connection_is_refused_by_the_database(
    make_deletion: RequestDeletion,
):
    deletion = make_deletion(rate_limited())
    deletion.pk, deletion.request_id = uuid4(), uuid4()
    with pytest.raises(IntegrityError), transaction.atomic():
        deletion.save(force_insert=True)


def test_requesting_again_returns_the_open_deletion(
    make_deletion: RequestDeletion, sandbox: SandboxServer
):
    first = make_deletion(RESET_AFTER_READING)
    assert make_deletion().pk == first.pk
    assert sandbox.world.deletes_received(str(first.connection_id)) == 1


def test_after_a_404_all_credentials_that_saw_it_are_synced_and_one_listing_it_contradicts(
    make_deletion: RequestDeletion, sandbox: SandboxServer
):
    store_credential(sandbox, "Group SOC")
    deletion = make_deletion(RETURNS_404)
    due.run_due(actor=WORKER)
    deletion.refresh_from_db()
    assert deletion.outcome == Outcome.ALREADY_ABSENT
    assert deletion.contradicted_at is not None
    assert deletion.due_at is None


def test_a_later_sync_contradicts_a_closed_deletion_once(
    make_deletion: RequestDeletion,
    sandbox: SandboxServer,
    clock: SettableClock,
    credential: Credential,
):
    deletion = make_deletion(RETURNS_404)
    for _ in range(2):
        clock.advance(minutes=1)
        syncs.sync_credentials(credentials=[credential], actor=WORKER)
    deletion.refresh_from_db()
    assert deletion.outcome == Outcome.ALREADY_ABSENT
    assert deletion.contradicted_at is not None
    codes = [event.code for event in audit.events_of(subject=deletion)]
    assert codes.count(audit.EventCode.DELETION_CONTRADICTED) == 1


def test_a_retired_credential_sends_nothing(
    make_deletion: RequestDeletion,
    sandbox: SandboxServer,
    credential: Credential,
    clock: SettableClock,
):
    deletion = make_deletion(rate_limited())
    Credential.objects.filter(pk=credential.pk).update(retired_at=clock.at)
    with pytest.raises(BlockedError):
        sending.send(change_request=deletion, actor=WORKER)
    assert sandbox.world.deletes_received(str(deletion.connection_id)) == 1


def test_no_response_within_the_deadline_is_unknown(
    make_deletion: RequestDeletion, sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("connections.core.time_limits.SEND_SECONDS", 2.0)
    deletion = make_deletion(EXECUTES_THEN_NO_RESPONSE)
    assert (deletion.state, deletion.cause) == (State.UNKNOWN, "no_answer_in_time")
    assert sandbox.world.deletes_received(str(deletion.connection_id)) == 1


def test_no_stored_row_contains_a_key(make_deletion: RequestDeletion, credential: Credential):
    make_deletion()
    keys = credential.open_keys()
    rows = json.dumps(
        [list(AuditEvent.objects.values()), list(Deletion.objects.values())], default=str
    ) + json.dumps(list(Attempt.objects.values()), default=str)
    assert keys.by_field["api_key"].reveal() not in rows
    assert keys.by_field["application_key"].reveal() not in rows


def test_keys_that_are_rotated_during_the_pre_send_check_are_those_that_send(
    make_deletion: RequestDeletion, monkeypatch: pytest.MonkeyPatch
):
    def rotate(point: Point, **_: object) -> None:
        if point == Point.BEFORE_CLAIM:
            stored = Credential.objects.get()
            # Datadog doesn't know them.
            stored.seal_keys(KeyPair(api_key=Secret("a" * 32), application_key=Secret("b" * 40)))
            stored.save()

    monkeypatch.setattr("connections.change_requests.failpoints.hit", rotate)
    make_deletion()
    attempt = Attempt.objects.get()
    assert attempt.credential_fingerprint == Credential.objects.get().fingerprint
    assert attempt.http_status in {401, 403}
