"""The file to which checkpoints are appended, for whoever keeps it out of our reach."""

import os
import re
import smtplib
import stat
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings
from django.core.mail import EmailMessage, mailers
from django.core.validators import validate_email

from connections import wording
from connections.audit import outbox
from connections.core import clock
from connections.models import Notification
from connections.notifications import webhooks
from connections.notifications.messages import Message


class CheckpointFileError(Exception):
    """The file cannot be written; the text says why."""


def append_checkpoint(*, path: Path, note: str) -> None:
    """Add a checkpoint and an empty line, and wait until the disk has them.

    A file that is not there is made with mode 0600; a symbolic link is refused. Raises
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
        raise CheckpointFileError(f"The file cannot be written ({error.strerror}).") from None


def check_checkpoint_file(path: Path) -> None:
    """Raise CheckpointFileError unless it could be appended to; makes nothing."""
    if not path.exists() and not path.is_symlink():
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise CheckpointFileError(f"{path.parent} cannot be written by this user.")
        return
    try:
        os.close(_open(path, make=False))
    except OSError as error:
        raise CheckpointFileError(f"The file cannot be written ({error.strerror}).") from None


def _open(path: Path, *, make: bool = True) -> int:
    # Not blocking, so that a named pipe in its place is refused, not waited for.
    flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    descriptor = os.open(path, flags | (os.O_CREAT if make else 0), 0o600)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise CheckpointFileError("It is no regular file.")
    return descriptor


def _write(descriptor: int, data: bytes) -> None:
    # One call, so that two processes do not mix; a full disk leaves a part, which is told.
    if os.write(descriptor, data) != len(data):
        raise OSError(0, "only a part fitted")


_HTTP_OK = range(200, 300)
_GONE = 410
_ADDRESS = re.compile(r"\S*@\S*")


class DeliveryStatus(StrEnum):
    """What one sending came to."""

    DELIVERED = "delivered"
    FAILED = "failed"  # to be tried again
    REFUSED = "refused"  # it asks not to be told any more
    NOBODY = "nobody"  # there is nobody to tell any more


@dataclass(frozen=True, kw_only=True)
class DeliveryResult:
    """What came back. `words` hold no address, no key and nothing of a webhook's answer."""

    verdict: DeliveryStatus
    words: str
    status: int | None = None
    # When the far end asked to be tried again (s), if it did.
    retry_after_seconds: int | None = None


def send(*, notice: Notification, message: Message) -> DeliveryResult:
    """Send it once, within a deadline. Never raises for trouble of the network."""
    match Notification.Channel(notice.channel):
        case Notification.Channel.MAIL:
            return _send_mail(notice, message)
        case Notification.Channel.WEBHOOK:
            return _send_webhook(notice, message)
        case Notification.Channel.FILE:
            return _append_to_file(message)


def mail_address(notice: Notification) -> str:
    """Where its mail goes now; "" when there is nobody any more."""
    if notice.person is not None:
        return notice.person.email if notice.person.is_active else ""
    kept = {outbox.address_key(address): address for address in settings.CHECKPOINT_EMAILS}
    return kept.get(notice.address_key, "")


# --- Mail ---------------------------------------------------------------------------------------


