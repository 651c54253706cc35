"""What happens while a DELETE is on its way: second clicks, other tabs, a killed process."""

from collections.abc import Callable
from typing import Any

import pytest

from connections.models import Deletion
from connections.services import sending
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


def test_a_second_click_of_the_same_form_sends_nothing(
    desk: Desk, sandbox: SandboxServer, while_sending: While
) -> None:
    filled = desk.typed()
    seen = while_sending(lambda: desk.follow(desk.client.post("/deletions/new/", filled)))

    page = desk.follow(desk.client.post("/deletions/new/", filled))

    assert "Sending to Datadog." in seen[0].text
    assert "The record is already written; you may close this page." in seen[0].text
    assert seen[0].outcome["hx-trigger"] == "every 2s"
    assert page.outcome["data-outcome"] == "deleted"
    assert sandbox.world.deletes_received(desk.connection.id) == 1


def test_another_tab_is_led_to_the_deletion_on_its_way(
    desk: Desk, sandbox: SandboxServer, while_sending: While
) -> None:
    here, there = desk.typed(), desk.typed()
    seen = while_sending(lambda: desk.follow(desk.client.post("/deletions/new/", there)))

    desk.follow(desk.client.post("/deletions/new/", here))

    assert "Sending to Datadog." in seen[0].text
    assert Deletion.objects.count() == 1
    assert sandbox.world.deletes_received(desk.connection.id) == 1


def test_a_second_confirmation_sends_nothing(
    desk: Desk, sandbox: SandboxServer, while_sending: While
) -> None:
    review = desk.review()
    sandbox.world.set_fault(fault=faults.ANSWERS_500, operation="list", times=1)
    page = desk.follow(desk.client.post("/deletions/new/", desk.fill(review)))
    seen = while_sending(lambda: desk.confirm(page))

    after = desk.confirm(page)

    assert "Sending to Datadog." in seen[0].text
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
    assert "It is being sent right now. Wait for the answer." in seen[0].text


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

    assert "We do not know whether it was deleted." in page.text
    assert "The process that sent it recorded no answer within 60 s." in page.text
