"""The clock is set back an hour: the order stays right, and nothing is sent twice."""

import re
from collections.abc import Callable

import pytest
from django.test import Client

from connections import audit
from connections.access.actor import WORKER
from connections.change_requests import sending
from connections.change_requests.sending import ClaimedAttempt
from connections.datadog.responses import WriteResponse
from connections.models import ApprovalPolicy, Credential, Deletion, Outcome, Person, State
from connections.operations import due
from sandbox import faults
from sandbox.server import SandboxServer
from tests.deletions.conftest import RequestDeletion
from tests.deletions.test_due import run_due
from tests.flows.support import read
from tests.support.clock import SettableClock

pytestmark = pytest.mark.django_db

# A negative age or duration, which no page may show.
NEGATIVE = re.compile(r"(?<![\w-])[-−]\s?\d+\s?(?:ms|s|min|h|hours?|minutes?|seconds?|days?)\b")


def set_back(clock: SettableClock) -> None:
    clock.advance(hours=-1)


def test_the_timeline_is_in_order_of_occurrence(
    make_deletion: RequestDeletion,
    clock: SettableClock,
    sandbox: SandboxServer,
    ada: Person,
    client_of: Callable[[Person], Client],
):
    deletion = make_deletion(faults.rate_limited(reset="7"))
    sandbox.world.clear_faults()
    set_back(clock)
    clock.advance(seconds=3608)
    assert run_due(deletion).outcome == Outcome.DELETED
    assert run_due(deletion).verified_at
    codes = [event.code for event in audit.events_of(subject=deletion)]
    in_order = [
        audit.EventCode.DELETION_REQUESTED,
        audit.EventCode.DELETION_CONFIRMED,
        audit.EventCode.DELETION_SENDING,
        audit.EventCode.DELETION_ANSWERED,
        audit.EventCode.DELETION_WAITING,
        audit.EventCode.DELETION_SENDING,
        audit.EventCode.DELETION_ANSWERED,
        audit.EventCode.DELETION_SETTLED,
        audit.EventCode.DELETION_VERIFIED,
    ]
    assert codes == in_order
    page = read(client_of(ada).get(f"/deletions/{deletion.pk}/"))
    assert not NEGATIVE.findall(page.text)


@pytest.mark.database
def test_events_recorded_after_the_clock_was_set_back_come_last(
    make_deletion: RequestDeletion,
    clock: SettableClock,
    ada: Person,
    client_of: Callable[[Person], Client],
):
    deletion = make_deletion(faults.EXECUTES_THEN_RESET)
    set_back(clock)
    due.reconcile_all(actor=WORKER)
    events = audit.events_of(subject=deletion)
    assert events[-1].code == audit.EventCode.DELETION_CHECKED
    assert events[-1].at < events[-2].at
    html = client_of(ada).get(f"/deletions/{deletion.pk}/").content.decode()
    # The page lists events in the order of the audit log, whatever their times.
    timeline = html[html.index("Timeline") :]
    assert timeline.index("No usable response") < timeline.index("Checked:")
    assert not NEGATIVE.findall(read(client_of(ada).get(f"/deletions/{deletion.pk}/")).text)


@pytest.mark.database
def test_the_history_is_ordered_by_request_time(
    make_deletion: RequestDeletion,
    clock: SettableClock,
    sandbox: SandboxServer,
    ada: Person,
    client_of: Callable[[Person], Client],
):
    first = make_deletion(faults.RETURNS_403)
    sandbox.world.clear_faults()
    set_back(clock)
    # One that is only requested, because nothing can be confirmed now.
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    second = make_deletion()
    assert list(Deletion.objects.all()) == [first, second]
    client = client_of(ada)
    html = client.get("/deletions/").content.decode()
    assert html.index(f"/deletions/{first.pk}/") < html.index(f"/deletions/{second.pk}/")
    for address in ("/", "/deletions/", "/connections/", f"/deletions/{second.pk}/"):
        assert not NEGATIVE.findall(read(client.get(address)).text), address


def test_a_waiting_deletion_survives_a_clock_set_back_by_a_few_seconds(
    make_deletion: RequestDeletion, clock: SettableClock, sandbox: SandboxServer
):
    deletion = make_deletion(faults.rate_limited(reset="7"))
    sandbox.world.clear_faults()
    clock.advance(seconds=-5)
    assert run_due(deletion).state == State.WAITING
    clock.advance(seconds=13)
    assert run_due(deletion).outcome == Outcome.DELETED


def test_a_person_can_check_a_claim_from_the_future_at_once(
    killed_deletion: Deletion,
    clock: SettableClock,
    ada: Person,
    client_of: Callable[[Person], Client],
):
    url = f"/deletions/{killed_deletion.pk}/"
    client = client_of(ada)
    assert not read(client.get(url)).has_form_to(f"{url}reconcile/")
    set_back(clock)
    client = client_of(ada)
    assert read(client.get(url)).has_form_to(f"{url}reconcile/")
    client.post(f"{url}reconcile/")
    killed_deletion.refresh_from_db()
    assert killed_deletion.state == State.UNKNOWN


def test_a_claim_is_kept_when_the_clock_goes_back_by_a_few_seconds(
    killed_deletion: Deletion, clock: SettableClock
):
    clock.advance(seconds=-5)
    assert run_due(killed_deletion).state == State.SENDING
    clock.advance(seconds=65)
    assert run_due(killed_deletion).state == State.UNKNOWN


def test_a_clock_set_forward_leaves_a_claim_unknown_and_a_late_response_settles_it(
    make_deletion: RequestDeletion,
    clock: SettableClock,
    sandbox: SandboxServer,
    monkeypatch: pytest.MonkeyPatch,
):
    send = sending.send_claimed

    def send_and_set_clock_forward(claimed: ClaimedAttempt) -> WriteResponse:
        response = send(claimed)
        clock.advance(hours=1)
        due.run_due(actor=WORKER)
        return response

    monkeypatch.setattr(sending, "send_claimed", send_and_set_clock_forward)
    deletion = make_deletion()
    deletion.refresh_from_db()
    assert deletion.state == State.UNKNOWN
    assert run_due(deletion).outcome == Outcome.DELETED
    assert sandbox.world.deletes_received(str(deletion.connection_id)) == 1


def test_the_fifth_request_that_could_not_leave_is_the_last_even_if_the_clock_is_set_back(
    make_deletion: RequestDeletion,
    clock: SettableClock,
    sandbox: SandboxServer,
    monkeypatch: pytest.MonkeyPatch,
):
    deletion = make_deletion(faults.rate_limited(reset="1"))
    sandbox.world.clear_faults()
    # A deadline that has passed before the attempt starts: proof that nothing was sent.
    monkeypatch.setattr("connections.core.time_limits.SEND_SECONDS", -1.0)
    # So little that its 15-minute limit still applies.
    clock.advance(seconds=-5)
    for _ in range(5):
        assert deletion.state == State.WAITING
        deletion.due_at = clock.at
        deletion.save(update_fields=["due_at"])
        clock.advance(seconds=1)
        run_due(deletion)
    assert (deletion.outcome, deletion.cause) == (Outcome.NOT_SENT, "too_many_tries")
    sentence = audit.events_of(subject=deletion)[-1].sentence
    assert sentence.endswith("No new DELETE was sent. Attempt 1 returned 429.")
