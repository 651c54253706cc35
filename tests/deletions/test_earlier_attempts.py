"""What the audit log and the pages say about a deletion whose earlier attempts reached Datadog."""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from connections import audit
from connections.access.actor import WORKER, Actor, person_actor
from connections.change_requests import lifecycle, reconciliation, recording, sending, verification
from connections.change_requests.sending import ClaimedAttempt
from connections.core.errors import DomainError
from connections.datadog.responses import WriteResponse
from connections.deletions import confirmations
from connections.deletions.action import DELETE
from connections.inventory import protections
from connections.inventory.fetching import SyncResult
from connections.models import (
    Attempt,
    Credential,
    Deletion,
    OrgConnectionKey,
    Outcome,
    Person,
    State,
)
from connections.notifications import messages
from connections.operations import due
from connections.verifier.page import record_section
from connections.web.timeline import event_text
from sandbox.faults import (
    EXECUTES_THEN_RESET,
    RESET_AFTER_READING,
    RETURNS_200_WITHOUT_DELETING,
    RETURNS_404,
    rate_limited,
)
from sandbox.server import SandboxServer
from tests.deletions.conftest import Observer, RequestDeletion
from tests.deletions.test_attempt_facts import (
    CLAIMS_NOTHING_DELETED,
    CLAIMS_NOTHING_SENT,
)
from tests.evidence.support import differences_of, rows_and_events
from tests.flows.support import Page, read
from tests.support.clock import SettableClock

pytestmark = pytest.mark.django_db

type Happen = Callable[[Deletion], object]


@pytest.fixture
def page_of(client_of: Callable[[Person], Client], linus: Person) -> Callable[[Deletion], Page]:
    """The page of a deletion in the browser of a person who can see it."""
    client = client_of(linus)
    return lambda deletion: read(client.get(f"/deletions/{deletion.pk}/"))


@pytest.fixture
def cause_failure(
    sandbox: SandboxServer, credential: Credential, clock: SettableClock, ada: Person, linus: Person
) -> dict[str, Happen]:
    """Causes that can keep a deletion from being sent again."""

    def key(deletion: Deletion) -> OrgConnectionKey:
        return OrgConnectionKey(site=deletion.site, connection_id=deletion.connection_id)

    return {
        "changed": lambda deletion: sandbox.world.change_connection(
            connection_id=str(deletion.connection_id), connection_types=("audit",)
        ),
        "removed": lambda deletion: sandbox.world.remove_connection(
            connection_id=str(deletion.connection_id)
        ),
        "unreadable": lambda _: sandbox.world.set_fault(
            fault=RESET_AFTER_READING, site=credential.site, method="GET"
        ),
        "protected": lambda deletion: protections.protect_connection(
            actor=person_actor(person=linus), key=key(deletion), reason="needed by the audit"
        ),
        "right lost": lambda _: ada.groups.clear(),
        "15 minutes": lambda _: clock.advance(minutes=15),
        "100 minutes": lambda _: clock.advance(minutes=100),
    }


def text_since_sending(deletion: Deletion, page: str) -> list[str]:
    """Every audit-log sentence since the first attempt, wherever it is shown, and the page."""
    events = audit.events_of(subject=deletion)
    first = next(n for n, one in enumerate(events) if one.code == audit.EventCode.DELETION_SENDING)
    rows, documents = rows_and_events(deletion)
    texts = [page, record_section("Deletion", str(deletion.pk), rows, documents[first:])]
    for event in events[first:]:
        words = event_text(event)
        message = messages._event_message(event.seq, reader=None)
        texts += [
            event.sentence,
            words.badge.label,
            words.detail,
            message.subject,
            message.as_text(),
        ]
    return texts


def last_event_text(deletion: Deletion) -> str:
    """The text of the deletion's last event."""
    return audit.events_of(subject=deletion)[-1].sentence


def outcome_of(page: str) -> str:
    """The section of a page that shows the outcome, with its subsections."""
    rest, depth = page.partition('id="outcome"')[2], 1
    for tag in re.finditer(r"<(/?)section\b", rest):
        depth += -1 if tag[1] else 1
        if not depth:
            return rest[: tag.start()]
    raise AssertionError("the page has no section with the outcome")


