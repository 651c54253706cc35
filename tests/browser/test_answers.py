"""Each answer to a DELETE, as a person sees it."""

from dataclasses import dataclass

import pytest
from playwright.sync_api import expect

from connections.deletions import sending
from connections.models import Outcome, State
from sandbox import faults
from sandbox.faults import Fault
from tests.browser.desk import REASON, Desk
from tests.support.sandbox import seconds_for


@dataclass(frozen=True, kw_only=True)
class Case:
    """What Datadog does, and what must be said and stored of it."""

    fault: Fault | None
    headline: str
    also: tuple[str, ...]
    state: State = State.SETTLED
    outcome: Outcome | str = ""


UNKNOWN = "We do not know whether it was deleted."
CASES = {
    "200": Case(
        fault=None,
        headline="Deleted, and gone from Datadog’s list.",
        also=("Datadog answered 200 in", "Absent from the list at"),
        outcome=Outcome.DELETED,
    ),
    "400": Case(
        fault=faults.RETURNS_400,
        headline="Datadog refused the request (400). Nothing was deleted.",
        also=("Datadog says: connection id must be a valid uuid",),
        outcome=Outcome.REFUSED,
    ),
    "401": Case(
        fault=faults.RETURNS_401,
        headline="Datadog does not accept this key pair (401). Nothing was deleted.",
        also=("Datadog says: Unauthorized", "mistyped, revoked", "Open credential"),
        outcome=Outcome.REFUSED,
    ),
    "403": Case(
        fault=faults.RETURNS_403,
        headline="This key pair may not delete it (403). Nothing was deleted.",
        also=("Datadog says: Forbidden", "org_connections_write", "Open credential"),
        outcome=Outcome.REFUSED,
    ),
    "404": Case(
        fault=faults.EXECUTES_THEN_404,
        headline="Datadog found no such connection (404).",
        also=("Not deleted by this request.", "not found not found", "Payments US"),
        outcome=Outcome.ALREADY_ABSENT,
    ),
    "429": Case(
        fault=faults.rate_limited(reset="120"),
        headline="Datadog asked us to wait (429). Nothing was deleted.",
        also=("Sent by itself at", "not later than", "Don’t send"),
        state=State.WAITING,
    ),
    "500": Case(
        fault=faults.RETURNS_500,
        headline=UNKNOWN,
        also=("Datadog answered 500", "We never send again by ourselves", "Check with Datadog"),
        state=State.UNKNOWN,
    ),
    "time-out": Case(
        fault=faults.NO_RESPONSE,
        headline=UNKNOWN,
        also=("No answer came in time", "We never send again by ourselves", "Check with Datadog"),
        state=State.UNKNOWN,
    ),
    "cut connection": Case(
        fault=faults.RESET_AFTER_READING,
        headline=UNKNOWN,
        also=("The connection was cut", "We never send again by ourselves", "Check with Datadog"),
        state=State.UNKNOWN,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_an_answer_of_datadog_is_shown_inline_and_stored(
    name: str, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = CASES[name]
    monkeypatch.setattr(sending, "DELETE_SECONDS", seconds_for(case.fault))
    if case.fault:
        desk.world.set_fault(fault=case.fault, connection_id=desk.connection.id)

    desk.delete()

    expect(desk.headline).to_have_text(case.headline)
    expect(desk.headline).to_be_focused()
    for text in case.also:
        expect(desk.outcome).to_contain_text(text)
    expect(desk.outcome).to_have_attribute("data-state", case.state.value)
    deletion = desk.deletion()
    assert (deletion.state, deletion.outcome) == (case.state, case.outcome)
    assert deletion.reason == REASON
    assert desk.sent() == 1
