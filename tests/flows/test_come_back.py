"""The review of a connection that was already deleted says so before its form."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from django.test import Client

from connections.models import AccessKind, CredentialAccess, Person, Role
from connections.wording import format_time
from sandbox import faults
from sandbox.faults import Fault
from sandbox.server import SandboxServer
from tests.flows.support import REASON, Desk, read, store_credential
from tests.support.clock import SettableClock
from tests.support.people import make_person

DELETION_LINK = "View deletion"


def links_to_deletion(desk: Desk) -> bool:
    """Whether the review links to the earlier deletion."""
    deletion = desk.deletion()
    return (DELETION_LINK, f"/deletions/{deletion.pk}/") in [
        (words.strip(), href) for href, words in desk.review().links
    ]


def test_the_review_says_when_and_by_whom_it_was_deleted(desk: Desk) -> None:
    desk.delete_and_verify()

    page = desk.review()

    requested_at = desk.deletion().requested_at
    assert (
        "Deleted and verified: Datadog returned 200 and no longer lists the connection."
        in page.text
    )
    assert f'title="{format_time(requested_at)}"' in page.html
    assert "by Ada with Payments US:" in page.text
    assert REASON in page.text
    assert links_to_deletion(desk)


@pytest.mark.parametrize(
    ("fault", "text_shown"),
    [
        (faults.EXECUTES_THEN_404, "Not found (404). This request deleted nothing."),
        (faults.RETURNS_200_WITHOUT_DELETING, "Datadog returned 200."),
    ],
)
def test_the_review_shows_the_outcome(
    desk: Desk, sandbox: SandboxServer, fault: Fault, text_shown: str
) -> None:
    sandbox.world.set_fault(fault=fault, connection_id=desk.connection.id)
    desk.delete()

    assert text_shown in desk.review().text
    assert links_to_deletion(desk)


def test_the_review_says_that_it_is_gone_when_no_request_is_proven_to_have_removed_it(
    desk: Desk, sandbox: SandboxServer, clock: SettableClock
) -> None:
    sandbox.world.set_fault(fault=faults.EXECUTES_THEN_RESET, connection_id=desk.connection.id)
    page = desk.delete()
    for seconds in (36, 61):
        clock.advance(seconds=seconds)
        page = desk.press(page, "/reconcile/")

    assert "Gone, but not proven to be this request. The response was lost." in desk.review().text


def test_a_connection_that_is_listed_again_is_reviewed_normally(
    desk: Desk, sandbox: SandboxServer
) -> None:
    desk.delete_and_verify()
    back = desk.connection
    sandbox.world.add_connection(source_org=back.source_org, sink_org=back.sink_org, id=back.id)
    desk.client.post("/connections/refresh/")

    page = desk.review()

    assert not links_to_deletion(desk)
    assert page.form_to("/deletions/new/").attributes["data-confirm"] == "Payments US"


def test_a_connection_whose_deletion_was_refused_is_reviewed_normally(
    desk: Desk, sandbox: SandboxServer
) -> None:
    sandbox.world.set_fault(fault=faults.RETURNS_403, connection_id=desk.connection.id)
    desk.delete()

    assert not links_to_deletion(desk)


def test_another_deletion_can_still_be_requested(desk: Desk, sandbox: SandboxServer) -> None:
    desk.delete()

    page = read(desk.client.post("/deletions/new/", desk.typed(confirmation="wrong")))

    # Open, so that the error is visible.
    assert '<details class="details gap-above" open>' in page.html
    assert "Nothing was sent." in page.text
    assert sandbox.world.deletes_received(desk.connection.id) == 1


def test_another_key_pair_can_delete_what_one_did_not_find(
    desk: Desk, sandbox: SandboxServer
) -> None:
    sandbox.world.remove_connection(connection_id=desk.connection.id)
    assert desk.delete().outcome["data-outcome"] == "already_absent"

    other = replace(desk, credential=store_credential(sandbox, "Group SOC"))

    assert links_to_deletion(desk)
    assert not links_to_deletion(other)


def test_a_hidden_deletion_is_not_mentioned(
    desk: Desk, sandbox: SandboxServer, client_of: Callable[[Person], Client]
) -> None:
    other = store_credential(sandbox, "Group SOC")
    desk.delete()
    CredentialAccess.objects.create(
        credential=desk.credential, kind=AccessKind.SEE, person=desk.deletion().requested_by
    )
    stranger = client_of(make_person("kim", Role.OPERATOR))

    page = Desk(client=stranger, credential=other, connection=desk.connection).review()

    assert DELETION_LINK not in page.text
