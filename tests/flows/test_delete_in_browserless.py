"""One deletion from confirmation to outcome, over real sockets, without JavaScript."""

import socket

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoAssertNumQueries

from connections.access.actor import WORKER
from connections.core import time_limits
from connections.models import AuditEvent, Deletion, Outcome, State
from connections.net import connection as net_connection
from connections.net.connection import Address, Deadline
from connections.operations import due
from sandbox import faults
from sandbox.faults import Fault
from sandbox.server import SandboxServer
from tests.flows.support import REASON, Requester
from tests.support.sandbox import seconds_for

# Of an Operator's first deletion, whose name the audit log does not have yet.
QUERIES_OF_POST = {"sqlite": 48, "postgresql": 48}
# PostgreSQL locks the table of changes too.
QUERIES_OF_VERIFICATION = {"sqlite": 29, "postgresql": 31}


@pytest.mark.database
def test_a_deletion_is_confirmed_and_verified(requester: Requester, sandbox: SandboxServer):
    page = requester.delete(ticket="SEC-212")

    assert "Deleted. Checking that Datadog no longer lists it…" in page.text
    page = requester.verify()
    assert "Deleted and verified" in page.text
    assert page.outcome["data-state"] == "settled"
    assert page.outcome["data-outcome"] == "deleted"
    deletion = requester.deletion()
    assert deletion.reason == REASON
    assert deletion.verified_at is not None
    connection_url = f"/connections/{deletion.site}/{deletion.connection_id}/"
    assert connection_url in [href for href, _ in page.links]
    assert sandbox.world.deletes_received(requester.connection.id) == 1
    assert sandbox.world.deletes_executed(requester.connection.id) == 1


@pytest.mark.database
@pytest.mark.django_db(transaction=True)
def test_a_deletion_and_its_verification_make_few_queries_and_commit_four_times(
    requester: Requester, django_assert_num_queries: DjangoAssertNumQueries
):
    typed = requester.typed()

    with django_assert_num_queries(QUERIES_OF_POST[connection.vendor]) as posted:
        requester.client.post("/deletions/new/", typed)
    with django_assert_num_queries(QUERIES_OF_VERIFICATION[connection.vendor]) as verified:
        due.run_due(actor=WORKER)

    assert requester.deletion().verified_at is not None
    # Requested, claimed, response recorded; then verified. What reserves the row before that is
    # one statement, which commits by itself.
    assert [commits_in(posted), commits_in(verified)] == [3, 1]


def commits_in(captured: CaptureQueriesContext) -> int:
    return sum(query["sql"].startswith("COMMIT") for query in captured.captured_queries)


def test_a_confirmed_deletion_lists_and_deletes_on_one_connection(
    requester: Requester, monkeypatch: pytest.MonkeyPatch
):
    typed = requester.typed()
    opened: list[object] = []
    connect = net_connection.connect_to_one_of

    def connect_and_count(addresses: list[Address], *, deadline: Deadline) -> socket.socket:
        opened.append(addresses)
        return connect(addresses, deadline=deadline)

    monkeypatch.setattr(net_connection, "connect_to_one_of", connect_and_count)

    requester.client.post("/deletions/new/", typed)

    assert requester.deletion().outcome == Outcome.DELETED
    assert len(opened) == 1


