"""The web server is killed at each point of an attempt, and for each Datadog behavior."""

from itertools import chain

import pytest
import requests

from connections.change_requests.failpoints import Point
from tests.faults.conftest import Tally
from tests.faults.crashes.cases import POINTS, UNSENT_POINTS, WEB_PAIRS_OF
from tests.faults.crashes.conftest import MakeStack
from tests.faults.crashes.matrix import cases_for, find_violations
from tests.faults.crashes.stack import Browser, address_of, kill_all

pytestmark = [pytest.mark.slow, pytest.mark.sweep]


def test_after_a_killed_web_server_every_request_is_recorded_correctly(
    make_stack: MakeStack, tally: Tally
):
    methods = [method for method, pairs in WEB_PAIRS_OF.items() for _ in pairs]
    stack = make_stack(connections=len(methods))
    targets = stack.prepare_pages(methods=methods)
    numbered = list(zip(targets, methods, strict=True))
    cases_of = {
        method: cases_for(
            stack, pairs, targets=[one for one, each in numbered if each == method], method=method
        )
        for method, pairs in WEB_PAIRS_OF.items()
    }
    with stack.start("serve") as process:
        browser = Browser(address_of(process), credential=stack.credential)
        for case in chain.from_iterable(cases_of.values()):
            form = browser.page_of(case.target, method=case.method, world=stack.world)
            with pytest.raises(requests.ConnectionError):
                browser.press(form)
            assert stack.plan.was_signaled(case.target), case
        kill_all(process)
    with stack.start("serve"):
        for method, cases in cases_of.items():
            # What was not sent waits for a person; nothing sends it automatically. Only a move that
            # has begun goes on by itself.
            unsent = (Point.AFTER_CLAIM,) if method == "POST of a move" else UNSENT_POINTS
            sent_at = tuple(point for point in POINTS if point not in unsent)
            what = f"web server ({method})"
            assert find_violations(stack, cases, what=what, tally=tally, sent_at=sent_at) == []
