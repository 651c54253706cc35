"""Deliveries over real sockets: faults, retries, claims and stored results."""

import base64
import hashlib
import hmac
import json
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.db import connection
from pytest_django import Settings

from connections import audit
from connections.core.private_files import PrivateFileError, create_private_text
from connections.core.secret import Secret
from connections.models import AuditEvent, Notification, Person
from connections.net.http import Route
from connections.notifications import channels, delivery, webhooks
from connections.notifications.formats import Message
from sandbox.certificates import make_certificate
from tests.datadog.servers import (
    Play,
    ScriptedServer,
    http_response,
    respond,
    respond_and_close,
    respond_and_drip,
    respond_and_reset,
    respond_and_wait,
)
from tests.notifications.conftest import RecordEvent
from tests.notifications.smtp import MailServer
from tests.support.clock import SettableClock

pytestmark = pytest.mark.django_db

MAIL, WEBHOOK, FILE = (
    Notification.Channel.MAIL,
    Notification.Channel.WEBHOOK,
    Notification.Channel.FILE,
)
State = Notification.State


@pytest.fixture
def _short_deadlines(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Short timeouts for hanging and slow servers; others get enough time on a busy machine."""
    if any(word in request.node.name for word in ("hang", "drip", "leave")):
        monkeypatch.setattr("connections.notifications.email_backend.DEADLINE_SECONDS", 2.0)
        monkeypatch.setattr(webhooks, "DEADLINE_SECONDS", 2.0)


def only(channel: Notification.Channel) -> Notification:
    return Notification.objects.get(channel=channel)


# --- Webhook ------------------------------------------------------------------------------------


def test_a_webhook_is_signed_and_can_be_verified_by_its_receiver(
    record_event: RecordEvent, receiver: ScriptedServer, settings: Settings
):
    deletion = record_event(outcome="deleted")
    assert delivery.run_due(channel=WEBHOOK) == 1
    [seen] = receiver.seen
    text = Path(settings.WEBHOOK_SECRET_FILE).read_text().strip()
    key = base64.b64decode(text.removeprefix("whsec_"))
    signed = f"{seen.headers['webhook-id']}.{seen.headers['webhook-timestamp']}.".encode()
    mac = base64.b64encode(hmac.digest(key, signed + seen.body, hashlib.sha256)).decode()
    assert seen.headers["webhook-signature"] == f"v1,{mac}"
    assert (seen.method, seen.headers["content-type"]) == ("POST", "application/json")
    document = json.loads(seen.body)
    assert document["type"] == "deletion.unknown"
    assert document["data"]["outcome"] == "deleted"
    assert document["data"]["source_org"] == "Payments US"
    url = f"https://orgadmin.example.org/deletions/{deletion.pk}/"
    assert document["data"]["url"] == url
    assert document["text"] == f"{document['data']['sentence']}\n{url}"
    assert only(WEBHOOK).state == State.DELIVERED


def test_while_a_secret_is_replaced_both_sign(
    record_event: RecordEvent, receiver: ScriptedServer, settings: Settings
):
    file = Path(settings.WEBHOOK_SECRET_FILE)
    file.write_text(f"{file.read_text()}\nwhsec_{base64.b64encode(b'n' * 32).decode()}\n")
    record_event()
    delivery.run_due(channel=WEBHOOK)
    assert receiver.seen[0].headers["webhook-signature"].count("v1,") == 2


@pytest.mark.parametrize(
    "text",
    ["", "whsec_" + "A" * 28, "A" * 32, "whsec_" + "?" * 32, "whsec_" + "A" * 32 + "\nother"],
    ids=["empty", "short", "no prefix", "no base64", "second line"],
)
def test_an_unusable_secret_is_refused(tmp_path: Path, text: str):
    create_private_text(tmp_path / "secret", Secret(text))
    with pytest.raises(PrivateFileError, match="must contain one secret per line"):
        webhooks.load_secrets(tmp_path / "secret", make=False)


def test_a_missing_secret_is_only_created_where_it_should_be(tmp_path: Path):
    with pytest.raises(PrivateFileError):
        webhooks.load_secrets(tmp_path / "secret", make=False)
    [made] = webhooks.load_secrets(tmp_path / "secret", make=True)
    assert (tmp_path / "secret").read_text().strip() == made.reveal()


@pytest.mark.usefixtures("_short_deadlines")
@pytest.mark.parametrize(
    ("play", "words", "status"),
    [
        (
            respond(http_response("500 Oops", b"secret-of-the-receiver")),
            "The receiver returned 500.",
            500,
        ),
        (
            respond(http_response("302 Found", headers={"Location": "/elsewhere"})),
            "The receiver redirects",
            302,
        ),
        (respond_and_wait(), "no answer in time", None),
        (respond_and_reset(), "connection lost", None),
        (respond_and_close(b"HTTP/1.1 20"), "half status line", None),
        (respond_and_drip(b"", drop=b"H"), "no answer in time", None),
    ],
    ids=["500", "redirect", "hang", "reset", "cut", "drip"],
)
def test_a_message_that_a_receiver_rejects_is_retried(
    record_event: RecordEvent, receiver: ScriptedServer, play: Play, words: str, status: int | None
):
    receiver.plays = [play]
    record_event()
    delivery.run_due(channel=WEBHOOK)
    notification = only(WEBHOOK)
    assert (notification.state, notification.status) == (State.WAITING, status)
    assert words in notification.result
    assert "secret" not in notification.result
    assert receiver.targets == ["/hook/capability-canary?of=ours"]


def test_an_unreachable_receiver_is_retried(
    record_event: RecordEvent, receiver: ScriptedServer, settings: Settings
):
    settings.WEBHOOK_URL = "http://127.0.0.1:1/"
    record_event()
    delivery.run_due(channel=WEBHOOK)
    assert only(WEBHOOK).result == "No response: connection refused."


def test_a_huge_response_is_not_read_completely(
    record_event: RecordEvent, receiver: ScriptedServer
):
    receiver.plays = [respond_and_close(http_response(body=b"x" * 2_000_000))]
    record_event()
    delivery.run_due(channel=WEBHOOK)
    notification = only(WEBHOOK)
    assert notification.state == State.DELIVERED, notification.result


def test_a_receiver_that_returns_410_is_not_retried(
    record_event: RecordEvent, receiver: ScriptedServer
):
    receiver.plays = [respond(http_response("410 Gone", b""))]
    record_event()
    delivery.run_due(channel=WEBHOOK)
    assert (
        Notification.objects.get(code="deletion.unknown", channel=WEBHOOK).state == State.GIVEN_UP
    )


def test_a_failed_message_is_retried_later_with_the_same_id(
    record_event: RecordEvent, receiver: ScriptedServer, clock: SettableClock
):
    receiver.plays = [
        respond(http_response("500 Oops", b"")),
        respond(http_response("200 OK", b"")),
    ]
    record_event()
    delivery.run_due(channel=WEBHOOK)
    clock.advance(seconds=9)
    assert delivery.run_due(channel=WEBHOOK) == 0
    clock.advance(seconds=2)
    assert delivery.run_due(channel=WEBHOOK) == 1
    first, second = receiver.seen
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.headers["webhook-timestamp"] != second.headers["webhook-timestamp"]
    assert (only(WEBHOOK).state, only(WEBHOOK).attempts) == (State.DELIVERED, 2)


@pytest.mark.parametrize(
    ("requested", "seconds"),
    [("120", 120), ("999999", 7200), ("1", 10), ("soon", 10), ("-5", 10), ("9" * 400, 10)],
)
def test_a_receiver_can_request_a_later_attempt_within_limits(
    record_event: RecordEvent,
    receiver: ScriptedServer,
    clock: SettableClock,
    requested: str,
    seconds: int,
):
    receiver.plays = [respond(http_response("503 Later", b"", headers={"Retry-After": requested}))]
    record_event()
    delivery.run_due(channel=WEBHOOK)
    assert only(WEBHOOK).due_at == clock.now() + timedelta(seconds=seconds)


def test_after_the_last_attempt_it_fails_and_administrators_are_notified_once(
    record_event: RecordEvent,
    receiver: ScriptedServer,
    mail_server: MailServer,
    clock: SettableClock,
    root: Person,
):
    receiver.plays = [respond(http_response("500 Oops", b""))]
    record_event()
    record_event()
    for _ in range(14):
        delivery.run_due(channel=WEBHOOK)
        clock.advance(hours=2, seconds=1)
    assert (
        Notification.objects.filter(channel=WEBHOOK, state=State.GIVEN_UP, attempts=6).count() == 3
    )
    assert AuditEvent.objects.filter(code=audit.EventCode.NOTIFICATION_FAILED).count() == 1
    mails = Notification.objects.filter(channel=MAIL, code=audit.EventCode.NOTIFICATION_FAILED)
    assert [mail.person for mail in mails] == [root]


@pytest.mark.database
def test_no_transaction_is_open_during_a_delivery(
    record_event: RecordEvent, receiver: ScriptedServer, monkeypatch: pytest.MonkeyPatch
):
    depths = []
    send = channels.send

    def spy(**arguments: object) -> object:
        depths.append(len(connection.savepoint_ids))
        return send(**arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("connections.notifications.channels.send", spy)
    record_event()
    before = len(connection.savepoint_ids)
    delivery.run_due(channel=WEBHOOK)
    assert depths == [before]


@pytest.mark.database
def test_a_delivery_without_a_stored_result_is_sent_again_with_the_same_id(
    record_event: RecordEvent,
    receiver: ScriptedServer,
    clock: SettableClock,
    monkeypatch: pytest.MonkeyPatch,
):
    record_event()
    with monkeypatch.context() as patch:
        patch.setattr("connections.notifications.delivery._store_result", _die)
        with pytest.raises(SystemExit):
            delivery.run_due(channel=WEBHOOK)
    assert delivery.run_due(channel=WEBHOOK) == 0
    clock.advance(seconds=delivery.CLAIM_TIMEOUT.total_seconds() + 1)
    assert delivery.run_due(channel=WEBHOOK) == 1
    ids = {seen.headers["webhook-id"] for seen in receiver.seen}
    assert (len(receiver.seen), ids) == (2, {str(only(WEBHOOK).pk)})


def _die(*_: object) -> None:
    raise SystemExit


@pytest.mark.database
def test_a_frozen_worker_does_not_overwrite_another_workers_result(
    record_event: RecordEvent, receiver: ScriptedServer, clock: SettableClock
):
    record_event()
    frozen = delivery.claim_next(channel=WEBHOOK)
    assert frozen
    clock.advance(minutes=3)
    delivery.run_due(channel=WEBHOOK)
    receiver.plays = [respond(http_response("500 Oops", b""))]
    delivery.deliver(notification=frozen)
    assert only(WEBHOOK).state == State.DELIVERED


@pytest.mark.database
def test_a_notification_that_kills_every_worker_fails(
    record_event: RecordEvent, receiver: ScriptedServer, clock: SettableClock
):
    record_event()
    for _ in range(6):
        assert delivery.claim_next(channel=WEBHOOK)
        clock.advance(minutes=3)
    died = delivery.claim_next(channel=WEBHOOK)
    assert died
    assert delivery.deliver(notification=died).state == State.GIVEN_UP
    assert receiver.seen == []


@pytest.fixture
def six_threads(transactional_db: None) -> Iterator[list[threading.Thread]]:
    def work() -> None:
        try:
            delivery.run_due(channel=WEBHOOK)
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(6)]
    yield threads
    assert not any(thread.is_alive() for thread in threads)


@pytest.mark.database
def test_six_workers_at_once_deliver_each_once(
    six_threads: list[threading.Thread], record_event: RecordEvent, receiver: ScriptedServer
):
    if connection.vendor == "sqlite" and connection.is_in_memory_db():  # type: ignore[attr-defined]
        pytest.skip("Threads share an in-memory database and lock each other out.")
    for number in range(12):
        record_event()
        # Messages about one object would be sent one after the other.
        Notification.objects.filter(subject_id__contains="-").update(subject_id=number)
    for thread in six_threads:
        thread.start()
    for thread in six_threads:
        thread.join(timeout=30)
    ids = [seen.headers["webhook-id"] for seen in receiver.seen]
    assert len(ids) == len(set(ids)) == 12


# --- Order --------------------------------------------------------------------------------------


def record_two_events(record_event: RecordEvent) -> tuple[Notification, Notification]:
    """Two webhook messages about one deletion, of which the later one has been due longer."""
    record_event()
    record_event()
    first, second = Notification.objects.filter(channel=WEBHOOK).order_by("event_seq")
    assert second.due_at
    first.due_at = second.due_at + timedelta(milliseconds=1)
    first.save()
    return first, second


@pytest.mark.database
def test_messages_about_one_object_are_first_tried_in_the_order_of_their_events(
    record_event: RecordEvent, receiver: ScriptedServer, clock: SettableClock
):
    first, second = record_two_events(record_event)
    clock.advance(seconds=1)
    claimed = delivery.claim_next(channel=WEBHOOK)
    assert claimed == first
    # Another worker waits for the result of the first attempt.
    assert delivery.claim_next(channel=WEBHOOK) is None
    delivery.deliver(notification=claimed)
    assert delivery.claim_next(channel=WEBHOOK) == second


def test_a_message_that_waits_for_its_retry_holds_no_later_one_back(
    record_event: RecordEvent, receiver: ScriptedServer, clock: SettableClock
):
    receiver.plays = [
        respond(http_response("500 Oops", b"")),
        respond(http_response("200 OK", b"")),
    ]
    first, second = record_two_events(record_event)
    clock.advance(seconds=1)
    assert delivery.run_due(channel=WEBHOOK) == 2
    sent = [seen.headers["webhook-id"] for seen in receiver.seen]
    assert sent == [str(first.pk), str(second.pk)]


def test_a_message_whose_worker_died_holds_later_ones_back_for_its_first_claim_only(
    record_event: RecordEvent, receiver: ScriptedServer, clock: SettableClock
):
    first, second = record_two_events(record_event)
    clock.advance(seconds=1)
    assert delivery.claim_next(channel=WEBHOOK) == first
    clock.advance(minutes=3)
    assert delivery.claim_next(channel=WEBHOOK) == first
    assert delivery.claim_next(channel=WEBHOOK) == second


def test_messages_about_other_objects_do_not_wait(
    record_event: RecordEvent, receiver: ScriptedServer, clock: SettableClock
):
    first, second = record_two_events(record_event)
    Notification.objects.filter(pk=first.pk).update(subject_id="another")
    clock.advance(seconds=1)
    assert {delivery.claim_next(channel=WEBHOOK) for _ in range(2)} == {first, second}


# --- Mail ---------------------------------------------------------------------------------------


def test_a_mail_describes_the_event_and_links_to_it(
    record_event: RecordEvent, mail_server: MailServer, ada: Person, linus: Person
):
    deletion = record_event(audit.EventCode.DELETION_REQUESTED, by=ada, reason="contract\nended")
    delivery.run_due(channel=MAIL)
    [mail] = mail_server.messages
    assert mail_server.recipients == ["linus@example.com"]
    assert mail["Subject"] == "Org Admin: Approval needed: Payments US → Group SOC"
    assert mail["Message-ID"] == f"<{only(MAIL).pk}@orgadmin.example.org>"
    body = mail.get_content().replace("\r\n", "\n")
    assert "Ada says that it is so." in body
    assert "- No one answers for this access." in body
    assert "> contract\n> ended" in body
    assert f"https://orgadmin.example.org/deletions/{deletion.pk}/" in body


@pytest.mark.parametrize(
    "deletion",
    [{"source_org_name": "Pay\r\nBcc: mallory@example.com\u202e" + "x" * 900}],
    indirect=True,
    ids=["names"],
)
def test_external_names_cannot_add_a_header_or_reverse_text(
    record_event: RecordEvent, mail_server: MailServer, ada: Person
):
    record_event()
    delivery.run_due(channel=MAIL)
    [mail] = mail_server.messages
    assert mail_server.recipients == ["ada@example.com"]
    assert mail["Bcc"] is None
    assert "\u202e" not in mail["Subject"]
    assert len(mail["Subject"]) < 200


HOSTILE = "Eve\r\nView: https://evil.example\n\u2028Approved \u202egnp.exe\x1b[2J\x85\u200b"


def test_only_a_quoted_reason_has_line_breaks_and_nothing_reverses_the_text():
    message = Message(
        code="deletion.requested",
        title="Approval needed",
        about=HOSTILE,
        at=datetime(2026, 3, 2, tzinfo=UTC),
        sentence=f"{HOSTILE} requested it.",
        path="/deletions/",
        by=HOSTILE,
        reason=HOSTILE,
        rows=(HOSTILE, HOSTILE),
        data={"ticket": HOSTILE},
    )
    sentence, text = webhook_texts_of(message)
    lines = message.as_text().split("\n")
    assert len(lines) == 18
    assert len([line for line in lines if line.startswith("Ticket: Eve")]) == 1
    assert [line for line in lines if line.startswith("View: ")] == [
        "View: https://testserver/deletions/"
    ]
    assert [line for line in lines if line.startswith(">")] == [
        "> Eve",
        "> View: https://evil.example",
        "> ",
        "> Approved \ufffdgnp.exe\ufffd[2J",
        "> \ufffd",
    ]
    assert len(text.split("\n")) == 4
    for line in (message.subject, sentence, *lines, *text.split("\n")):
        assert line.isprintable()
    long = replace(message, about="x" * 141).subject
    assert long == f"Org Admin: Approval needed: {'x' * 139}…"


def webhook_texts_of(message: Message) -> tuple[str, str]:
    """The sentence and the text for chats in a webhook's message."""
    document = json.loads(message.as_json())
    return document["data"]["sentence"], document["text"]


def test_a_name_adds_no_line_to_a_mail_and_to_the_sentence_of_the_webhook(
    record_event: RecordEvent,
    mail_server: MailServer,
    receiver: ScriptedServer,
    ada: Person,
    linus: Person,
):
    Person.objects.filter(pk=ada.pk).update(first_name=HOSTILE)
    record_event(audit.EventCode.DELETION_REQUESTED, by=Person.objects.get(pk=ada.pk))
    delivery.run_due(channel=MAIL)
    delivery.run_due(channel=WEBHOOK)
    lines = mail_server.messages[0].get_content().splitlines()
    assert lines[0].startswith("Eve View: https://evil.example Approved")
    [link] = [line for line in lines if line.startswith("View: ")]
    assert link.startswith("View: https://orgadmin.example.org/deletions/")
    [sent] = receiver.seen
    assert json.loads(sent.body)["data"]["sentence"].isprintable()


@pytest.mark.usefixtures("_short_deadlines")
@pytest.mark.parametrize(
    ("fault", "words", "status"),
    [
        ("550", "rejected this address. Mail server: “no such user <…> here”", 550),
        ("451", "SMTPDataError. Mail server: “later\ufffd please”", 451),
        ("hang", "closed the connection or didn't respond in time", None),
        ("drip", "SMTPConnectError", None),
        ("cut", "closed the connection or", None),
    ],
)
def test_a_mail_that_the_server_rejects_is_retried(
    record_event: RecordEvent,
    mail_server: MailServer,
    ada: Person,
    fault: str,
    words: str,
    status: int | None,
):
    mail_server.faults = [fault]
    record_event()
    started = time.monotonic()
    delivery.run_due(channel=MAIL)
    # The slow greeting would take ten seconds.
    assert time.monotonic() - started < 8
    notification = only(MAIL)
    assert (notification.state, notification.status) == (State.WAITING, status)
    assert words in notification.result
    assert "@" not in notification.result


@pytest.mark.parametrize("is_trusted", [True, False])
def test_a_mail_server_has_to_prove_who_it_is_with_the_certificates_of_the_settings(
    record_event: RecordEvent,
    mail_server: MailServer,
    settings: Settings,
    tmp_path: Path,
    ada: Person,
    *,
    is_trusted: bool,
):
    certificate = make_certificate(tmp_path)
    mail_server.tls = certificate.server
    settings.MAILERS = mail_server.mailers
    settings.OUTBOUND_ROUTE = Route(extra_ca_file=str(certificate.bundle) if is_trusted else "")
    record_event()
    delivery.run_due(channel=MAIL)
    notification = only(MAIL)
    assert (notification.state == State.DELIVERED) == is_trusted
    assert ("SSLCertVerificationError" in notification.result) != is_trusted


@pytest.mark.usefixtures("_short_deadlines")
def test_a_mail_server_that_does_not_answer_quit_has_accepted_the_mail(
    record_event: RecordEvent, mail_server: MailServer, ada: Person
):
    mail_server.faults = ["hang at quit"]
    record_event()
    delivery.run_due(channel=MAIL)
    assert only(MAIL).state == State.DELIVERED


def test_a_refused_password_is_neither_stored_nor_logged(
    record_event: RecordEvent,
    mail_server: MailServer,
    ada: Person,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
):
    mail_server.faults = ["535"]
    settings.MAILERS["default"]["OPTIONS"] |= {"username": "us", "password": "canary-password"}
    with caplog.at_level(logging.DEBUG):
        record_event()
        delivery.run_due(channel=MAIL)
    encoded = base64.b64encode(b"\0us\0canary-password").decode()
    assert only(MAIL).result == "The mail server rejected the username or password."
    assert not any(text in caplog.text for text in ("canary-password", encoded))


def test_a_person_disabled_meanwhile_is_not_notified(
    record_event: RecordEvent, mail_server: MailServer, ada: Person
):
    record_event()
    Person.objects.filter(pk=ada.pk).update(is_active=False)
    delivery.run_due(channel=MAIL)
    assert only(MAIL).state == State.DROPPED
    assert mail_server.connections == 0


def test_the_address_is_read_when_sending(
    record_event: RecordEvent, mail_server: MailServer, ada: Person
):
    record_event()
    Person.objects.filter(pk=ada.pk).update(email="ada@new.example.com")
    delivery.run_due(channel=MAIL)
    assert mail_server.recipients == ["ada@new.example.com"]


def test_the_secrets_of_a_webhook_stay_out_of_rows_and_logs(
    record_event: RecordEvent,
    receiver: ScriptedServer,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
):
    receiver.plays = [respond(http_response("500 Oops", b""))]
    with caplog.at_level(logging.DEBUG, logger="connections"):
        record_event()
        delivery.run_due(channel=WEBHOOK)
    secret = Path(settings.WEBHOOK_SECRET_FILE).read_text()
    values = " ".join(str(value) for row in Notification.objects.values() for value in row.values())
    for canary in (secret.strip(), "capability-canary"):
        assert canary not in values
        assert canary not in caplog.text


@pytest.mark.database
def test_the_log_is_kept_for_ninety_days_and_pending_deliveries_for_longer(
    record_event: RecordEvent, receiver: ScriptedServer, clock: SettableClock
):
    record_event()
    delivery.run_due(channel=WEBHOOK)
    record_event()
    clock.advance(hours=24 * 89)
    assert delivery.delete_old_notifications() == 0
    clock.advance(hours=48)
    assert delivery.delete_old_notifications() == 1
    assert only(WEBHOOK).state == State.WAITING