REFUSED = (State.SETTLED, Outcome.REFUSED)
UNKNOWN = (
    "Outcome unknown. The DELETE was sent and might have worked. Never resent automatically.",
    *(State.UNKNOWN, ""),
)
NOT_FOUND = (
    "Not found (404). This request deleted nothing.",
    *(State.SETTLED, Outcome.ALREADY_ABSENT),
)
DELETED = (
    "Deleted. Checking that Datadog no longer lists it…",
    *(State.SETTLED, Outcome.DELETED),
)
# What Datadog does, the headline, what is stored, and what else the page says.
RESPONSES: dict[str, tuple[Fault, str, str, str, *tuple[str, ...]]] = {
    "400": (
        *(faults.RETURNS_400, "Bad request (400). Nothing was deleted.", *REFUSED),
        "connection id must be a valid uuid",
    ),
    "401": (
        *(faults.RETURNS_401, "Invalid keys (401). Nothing was deleted.", *REFUSED),
        *("Unauthorized", "mistyped or revoked", "View credential"),
    ),
    "403": (
        *(faults.RETURNS_403, "Permission denied (403). Nothing was deleted.", *REFUSED),
        *("Forbidden", "org_connections_write", "View credential"),
    ),
    "404": (
        *(faults.EXECUTES_THEN_404, *NOT_FOUND),
        *("It was deleted earlier, or", "not found not found", "Payments US"),
    ),
    "404 while still listed": (faults.RETURNS_404, *NOT_FOUND),
    "404 in another format": (faults.RETURNS_404_HTML, *UNKNOWN),
    "429": (
        *(faults.rate_limited(reset="120"), "Rate limited (429). Nothing was deleted."),
        *(State.WAITING, "", "Too many requests", "Retries at", "up to 15 min after confirmation"),
    ),
    "500": (faults.RETURNS_500, *UNKNOWN, "500 Internal Server Error in", "Datadog: "),
    "timeout": (faults.NO_RESPONSE, *UNKNOWN, "No response arrived in time"),
    "connection reset": (faults.EXECUTES_THEN_RESET, *UNKNOWN, "The network connection was cut"),
    "redirect": (faults.redirected(status=302), *UNKNOWN),
    "200 with a truncated body": (faults.TRUNCATED_BODY, *DELETED, "200 OK in"),
    "200 that deleted nothing": (faults.RETURNS_200_WITHOUT_DELETING, *DELETED),
}


@pytest.mark.parametrize("name", RESPONSES)
def test_each_response_is_shown_and_stored_and_the_delete_is_never_resent(
    name: str, requester: Requester, sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
):
    fault, headline, state, outcome, *also = RESPONSES[name]
    monkeypatch.setattr(time_limits, "SEND_SECONDS", seconds_for(fault))
    sandbox.world.set_fault(fault=fault, connection_id=requester.connection.id)

    page = requester.delete()

    assert [text for text in (headline, *also) if text not in page.text] == []
    can_be_checked = headline in {UNKNOWN[0], NOT_FOUND[0], DELETED[0]}
    assert page.has_form_to("/reconcile/") == can_be_checked
    assert page.outcome["data-state"] == state
    assert page.outcome.get("data-outcome", "") == outcome
    deletion = requester.deletion()
    assert (deletion.state, deletion.outcome) == (state, outcome)
    assert sandbox.world.deletes_received(requester.connection.id) == 1


def test_a_404_for_a_connection_that_is_still_listed_is_flagged_as_contradicted(
    requester: Requester, sandbox: SandboxServer
):
    sandbox.world.set_fault(fault=faults.RETURNS_404, connection_id=requester.connection.id)

    page = requester.delete_and_verify()

    assert "data-contradicted" in page.outcome
    assert "Listed by Payments US at" in page.text


def test_with_a_closed_port_nothing_is_sent_and_the_check_can_be_skipped(
    requester: Requester, sandbox: SandboxServer
):
    confirmation = requester.confirmation_page()
    sandbox.stop()

    page = requester.follow(requester.client.post("/deletions/new/", requester.fill(confirmation)))
    assert "The pre-send check failed. Nothing was sent." in page.text
    assert "Datadog's host refused the connection." in page.text
    assert page.outcome["data-state"] == "requested"

    page = requester.confirm(page, skip_recheck="on")
    assert "The request could not leave this server. Nothing was deleted." in page.text
    assert page.outcome["data-state"] == "waiting"
    assert sandbox.world.deletes_received(requester.connection.id) == 0


