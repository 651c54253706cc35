"""Sends one notification by email, by webhook or to the checkpoint file."""

import os
import re
import smtplib
import stat
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings
from django.core.mail import EmailMessage, mailers
from django.core.validators import validate_email

from connections.core import clock
from connections.core.own_address import own_origin
from connections.core.private_files import PrivateFileError
from connections.core.text import one_line
from connections.models import Notification
from connections.net.http import OutboundResponse
from connections.notification_queue.destinations import checkpoint_addresses
from connections.notifications import webhooks
from connections.notifications.formats import Message


class CheckpointFileError(Exception):
    """The checkpoint file can't be written. The message says why."""


def append_checkpoint(*, path: Path, note: str) -> None:
    """Append a checkpoint and an empty line, and wait until both are on the disk.

    Creates a missing file with mode 0600 and refuses a symbolic link. Raises
    CheckpointFileError.
    """
    try:
        descriptor = _open(path)
        try:
            _write(descriptor, f"{note}\n".encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise CheckpointFileError(f"The file can't be written ({error.strerror}).") from None


def check_checkpoint_file(path: Path) -> None:
    """Raise CheckpointFileError unless the file can be appended to. Creates nothing."""
    if not path.exists() and not path.is_symlink():
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise CheckpointFileError(f"This user can't write to {path.parent}.")
        return
    try:
        os.close(_open(path, make=False))
    except OSError as error:
        raise CheckpointFileError(f"The file can't be written ({error.strerror}).") from None


def _open(path: Path, *, make: bool = True) -> int:
    # Non-blocking: opening a named pipe would otherwise wait for a reader.
    flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    descriptor = os.open(path, flags | (os.O_CREAT if make else 0), 0o600)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise CheckpointFileError("It isn't a regular file.")
    return descriptor


def _write(descriptor: int, data: bytes) -> None:
    # One call, so that lines of two processes never mix. A full disk can accept only a part.
    if os.write(descriptor, data) != len(data):
        raise OSError(0, "only part of it fit")


_ADDRESS = re.compile(r"\S*@\S*")


class DeliveryStatus(StrEnum):
    """The result of one attempt."""

    DELIVERED = "delivered"
    FAILED = "failed"  # tried again later
    REFUSED = "refused"  # the receiver wants no more messages
    NO_RECIPIENT = "no recipient"  # the person is disabled, or the setting was removed


@dataclass(frozen=True, kw_only=True)
class DeliveryResult:
    """What came back. `text` contains no address, no key and nothing from a webhook's response."""

    status: DeliveryStatus
    text: str
    status_code: int | None = None
    # From the receiver's Retry-After header.
    retry_after_seconds: int | None = None


def send(*, notification: Notification, message: Message) -> DeliveryResult:
    """Send a notification once, within a deadline. Network errors become a FAILED result."""
    match Notification.Channel(notification.channel):
        case Notification.Channel.MAIL:
            return _send_mail(notification, message)
        case Notification.Channel.WEBHOOK:
            return _send_webhook(notification, message)
        case Notification.Channel.SLACK:
            return _send_to_slack(message)
        case Notification.Channel.FILE:
            return _append_to_file(message)


def mail_address(notification: Notification) -> str:
    """The address to email a notification to now; "" if it no longer has a recipient."""
    if notification.person is not None:
        return notification.person.email if notification.person.is_active else ""
    return checkpoint_addresses().get(notification.address_key, "")


# --- Email --------------------------------------------------------------------------------------


def _send_mail(notification: Notification, message: Message) -> DeliveryResult:
    address = mail_address(notification)
    if not settings.HAS_MAIL or not address:
        return DeliveryResult(
            status=DeliveryStatus.NO_RECIPIENT,
            text="The person is disabled, or the address is no longer configured.",
        )
    hostname = urlsplit(own_origin()).hostname or "orgadmin.invalid"
    mail = EmailMessage(
        subject=message.subject,
        body=message.as_text(),
        to=[address],
        headers={
            # Identical for each attempt, so that email programs show the message once.
            "Message-ID": f"<{notification.pk}@{hostname}>",
            "Auto-Submitted": "auto-generated",
        },
    )
    if "note" in message.data:
        mail.attach(f"checkpoint-{message.data['size']}.txt", message.data["note"], "text/plain")
    try:
        validate_email(address)
        with mailers.default as connection:
            connection.send_messages([mail])
    except (OSError, ValueError) as error:
        return _mail_failure(error, address=address)
    return DeliveryResult(
        status=DeliveryStatus.DELIVERED, text="Accepted by the mail server (250)", status_code=250
    )


def _mail_failure(error: Exception, *, address: str) -> DeliveryResult:
    status_code, response = None, ""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        [(status_code, refusal)] = list(error.recipients.values())[:1]
        response = refusal.decode(errors="replace")
    elif isinstance(error, smtplib.SMTPAuthenticationError):
        # Some servers repeat the user name or password in their text, so none of it is kept.
        status_code = error.smtp_code
    elif isinstance(error, smtplib.SMTPResponseException):
        status_code, raw = error.smtp_code, error.smtp_error
        response = raw.decode(errors="replace") if isinstance(raw, bytes) else str(raw)
    text = _MAIL_FAILURE_TEXTS.get(
        type(error), f"The email couldn't be sent: {type(error).__name__}."
    )
    if response:
        response = one_line(_ADDRESS.sub("…", response.replace(address, "…")), limit=120)
        text = f"{text} Mail server: “{response}”"
    # Any other code comes from a truncated response.
    status_code = status_code if status_code in range(400, 600) else None
    return DeliveryResult(status=DeliveryStatus.FAILED, text=text, status_code=status_code)


_MAIL_FAILURE_TEXTS: dict[type[Exception], str] = {
    smtplib.SMTPRecipientsRefused: "The mail server rejected this address.",
    smtplib.SMTPAuthenticationError: "The mail server rejected the username or password.",
    smtplib.SMTPServerDisconnected: (
        "The mail server closed the connection or didn't respond in time."
    ),
    ConnectionRefusedError: "The mail server refused the connection.",
    TimeoutError: "The mail server didn't respond in time.",
}


# --- Webhook ------------------------------------------------------------------------------------


def _send_webhook(notification: Notification, message: Message) -> DeliveryResult:
    if not settings.WEBHOOK_URL:
        return DeliveryResult(
            status=DeliveryStatus.NO_RECIPIENT, text="The webhook is no longer configured."
        )
    try:
        keys = webhooks.load_secrets(
            Path(settings.WEBHOOK_SECRET_FILE), make=settings.DATABASE_IS_SQLITE
        )
    except PrivateFileError:
        return DeliveryResult(
            status=DeliveryStatus.FAILED,
            text="ORGADMIN_WEBHOOK_SECRET_FILE can't be used. Run `doctor` for details.",
        )
    response = webhooks.post(
        message_id=str(notification.pk),
        timestamp=int(clock.now().timestamp()),
        body=message.as_json(),
        keys=keys,
    )
    return _result_of(response)


def _send_to_slack(message: Message) -> DeliveryResult:
    if not settings.SLACK_URL:
        return DeliveryResult(
            status=DeliveryStatus.NO_RECIPIENT, text="Slack is no longer configured."
        )
    return _result_of(webhooks.post_to_slack(body=message.as_slack_json()))


def _result_of(response: OutboundResponse) -> DeliveryResult:
    if response.status is None:
        cause = str(response.cause).replace("_", " ")
        return DeliveryResult(status=DeliveryStatus.FAILED, text=f"No response: {cause}.")
    status, text = _webhook_result(response.status)
    return DeliveryResult(
        status=status,
        text=text,
        status_code=response.status,
        retry_after_seconds=_parse_retry_after(response.headers.get("retry-after", "")),
    )


def _webhook_result(status_code: int) -> tuple[DeliveryStatus, str]:
    if status_code in range(200, 300):
        return DeliveryStatus.DELIVERED, f"Delivered ({status_code})"
    if status_code == HTTPStatus.GONE:
        return DeliveryStatus.REFUSED, "The receiver no longer accepts messages (410)."
    if status_code in range(300, 400):
        text = f"The receiver redirects ({status_code}). Org Admin doesn't follow redirects."
        return DeliveryStatus.FAILED, text
    return DeliveryStatus.FAILED, f"The receiver returned {status_code}."


def _parse_retry_after(text: str) -> int | None:
    # Only seconds. For an HTTP date, the regular retry delays apply.
    return int(text) if text.isascii() and text.isdigit() and len(text) < 8 else None


# --- File ---------------------------------------------------------------------------------------


def _append_to_file(message: Message) -> DeliveryResult:
    if not settings.CHECKPOINT_FILE:
        return DeliveryResult(
            status=DeliveryStatus.NO_RECIPIENT, text="The checkpoint file is no longer configured."
        )
    try:
        append_checkpoint(path=Path(settings.CHECKPOINT_FILE), note=message.data["note"])
    except CheckpointFileError as error:
        return DeliveryResult(status=DeliveryStatus.FAILED, text=str(error)[:200])
    return DeliveryResult(status=DeliveryStatus.DELIVERED, text="Saved to the file")
