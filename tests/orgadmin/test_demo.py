"""`./run demo` as a real process, in a shell that has settings of another installation."""

import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from django.http import HttpResponse
from django.urls import Resolver404, resolve
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.conftest import (
    base_url,
    browser_type_launch_args,
    chromium,
    page_opener,
    watch,
)
from tests.browser.fitness import assert_fit_to_show
from tests.browser.watch import Watch
from tests.flows.support import Page as ParsedPage
from tests.flows.support import read
from tests.support.processes import (
    PATIENCE,
    ROOT,
    Running,
    clean_environment,
    free_port,
    is_alive,
    manage,
)
from tests.support.visits import Visitor

__all__ = ["base_url", "browser_type_launch_args", "chromium", "watch"]

pytestmark = pytest.mark.slow

LONGEST_SECONDS = 180  # three minutes from ./run demo to the entry in the history
SOURCE, SINK = "Labs", "Labs Staging"
REASON = "the staging account was closed last week"
STATES = {"settled", "requested", "approved", "unknown", "still_present"}
OUTCOMES = {
    "deleted",
    "refused",
    "already_absent",
    "gone_unattributed",
    "unresolved",
    "declined",
    "withdrawn",
    "expired",
}


class Demo:
    """A running demo and its output."""

    def __init__(self, process: Running, *, temporary: Path, port: int, started_at: float) -> None:
        self.process = process
        self.port = port
        self.address = f"http://127.0.0.1:{port}"
        self.started_at = started_at  # on the monotonic clock
        process.wait_for_line("Press Ctrl-C to stop")
        [self.data_dir] = temporary.iterdir()

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """Rows of the demo's database."""
        file = f"file:{self.data_dir / 'orgadmin.sqlite3'}?mode=ro"
        with closing(sqlite3.connect(file, uri=True)) as database:
            return database.execute(query).fetchall()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """One demo for all tests here; the shell's settings refer to other data."""
    temporary = tmp_path_factory.mktemp("demo")
    port = free_port()
    env = clean_environment(
        data_dir=temporary.parent / "not-this-one",
        PORT=str(port),
        TMPDIR=str(temporary),
        DATABASE_URL="postgres://nobody@127.0.0.1:1/nothing",
        SECRET_KEY_FILE="/nowhere/secret_key",
        ALLOWED_HOSTS="example.org",
        PYTHONPATH=str(ROOT),
    )
    started_at = time.monotonic()
    # What `./run demo` becomes once the packages are installed.
    with Running([sys.executable, "-m", "orgadmin.demo"], env=env) as process:
        # It has 400 connections and their history to make first.
        line = f"Org Admin demo: http://127.0.0.1:{port}/demo/"
        process.wait_for_line(line, seconds=LONGEST_SECONDS)
        yield Demo(process, temporary=temporary, port=port, started_at=started_at)


@pytest.fixture
def page(demo: Demo, new_context: Callable[..., BrowserContext], watch: Watch) -> Page:
    """A new visitor's page in Chromium."""
    open_page = page_opener(address=demo.address, new_context=new_context, watch=watch)
    return open_page(None, reduced_motion="reduce")


def open_from_navigation(page: Page, name: str) -> None:
    page.get_by_role("navigation", name="Main").get_by_role("link", name=name).click()


def search(page: Page, text: str) -> None:
    page.get_by_role("searchbox").fill(text)
    page.get_by_role("searchbox").press("Enter")


