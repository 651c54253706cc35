"""The page of a deletion that waits for other people: the asker's, the approver's."""

from collections.abc import Callable

import pytest
from django.test import Client
from django.test.client import Client as Browser

from connections.deletions import verification
from connections.models import ApprovalPolicy, AuditEvent, Credential, Deletion, Person
from sandbox import faults
from sandbox.entities import Connection
from sandbox.server import SandboxServer
from tests.deletions.approvals.conftest import AskFor, approve
from tests.flows.support import HTMX, Desk, Page, read, store_credential
from tests.support.clock import SettableClock

pytestmark = pytest.mark.django_db

ClientOf = Callable[[Person], Client]


def record(client: Browser, deletion: Deletion) -> Page:
    return read(client.get(f"/deletions/{deletion.pk}/"))


def watched(client: Browser, page: Page) -> Page:
    """The fragment that the page polls."""
    return read(client.get(page.watch["hx-get"], headers=HTMX | {"HX-Target": "watch"}))


def test_the_approver_sees_everything_at_a_glance(
    ask_for: AskFor, linus: Person, barbara: Person, client_of: ClientOf
) -> None:
    deletion = approve(ask_for(ApprovalPolicy.TWO), barbara)
    page = record(client_of(linus), deletion)
    outcome = page.html[page.html.index('id="outcome"') : page.html.index('id="record"')]
    for shown in (
        "Ada requests your approval.",
        "unchanged since the request.",
        "Payments US",
        "Group SOC",
        "logs</span>",
        "metrics</span>",
        "Dana Keller (a person)",
        "contract ended",
        "SEC-212",
        "1 of 2: Barbara",
    ):
        assert shown in outcome
    assert page.has_form_to("/approve/")


def test_who_is_to_decide_declines_with_a_reason_and_is_not_offered_to_withdraw(
    asked: Deletion, ada: Person, linus: Person, client_of: ClientOf
) -> None:
    page = record(client_of(linus), asked)
    assert page.has_form_to("/decline/")
    assert not page.has_form_to("/withdraw/")
    assert record(client_of(ada), asked).has_form_to("/withdraw/")

    approve(asked, linus)

    assert record(client_of(linus), asked).has_form_to("/withdraw/")


@pytest.mark.parametrize(
    ("change", "row"),
    [
        ({"connection_types": ("audit",)}, ("Types", "logs, metrics", "audit")),
    ],
)
def test_what_changed_is_shown_field_by_field_and_cannot_be_approved(
    asked: Deletion,
    linus: Person,
    client_of: ClientOf,
    sandbox: SandboxServer,
    wanted: Connection,
    change: dict[str, tuple[str, ...]],
    row: tuple[str, str, str],
) -> None:
    client = client_of(linus)
    digest = record(client, asked).form_to("/approve/").fields["digest"]
    sandbox.world.change_connection(connection_id=wanted.id, **change)

    page = record(client, asked)

    assert " ".join(row) in page.text
    assert "changed since the request. It can no longer be approved" in page.text
    assert not page.has_form_to("/approve/")
    assert page.has_form_to("/decline/")
    # With the form of before it is refused just so, and settled.
    answer = read(client.post(f"/deletions/{asked.pk}/approve/", {"digest": digest}))
    assert answer.status == 409
    assert "The connection changed after the request, so this can't be approved." in answer.text
    assert answer.outcome["data-outcome"] == "stale"


def test_what_is_no_longer_listed_cannot_be_approved(
    asked: Deletion,
    linus: Person,
    client_of: ClientOf,
    sandbox: SandboxServer,
    wanted: Connection,
) -> None:
    sandbox.world.remove_connection(connection_id=wanted.id)
    page = record(client_of(linus), asked)
    assert "Datadog no longer lists it." in page.text
    assert not page.has_form_to("/approve/")


def test_a_failed_check_is_shown_with_the_time_of_the_snapshot(
    asked: Deletion, linus: Person, client_of: ClientOf, sandbox: SandboxServer
) -> None:
    sandbox.world.set_fault(fault=faults.RETURNS_403, operation="list")
    page = record(client_of(linus), asked)
    assert "The check failed just now. Datadog denied permission" in page.text
    assert "Stored details from 2026-03-02 14:03:22 UTC are shown." in page.text
    assert page.has_form_to("/approve/")