def confirm(deletion: Deletion, person: Person) -> None:
    """The person confirms again. A refusal is fine too."""
    text = confirmations.confirmation_text(deletion, actor=person_actor(person=person))
    with suppress(DomainError):
        lifecycle.execute(
            change_request=deletion, actor=person_actor(person=person), confirmation=text
        )
    deletion.refresh_from_db()


FACTS = {
    "429": "Attempt 1 returned 429.",
    "lost": "Attempt 1 might have worked.",
    "lost, then 429": "Attempt 1 might have worked. Attempt 2 returned 429.",
}


@pytest.mark.parametrize(
    ("earlier", "what", "state", "outcome"),
    [
        ("429", "changed", State.SETTLED, Outcome.STALE),
        ("429", "removed", State.SETTLED, Outcome.ALREADY_ABSENT),
        ("429", "unreadable", State.WAITING, ""),
        ("429", "protected", State.SETTLED, Outcome.NOT_SENT),
        ("429", "right lost", State.SETTLED, Outcome.NOT_SENT),
        ("429", "15 minutes", State.SETTLED, Outcome.NOT_SENT),
        ("lost", "changed", State.SETTLED, Outcome.STALE),
        ("lost", "removed", State.SETTLED, Outcome.GONE_UNATTRIBUTED),
        ("lost", "unreadable", State.STILL_PRESENT, ""),
        ("lost, then 429", "changed", State.SETTLED, Outcome.STALE),
        ("lost, then 429", "removed", State.SETTLED, Outcome.GONE_UNATTRIBUTED),
        ("lost, then 429", "unreadable", State.WAITING, ""),
        ("lost, then 429", "protected", State.UNKNOWN, ""),
        ("lost, then 429", "right lost", State.UNKNOWN, ""),
        ("lost, then 429", "15 minutes", State.UNKNOWN, ""),
    ],
)
def test_after_earlier_attempts_no_text_claims_that_nothing_was_sent(
    earlier: str,
    what: str,
    state: State,
    outcome: str,
    make_deletion: RequestDeletion,
    ada: Person,
    observer: Observer,
    sandbox: SandboxServer,
    cause_failure: dict[str, Happen],
    page_of: Callable[[Deletion], Page],
):
    is_lost, has_429 = "lost" in earlier, "429" in earlier
    deletion = make_deletion(RESET_AFTER_READING if is_lost else rate_limited(reset="7"))
    sandbox.world.clear_faults()
    if is_lost:
        for seconds in (36, 61):
            observer.check_after(deletion, seconds=seconds)
        assert deletion.state == State.STILL_PRESENT
    if is_lost and has_429:
        sandbox.world.set_fault(fault=rate_limited(reset="7"), operation="delete")
        confirm(deletion, ada)
        assert deletion.state == State.WAITING
        sandbox.world.clear_faults()
    cause_failure[what](deletion)
    if has_429:
        observer.work_after(deletion, seconds=8)
    else:
        confirm(deletion, ada)
    assert (deletion.state, deletion.outcome) == (state, outcome)
    page = page_of(deletion)
    for text in text_since_sending(deletion, outcome_of(page.html)):
        assert not CLAIMS_NOTHING_SENT.search(text), text
        assert not (is_lost and CLAIMS_NOTHING_DELETED.search(text)), text
    assert f"No new DELETE was sent. {FACTS[earlier]}" in last_event_text(deletion)
    assert ("Attempt 1 might have worked." in page.text) == is_lost
    assert ("429 Too Many Requests in" in page.text) == has_429
    received = sandbox.world.deletes_received(str(deletion.connection_id))
    assert received == deletion.attempts.count()


def test_a_wrong_confirmation_after_an_earlier_attempt_sends_no_new_delete(
    make_deletion: RequestDeletion,
    observer: Observer,
    sandbox: SandboxServer,
    client_of: Callable[[Person], Client],
    ada: Person,
):
    deletion = make_deletion(RESET_AFTER_READING)
    sandbox.world.clear_faults()
    for seconds in (36, 61):
        observer.check_after(deletion, seconds=seconds)
    response = client_of(ada).post(f"/deletions/{deletion.pk}/execute/", {"confirmation": "wrong"})
    assert response.status_code == 422
    assert "Nothing was sent" not in outcome_of(response.content.decode())
    assert sandbox.world.deletes_received(str(deletion.connection_id)) == 1


