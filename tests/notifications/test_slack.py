"""Slack gets what needs people, as text and nothing else."""

import json

import pytest
from pytest_django import Settings

from connections import audit
from connections.access.actor import person_actor
from connections.audit import checkpoints
from connections.models import ApprovalPolicy, Notification, Person
from connections.notifications import delivery, delivery_log
from connections.operations.checks import run_all_checks
from tests.datadog.servers import ScriptedServer, http_response, respond
from tests.notifications.conftest import RecordEvent

pytestmark = pytest.mark.django_db

SLACK = Notification.Channel.SLACK


@pytest.fixture
def slack(settings: Settings, receiver: ScriptedServer) -> ScriptedServer:
    """A receiver that only Slack's address leads to."""
    settings.SLACK_URL, settings.WEBHOOK_URL = f"{receiver.url}/services/canary", ""
    return receiver


def test_it_gets_only_text_unsigned(record_event: RecordEvent, slack: ScriptedServer, ada: Person):
    deletion = record_event(audit.EventCode.DELETION_UNKNOWN, by=ada)
    delivery.run_due(channel=SLACK)
    [seen] = slack.seen
    url = f"https://orgadmin.example.org/deletions/{deletion.pk}/"
    assert json.loads(seen.body) == {"text": f"Ada says that it is so.\n{url}"}
    assert (seen.method, seen.headers["content-type"]) == ("POST", "application/json")
    assert not [name for name in seen.headers if name.startswith("webhook-")]
    assert Notification.objects.get().state == Notification.State.DELIVERED


@pytest.mark.usefixtures("slack")
@pytest.mark.parametrize(
    ("code", "is_sent"),
    [
        (audit.EventCode.DELETION_REQUESTED, True),
        (audit.EventCode.DELETION_STILL_UNKNOWN, True),
        (audit.EventCode.DELETION_SETTLED, False),
        (audit.EventCode.DELETION_DECLINED, False),
    ],
)
def test_it_gets_only_what_needs_people(
    record_event: RecordEvent, ada: Person, linus: Person, code: audit.EventCode, is_sent: bool
):
    record_event(code, by=ada)
    assert Notification.objects.filter(channel=SLACK).exists() is is_sent


@pytest.mark.usefixtures("slack")
@pytest.mark.parametrize("deletion", [{"policy": ApprovalPolicy.NONE}], indirect=True)
def test_it_gets_no_request_that_its_requester_confirms(
    record_event: RecordEvent, ada: Person, linus: Person
):
    record_event(audit.EventCode.DELETION_REQUESTED, by=ada)
    assert not Notification.objects.exists()


@pytest.mark.usefixtures("slack")
def test_it_gets_no_checkpoint(record_event: RecordEvent, ada: Person):
    record_event(audit.EventCode.DELETION_SETTLED, by=ada)
    checkpoints.make_checkpoint()
    assert not Notification.objects.exists()


def test_a_test_can_be_sent_and_the_page_and_doctor_show_no_secret(
    slack: ScriptedServer, root: Person
):
    actor = person_actor(person=root)
    [counts] = delivery_log.count_by_destination(actor=actor)
    assert counts.destination.address == slack.url
    test = delivery_log.send_test(actor=actor, key=counts.destination.key)
    assert test.state == Notification.State.DELIVERED
    assert "Test notification. No action needed." in json.loads(slack.seen[0].body)["text"]
    [found] = [each for each in run_all_checks() if each.obj == "slack"]
    assert found.msg == f"{slack.url} responds"


def test_a_failure_is_retried_like_that_of_the_webhook(
    record_event: RecordEvent, slack: ScriptedServer
):
    slack.plays = [respond(http_response("404 Not Found", b"no_service"))]
    record_event(audit.EventCode.DELETION_UNKNOWN)
    delivery.run_due(channel=SLACK)
    notification = Notification.objects.get()
    assert (notification.state, notification.status) == (Notification.State.WAITING, 404)
