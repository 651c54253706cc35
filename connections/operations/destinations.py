"""Whether notices could leave: mail server, webhook, file of checkpoints, token for metrics."""

from collections.abc import Iterator
from pathlib import Path

from django.conf import settings
from django.core.mail import mailers

from connections.net.urls import origin_of
from connections.notifications import channels, checkpoint_file, webhooks
from connections.operations import metrics_token
from connections.operations.findings import Finding, error, ok, warning


def look() -> Iterator[Finding]:
    """One finding for each destination that is set; asks each, and sends nothing."""
    yield from _mail()
    yield from _webhook()
    yield from _checkpoint_file()
    yield from _metrics()


def _mail() -> Iterator[Finding]:
    if not settings.HAS_MAIL:
        yield ok("mail", "None is sent (EMAIL_URL is not set); make_sign_in_link lets people in.")
        if settings.CHECKPOINT_EMAILS:
            yield warning(
                "mail", "Nobody gets checkpoints by mail without EMAIL_URL.", "Set EMAIL_URL."
            )
        return
    try:
        with mailers.default:
            yield ok("mail", f"The server answers; sent as {settings.DEFAULT_FROM_EMAIL}.")
    except (OSError, ValueError) as failure:
        # Not its text, which may repeat what it was given.
        what = type(failure).__name__
        yield error("mail", f"The server cannot be used: {what}.", "Look at EMAIL_URL.")


def _webhook() -> Iterator[Finding]:
    if not settings.WEBHOOK_URL:
        return
    where = origin_of(settings.WEBHOOK_URL)
    path = Path(settings.WEBHOOK_SECRET_FILE)
    try:
        if path.exists() or not settings.DATABASE_IS_SQLITE:
            webhooks.load_secrets(path, make=False)
    except webhooks.WebhookSecretError as failure:
        hint = "docs/OPERATIONS.md, “Notices”, says how to make it."
        yield error("webhook", str(failure), hint)
    reply = webhooks.probe(webhook=channels.webhook())
    if reply.status is None:
        cause = str(reply.cause).replace("_", " ")
        hint = "Look at ORGADMIN_WEBHOOK_URL, ORGADMIN_HTTP_PROXY and ORGADMIN_CA_BUNDLE."
        yield error("webhook", f"{where} does not answer: {cause}.", hint)
    else:
        yield ok("webhook", f"{where} answers; its secret is {path}.")


def _checkpoint_file() -> Iterator[Finding]:
    if not settings.CHECKPOINT_FILE:
        return
    path = Path(settings.CHECKPOINT_FILE)
    try:
        checkpoint_file.check(path)
        yield ok("checkpoint file", f"{path} can be appended to.")
    except checkpoint_file.CheckpointFileError as failure:
        hint = "Look at ORGADMIN_CHECKPOINT_FILE."
        yield error("checkpoint file", f"{path}: {failure}", hint)


def _metrics() -> Iterator[Finding]:
    try:
        if metrics_token.load() is not None:
            yield ok("metrics", "/metrics can be read with the token.")
    except metrics_token.MetricsTokenError as failure:
        yield error("metrics", str(failure), "Look at ORGADMIN_METRICS_TOKEN_FILE.")
