"""A newcomer's way from `./run demo` to a deleted connection and its entry in the history."""

import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.conftest import page_opener
from tests.browser.fitness import assert_fit_to_show
from tests.browser.watch import Watch
from tests.support.processes import ROOT, Running, clean_environment, free_port

pytestmark = pytest.mark.slow

LONGEST_SECONDS = 180  # three minutes
SOURCE, SINK = "Labs", "Labs Staging"
REASON = "the staging account was closed last week"


@dataclass(frozen=True, kw_only=True)
class RunningDemo:
    """A demo that `./run demo` started, and when that was on the monotonic clock."""

    address: str
    started_at: float


@pytest.fixture(scope="module")
def running_demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDemo]:
    """One demo for all tests here."""
    temporary = tmp_path_factory.mktemp("demo")
    port = free_port()
    env = clean_environment(
        data_dir=temporary / "unused",
        PORT=str(port),
        TMPDIR=str(temporary),
        PYTHONPATH=str(ROOT),
    )
    started_at = time.monotonic()
    # What `./run demo` becomes once the packages are installed.
    with Running([sys.executable, "-m", "orgadmin.demo"], env=env) as process:
        process.wait_for_line(f"Org Admin demo: http://127.0.0.1:{port}/demo/")
        yield RunningDemo(address=f"http://127.0.0.1:{port}", started_at=started_at)
        assert process.end(signal.SIGINT) == 0


@pytest.fixture
def page(
    running_demo: RunningDemo, new_context: Callable[..., BrowserContext], watch: Watch
) -> Page:
    """A new visitor's page."""
    open_page = page_opener(address=running_demo.address, new_context=new_context, watch=watch)
    return open_page(None, reduced_motion="reduce")


def open_from_navigation(page: Page, name: str) -> None:
    page.get_by_role("navigation", name="Main").get_by_role("link", name=name).click()


def search(page: Page, text: str) -> None:
    page.get_by_role("searchbox").fill(text)
    page.get_by_role("searchbox").press("Enter")


def test_a_newcomer_deletes_a_connection_within_three_minutes(
    running_demo: RunningDemo, page: Page
) -> None:
    page.goto("/demo/")
    page.get_by_role("button", name=re.compile(", Operator$")).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    inventory = page.locator("#inventory")
    expect(inventory).to_contain_text(re.compile(r"(39\d|400)\s+connections\s+44\s+orgs"))
    expect(inventory).to_contain_text("6 more orgs without a credential")

    open_from_navigation(page, "Connections")
    search(page, SINK)
    page.get_by_role("link", name=f"Delete {SOURCE} to {SINK}…").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Delete {SOURCE} → {SINK}?")
    page.get_by_label("Reason").fill(REASON)
    page.get_by_label("To confirm, type").fill(page.locator(".confirm-text").inner_text())
    page.get_by_role("button", name="Delete connection").click()
    outcome = page.locator("#outcome")
    expect(outcome).to_have_attribute("data-outcome", "deleted")
    expect(outcome.get_by_role("heading").first).to_contain_text("Deleted and verified")

    open_from_navigation(page, "Deletions")
    search(page, REASON)
    expect(page.locator("#count")).to_have_text(re.compile(r"1 deletion\s+found"))
    page.get_by_role("link", name=re.compile(f"{SOURCE}.*{SINK}")).click()
    expect(page.get_by_text(REASON).first).to_be_visible()
    expect(page.locator("#outcome")).to_have_attribute("data-outcome", "deleted")

    seconds = time.monotonic() - running_demo.started_at
    sys.stdout.write(f"From ./run demo to the history entry: {seconds:.1f} s\n")
    assert seconds < LONGEST_SECONDS


def test_the_start_page_is_accessible_and_in_bounds(page: Page) -> None:
    page.goto("/demo/")
    assert_fit_to_show(page)
