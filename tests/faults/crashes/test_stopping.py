"""`serve` is stopped during a DELETE: the person still sees the outcome."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from sandbox import faults
from tests.faults.crashes.conftest import MakeStack
from tests.faults.crashes.stack import Browser, address_of
from tests.support.processes import PATIENCE, until

pytestmark = [pytest.mark.slow, pytest.mark.processes(postgresql=4)]

HELD_SECONDS = 2.0


def status_of(url: str) -> int:
    return requests.get(url, timeout=PATIENCE).status_code


def test_while_draining_forms_are_served_and_readyz_answers_503(make_stack: MakeStack):
    stack = make_stack(connections=2, delete_seconds=20.0, claim_seconds=30.0)
    stack.more["ORGADMIN_DRAIN_SECONDS"] = "6"
    stack.prepare(waiting=[])
    first, second = stack.connection_ids
    # It is still running when the port closes.
    stack.world.set_fault(fault=faults.delayed(seconds=8.0), connection_id=first)
    with stack.start("web") as process, ThreadPoolExecutor() as pool:
        address = address_of(process)
        one, another = (Browser(address, credential=stack.credential) for _ in range(2))
        form = another.confirmation_page(second)
        pressing = pool.submit(one.press, one.confirmation_page(first))
        assert stack.world.wait_until(
            lambda: stack.world.deletes_received(first) == 1, seconds=PATIENCE
        )
        stopped_at = time.monotonic()
        process.process.send_signal(signal.SIGTERM)
        assert any(status_of(f"{address}/readyz") == 503 for _ in until(2))
        page = another.press(form)
        assert (page.status, page.outcome["data-outcome"]) == (200, "deleted")
        assert status_of(f"{address}/readyz") == 503
        assert status_of(f"{address}/healthz") == 200
        assert time.monotonic() < stopped_at + 6
        page = pressing.result()
        assert (page.status, page.outcome["data-outcome"]) == (200, "deleted")
        assert process.process.wait(PATIENCE) == 0
    assert [stack.world.deletes_received(i) for i in (first, second)] == [1, 1]
    assert {row["outcome"] for row in stack.stored().values()} == {"deleted"}


@pytest.mark.smoke
def test_ctrl_c_does_not_wait(make_stack: MakeStack):
    stack = make_stack(connections=1)
    stack.more["ORGADMIN_DRAIN_SECONDS"] = "40"
    with stack.start("web") as process:
        assert status_of(f"{address_of(process)}/readyz") == 200
        stopped_at = time.monotonic()
        assert process.end(signal.SIGINT) == 0
        assert time.monotonic() < stopped_at + 30
        assert "Traceback" not in process.output


@pytest.mark.parametrize("headers", [{}, {"HX-Request": "true"}], ids=["plain form", "htmx"])
def test_a_deletion_in_progress_is_finished_and_its_page_is_shown(
    make_stack: MakeStack, headers: dict[str, str]
):
    stack = make_stack(connections=1, delete_seconds=20.0, claim_seconds=30.0)
    stack.prepare(waiting=[])
    [connection_id] = stack.connection_ids
    stack.world.set_fault(fault=faults.delayed(seconds=HELD_SECONDS), connection_id=connection_id)
    with stack.start("serve") as process, ThreadPoolExecutor() as pool:
        browser = Browser(address_of(process), credential=stack.credential)
        form = browser.confirmation_page(connection_id)
        # A new connection for every page, as through a proxy without keep-alive.
        pressing = pool.submit(browser.press, form, headers=headers | {"Connection": "close"})
        assert stack.world.wait_until(
            lambda: stack.world.deletes_received(connection_id) == 1, seconds=PATIENCE
        )
        # As systemd does; the supervisor forwards the signal once more.
        for pid in (process.process.pid, *process.children()):
            os.kill(pid, signal.SIGTERM)
        page = pressing.result()
        assert (page.status, page.outcome["data-outcome"]) == (200, "deleted")
        assert process.process.wait(PATIENCE) == 0
        with pytest.raises(requests.ConnectionError):
            browser.open("/healthz")
