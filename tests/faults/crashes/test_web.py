"""The web server is killed at each point of an attempt, and for each Datadog behavior."""

import pytest
import requests

from tests.faults.conftest import Tally
from tests.faults.crashes.cases import POINTS, UNSENT_POINTS, WEB_PAIRS
from tests.faults.crashes.conftest import MakeStack
from tests.faults.crashes.matrix import cases_for, find_violations
from tests.faults.crashes.stack import Browser, address_of, kill_all

pytestmark = [pytest.mark.slow, pytest.mark.sweep]


def test_after_a_killed_web_server_every_deletion_is_recorded_correctly(
    make_stack: MakeStack, tally: Tally
) -> None:
    stack = make_stack(connections=len(WEB_PAIRS))
    stack.prepare(waiting=[])
    cases = cases_for(stack, WEB_PAIRS)
    with stack.start("serve") as process:
        browser = Browser(address_of(process), credential=stack.credential)
        for case in cases:
            form = browser.confirmation_page(case.target)
            with pytest.raises(requests.ConnectionError):
                browser.press(form)
            assert stack.plan.was_signaled(case.target), case
        kill_all(process)
    with stack.start("serve"):
        # A deletion that was not sent waits for its requester; nothing sends it automatically.
        sent_at = tuple(point for point in POINTS if point not in UNSENT_POINTS)
        assert find_violations(stack, cases, what="web server", tally=tally, sent_at=sent_at) == []
