"""The page of a deletion that waits for approval, for its requester and for approvers."""

from collections.abc import Callable

import pytest
from django.test import Client
from django.test.client import Client as Browser

from connections.access.actor import person_actor
from connections.change_requests import approvals, rechecks
from connections.core.text import format_time
from connections.models import ApprovalPolicy, AuditEvent, Credential, Deletion, Person
from sandbox import faults
from sandbox.entities import Connection
from sandbox.server import SandboxServer
from tests.deletions.approvals.conftest import RequestFor, approve, polled
from tests.flows.support import Page, Requester, read, store_credential
from tests.support.clock import SettableClock

pytestmark = pytest.mark.django_db

ClientOf = Callable[[Person], Client]


def record(client: Browser, deletion: Deletion) -> Page:
    return read(client.get(f"/deletions/{deletion.pk}/"))


def test_the_approver_sees_all_the_facts_on_one_page(
    request_deletion: RequestFor, linus: Person, barbara: Person, client_of: ClientOf
):
    deletion = approve(request_deletion(ApprovalPolicy.TWO), barbara)
    page = record(client_of(linus), deletion)
    outcome = page.html[page.html.index('id="outcome"') : page.html.index('id="record"')]
    for shown in (
        "Waiting for 1 more approval.",
        "Unchanged at ",
        "Payments US",
        "Group SOC",
        "logs</span>",
        "metrics</span>",
        "by Dana Keller ·",
        "contract ended",
        "SEC-212",
        "1 of 2: Barbara",
    ):
        assert shown in outcome
    assert page.has_form_to("/approve/")


def test_an_approver_sees_what_happened_to_the_connection_before(
    request_deletion: RequestFor,
    ada: Person,
    linus: Person,
    client_of: ClientOf,
    sandbox: SandboxServer,
    clock: SettableClock,
):
    declined = request_deletion()
    approvals.decline(
        change_request=declined, actor=person_actor(person=linus), reason="still in use"
    )
    clock.advance(minutes=5)
    sandbox.world.change_connection(
        connection_id=str(declined.connection_id), connection_types=("audit",)
    )
    client_of(ada).post("/connections/refresh/")
    clock.advance(minutes=5)
    page = record(client_of(linus), request_deletion())

    before = page.text.partition("Before this request")[2]
    assert before.index("Widened to audit") < before.index("Deletion: Declined")
    assert "Linus: “still in use”" in before
    assert (f"/deletions/{declined.pk}/", "Deletion: Declined ") in page.links
    # The earlier deletion's own page shows nothing earlier.
    assert "Before this request" not in record(client_of(linus), declined).text


def test_an_approver_can_decline_with_a_reason_and_sees_no_withdraw_button(
    requested: Deletion, ada: Person, linus: Person, client_of: ClientOf
):
    page = record(client_of(linus), requested)
    assert page.has_form_to("/decline/")
    assert not page.has_form_to("/withdraw/")
    assert record(client_of(ada), requested).has_form_to("/withdraw/")

    approve(requested, linus)

    assert record(client_of(linus), requested).has_form_to("/withdraw/")


@pytest.mark.parametrize(
    ("change", "row"),
    [
        ({"connection_types": ("audit",)}, ("Types", "logs, metrics", "audit")),
    ],
)
def test_changes_are_shown_field_by_field_and_cannot_be_approved(
    requested: Deletion,
    linus: Person,
    client_of: ClientOf,
    sandbox: SandboxServer,
    wanted: Connection,
    change: dict[str, tuple[str, ...]],
    row: tuple[str, str, str],
):
    client = client_of(linus)
    digest = record(client, requested).form_to("/approve/").fields["digest"]
    sandbox.world.change_connection(connection_id=wanted.id, **change)

    page = record(client, requested)

    assert " ".join(row) in page.text
    assert (
        "changed since the request. It can no longer be approved: decline it, and Ada can request "
        "it again." in page.text
    )
    assert not page.has_form_to("/approve/")
    assert page.has_form_to("/decline/")
    # Submitting the earlier form is refused too, and closes the deletion.
    response = read(client.post(f"/deletions/{requested.pk}/approve/", {"digest": digest}))
    assert response.status == 409
    assert "The connection changed after the request, so this can't be approved." in response.text
    assert response.outcome["data-outcome"] == "stale"


