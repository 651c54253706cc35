"""What happens while a DELETE is in progress: double clicks, other tabs, a killed process."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from connections import audit
from connections.change_requests import sending
from connections.change_requests.sending import ClaimedAttempt
from connections.datadog.responses import WriteResponse
from connections.inventory import fetching
from connections.models import Credential, Deletion
from sandbox import faults
from sandbox.server import SandboxServer
from tests.flows.support import Page, Requester, read
from tests.support.clock import SettableClock

RunDuring = Callable[[Callable[[], Page]], list[Page]]


@pytest.fixture
def during_send(monkeypatch: pytest.MonkeyPatch) -> RunDuring:
    """Run an action between recording the attempt and sending the DELETE."""

    def schedule(action: Callable[[], Page]) -> list[Page]:
        pages: list[Page] = []
        send = sending.send_claimed

        def send_later(claimed: ClaimedAttempt) -> WriteResponse:
            if not pages:
                pages.append(action())
            return send(claimed)

        monkeypatch.setattr(sending, "send_claimed", send_later)
        return pages

    return schedule


@pytest.fixture
def during_recheck(monkeypatch: pytest.MonkeyPatch) -> RunDuring:
    """Run an action during the pre-send check that follows the confirmation."""

    def schedule(action: Callable[[], Page]) -> list[Page]:
        pages: list[Page] = []
        fetch = fetching.fetch

        def fetch_later(**kwargs: Any) -> Any:
            if not pages:
                pages.append(action())
            return fetch(**kwargs)

        monkeypatch.setattr(fetching, "fetch", fetch_later)
        return pages

    return schedule


def test_another_tab_shows_the_pre_send_check_and_polls(
    requester: Requester, sandbox: SandboxServer, during_recheck: RunDuring
):
    here, there = requester.typed(), requester.typed()
    pages = during_recheck(
        lambda: requester.follow(requester.client.post("/deletions/new/", there))
    )

    requester.follow(requester.client.post("/deletions/new/", here))

    assert "Checking the connection before sending. Nothing has been sent." in pages[0].text
    assert "must confirm." not in pages[0].text
    assert "Checking the connection before sending." in pages[0].text
    assert not pages[0].has_form_to("/execute/")
    assert not pages[0].has_form_to("/withdraw/")
    assert pages[0].watch["hx-trigger"] == "every 2s"
    assert sandbox.world.deletes_received(requester.connection.id) == 1


def test_the_list_shows_that_it_is_being_checked_as_its_page_does(
    requester: Requester, during_recheck: RunDuring
):
    pages = during_recheck(lambda: requester.open("/deletions/"))

    requester.delete()

    assert "Checking" in pages[0].html
    assert ">Needs confirmation<" not in pages[0].html


def test_a_second_confirmation_during_the_pre_send_check_neither_syncs_nor_sends(
    requester: Requester, sandbox: SandboxServer, during_recheck: RunDuring
):
    confirmation = requester.confirmation_page()
    sandbox.world.set_fault(fault=faults.RETURNS_500, operation="list", times=1)
    page = requester.follow(requester.client.post("/deletions/new/", requester.fill(confirmation)))
    pages = during_recheck(lambda: requester.confirm(page))

    after = requester.confirm(page)

    assert "Checking the connection before sending. Nothing has been sent." in pages[0].text
    assert after.outcome["data-outcome"] == "deleted"
    assert sandbox.world.deletes_received(requester.connection.id) == 1
    codes = [event.code for event in audit.events_of(subject=requester.deletion())]
    # With the form, and again after the failed sync.
    assert codes.count(audit.EventCode.DELETION_CONFIRMED) == 2


def test_a_killed_pre_send_check_can_be_confirmed_again_after_45_seconds(
    requester: Requester, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
):
    def killed(**_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(fetching, "fetch", killed)
        with pytest.raises(KeyboardInterrupt):
            requester.delete()
    url = f"/deletions/{requester.deletion().pk}/"
    assert not requester.open(url).has_form_to("/execute/")

    clock.advance(seconds=45)
    page = requester.confirm(requester.open(url))

    assert page.outcome["data-outcome"] == "deleted"


def test_keys_that_cannot_be_decrypted_are_reported_before_it_counts_as_confirmed(
    requester: Requester, sandbox: SandboxServer
):
    confirmation = requester.confirmation_page()
    sandbox.world.set_fault(fault=faults.RETURNS_500, operation="list", times=1)
    page = requester.follow(requester.client.post("/deletions/new/", requester.fill(confirmation)))
    Credential.objects.update(secret_version=7)

    after = requester.confirm(page)

    assert after.status == 503
    assert "The stored keys can't be decrypted" in after.text
    assert after.has_form_to("/execute/")


def test_a_second_submission_of_the_same_form_sends_nothing(
    requester: Requester, sandbox: SandboxServer, during_send: RunDuring
):
    filled = requester.typed()
    pages = during_send(lambda: requester.follow(requester.client.post("/deletions/new/", filled)))

    page = requester.follow(requester.client.post("/deletions/new/", filled))

    assert "The DELETE is in progress." in pages[0].text
    assert "You can close this page; the result is recorded." in pages[0].text
    assert pages[0].watch["hx-trigger"] == "every 2s"
    assert page.outcome["data-outcome"] == "deleted"
    assert sandbox.world.deletes_received(requester.connection.id) == 1


def test_another_tab_is_redirected_to_the_deletion_in_progress(
    requester: Requester, sandbox: SandboxServer, during_send: RunDuring
):
    here, there = requester.typed(), requester.typed()
    pages = during_send(lambda: requester.follow(requester.client.post("/deletions/new/", there)))

    requester.follow(requester.client.post("/deletions/new/", here))

    assert "The DELETE is in progress." in pages[0].text
    assert Deletion.objects.count() == 1
    assert sandbox.world.deletes_received(requester.connection.id) == 1


def test_a_second_confirmation_sends_nothing(
    requester: Requester, sandbox: SandboxServer, during_send: RunDuring
):
    confirmation = requester.confirmation_page()
    sandbox.world.set_fault(fault=faults.RETURNS_500, operation="list", times=1)
    page = requester.follow(requester.client.post("/deletions/new/", requester.fill(confirmation)))
    pages = during_send(lambda: requester.confirm(page))

    after = requester.confirm(page)

    assert "The DELETE is in progress." in pages[0].text
    assert after.outcome["data-outcome"] == "deleted"
    assert sandbox.world.deletes_received(requester.connection.id) == 1


def test_a_deletion_being_sent_can_neither_be_checked_nor_withdrawn(
    requester: Requester, during_send: RunDuring
):
    def try_both() -> Page:
        url = f"/deletions/{requester.deletion().pk}"
        assert requester.client.post(f"{url}/withdraw/").status_code == 409
        return read(requester.client.post(f"{url}/reconcile/"))

    pages = during_send(try_both)

    requester.delete()

    assert pages[0].status == 409
    assert "The DELETE is in progress. Wait for the response." in pages[0].text


def test_a_killed_attempt_can_be_checked_after_a_minute(
    requester: Requester, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
):
    def killed(_: ClaimedAttempt) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sending, "send_claimed", killed)
    with pytest.raises(KeyboardInterrupt):
        requester.delete()
    url = f"/deletions/{requester.deletion().pk}/"
    assert not requester.open(url).has_form_to("/reconcile/")

    clock.advance(seconds=61)
    page = requester.press(requester.open(url), "/reconcile/")

    assert (
        "Outcome unknown. The DELETE was sent and might have worked. Never resent automatically."
        in page.text
    )
    assert "No response was recorded within 60 s of starting the attempt." in page.text


def test_a_confirmation_in_time_is_shown_as_being_checked_after_its_deadline(
    requester: Requester, sandbox: SandboxServer, during_recheck: RunDuring, clock: SettableClock
):
    confirmation = requester.confirmation_page()
    sandbox.world.set_fault(fault=faults.RETURNS_500, operation="list", times=1)
    page = requester.follow(requester.client.post("/deletions/new/", requester.fill(confirmation)))
    deletion = requester.deletion()
    Deletion.objects.filter(pk=deletion.pk).update(expires_at=clock.now() + timedelta(seconds=5))

    def open_after_the_deadline() -> Page:
        clock.advance(seconds=10)
        return requester.open(f"/deletions/{deletion.pk}/")

    pages = during_recheck(open_after_the_deadline)
    after = requester.confirm(page)

    assert "Expired at" not in pages[0].text
    assert "Checking the connection before sending. Nothing has been sent." in pages[0].text
    assert not pages[0].has_form_to("/withdraw/")
    assert after.outcome["data-outcome"] == "deleted"