def test_a_connection_that_changed_after_the_page_was_opened_is_not_deleted(
    requester: Requester, sandbox: SandboxServer
):
    confirmation = requester.confirmation_page()
    sandbox.world.change_connection(
        connection_id=requester.connection.id, connection_types=("logs", "metrics", "audit")
    )

    page = requester.follow(requester.client.post("/deletions/new/", requester.fill(confirmation)))

    assert "The connection changed after the request. Nothing was sent." in page.text
    assert "Before: Payments US → Group SOC: logs and metrics." in page.text
    assert "Now: Payments US → Group SOC: logs, metrics and audit." in page.text
    assert page.outcome["data-outcome"] == "stale"
    assert sandbox.world.deletes_received(requester.connection.id) == 0


def test_a_stale_deletion_can_be_requested_again_with_its_reason(
    requester: Requester, sandbox: SandboxServer
):
    confirmation = requester.confirmation_page()
    sandbox.world.change_connection(
        connection_id=requester.connection.id, connection_types=("audit",)
    )
    page = requester.follow(
        requester.client.post("/deletions/new/", requester.fill(confirmation, ticket="SEC-1"))
    )

    again = requester.open(page.link("Request again"))

    form = again.form_to("/deletions/new/")
    assert form.fields["reason"] == REASON
    assert form.fields["ticket"] == "SEC-1"


def test_a_connection_that_is_already_gone_is_not_deleted(
    requester: Requester, sandbox: SandboxServer
):
    confirmation = requester.confirmation_page()
    sandbox.world.remove_connection(connection_id=requester.connection.id)

    page = requester.follow(requester.client.post("/deletions/new/", requester.fill(confirmation)))

    assert "No longer listed in the pre-send check. Nothing was sent." in page.text
    assert page.outcome["data-outcome"] == "already_absent"
    assert sandbox.world.deletes_received(requester.connection.id) == 0


def test_a_failed_pre_send_check_sends_nothing_until_the_person_skips_it(
    requester: Requester, sandbox: SandboxServer
):
    confirmation = requester.confirmation_page()
    sandbox.world.set_fault(fault=faults.RETURNS_500, operation="list", times=1)
    page = requester.follow(requester.client.post("/deletions/new/", requester.fill(confirmation)))
    assert "The pre-send check failed. Nothing was sent." in page.text
    assert sandbox.world.deletes_received(requester.connection.id) == 0

    requester.confirm(page, skip_recheck="on")
    page = requester.verify()

    assert "Deleted and verified" in page.text
    assert "without a pre-send check" in page.text
    assert requester.deletion().attempts.get().was_rechecked is False


def test_confirming_again_repeats_the_pre_send_check(requester: Requester, sandbox: SandboxServer):
    confirmation = requester.confirmation_page()
    sandbox.world.set_fault(fault=faults.RETURNS_500, operation="list", times=1)
    page = requester.follow(requester.client.post("/deletions/new/", requester.fill(confirmation)))

    requester.confirm(page)
    page = requester.verify()

    assert "Deleted and verified" in page.text
    assert requester.deletion().attempts.get().was_rechecked is True


def test_the_page_shows_the_requester_the_reason_and_the_response(requester: Requester):
    page = requester.delete(ticket="SEC-212", reason="<b>entity sold</b>")

    assert "&lt;b&gt;entity sold&lt;/b&gt;" in page.html
    for shown in (
        "SEC-212",
        "Ada",
        "Datadog returned 200 in",
        "content-type",
        "{}",
        f"#{AuditEvent.objects.latest('seq').seq}",
    ):
        assert shown in page.text
    deletion = Deletion.objects.get()
    assert deletion.attempts.get().body_sha256 in page.text


@pytest.mark.parametrize(
    ("fault", "is_failing"), [(faults.RETURNS_400, False), (faults.RETURNS_403, True)]
)
def test_only_a_response_about_the_keys_marks_the_credential_as_failing(
    requester: Requester, sandbox: SandboxServer, fault: faults.Fault, is_failing: bool
):
    sandbox.world.set_fault(fault=fault)
    requester.delete()
    requester.credential.refresh_from_db()
    assert requester.credential.is_failing is is_failing