# --- A late response


def test_a_waiting_deletion_whose_check_failed_offers_no_confirmation(
    make_deletion: RequestDeletion,
    clock: SettableClock,
    sandbox: SandboxServer,
    cause_failure: dict[str, Happen],
    client_of: Callable[[Person], Client],
    ada: Person,
):
    # It is confirmed and retried automatically, so another confirmation would do nothing.
    deletion = make_deletion(rate_limited(reset="7"))
    sandbox.world.clear_faults()
    cause_failure["unreadable"](deletion)
    clock.advance(seconds=8)
    due.run_due(actor=WORKER)
    deletion.refresh_from_db()
    assert deletion.due_at == clock.at + timedelta(seconds=60)
    page = read(client_of(ada).get(f"/deletions/{deletion.pk}/"))
    assert "The pre-send check failed." in page.text
    assert "Retries at" in page.text
    assert "Stop retrying" in page.text
    assert f"/deletions/{deletion.pk}/execute/" not in page.html


@pytest.fixture
def pause_sender(monkeypatch: pytest.MonkeyPatch, clock: SettableClock) -> Callable[[], None]:
    """From now on the sender pauses for longer than a claim lasts, then records its response."""
    send = sending.send_claimed

    def frozen(claimed: ClaimedAttempt) -> WriteResponse:
        response = send(claimed)
        clock.advance(seconds=90)
        [deletion] = Deletion.objects.filter(state=State.SENDING)
        reconciliation.expire_lost_claim(change_request=deletion, actor=WORKER)
        return response

    return lambda: monkeypatch.setattr(sending, "send_claimed", frozen)


@pytest.fixture
def lose_claim(monkeypatch: pytest.MonkeyPatch, clock: SettableClock) -> list[Callable[[], object]]:
    """Let the first claim expire although Datadog responded.

    Calling the only item records the response.
    """
    waiting: list[Callable[[], object]] = []
    record = recording.record

    def keep(responses: Sequence[tuple[Attempt, WriteResponse]], *, actor: Actor) -> int:
        waiting.append(lambda: record(responses, actor=actor))
        clock.advance(seconds=60)
        [(attempt, _)] = responses
        reconciliation.expire_lost_claim(
            change_request=Deletion.objects.get(pk=attempt.deletion_id), actor=WORKER
        )
        monkeypatch.setattr(recording, "record", record)
        return 1

    monkeypatch.setattr(recording, "record", keep)
    return waiting


@pytest.fixture
def record_late_response(
    monkeypatch: pytest.MonkeyPatch, lose_claim: list[Callable[[], object]]
) -> Callable[[], None]:
    """From now on that response is recorded just before the result of a complete sync."""
    act = audit.atomic
    list_with_any, compare = verification.list_with_any_credential, DELETE.compare
    is_read: list[bool] = []

    def note_after(**named: Any) -> Any:
        result = list_with_any(**named)
        is_read.append(True)
        return result

    def note_before(deletion: Deletion, *, result: SyncResult) -> Any:
        is_read.append(True)
        return compare(deletion, result=result)

    def act_after_response(**arguments: bool) -> Any:
        if is_read and lose_claim:
            lose_claim.pop()()
        return act(**arguments)

    def begin() -> None:
        monkeypatch.setattr(verification, "list_with_any_credential", note_after)
        monkeypatch.setattr(DELETE, "compare", note_before)
        monkeypatch.setattr(audit, "atomic", act_after_response)

    return begin


def late_attempt(deletion: Deletion) -> Attempt:
    """The one attempt whose response was late."""
    return deletion.attempts.get(is_late=True)


