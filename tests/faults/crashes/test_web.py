"""The web server is killed at each point of a sending, for each thing that Datadog may do."""

import pytest
import requests

from tests.faults.conftest import Tally
from tests.faults.crashes.cases import POINTS, UNSENT_POINTS, WEB_PAIRS
from tests.faults.crashes.conftest import MakeStack
from tests.faults.crashes.matrix import cases_for, judge
from tests.faults.crashes.stack import Browser, address_of, kill_all

pytestmark = pytest.mark.slow


def test_a_killed_web_server_leaves_no_deletion_without_its_true_record(
    make_stack: MakeStack, tally: Tally
) -> None:
    stack = make_stack(connections=len(WEB_PAIRS))
    stack.prepare(waiting=[])
    cases = cases_for(stack, WEB_PAIRS)
    with stack.start("serve") as process:
        browser = Browser(address_of(process), credential=stack.credential)
        for case in cases:
            form = browser.review(case.connection_id)
            with pytest.raises(requests.ConnectionError):
                browser.press(form)
            assert stack.plan.has_struck(case.connection_id), case
        kill_all(process)
    with stack.start("serve"):
        # What was struck before it left waits for its person and is not sent by itself.
        sent_at = tuple(point for point in POINTS if point not in UNSENT_POINTS)
        assert judge(stack, cases, what="web server", tally=tally, sent_at=sent_at) == []
