"""The database is unavailable when Datadog responds: the response is saved and recorded once."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sandbox.faults import delayed
from tests.faults.conftest import Tally
from tests.faults.crashes.outages import locked, outage_of
from tests.faults.crashes.stack import Browser, Stack, address_of, stack_on
from tests.flows.support import HTMX, Page
from tests.support.databases import SharedDatabase
from tests.support.processes import until
from tests.support.rows import rows_of

pytestmark = pytest.mark.slow

SAVED_MESSAGE = "Saved on this server, waiting for the database."
DISCONNECT_OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


def files_of(stack: Stack) -> list[Path]:
    return sorted((stack.database.data_dir / "saved_responses").glob("*.json"))


def check_file(stack: Stack) -> None:
    """Check for one private file without a key, reported by doctor."""
    [path] = files_of(stack)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    text = path.read_text()
    assert '"deleted"' in text
    pair = stack.world.key_pairs()[0]
    assert pair.api_key not in text
    assert pair.application_key not in text
    assert f"1 in {path.parent} not yet recorded" in stack.run("doctor").stdout


@pytest.mark.smoke
@pytest.mark.parametrize("htmx", [False, True], ids=["plain", "htmx"])
def test_a_response_received_during_an_outage_is_recorded_afterwards(
    database: SharedDatabase, htmx: bool, tally: Tally
):
    limits = {"delete_seconds": 20, "claim_seconds": 60, "lock_seconds": 0.5}
    with stack_on(database, connections=1, **limits) as stack:
        [connection_id] = stack.connection_ids
        stack.world.set_fault(fault=delayed(seconds=1.0))
        stack.prepare(waiting=[])
        with stack.start("serve") as process:
            browser = Browser(address_of(process), credential=stack.credential)
            page = submit_during_outage(stack, browser, connection_id, htmx=htmx)
            assert any(not files_of(stack) for _ in until(40)), process.output
            row = stack.settled()[connection_id]
    assert page.status == 202
    assert SAVED_MESSAGE in page.text
    assert "Datadog returned 200" in page.text
    assert page.outcome["data-record-url"] == f"/deletions/{row['id']}/"
    assert ("<!doctype" in page.html) != htmx
    is_wrong = (row["outcome"], row["answers_recorded"]) != ("deleted", 1)
    away = "locked" if database.is_sqlite else "stopped"
    tally(
        what="web server",
        database=stack.database_name,
        fault=f"database {away} between claim and result",
        cases=1,
        violations=int(is_wrong),
    )
    assert not is_wrong
    assert stack.world.deletes_received(connection_id) == 1


def submit_during_outage(stack: Stack, browser: Browser, connection_id: str, *, htmx: bool) -> Page:
    """Delete in the browser; the database becomes unavailable once Datadog has the request."""
    form = browser.confirmation_page(connection_id)
    headers = HTMX | {"HX-Target": "request-form"} if htmx else {}
    world = stack.world
    with ThreadPoolExecutor(1) as pool:
        pressed = pool.submit(browser.press, form, headers=headers)
        assert world.wait_until(lambda: world.deletes_received(connection_id) == 1, seconds=20)
        with outage_of(stack):
            page = pressed.result()
            check_file(stack)
    return page


@pytest.mark.parametrize(
    ("command", "method", "outcome"),
    [
        ("worker", "DELETE", "deleted"),
        ("web", "DELETE", "deleted"),
        ("worker", "POST", "created"),
        ("worker", "PATCH", "changed"),
    ],
)
def test_a_response_that_a_worker_could_not_record_is_recorded_at_the_next_start(
    database: SharedDatabase, command: str, method: str, outcome: str
):
    limits = {"delete_seconds": 20, "claim_seconds": 60, "lock_seconds": 0.5}
    with stack_on(database, connections=1, **limits) as stack:
        world = stack.world
        world.set_fault(fault=delayed(seconds=1.0), method=method)
        [target] = stack.prepare_waiting(methods=[method])
        with stack.start("worker") as worker:
            assert world.wait_until(lambda: len(world.requests(method=method)) == 1, seconds=30)
            with outage_of(stack):
                worker.wait_for_line("It is saved in")
                assert worker.end() == 0
        assert stack.stored()[target]["state"] == "sending"
        with stack.start(command) as process:
            assert any(not files_of(stack) for _ in until(40)), process.output
        row = stack.stored()[target]
        assert (row["outcome"], row["answers_recorded"]) == (outcome, 1)
        assert len(world.requests(method=method)) == 1


@pytest.mark.database
def test_a_database_connection_cut_while_sending_is_reopened_and_nothing_is_kept(
    postgresql: SharedDatabase,
):
    limits = {"delete_seconds": 20, "claim_seconds": 60}
    with stack_on(postgresql, connections=1, **limits) as stack:
        [connection_id] = stack.connection_ids
        world = stack.world
        world.set_fault(fault=delayed(seconds=1.0))
        stack.prepare(waiting=[connection_id])
        with stack.start("worker") as worker:
            assert world.wait_until(lambda: world.deletes_received(connection_id) == 1, seconds=30)
            # As a firewall does with a connection that is idle during the DELETE.
            assert rows_of(postgresql, DISCONNECT_OTHERS)
            row = stack.settled()[connection_id]
            assert (row["outcome"], row["answers_recorded"]) == ("deleted", 1)
            assert worker.end() == 0
        assert "It is saved in" not in worker.output


def test_the_command_reports_where_the_response_is_kept_and_an_unknown_outcome(
    sqlite: SharedDatabase,
):
    limits = {"delete_seconds": 20, "claim_seconds": 2, "lock_seconds": 0.5}
    with stack_on(sqlite, connections=1, **limits) as stack, ThreadPoolExecutor(1) as pool:
        [connection_id] = stack.connection_ids
        world = stack.world
        world.set_fault(fault=delayed(seconds=1.0))
        stack.prepare(waiting=[])
        arguments = ("--credential", "Payments", "--connection-id", connection_id, "--yes")
        deleting = pool.submit(
            stack.run, "delete_org_connection", *arguments, "--reason", "contract ended"
        )
        assert world.wait_until(lambda: world.deletes_received(connection_id) == 1, seconds=30)
        with locked(sqlite.url):
            done = deleting.result()
        assert done.returncode == 6
        assert SAVED_MESSAGE in done.stderr
        assert "Datadog returned 200" in done.stderr
        # Recorded before its claim expires, so the response does not count as late.
        assert stack.run("reconcile_deletions").returncode == 0
        assert files_of(stack) == []
    answered = "SELECT is_late, http_status FROM connections_attempt"
    assert rows_of(sqlite, answered) == [(0, 200)]
