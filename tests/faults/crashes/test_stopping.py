"""`serve` is stopped during a DELETE: the person still sees the outcome."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from sandbox import faults
from tests.faults.crashes.conftest import MakeStack
from tests.faults.crashes.stack import Browser, address_of
from tests.support.processes import PATIENCE

pytestmark = pytest.mark.slow

HELD_SECONDS = 2.0


@pytest.mark.parametrize("headers", [{}, {"HX-Request": "true"}], ids=["plain form", "htmx"])
def test_a_deletion_in_progress_is_finished_and_its_page_is_shown(
    make_stack: MakeStack, headers: dict[str, str]
) -> None:
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
