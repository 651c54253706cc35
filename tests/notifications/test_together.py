"""Many messages of one kind to a person are one email."""

from collections.abc import Callable

import pytest
from pytest_django import Settings

from connections.access.actor import Actor
from connections.credentials import lifecycle
from connections.models import ApprovalPolicy, Credential, Notification, Person
from connections.notifications import delivery
from sandbox.server import SandboxServer
from tests.datadog.servers import ScriptedServer
from tests.flows.support import store_credential
from tests.notifications.smtp import MailServer
from tests.support.clock import SettableClock
from tests.support.people import make_person

pytestmark = pytest.mark.django_db

MAIL, WEBHOOK = Notification.Channel.MAIL, Notification.Channel.WEBHOOK
ORGS = ("Payments US", "Group SOC", "Labs EU")


@pytest.fixture
def credentials(sandbox: SandboxServer, root: Person, linus: Person) -> list[Credential]:
    """Three, whose policies are to be changed; Linus can approve with them."""
    return [store_credential(sandbox, org, is_read=False) for org in ORGS]


@pytest.fixture
def require_one(
    credentials: list[Credential], actor_for: Callable[[Person], Actor], root: Person
) -> Callable[[], None]:
    """Change the policies of all of them."""

    def act() -> None:
        for credential in credentials:
            lifecycle.change_policy(
                actor=actor_for(root), credential=credential, policy=ApprovalPolicy.ONE
            )

    return act


def test_three_policies_changed_are_one_email_with_a_line_for_each(
    mail_server: MailServer, require_one: Callable[[], None]
):
    require_one()
    assert delivery.run_due(channel=MAIL) == 1
    [mail] = mail_server.messages
    assert mail["Subject"] == "Org Admin: Approval policy changed: 3 times"
    lines = [line for line in mail.get_content().splitlines() if line.startswith("- ")]
    assert [org in line and "https://" in line for org, line in zip(ORGS, lines, strict=True)] == [
        True,
        True,
        True,
    ]
    assert set(Notification.objects.values_list("state", "attempts")) == {("delivered", 1)}


def test_a_webhook_gets_each_of_them(receiver: ScriptedServer, require_one: Callable[[], None]):
    require_one()
    assert delivery.run_due(channel=WEBHOOK) == 3
    assert len(receiver.seen) == 3


def test_each_person_gets_their_own_email(
    mail_server: MailServer, require_one: Callable[[], None], settings: Settings
):
    make_person("vera", is_administrator=True)
    require_one()
    assert delivery.run_due(channel=MAIL) == 2
    assert len(set(mail_server.recipients)) == 2


def test_an_email_that_fails_is_tried_again_whole(
    mail_server: MailServer, require_one: Callable[[], None], clock: SettableClock
):
    mail_server.faults = ["451", ""]
    require_one()
    delivery.run_due(channel=MAIL)
    clock.advance(seconds=11)
    assert delivery.run_due(channel=MAIL) == 1
    assert mail_server.messages[-1]["Subject"].endswith("3 times")


def test_what_has_nothing_to_say_any_longer_is_left_out(
    mail_server: MailServer, require_one: Callable[[], None]
):
    require_one()
    first = Notification.objects.order_by("event_seq").first()
    assert first
    Notification.objects.filter(pk=first.pk).update(event_seq=10_000)
    delivery.run_due(channel=MAIL)
    assert mail_server.messages[0]["Subject"].endswith("2 times")
    first.refresh_from_db()
    assert first.state == Notification.State.DROPPED


def test_approvals_that_are_needed_stay_one_email_each(
    mail_server: MailServer, require_one: Callable[[], None]
):
    require_one()
    Notification.objects.update(code="deletion.requested")
    assert delivery.run_due(channel=MAIL) == 3
