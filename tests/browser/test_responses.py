"""Each response to a DELETE, as a person sees it."""

from dataclasses import dataclass

import pytest
from playwright.sync_api import expect

from connections.core import time_limits
from connections.models import Outcome, State
from sandbox import faults
from sandbox.faults import Fault
from tests.browser.requester import REASON, Requester
from tests.support.sandbox import seconds_for


@dataclass(frozen=True, kw_only=True)
class Case:
    """What Datadog does, and what must be shown and stored."""

    fault: Fault | None
    headline: str
    also: tuple[str, ...]
    state: State = State.SETTLED
    outcome: Outcome | str = ""


UNKNOWN = "Outcome unknown. The DELETE was sent and might have worked. Never resent automatically."
CASES = {
    "200": Case(
        fault=None,
        headline="Deleted and verified",
        also=("200 OK in", "no longer listed at"),
        outcome=Outcome.DELETED,
    ),
    "400": Case(
        fault=faults.RETURNS_400,
        headline="Bad request (400). Nothing was deleted.",
        also=("Datadog: connection id must be a valid uuid",),
        outcome=Outcome.REFUSED,
    ),
    "401": Case(
        fault=faults.RETURNS_401,
        headline="Invalid keys (401). Nothing was deleted.",
        also=("Datadog: Unauthorized", "mistyped or revoked", "View credential"),
        outcome=Outcome.REFUSED,
    ),
    "403": Case(
        fault=faults.RETURNS_403,
        headline="Permission denied (403). Nothing was deleted.",
        also=("Datadog: Forbidden", "org_connections_write", "View credential"),
        outcome=Outcome.REFUSED,
    ),
    "404": Case(
        fault=faults.EXECUTES_THEN_404,
        headline="Not found (404). This request deleted nothing.",
        also=("It was deleted earlier, or", "not found not found", "Payments US"),
        outcome=Outcome.ALREADY_ABSENT,
    ),
    "429": Case(
        fault=faults.rate_limited(reset="120"),
        headline="Rate limited (429). Nothing was deleted.",
        also=("Retries at", "up to 15 min after confirmation", "Stop retrying"),
        state=State.WAITING,
    ),
    "500": Case(
        fault=faults.RETURNS_500,
        headline=UNKNOWN,
        also=("500 Internal Server Error in", "Never resent automatically", "Check outcome"),
        state=State.UNKNOWN,
    ),
    "time-out": Case(
        fault=faults.NO_RESPONSE,
        headline=UNKNOWN,
        also=("No response arrived in time", "Never resent automatically", "Check outcome"),
        state=State.UNKNOWN,
    ),
    "cut connection": Case(
        fault=faults.RESET_AFTER_READING,
        headline=UNKNOWN,
        also=("The network connection was cut", "Never resent automatically", "Check outcome"),
        state=State.UNKNOWN,
    ),
}


@pytest.mark.sweep(every=4)
@pytest.mark.parametrize("name", CASES)
def test_a_response_from_datadog_is_shown_inline_and_stored(
    name: str, requester: Requester, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = CASES[name]
    monkeypatch.setattr(time_limits, "DELETE_SECONDS", seconds_for(case.fault))
    if case.fault:
        requester.world.set_fault(fault=case.fault, connection_id=requester.connection.id)

    requester.delete()

    expect(requester.headline).to_contain_text(case.headline)
    expect(requester.headline).to_be_focused()
    for text in case.also:
        expect(requester.outcome).to_contain_text(text)
    expect(requester.outcome).to_have_attribute("data-state", case.state.value)
    deletion = requester.deletion()
    assert (deletion.state, deletion.outcome) == (case.state, case.outcome)
    assert deletion.reason == REASON
    assert requester.sent() == 1