@pytest.mark.browser
def test_a_newcomer_deletes_a_connection_within_three_minutes(demo: Demo, page: Page):
    page.goto("/demo/")
    page.get_by_role("button", name="Open the confirmation page").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Delete {SOURCE} → {SINK}?")
    page.get_by_label("Reason").fill(REASON)
    page.get_by_label("To confirm, type").fill(page.locator(".confirm-text").inner_text())
    page.get_by_role("button", name="Delete connection").click()
    outcome = page.locator("#outcome")
    expect(outcome).to_have_attribute("data-outcome", "deleted")
    expect(outcome.get_by_role("heading").first).to_contain_text("Deleted and verified")

    open_from_navigation(page, "Deletions")
    page.get_by_role("navigation", name="Part").get_by_role("link", name="All").click()
    search(page, REASON)
    expect(page.locator("#count")).to_have_text("1 deletion")
    page.get_by_role("link", name=re.compile(f"{SOURCE}.*{SINK}")).click()
    expect(page.get_by_text(REASON).first).to_be_visible()
    expect(page.locator("#outcome")).to_have_attribute("data-outcome", "deleted")

    seconds = time.monotonic() - demo.started_at
    sys.stdout.write(f"From ./run demo to the history entry: {seconds:.1f} s\n")
    assert seconds < LONGEST_SECONDS


@pytest.mark.browser
def test_the_start_page_is_accessible_and_in_bounds(page: Page):
    page.goto("/demo/")
    assert_fit_to_show(page)


def test_it_shows_every_lasting_state_and_every_common_outcome(demo: Demo):
    rows = demo.rows("SELECT state, outcome FROM connections_deletion")
    assert {str(state) for state, _ in rows} >= STATES
    assert {str(outcome) for _, outcome in rows} >= OUTCOMES


def test_it_shows_fifty_orgs_and_four_hundred_connections(demo: Demo):
    assert demo.rows("SELECT COUNT(*), COUNT(DISTINCT site) FROM connections_credential") == [
        (45, 3)
    ]
    two_of_one_org = "SELECT name FROM connections_credential WHERE org_name = 'Robotics'"
    assert set(demo.rows(two_of_one_org)) == {("Robotics",), ("Robotics (access token)",)}
    snapshots = "FROM connections_orgconnectionsnapshot"
    assert demo.rows(f"SELECT COUNT(DISTINCT connection_id) {snapshots}") == [(403,)]
    orgs = f"SELECT source_org_id {snapshots} UNION SELECT sink_org_id {snapshots}"
    assert demo.rows(f"SELECT COUNT(*) FROM ({orgs})") == [(50,)]  # noqa: S608


def test_its_history_goes_back_weeks_and_has_verified_deletions(demo: Demo):
    [(days,)] = demo.rows(
        "SELECT julianday('now') - julianday(MIN(requested_at)) FROM connections_deletion"
    )
    assert isinstance(days, float)
    assert 20 < days < 40
    assert demo.rows("SELECT 1 FROM connections_deletion WHERE verified_at IS NOT NULL")
    assert demo.rows("SELECT 1 FROM connections_deletion WHERE contradicted_at IS NOT NULL")


def test_it_shows_access_requests_in_every_step(demo: Demo):
    rows = demo.rows("SELECT kind, state FROM connections_accessrequest")
    assert set(rows) == {
        ("create", "requested"),
        ("change", "requested"),
        ("extend", "settled"),
        ("restore", "settled"),
        ("move", "settled"),
    }
    [(ends_on,)] = demo.rows("SELECT ends_on FROM connections_accessrequest WHERE kind = 'extend'")
    # Or yesterday, if the demo was started shortly before midnight.
    assert demo.rows(f"SELECT julianday(date()) - julianday('{ends_on}') IN (0, 1)") == [(1,)]


def test_its_audit_log_is_in_the_order_of_time(demo: Demo):
    times = demo.rows("SELECT at FROM connections_auditevent ORDER BY seq")
    assert times == sorted(times)


@pytest.mark.parametrize(
    "username", ["operator", "approver", "credentials", "auditor", "viewer", "administrator"]
)
def test_every_demo_person_can_sign_in_with_the_printed_password(demo: Demo, username: str):
    password = demo.process.wait_for_line("with the password").split()[-2]
    visitor = Visitor(demo.port)
    status, _ = visitor.post("/accounts/login/", login=username, password=password)
    assert status == 302
    assert visitor.get("/deletions/")[0] == 200


def start_page(demo: Demo) -> ParsedPage:
    status, text = Visitor(demo.port).get("/demo/")
    return read(HttpResponse(text, status=status))


