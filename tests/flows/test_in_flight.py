"""What happens while a DELETE is on its way: second clicks, other tabs, a killed process."""

from collections.abc import Callable
from typing import Any

import pytest

from connections import audit
from connections.deletions import sending
from connections.inventory import sync
from connections.models import Credential, Deletion
from sandbox import faults
from sandbox.server import SandboxServer
from tests.flows.support import Desk, Page, read
from tests.support.clock import SettableClock

While = Callable[[Callable[[], Page]], list[Page]]


@pytest.fixture
def while_sending(monkeypatch: pytest.MonkeyPatch) -> While:
    """Do something at the moment between the recorded attempt and the DELETE itself."""

    def arrange(act: Callable[[], Page]) -> list[Page]:
        seen: list[Page] = []
        send = sending._send

        def send_later(**given: Any) -> Any:
            if not seen:
                seen.append(act())
            return send(**given)

        monkeypatch.setattr(sending, "_send", send_later)
        return seen

    return arrange


@pytest.fixture
def while_reading(monkeypatch: pytest.MonkeyPatch) -> While:
    """Do something after the confirmation, while the connection is read once more."""

    def arrange(act: Callable[[], Page]) -> list[Page]:
        seen: list[Page] = []
        read_again = sync.sync_org

        def read_later(**given: Any) -> Any:
            if not seen:
                seen.append(act())
            return read_again(**given)

        monkeypatch.setattr(sync, "sync_org", read_later)
        return seen

    return arrange


def test_another_tab_sees_that_it_is_read_again_and_follows(
    desk: Desk, sandbox: SandboxServer, while_reading: While
) -> None:
    here, there = desk.typed(), desk.typed()
    seen = while_reading(lambda: desk.follow(desk.client.post("/deletions/new/", there)))

    desk.follow(desk.client.post("/deletions/new/", here))

    assert "Checking the connection before sending. Nothing has been sent." in seen[0].text
    assert "must confirm." not in seen[0].text
    assert "Check, then send" in seen[0].text
    assert not seen[0].has_form_to("/execute/")
    assert not seen[0].has_form_to("/withdraw/")
    assert seen[0].watch["hx-trigger"] == "every 2s"
    assert sandbox.world.deletes_received(desk.connection.id) == 1


def test_lists_do_not_call_it_unconfirmed_meanwhile(desk: Desk, while_reading: While) -> None:
    seen = while_reading(lambda: desk.open("/deletions/"))

    desk.delete()

    shown = seen[0].html[: seen[0].html.index('class="details legend')]
    assert "Confirmed" in shown
    assert "Needs confirmation" not in shown


def test_a_second_confirmation_during_the_reading_neither_reads_nor_sends(
    desk: Desk, sandbox: SandboxServer, while_reading: While
) -> None:
    review = desk.review()
    sandbox.world.set_fault(fault=faults.RETURNS_500, operation="list", times=1)
    page = desk.follow(desk.client.post("/deletions/new/", desk.fill(review)))
    seen = while_reading(lambda: desk.confirm(page))

    after = desk.confirm(page)

    assert "Checking the connection before sending. Nothing has been sent." in seen[0].text
    assert after.outcome["data-outcome"] == "deleted"
    assert sandbox.world.deletes_received(desk.connection.id) == 1
    codes = [event.code for event in audit.events_of(subject=desk.deletion())]
    # With the form, and once more after the reading that failed.
    assert codes.count(audit.EventCode.DELETION_CONFIRMED) == 2


def test_a_reading_whose_process_was_killed_can_be_confirmed_again_after_45_seconds(
    desk: Desk, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(**given: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(sync, "sync_org", killed)
        with pytest.raises(KeyboardInterrupt):
            desk.delete()
    url = f"/deletions/{desk.deletion().pk}/"
    assert not desk.open(url).has_form_to("/execute/")

    clock.advance(seconds=45)
    page = desk.confirm(desk.open(url))

    assert page.outcome["data-outcome"] == "deleted"


def test_keys_that_cannot_be_opened_are_said_before_it_counts_as_confirmed(
    desk: Desk, sandbox: SandboxServer
) -> None:
    review = desk.review()
    sandbox.world.set_fault(fault=faults.RETURNS_500, operation="list", times=1)
    page = desk.follow(desk.client.post("/deletions/new/", desk.fill(review)))
    Credential.objects.update(secret_version=7)

    after = desk.confirm(page)

    assert after.status == 503
    assert "The stored keys can’t be decrypted" in after.text
    assert after.has_form_to("/execute/")


def test_a_second_click_of_the_same_form_sends_nothing(
    desk: Desk, sandbox: SandboxServer, while_sending: While
) -> None:
    filled = desk.typed()
    seen = while_sending(lambda: desk.follow(desk.client.post("/deletions/new/", filled)))

    page = desk.follow(desk.client.post("/deletions/new/", filled))

    assert "The DELETE is in progress." in seen[0].text
    assert "You can close this page; the result is recorded." in seen[0].text
    assert seen[0].watch["hx-trigger"] == "every 2s"
    assert page.outcome["data-outcome"] == "deleted"
    assert sandbox.world.deletes_received(desk.connection.id) == 1


def test_another_tab_is_led_to_the_deletion_on_its_way(
    desk: Desk, sandbox: SandboxServer, while_sending: While
) -> None:
    here, there = desk.typed(), desk.typed()
    seen = while_sending(lambda: desk.follow(desk.client.post("/deletions/new/", there)))

    desk.follow(desk.client.post("/deletions/new/", here))

    assert "The DELETE is in progress." in seen[0].text
    assert Deletion.objects.count() == 1
    assert sandbox.world.deletes_received(desk.connection.id) == 1


def test_a_second_confirmation_sends_nothing(
    desk: Desk, sandbox: SandboxServer, while_sending: While
) -> None:
    review = desk.review()
    sandbox.world.set_fault(fault=faults.RETURNS_500, operation="list", times=1)
    page = desk.follow(desk.client.post("/deletions/new/", desk.fill(review)))
    seen = while_sending(lambda: desk.confirm(page))

    after = desk.confirm(page)

    assert "The DELETE is in progress." in seen[0].text
    assert after.outcome["data-outcome"] == "deleted"
    assert sandbox.world.deletes_received(desk.connection.id) == 1


def test_what_is_on_its_way_can_neither_be_checked_nor_withdrawn(
    desk: Desk, while_sending: While
) -> None:
    def try_both() -> Page:
        url = f"/deletions/{desk.deletion().pk}"
        assert desk.client.post(f"{url}/withdraw/").status_code == 409
        return read(desk.client.post(f"{url}/reconcile/"))

    seen = while_sending(try_both)

    desk.delete()

    assert seen[0].status == 409
    assert "The DELETE is in progress. Wait for the response." in seen[0].text


def test_a_sending_whose_process_was_killed_can_be_checked_after_a_minute(
    desk: Desk, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(**given: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(sending, "_send", killed)
    with pytest.raises(KeyboardInterrupt):
        desk.delete()
    url = f"/deletions/{desk.deletion().pk}/"
    assert not desk.open(url).has_form_to("/reconcile/")

    clock.advance(seconds=61)
    page = desk.press(desk.open(url), "/reconcile/")

    assert (
        "Outcome unknown. The DELETE was sent and might have worked. Never resent automatically."
        in page.text
    )
    assert "No response was recorded within 60 s of starting the attempt." in page.text
