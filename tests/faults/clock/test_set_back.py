"""The database's clock is set back an hour: order holds, and nothing is sent twice."""

import re
from collections.abc import Callable

import pytest
from django.test import Client

from connections.actors import WORKER
from connections.models import Deletion, Outcome, Person, State
from connections.services.operations import due
from connections.services.record import audit
from sandbox import faults
from sandbox.server import SandboxServer
from tests.deletions.conftest import Ask
from tests.flows.support import read
from tests.support.clock import SettableClock

pytestmark = [pytest.mark.django_db, pytest.mark.database]

# An age or a duration with a sign before it, as no page may show one.
NEGATIVE = re.compile(r"(?<![\w-])[-−]\s?\d+\s?(?:ms|s|min|h|hours?|minutes?|seconds?|days?)\b")


def set_back(clock: SettableClock) -> None:
    clock.advance(hours=-1)


def work_off(deletion: Deletion) -> Deletion:
    due.work_off(actor=WORKER)
    deletion.refresh_from_db()
    return deletion


def test_the_timeline_is_in_the_order_in_which_things_happened(
    ask: Ask,
    clock: SettableClock,
    sandbox: SandboxServer,
    ada: Person,
    client_of: Callable[[Person], Client],
) -> None:
    deletion = ask(faults.rate_limited(reset="7"))
    sandbox.world.clear_faults()
    set_back(clock)
    clock.advance(seconds=3608)
    assert work_off(deletion).outcome == Outcome.DELETED
    codes = [event.code for event in audit.events_of(subject=deletion)]
    in_order = [
        audit.Code.DELETION_REQUESTED,
        audit.Code.DELETION_CONFIRMED,
        audit.Code.DELETION_SENDING,
        audit.Code.DELETION_ANSWERED,
        audit.Code.DELETION_WAITING,
        audit.Code.DELETION_SENDING,
        audit.Code.DELETION_ANSWERED,
        audit.Code.DELETION_SETTLED,
        audit.Code.DELETION_VERIFIED,
    ]
    assert codes == in_order
    page = read(client_of(ada).get(f"/deletions/{deletion.pk}/"))
    assert not NEGATIVE.findall(page.text)


def test_events_written_after_it_was_set_back_come_after_in_the_record(
    ask: Ask, clock: SettableClock, ada: Person, client_of: Callable[[Person], Client]
) -> None:
    deletion = ask(faults.DELETE_THEN_CUT)
    set_back(clock)
    due.reconcile_all(actor=WORKER)
    events = audit.events_of(subject=deletion)
    assert events[-1].code == audit.Code.DELETION_LOOKED
    assert events[-1].at < events[-2].at
    html = client_of(ada).get(f"/deletions/{deletion.pk}/").content.decode()
    # The page reads the record in its own order, whatever the clock said.
    timeline = html[html.index("What happened") :]
    assert timeline.index("No answer") < timeline.index("Looked at")
    assert not NEGATIVE.findall(read(client_of(ada).get(f"/deletions/{deletion.pk}/")).text)


def test_the_history_is_ordered_by_when_was_asked_by_the_shared_clock(
    ask: Ask,
    clock: SettableClock,
    sandbox: SandboxServer,
    ada: Person,
    client_of: Callable[[Person], Client],
) -> None:
    first = ask(faults.ANSWERS_403)
    sandbox.world.clear_faults()
    set_back(clock)
    second = ask()
    assert list(Deletion.objects.all()) == [first, second]
    client = client_of(ada)
    html = client.get("/deletions/").content.decode()
    assert html.index(f"/deletions/{first.pk}/") < html.index(f"/deletions/{second.pk}/")
    for address in ("/", "/deletions/", "/connections/", f"/deletions/{second.pk}/"):
        assert not NEGATIVE.findall(read(client.get(address)).text), address


@pytest.mark.parametrize(
    "fault", [faults.rate_limited(reset="7"), faults.DELETE_THEN_CUT], ids=lambda fault: fault.name
)
def test_nothing_is_sent_again_before_the_clock_has_caught_up(
    ask: Ask, clock: SettableClock, sandbox: SandboxServer, fault: faults.Fault
) -> None:
    deletion = ask(fault)
    set_back(clock)
    for _ in range(5):
        clock.advance(seconds=61)
        work_off(deletion)
    assert sandbox.world.deletes_received(str(deletion.connection_id)) == 1
    assert deletion.state in {State.WAITING, State.UNKNOWN}


def test_a_look_that_seems_older_than_the_sending_decides_nothing(
    ask: Ask, clock: SettableClock, sandbox: SandboxServer
) -> None:
    deletion = ask(faults.DELETE_THEN_CUT)
    clock.advance(seconds=36)
    assert work_off(deletion).state == State.UNKNOWN
    set_back(clock)
    for _ in range(3):
        clock.advance(seconds=61)
        due.reconcile_all(actor=WORKER)
    deletion.refresh_from_db()
    assert deletion.state == State.UNKNOWN
    clock.advance(hours=1)
    due.reconcile_all(actor=WORKER)
    deletion.refresh_from_db()
    assert deletion.outcome == Outcome.GONE_UNATTRIBUTED
    assert sandbox.world.deletes_received(str(deletion.connection_id)) == 1


def test_a_claim_made_before_it_was_set_back_is_still_given_up(
    ask: Ask, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(Exception):
        """Stands for the process being gone."""

    def die(**_: object) -> None:
        raise KilledError

    monkeypatch.setattr("connections.services.deletions.sending._send", die)
    with pytest.raises(KilledError):
        ask()
    deletion = Deletion.objects.get()
    set_back(clock)
    clock.advance(seconds=61)
    assert work_off(deletion).state == State.SENDING
    clock.advance(hours=1)
    assert work_off(deletion).state == State.UNKNOWN


def test_the_fifth_request_that_could_not_leave_is_the_last_though_the_clock_went_back(
    ask: Ask, clock: SettableClock, sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    deletion = ask(faults.rate_limited(reset="1"))
    sandbox.world.clear_faults()
    # A deadline that has passed before anything was begun: proof that nothing left.
    monkeypatch.setattr("connections.services.deletions.sending.DELETE_SECONDS", -1.0)
    set_back(clock)
    for _ in range(5):
        assert deletion.state == State.WAITING
        deletion.due_at = clock.at
        deletion.save(update_fields=["due_at"])
        clock.advance(seconds=1)
        work_off(deletion)
    assert (deletion.outcome, deletion.cause) == (Outcome.NOT_SENT, "too_many_tries")
