"""Signed messages to the one address that is set, in the form of Standard Webhooks.

The signature is HMAC-SHA256 over `id.timestamp.body`, so that existing libraries verify it. It is
sent as a request to Datadog is: one deadline for all of it, no redirect, no variable of the
environment, a bounded answer, certificates always verified. It knows no model.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from connections.core.private_files import (
    PrivateFileError,
    create_private_text_once,
    read_private_text,
)
from connections.core.secret import Secret
from connections.net.connection import Endpoint
from connections.net.http import OutboundRequest, OutboundResponse, send
from connections.net.urls import origin_of

DEADLINE_SECONDS = 10.0
CONNECT_SECONDS = 5.0
# Of the answer: its status is all that counts.
MAX_BODY = 4096
USER_AGENT = "OrgAdmin-Webhook/1"
_PREFIX = "whsec_"
_MIN_BYTES = 24


class WebhookSecretError(Exception):
    """The secret is missing, malformed or readable by others. The text never holds it."""


@dataclass(frozen=True, kw_only=True)
class Webhook:
    """Where messages go and how; `proxy_url` and `ca_bundle` may be empty."""

    url: str
    proxy_url: str
    ca_bundle: str

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(
            base_url=origin_of(self.url),
            proxy_url=self.proxy_url or None,
            ca_bundle=self.ca_bundle or None,
        )


def new_secret_text() -> str:
    """A new secret as it stands in its file."""
    return f"{_PREFIX}{base64.b64encode(secrets.token_bytes(32)).decode()}"


def load_secrets(path: Path, *, make: bool) -> tuple[Secret, ...]:
    """The secrets in the file, one a line: while one is replaced, messages are signed with both.

    With `make`, a file that is not there is made. Raises WebhookSecretError.
    """
    try:
        text = create_private_text_once(path, new_secret_text) if make else read_private_text(path)
    except PrivateFileError as error:
        raise WebhookSecretError(str(error)) from None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines or not all(_is_usable(line) for line in lines):
        raise WebhookSecretError(
            f"{path} must hold `whsec_` and at least 24 bytes in base64, one secret a line."
        )
    return tuple(Secret(line) for line in lines)


def _is_usable(line: str) -> bool:
    return line.startswith(_PREFIX) and len(_decoded(line)) >= _MIN_BYTES


def _decoded(line: str) -> bytes:
    try:
        return base64.b64decode(line.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        return b""


def signed_headers(
    *, message_id: str, timestamp: int, body: bytes, keys: Sequence[Secret]
) -> dict[str, str]:
    """The three headers of Standard Webhooks. `timestamp`: seconds since 1970."""
    signed = b"%b.%d.%b" % (message_id.encode(), timestamp, body)
    signatures = [
        base64.b64encode(hmac.digest(_decoded(key.reveal()), signed, hashlib.sha256)).decode()
        for key in keys
    ]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


def post(
    *,
    webhook: Webhook,
    message_id: str,
    timestamp: int,
    body: bytes,
    keys: Sequence[Secret],
    deadline_seconds: float = DEADLINE_SECONDS,
) -> OutboundResponse:
    """Send one JSON document once. Never raises for trouble of the network."""
    headers = signed_headers(message_id=message_id, timestamp=timestamp, body=body, keys=keys)
    headers["Content-Type"] = "application/json"
    return _send(webhook, method="POST", headers=headers, body=body, seconds=deadline_seconds)


def probe(*, webhook: Webhook) -> OutboundResponse:
    """Ask for the address with HEAD, which changes nothing: any status means that it answers."""
    return _send(webhook, method="HEAD", headers={}, body=None, seconds=CONNECT_SECONDS)


def _send(
    webhook: Webhook, *, method: str, headers: dict[str, str], body: bytes | None, seconds: float
) -> OutboundResponse:
    request = OutboundRequest(
        method=method,
        url=webhook.url,
        keys={},
        headers=headers,
        body=body,
        user_agent=USER_AGENT,
        deadline_seconds=seconds,
        connect_seconds=CONNECT_SECONDS,
        max_body=MAX_BODY,
    )
    return send(endpoint=webhook.endpoint, request=request)