def _send_mail(notice: Notification, message: Message) -> DeliveryResult:
    address = mail_address(notice)
    if not settings.HAS_MAIL or not address:
        return DeliveryResult(
            verdict=DeliveryStatus.NOBODY, words="There is nobody to tell any more."
        )
    mail = EmailMessage(
        subject=message.subject,
        body=message.as_text(),
        to=[address],
        headers={
            # The same for each try, so that a mail program shows it once.
            "Message-ID": f"<{notice.pk}@{_own_hostname()}>",
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
        verdict=DeliveryStatus.DELIVERED, words="The mail server took it.", status=250
    )


def _own_hostname() -> str:
    return urlsplit(settings.BASE_URL).hostname or "orgadmin.invalid"


def _mail_failure(error: Exception, *, address: str) -> DeliveryResult:
    status, said = None, ""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        [(status, said_bytes)] = list(error.recipients.values())[:1]
        said = said_bytes.decode(errors="replace")
    elif isinstance(error, smtplib.SMTPAuthenticationError):
        # Nothing of what it says: some servers repeat what they were given.
        status = error.smtp_code
    elif isinstance(error, smtplib.SMTPResponseException):
        status, raw = error.smtp_code, error.smtp_error
        said = raw.decode(errors="replace") if isinstance(raw, bytes) else str(raw)
    words = _MAIL_FAILURE_TEXTS.get(
        type(error), f"The mail could not be sent: {type(error).__name__}."
    )
    if said:
        said = wording.one_line(_ADDRESS.sub("…", said.replace(address, "…")), limit=120)
        words = f"{words} It says: “{said}”"
    # A code that is no refusal is what was left of an answer that was cut.
    status = status if status in range(400, 600) else None
    return DeliveryResult(verdict=DeliveryStatus.FAILED, words=words, status=status)


_MAIL_FAILURE_TEXTS: dict[type[Exception], str] = {
    smtplib.SMTPRecipientsRefused: "The mail server refuses this address.",
    smtplib.SMTPAuthenticationError: "The mail server does not accept the user name or password.",
    smtplib.SMTPServerDisconnected: "The mail server hung up, or did not answer in time.",
    ConnectionRefusedError: "The mail server’s port is closed.",
    TimeoutError: "The mail server did not answer in time.",
}


# --- Webhook ------------------------------------------------------------------------------------


def configured_webhook() -> webhooks.Webhook:
    """The webhook of the settings; ask only where there is one."""
    return webhooks.Webhook(
        url=settings.WEBHOOK_URL,
        proxy_url=settings.DATADOG_PROXY,
        ca_bundle=settings.DATADOG_CA_BUNDLE,
    )


def _send_webhook(notice: Notification, message: Message) -> DeliveryResult:
    if not settings.WEBHOOK_URL:
        return DeliveryResult(verdict=DeliveryStatus.NOBODY, words="No webhook is set any more.")
    try:
        keys = webhooks.load_secrets(
            Path(settings.WEBHOOK_SECRET_FILE), make=settings.DATABASE_IS_SQLITE
        )
    except webhooks.WebhookSecretError:
        return DeliveryResult(
            verdict=DeliveryStatus.FAILED,
            words="The file of ORGADMIN_WEBHOOK_SECRET_FILE cannot be used; `doctor` says why.",
        )
    reply = webhooks.post(
        webhook=configured_webhook(),
        message_id=str(notice.pk),
        timestamp=int(clock.now().timestamp()),
        body=message.as_json(),
        keys=keys,
    )
    if reply.status is None:
        cause = str(reply.cause).replace("_", " ")
        return DeliveryResult(verdict=DeliveryStatus.FAILED, words=f"No answer: {cause}.")
    return DeliveryResult(
        verdict=_webhook_status(reply.status),
        words=_webhook_text(reply.status),
        status=reply.status,
        retry_after_seconds=_parse_retry_after(reply.headers.get("retry-after", "")),
    )


def _webhook_status(status: int) -> DeliveryStatus:
    if status in _HTTP_OK:
        return DeliveryStatus.DELIVERED
    return DeliveryStatus.REFUSED if status == _GONE else DeliveryStatus.FAILED


def _webhook_text(status: int) -> str:
    if status in _HTTP_OK:
        return f"The receiver took it ({status})."
    if status == _GONE:
        return "The receiver wants to be told no more (410)."
    if status in range(300, 400):
        return f"The receiver leads elsewhere ({status}), where we do not follow."
    return f"The receiver answered {status}."


def _parse_retry_after(text: str) -> int | None:
    # Only the form in seconds; of a date we keep to our own times.
    return int(text) if text.isascii() and text.isdigit() and len(text) < 8 else None


# --- File ---------------------------------------------------------------------------------------


def _append_to_file(message: Message) -> DeliveryResult:
    if not settings.CHECKPOINT_FILE:
        return DeliveryResult(verdict=DeliveryStatus.NOBODY, words="No file is set any more.")
    try:
        append_checkpoint(path=Path(settings.CHECKPOINT_FILE), note=message.data["note"])
    except CheckpointFileError as error:
        return DeliveryResult(verdict=DeliveryStatus.FAILED, words=str(error)[:200])
    return DeliveryResult(
        verdict=DeliveryStatus.DELIVERED, words="It was appended and is on the disk."
    )