def test_its_start_page_lists_scenes_and_every_person(demo: Demo):
    page = start_page(demo)
    assert page.status == 200
    headings = (
        "Delete a connection",
        "Delete several connections",
        "Approve someone else's request",
        "Someone changes a connection in Datadog",
        "Request access to another org's data",
        "Approve access to your org's data",
        "Confirm more data types",
        "Access that ends today",
        "Restore a deleted connection",
        "Move a connection to a service account",
        "Decide in an access review",
        "Find a past deletion",
        "Verify the audit log offline",
        "The connection changed after you looked at it",
        "Break glass",
        "How Datadog can fail: 4",
    )
    assert [heading for heading in headings if heading not in page.text] == []
    usernames = {form.fields.get("username", "") for form in page.forms}
    assert usernames >= {"operator", "approver", "credentials", "auditor", "viewer"}


def test_each_step_of_a_scene_is_one_click_away(demo: Demo):
    buttons = [form.fields for form in start_page(demo).forms]
    steps = {(one["username"], one["next"]) for one in buttons if one.get("next", "/") != "/"}
    assert len(steps) > 15
    # One sign-in for each person: it takes ten times as long as a page.
    visitors: dict[str, Visitor] = {}
    for username, path in sorted(steps):
        if username not in visitors:
            visitors[username] = Visitor(demo.port)
            status, _ = visitors[username].post(
                "/demo/sign-in/", form_on="/demo/", username=username, next=path
            )
            assert status == 302
        assert visitors[username].get(path)[0] == 200, (username, path)


def test_a_one_click_sign_in_needs_no_identity_check(demo: Demo):
    visitor = Visitor(demo.port)
    visitor.post("/demo/sign-in/", form_on="/demo/", username="credentials", next="/")
    status, page = visitor.get("/credentials/new/")
    assert (status, "application_key" in page) == (200, True)


def test_a_connection_can_be_changed_in_the_simulated_datadog(demo: Demo):
    visitor = Visitor(demo.port)
    status, _ = visitor.post("/demo/change/", form_on="/demo/", change="reviewed")
    assert status == 302
    assert "now also shares audit events" in visitor.get("/demo/")[1]
    for change, text in (("widened", "also"), ("recreated", "minute")):
        visitor.post("/demo/change/", form_on="/demo/", change=change)
        assert text in visitor.get("/demo/")[1]


def test_it_starts_with_changes_that_real_syncs_detected(demo: Demo):
    kinds = demo.rows("SELECT DISTINCT kind FROM connections_change WHERE needs_attention")
    assert {str(kind) for (kind,) in kinds} >= {
        "recreated",
        "removed",
        "types_changed",
        "creator_changed",
    }


def test_the_start_page_exists_in_the_demo_only():
    for path in ("/demo/", "/demo/sign-in/", "/demo/change/"):
        with pytest.raises(Resolver404):
            resolve(path)


def seed(env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "orgadmin.demo.seed"],
        env=env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_it_does_not_seed_a_database_that_contains_a_person(migrated_directory: Path):
    env = clean_environment(data_dir=migrated_directory, ORGADMIN_DEMO="1")
    add = ("add_person", "--username=ada", "--email=ada@example.com")
    assert manage(*add, env=env).returncode == 0
    done = seed(env)
    assert done.returncode == 1
    assert "leaves it alone" in done.stderr


def test_it_does_not_seed_outside_the_demo(tmp_path: Path):
    done = seed(clean_environment(data_dir=tmp_path))
    assert done.returncode == 1
    assert "only for ./run demo" in done.stderr


def test_ctrl_c_stops_everything_and_leaves_nothing_behind(demo: Demo):
    # The last test: it ends the demo of all others.
    children = demo.process.children()
    assert len(children) == 2
    assert demo.process.end(signal.SIGINT) == 0
    assert list(demo.data_dir.parent.iterdir()) == []
    assert not any(is_alive(child) for child in children)