@pytest.mark.database
def test_a_worker_stopped_for_90_s_after_a_429_ends_as_deleted(
    make_deletion: RequestDeletion,
    observer: Observer,
    sandbox: SandboxServer,
    pause_sender: Callable[[], None],
):
    deletion = make_deletion(rate_limited(reset="7"))
    sandbox.world.clear_faults()
    pause_sender()
    observer.work_after(deletion, seconds=8)
    assert (deletion.state, late_attempt(deletion).http_status) == (State.UNKNOWN, 200)
    page = observer.page(deletion)
    assert (
        "Datadog returned 200. A complete sync must confirm that the connection is gone."
        in page.text
    )
    assert "was lost" not in page.text
    observer.work_after(deletion, seconds=1)
    assert (deletion.state, deletion.outcome) == (State.SETTLED, Outcome.DELETED)
    assert deletion.verified_at
    assert (deletion.due_at, deletion.last_check_listed) == (None, False)
    events = {event.code: event for event in audit.events_of(subject=deletion)}
    assert "Attempt 2 returned 200 late." in events["deletion.settled"].sentence
    assert "deletion.verified" in events
    page = observer.page(deletion)
    assert page.outcome["data-outcome"] == "deleted"
    assert "Deleted and verified" in page.text
    assert "attempt 2, late" in page.text
    assert "Late response to attempt 2" in page.text
    assert "was lost" not in page.text
    assert sandbox.world.deletes_executed(str(deletion.connection_id)) == 1


def test_a_bundle_agrees_with_an_outcome_settled_by_a_late_200(
    make_deletion: RequestDeletion,
    observer: Observer,
    sandbox: SandboxServer,
    pause_sender: Callable[[], None],
):
    pause_sender()
    deletion = make_deletion()
    observer.work_after(deletion, seconds=1)
    rows, events = rows_and_events(deletion)
    assert differences_of(rows, events) == []
    assert (rows["deletion"]["outcome"], rows["attempt 1"]["is_late"]) == ("deleted", True)


@pytest.mark.database
def test_a_late_200_settles_nothing_while_syncs_fail(
    make_deletion: RequestDeletion,
    observer: Observer,
    sandbox: SandboxServer,
    pause_sender: Callable[[], None],
    cause_failure: dict[str, Happen],
):
    pause_sender()
    deletion = make_deletion()
    cause_failure["unreadable"](deletion)
    assert observer.work_after(deletion, seconds=1).state == State.UNKNOWN
    sandbox.world.clear_faults()
    assert observer.check_after(deletion, seconds=1).outcome == Outcome.DELETED


@pytest.mark.database
def test_a_late_200_means_deleted_once_the_connection_is_no_longer_listed(
    make_deletion: RequestDeletion,
    ada: Person,
    observer: Observer,
    sandbox: SandboxServer,
    credential: Credential,
    pause_sender: Callable[[], None],
):
    pause_sender()
    there = sandbox.world.connections()
    deletion = make_deletion()
    [lost] = [one for one in there if UUID(one.id) == deletion.connection_id]
    sandbox.world.add_connection(source_org=lost.source_org, sink_org=lost.sink_org, id=lost.id)
    for seconds in (1, 61, 61):
        observer.check_after(deletion, seconds=seconds)
    assert deletion.state == State.STILL_PRESENT
    assert (
        "Datadog returned 200, but two complete syncs still list the connection"
        in observer.page(deletion).text
    )
    sandbox.world.remove_connection(connection_id=lost.id)
    # The pre-send check counts as much as any other sync.
    confirm(deletion, ada)
    assert (deletion.outcome, deletion.cause) == (Outcome.DELETED, "absent_when_read")
    assert deletion.verified_at
    assert "Attempt 1 returned 200 late." in next(
        event.sentence
        for event in audit.events_of(subject=deletion)
        if event.code == audit.EventCode.DELETION_SETTLED
    )
    assert sandbox.world.deletes_received(lost.id) == 1


def test_after_a_late_200_and_a_404_a_sync_settles_it_as_deleted(
    make_deletion: RequestDeletion,
    ada: Person,
    observer: Observer,
    sandbox: SandboxServer,
    monkeypatch: pytest.MonkeyPatch,
    pause_sender: Callable[[], None],
):
    pause_sender()
    there = sandbox.world.connections()
    deletion = make_deletion()
    [lost] = [one for one in there if UUID(one.id) == deletion.connection_id]
    sandbox.world.add_connection(
        source_org=lost.source_org,
        sink_org=lost.sink_org,
        id=lost.id,
        created_at=lost.created_at,
        created_by=lost.created_by,
        connection_types=lost.connection_types,
    )
    for seconds in (1, 61, 61):
        observer.check_after(deletion, seconds=seconds)
    monkeypatch.undo()
    sandbox.world.set_fault(fault=RETURNS_404, operation="delete")
    confirm(deletion, ada)
    assert (deletion.state, deletion.cause) == (State.UNKNOWN, "not_found")
    sandbox.world.remove_connection(connection_id=lost.id)
    assert observer.check_after(deletion, seconds=1).outcome == Outcome.DELETED


