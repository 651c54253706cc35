"""The confirmation page of a connection that was already deleted says so before its form."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from django.test import Client

from connections.core.text import format_time
from connections.models import AccessKind, CredentialAccess, Person, Role
from sandbox import faults
from sandbox.faults import Fault
from sandbox.server import SandboxServer
from tests.flows.support import REASON, Requester, read, store_credential
from tests.support.clock import SettableClock
from tests.support.people import make_person

DELETION_LINK = "View record"


def links_to_deletion(requester: Requester) -> bool:
    """Whether the page links to the earlier deletion."""
    deletion = requester.deletion()
    return (DELETION_LINK, f"/deletions/{deletion.pk}/") in [
        (words.strip(), href) for href, words in requester.confirmation_page().links
    ]


def test_the_confirmation_page_says_when_and_by_whom_it_was_deleted(requester: Requester):
    requester.delete_and_verify()

    page = requester.confirmation_page()

    requested_at = requester.deletion().requested_at
    assert "Deleted and verified" in page.text
    assert f'title="{format_time(requested_at)}"' in page.html
    assert "by Ada with the Payments US credential:" in page.text
    assert REASON in page.text
    assert links_to_deletion(requester)


@pytest.mark.parametrize(
    ("fault", "text_shown"),
    [
        (faults.EXECUTES_THEN_404, "Not found (404). This request deleted nothing."),
        (faults.RETURNS_200_WITHOUT_DELETING, "Deleted. Checking that Datadog no longer lists it…"),
    ],
)
def test_the_confirmation_page_shows_the_outcome(
    requester: Requester, sandbox: SandboxServer, fault: Fault, text_shown: str
):
    sandbox.world.set_fault(fault=fault, connection_id=requester.connection.id)
    requester.delete()

    assert text_shown in requester.confirmation_page().text
    assert links_to_deletion(requester)


def test_the_confirmation_page_says_that_it_is_gone_when_no_request_is_proven_to_have_removed_it(
    requester: Requester, sandbox: SandboxServer, clock: SettableClock
):
    sandbox.world.set_fault(fault=faults.EXECUTES_THEN_RESET, connection_id=requester.connection.id)
    page = requester.delete()
    for seconds in (36, 61):
        clock.advance(seconds=seconds)
        page = requester.press(page, "/reconcile/")

    assert (
        "Gone, but not proven to be this request. The response was lost or unusable."
        in requester.confirmation_page().text
    )


def test_a_connection_that_is_listed_again_is_confirmed_normally(
    requester: Requester, sandbox: SandboxServer
):
    requester.delete_and_verify()
    back = requester.connection
    sandbox.world.add_connection(source_org=back.source_org, sink_org=back.sink_org, id=back.id)
    requester.client.post("/connections/refresh/")

    page = requester.confirmation_page()

    assert not links_to_deletion(requester)
    assert page.form_to("/deletions/new/").attributes["data-confirm"] == "Payments US"


def test_a_connection_whose_deletion_was_refused_is_confirmed_normally(
    requester: Requester, sandbox: SandboxServer
):
    sandbox.world.set_fault(fault=faults.RETURNS_403, connection_id=requester.connection.id)
    requester.delete()

    assert not links_to_deletion(requester)


def test_another_deletion_can_still_be_requested(requester: Requester, sandbox: SandboxServer):
    requester.delete()

    page = read(requester.client.post("/deletions/new/", requester.typed(confirmation="wrong")))

    # Open, so that the error is visible.
    assert '<details class="details gap-above" open>' in page.html
    assert "field-error" in page.html
    assert sandbox.world.deletes_received(requester.connection.id) == 1


def test_another_key_pair_can_delete_what_one_did_not_find(
    requester: Requester, sandbox: SandboxServer
):
    sandbox.world.remove_connection(connection_id=requester.connection.id)
    assert requester.delete().outcome["data-outcome"] == "already_absent"

    other = replace(requester, credential=store_credential(sandbox, "Group SOC"))

    assert links_to_deletion(requester)
    assert not links_to_deletion(other)


def test_a_hidden_deletion_is_not_mentioned(
    requester: Requester, sandbox: SandboxServer, client_of: Callable[[Person], Client]
):
    other = store_credential(sandbox, "Group SOC")
    requester.delete()
    CredentialAccess.objects.create(
        credential=requester.credential,
        kind=AccessKind.SEE,
        person=requester.deletion().requested_by,
    )
    stranger = client_of(make_person("kim", Role.OPERATOR))

    page = Requester(
        client=stranger, credential=other, connection=requester.connection
    ).confirmation_page()

    assert DELETION_LINK not in page.text
