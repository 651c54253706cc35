"""The notifications page: destinations, delivery log, tests and retries."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from connections import audit
from connections.access.actor import WORKER
from connections.audit import checkpoints
from connections.core.text import pluralize
from connections.models import AuditEvent, Notification, Person
from connections.notifications import delivery
from tests.datadog.servers import ScriptedServer, http_response, respond
from tests.flows.support import read
from tests.notifications.conftest import RecordEvent
from tests.notifications.smtp import MailServer
from tests.support.clock import SettableClock

pytestmark = pytest.mark.django_db
State = Notification.State


@pytest.fixture
def administrator(root: Person, client_of: Callable[[Person], Client]) -> Client:
    return client_of(root)


def test_without_configuration_it_says_what_to_configure(administrator: Client):
    page = read(administrator.get("/notices/"))
    assert "No destinations configured" in page.text
    assert not page.has_form_to("/notices/test/")


def test_it_shows_the_webhooks_host_and_not_its_path(
    administrator: Client, receiver: ScriptedServer
):
    page = read(administrator.get("/notices/"))
    assert receiver.url in page.text
    assert "capability-canary" not in page.html


def test_a_webhook_test_is_sent_shown_and_recorded(administrator: Client, receiver: ScriptedServer):
    page = read(administrator.get("/notices/"))
    form = page.form_to("/notices/test/")
    after = read(administrator.post(form.action, form.fields))
    assert "Test delivered" in after.text
    assert "Delivered (204)" in after.text
    assert AuditEvent.objects.filter(code=audit.EventCode.NOTIFICATION_TESTED).count() == 1
    assert b'"type":"notification.tested"' in receiver.seen[0].body


def test_a_failed_test_shows_its_reason_and_is_not_retried(
    administrator: Client, receiver: ScriptedServer
):
    receiver.plays = [respond(http_response("500 Oops", b""))]
    after = read(administrator.post("/notices/test/", {"destination": "webhook:"}))
    assert "Test not delivered" in after.text
    assert "The receiver returned 500." in after.text
    assert Notification.objects.get().state == State.GIVEN_UP
    assert not AuditEvent.objects.filter(code=audit.EventCode.NOTIFICATION_FAILED).exists()


def test_a_mail_test_is_sent_only_to_the_person_who_starts_it(
    administrator: Client, mail_server: MailServer, ada: Person
):
    after = read(administrator.post("/notices/test/", {"destination": "mail:"}))
    assert "Test delivered" in after.text
    assert mail_server.recipients == ["root@example.com"]


def test_a_checkpoint_recipient_gets_the_newest_checkpoint_as_a_file(
    administrator: Client, mail_server: MailServer, settings: Settings
):
    settings.CHECKPOINT_EMAILS = ["witness@example.org"]
    audit.record(
        code=audit.EventCode.SIGNED_OUT, actor=WORKER, sentence=audit.Sentence("Something.")
    )
    made = checkpoints.make_checkpoint()
    assert made
    page = read(administrator.get("/notices/"))
    [form] = [form for form in page.forms if form.fields.get("destination", "mail:") != "mail:"]
    read(administrator.post(form.action, form.fields))
    assert mail_server.recipients == ["witness@example.org"]
    [attached] = mail_server.messages[0].iter_attachments()
    assert attached.get_filename() == f"checkpoint-{made.size}.txt"
    content: Any = attached.get_content()
    assert content.replace("\r\n", "\n") == made.note


@pytest.mark.parametrize("destination", ["webhook:", "mail:elsewhere", "", "file:"])
def test_nothing_is_sent_to_an_unconfigured_destination(
    administrator: Client, mail_server: MailServer, destination: str
):
    response = administrator.post("/notices/test/", {"destination": destination})
    assert response.status_code == 409
    assert mail_server.connections == 0


def test_an_administrator_without_an_address_sees_a_message(
    administrator: Client, mail_server: MailServer, root: Person
):
    Person.objects.filter(pk=root.pk).update(email="")
    response = administrator.post("/notices/test/", {"destination": "mail:"})
    assert response.status_code == 409
    assert "Your account has no email address" in read(response).text


def test_retrying_includes_all_failed_messages_of_a_destination(
    administrator: Client, record_event: RecordEvent, receiver: ScriptedServer
):
    works, fails = (respond(http_response(status, b"")) for status in ("200 OK", "410 Gone"))
    receiver.plays = [works, fails, fails, works]
    for _ in range(3):
        record_event()
    delivery.run_due(channel=Notification.Channel.WEBHOOK)
    page = read(administrator.get("/notices/?state=given_up"))
    form = next(form for form in page.forms if form.action.endswith("/retry/"))
    after = administrator.post(form.action, form.fields, follow=True)
    assert "2 notifications queued again" in read(after).text
    delivery.run_due(channel=Notification.Channel.WEBHOOK)
    assert not Notification.objects.exclude(state=State.DELIVERED).exists()
    # Three events, that delivery failed, and the two that failed again.
    assert len(receiver.seen) == 6
    assert AuditEvent.objects.filter(code=audit.EventCode.NOTIFICATION_RETRIED).count() == 1
    assert administrator.post(form.action, form.fields).status_code == 409


def test_the_overview_shows_failed_notifications_for_a_week(
    administrator: Client,
    record_event: RecordEvent,
    receiver: ScriptedServer,
    ada: Person,
    client_of: Callable[[Person], Client],
    clock: SettableClock,
):
    receiver.plays = [respond(http_response("410 Gone", b""))]
    assert "Not delivered" not in read(administrator.get("/")).text
    record_event()
    delivery.run_due(channel=Notification.Channel.WEBHOOK)
    item = "Not delivered 2 notifications Delivery stopped after several attempts."
    assert item in read(administrator.get("/")).text
    assert "Not delivered" not in read(client_of(ada).get("/")).text
    clock.advance(seconds=7 * 86_400)
    assert "Not delivered" not in read(administrator.get("/")).text


def test_the_checkpoint_file_is_created_for_its_owner_only(
    administrator: Client, settings: Settings, tmp_path: Path
):
    file = tmp_path / "witness"
    settings.CHECKPOINT_FILE = str(file)
    audit.record(
        code=audit.EventCode.SIGNED_OUT, actor=WORKER, sentence=audit.Sentence("Something.")
    )
    made = checkpoints.make_checkpoint()
    assert made
    delivery.run_due(channel=Notification.Channel.FILE)
    assert file.read_text() == f"{made.note}\n"
    assert file.stat().st_mode & 0o777 == 0o600
    administrator.post("/notices/test/", {"destination": "file:"})
    assert file.read_text().count(made.note) == 2


def test_a_symbolic_link_in_place_of_the_file_is_not_followed(
    settings: Settings, tmp_path: Path, db: None
):
    target = tmp_path / "target"
    target.write_text("mine")
    (tmp_path / "witness").symlink_to(target)
    settings.CHECKPOINT_FILE = str(tmp_path / "witness")
    audit.record(
        code=audit.EventCode.SIGNED_OUT, actor=WORKER, sentence=audit.Sentence("Something.")
    )
    checkpoints.make_checkpoint()
    delivery.run_due(channel=Notification.Channel.FILE)
    assert target.read_text() == "mine"
    assert Notification.objects.get().state == State.WAITING


def test_the_evidence_page_shows_who_has_which_checkpoint(
    administrator: Client, settings: Settings, tmp_path: Path
):
    assert "None outside this server." in read(administrator.get("/evidence/")).text
    settings.CHECKPOINT_FILE = str(tmp_path / "witness")
    audit.record(
        code=audit.EventCode.SIGNED_OUT, actor=WORKER, sentence=audit.Sentence("Something.")
    )
    made = checkpoints.make_checkpoint()
    assert made
    assert "Nothing yet" in read(administrator.get("/evidence/")).text
    delivery.run_due(channel=Notification.Channel.FILE)
    page = read(administrator.get("/evidence/"))
    assert f"Checkpoint file: {tmp_path}/witness" in page.text
    assert f"{pluralize(made.size, 'event')} ·" in page.text