def test_without_a_response_two_syncs_leave_it_unattributed(
    make_deletion: RequestDeletion, observer: Observer
):
    deletion = make_deletion(EXECUTES_THEN_RESET)
    for seconds in (36, 61):
        observer.check_after(deletion, seconds=seconds)
    assert deletion.outcome == Outcome.GONE_UNATTRIBUTED
    sentence = last_event_text(deletion)
    assert "Attempt 1 might have worked." in sentence
    assert "This doesn't prove that this request deleted it." in sentence


@pytest.mark.database
def test_a_late_200_makes_the_next_check_due_at_once(
    make_deletion: RequestDeletion, clock: SettableClock, pause_sender: Callable[[], None]
):
    pause_sender()
    deletion = make_deletion()
    assert deletion.due_at == clock.at
    assert due.list_due(now=clock.at) == [deletion]


@pytest.mark.database
def test_a_200_recorded_between_the_check_and_its_outcome_counts(
    make_deletion: RequestDeletion, observer: Observer, record_late_response: Callable[[], None]
):
    deletion = make_deletion()
    observer.check_after(deletion, seconds=36)
    record_late_response()
    observer.check_after(deletion, seconds=61)
    assert (deletion.state, deletion.outcome) == (State.SETTLED, Outcome.DELETED)
    assert late_attempt(deletion).http_status == 200


@pytest.mark.database
def test_a_200_recorded_between_the_check_and_its_outcome_counts_for_one_still_present(
    make_deletion: RequestDeletion,
    observer: Observer,
    sandbox: SandboxServer,
    record_late_response: Callable[[], None],
):
    deletion = make_deletion(RETURNS_200_WITHOUT_DELETING)
    for seconds in (36, 61):
        observer.check_after(deletion, seconds=seconds)
    assert deletion.state == State.STILL_PRESENT
    sandbox.world.remove_connection(connection_id=str(deletion.connection_id))
    record_late_response()
    observer.check_after(deletion, seconds=1)
    assert deletion.outcome == Outcome.DELETED


@pytest.mark.database
def test_a_200_recorded_after_the_pre_send_check_counts(
    make_deletion: RequestDeletion,
    observer: Observer,
    sandbox: SandboxServer,
    ada: Person,
    record_late_response: Callable[[], None],
):
    deletion = make_deletion(RETURNS_200_WITHOUT_DELETING)
    for seconds in (36, 61):
        observer.check_after(deletion, seconds=seconds)
    sandbox.world.remove_connection(connection_id=str(deletion.connection_id))
    record_late_response()
    confirm(deletion, ada)
    deletion.refresh_from_db()
    assert deletion.outcome == Outcome.DELETED
    assert sandbox.world.deletes_received(str(deletion.connection_id)) == 1


@pytest.mark.database
@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer")
@pytest.mark.parametrize("is_response", [True, False])
def test_a_response_and_an_outcome_wait_for_each_other(
    is_response: bool,
    make_deletion: RequestDeletion,
    observer: Observer,
    lose_claim: list[Callable[[], object]],
):
    deletion = make_deletion()
    observer.check_after(deletion, seconds=36)
    with CaptureQueriesContext(connection) as captured:
        if is_response:
            lose_claim[0]()
        else:
            observer.check_after(deletion, seconds=61)
    statements = [query["sql"] for query in captured]
    reading = "SELECT" if is_response else "SELECT 1 "
    attempts_read = max(
        number
        for number, text in enumerate(statements)
        if text.startswith(reading) and 'FROM "connections_attempt"' in text
    )
    before = [text for text in statements[:attempts_read] if "SAVEPOINT" not in text]
    if is_response:
        in_order = '"connections_credential", "connections_deletion"'
        assert before[-1].endswith(f"FOR NO KEY UPDATE OF {in_order}")
        return
    credential_locked, deletion_locked = before[-2:]
    assert '"connections_credential"' in credential_locked
    assert 'FROM "connections_deletion"' in deletion_locked
    assert deletion_locked.endswith("FOR NO KEY UPDATE")