def test_a_check_that_takes_too_long_is_given_up(
    asked: Deletion,
    linus: Person,
    client_of: ClientOf,
    sandbox: SandboxServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(verification, "PAGE_SECONDS", 0.2)
    sandbox.world.set_fault(fault=faults.NO_RESPONSE, operation="list")
    page = record(client_of(linus), asked)
    assert "The check failed just now. No response arrived in time." in page.text


def test_viewing_the_page_writes_nothing(
    asked: Deletion, linus: Person, client_of: ClientOf
) -> None:
    before = AuditEvent.objects.count()
    listings = asked.credential.syncs.count()
    record(client_of(linus), asked)
    assert AuditEvent.objects.count() == before
    assert asked.credential.syncs.count() == listings


def test_only_an_approvers_page_checks_with_datadog(
    asked: Deletion,
    ada: Person,
    victor: Person,
    client_of: ClientOf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(**_: object) -> None:
        raise AssertionError("Datadog was asked")

    monkeypatch.setattr(verification, "preview_recheck", fail)
    for person in (ada, victor):
        assert "Waiting for approval" in record(client_of(person), asked).text


def test_the_requesters_page_updates_when_it_is_approved(
    asked: Deletion, ada: Person, linus: Person, client_of: ClientOf
) -> None:
    client = client_of(ada)
    page = record(client, asked)
    assert page.watch["hx-trigger"] == "every 5s"
    assert page.link("Refresh") == f"/deletions/{asked.pk}/"
    assert watched(client, page).status == 204
    approve(asked, linus)
    news = watched(client, page)
    assert "Approved by Linus." in news.text
    assert news.has_form_to("/execute/")


def test_it_polls_less_often_the_longer_it_waits(
    asked: Deletion, ada: Person, client_of: ClientOf, clock: SettableClock
) -> None:
    client = client_of(ada)
    page = record(client, asked)
    seen = [page.watch["hx-trigger"]]
    for minutes in (3, 15, 3 * 60):
        clock.advance(minutes=minutes)
        page = watched(client, page)
        # The watch alone is replaced: what is being typed stays.
        assert page.outcome == {}
        seen.append(page.watch["hx-trigger"])
    assert seen == ["every 5s", "every 15s", "every 60s", "every 300s"]
    assert "every 5 minutes" in page.text


def test_a_settled_deletion_is_not_polled(
    asked: Deletion, ada: Person, linus: Person, client_of: ClientOf
) -> None:
    client = client_of(ada)
    page = record(client, asked)
    client_of(linus).post(f"/deletions/{asked.pk}/decline/", {"reason": "still in use"})
    news = watched(client, page)
    assert "Declined by Linus. Nothing was deleted." in news.text
    assert "“still in use”" in news.text
    assert news.watch == {}


def test_under_policy_none_the_page_and_the_record_say_that_nobody_else_was_required(
    ada: Person,
    client_of: ClientOf,
    sandbox: SandboxServer,
    wanted: Connection,
) -> None:
    credential = store_credential(sandbox, "Payments US", policy=ApprovalPolicy.NONE)
    desk = Desk(client=client_of(ada), credential=credential, connection=wanted)
    page = desk.delete()
    assert "Approvals None required" in page.text
    event = AuditEvent.objects.get(code="deletion.requested")
    assert event.details["policy"] == "none"
    confirmed = AuditEvent.objects.get(code="deletion.confirmed")
    assert "No approval was required." in confirmed.sentence
    assert Credential.objects.get().policy == ApprovalPolicy.NONE


def test_an_approval_that_came_too_late_can_be_left(
    asked: Deletion, linus: Person, late_client_of: ClientOf
) -> None:
    client, url = late_client_of(linus), f"/deletions/{asked.pk}/"
    page = client.post(f"{url}approve/", {"digest": asked.approval_digest})
    assert page.status_code == 422
    assert f'<a class="button" href="{url}">Cancel</a>' in page.text