@pytest.mark.database
@pytest.mark.parametrize("is_approved", [False, True])
def test_an_expired_request_says_so_everywhere_and_can_only_be_withdrawn_while_no_worker_runs(
    is_approved: bool,
    requested: Deletion,
    ada: Person,
    linus: Person,
    client_of: ClientOf,
    clock: SettableClock,
):
    if is_approved:
        approve(requested, linus)
    expired = f"Expired at {format_time(requested.expires_at)}. Nothing was deleted."
    counts_none = 'id="count-deletion-list"></span>'
    assert (counts_none in client_of(linus).get("/").text) == is_approved
    clock.advance(hours=24, seconds=1)
    for person in (ada, linus):
        page = record(client_of(person), requested)
        assert expired in page.text
        assert "Once it is withdrawn, it can be requested again." in page.text
        acts = {form.action.rsplit("/", 2)[-2] for form in page.forms}
        assert acts & {"approve", "decline", "execute", "break-glass", "withdraw"} == {"withdraw"}
        history = read(client_of(person).get("/deletions/"))
        assert "Expired" in history.html.rpartition("<tbody>")[2]
        overview = client_of(person).get("/").text
        assert "Nothing for you to do." in overview
        assert "Expired" in overview.partition("Waiting on others")[2]
        assert counts_none in overview
    requested.refresh_from_db()
    assert not requested.is_settled


def test_an_unlisted_connection_cannot_be_approved(
    requested: Deletion,
    linus: Person,
    client_of: ClientOf,
    sandbox: SandboxServer,
    wanted: Connection,
):
    sandbox.world.remove_connection(connection_id=wanted.id)
    page = record(client_of(linus), requested)
    assert "Datadog no longer lists it." in page.text
    assert not page.has_form_to("/approve/")


def test_a_failed_check_is_shown_with_the_time_of_the_snapshot(
    requested: Deletion, linus: Person, client_of: ClientOf, sandbox: SandboxServer
):
    sandbox.world.set_fault(fault=faults.RETURNS_403, operation="list")
    page = record(client_of(linus), requested)
    assert "The check failed just now. Datadog denied permission" in page.text
    assert "Stored details from 2026-03-02 14:03:22 UTC are shown." in page.text
    assert page.has_form_to("/approve/")


def test_a_check_that_takes_too_long_is_canceled(
    requested: Deletion,
    linus: Person,
    client_of: ClientOf,
    sandbox: SandboxServer,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(rechecks, "PAGE_SECONDS", 2.0)
    sandbox.world.set_fault(fault=faults.NO_RESPONSE, operation="list")
    page = record(client_of(linus), requested)
    assert "The check failed just now. No response arrived in time." in page.text


def test_viewing_the_page_writes_nothing(requested: Deletion, linus: Person, client_of: ClientOf):
    before = AuditEvent.objects.count()
    listings = requested.credential.syncs.count()
    record(client_of(linus), requested)
    assert AuditEvent.objects.count() == before
    assert requested.credential.syncs.count() == listings


def test_only_an_approvers_page_checks_with_datadog(
    requested: Deletion,
    ada: Person,
    victor: Person,
    client_of: ClientOf,
    monkeypatch: pytest.MonkeyPatch,
):
    def fail(**_: object) -> None:
        raise AssertionError("Datadog was called")

    monkeypatch.setattr(rechecks, "preview_recheck", fail)
    for person in (ada, victor):
        assert "Waiting for approval" in record(client_of(person), requested).text


def test_the_requesters_page_updates_when_it_is_approved(
    requested: Deletion, ada: Person, linus: Person, client_of: ClientOf
):
    client = client_of(ada)
    page = record(client, requested)
    assert page.watch["hx-trigger"] == "every 10s"
    assert page.link("Refresh") == f"/deletions/{requested.pk}/"
    assert polled(client, page).status == 204
    approve(requested, linus)
    news = polled(client, page)
    assert "Approved by Linus." in news.text
    assert news.has_form_to("/execute/")


def test_a_closed_deletion_is_not_polled(
    requested: Deletion, ada: Person, linus: Person, client_of: ClientOf
):
    client = client_of(ada)
    page = record(client, requested)
    client_of(linus).post(f"/deletions/{requested.pk}/decline/", {"reason": "still in use"})
    news = polled(client, page)
    assert "Declined by Linus. Nothing was deleted." in news.text
    assert "“still in use”" in news.text
    assert news.watch == {}


def test_without_an_approval_policy_the_page_and_the_audit_log_say_no_approval_was_required(
    ada: Person, client_of: ClientOf, sandbox: SandboxServer, wanted: Connection
):
    credential = store_credential(sandbox, "Payments US", policy=ApprovalPolicy.NONE)
    requester = Requester(client=client_of(ada), credential=credential, connection=wanted)
    page = requester.delete()
    assert "Approvals None required" in page.text
    event = AuditEvent.objects.get(code="deletion.requested")
    assert event.details["policy"] == "none"
    confirmed = AuditEvent.objects.get(code="deletion.confirmed")
    assert "No approval was required." in confirmed.sentence
    assert Credential.objects.get().policy == ApprovalPolicy.NONE
