"""Signs messages and sends them to the configured webhook, following Standard Webhooks.

messages.py builds their JSON. The signature is HMAC-SHA256 of `id.timestamp.body`, which existing
libraries can verify. The limits are the same as for requests to Datadog: one deadline for
everything, no redirects, no proxy settings from the environment, a bounded response, and
certificates always verified.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from pathlib import Path

from django.conf import settings

from connections.core.private_files import (
    PrivateFileError,
    create_private_text_once,
    read_private_text,
)
from connections.core.secret import Secret
from connections.net.http import OutboundRequest, OutboundResponse, send

DEADLINE_SECONDS = 10.0
CONNECT_SECONDS = 5.0
# Only the response's status is used.
MAX_RESPONSE_BYTES = 4096
USER_AGENT = "OrgAdmin-Webhook/1"
_PREFIX = "whsec_"
_MIN_SECRET_BYTES = 24


def new_secret_text() -> str:
    """The content of a file with one new secret."""
    return f"{_PREFIX}{base64.b64encode(secrets.token_bytes(32)).decode()}"


def load_secrets(path: Path, *, make: bool) -> tuple[Secret, ...]:
    """The secrets in the file, one per line. For rotation, messages are signed with each of them.

    With `make`, creates a missing file. Raises PrivateFileError, without any of the secrets.
    """
    text = create_private_text_once(path, new_secret_text) if make else read_private_text(path)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines or not all(_is_usable(line) for line in lines):
        raise PrivateFileError(
            f"{path} must contain one secret per line: `{_PREFIX}` and at least "
            f"{_MIN_SECRET_BYTES} bytes in base64."
        )
    return tuple(Secret(line) for line in lines)


def _is_usable(line: str) -> bool:
    return line.startswith(_PREFIX) and len(_decode_secret(line)) >= _MIN_SECRET_BYTES


def _decode_secret(line: str) -> bytes:
    try:
        return base64.b64decode(line.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        return b""


def signed_headers(
    *, message_id: str, timestamp: int, body: bytes, keys: Sequence[Secret]
) -> dict[str, str]:
    """The three headers of Standard Webhooks. `timestamp` is in Unix seconds."""
    signed = b"%b.%d.%b" % (message_id.encode(), timestamp, body)
    signatures = [
        base64.b64encode(hmac.digest(_decode_secret(key.reveal()), signed, hashlib.sha256)).decode()
        for key in keys
    ]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


def post(
    *,
    message_id: str,
    timestamp: int,
    body: bytes,
    keys: Sequence[Secret],
) -> OutboundResponse:
    """Send one JSON document once. Never raises network errors; the result contains them."""
    headers = signed_headers(message_id=message_id, timestamp=timestamp, body=body, keys=keys)
    return _post(url=settings.WEBHOOK_URL, headers=headers, body=body)


def post_to_slack(*, body: bytes) -> OutboundResponse:
    """Send one JSON document to Slack once, unsigned, as `post` does."""
    return _post(url=settings.SLACK_URL, headers={}, body=body)


def _post(*, url: str, headers: dict[str, str], body: bytes) -> OutboundResponse:
    headers = headers | {"Content-Type": "application/json"}
    return _send(method="POST", url=url, headers=headers, body=body, seconds=DEADLINE_SECONDS)


def probe(*, url: str) -> OutboundResponse:
    """Send a HEAD request, which changes nothing. Any status shows that the receiver responds."""
    return _send(method="HEAD", url=url, headers={}, body=None, seconds=CONNECT_SECONDS)


def _send(
    *, method: str, url: str, headers: dict[str, str], body: bytes | None, seconds: float
) -> OutboundResponse:
    request = OutboundRequest(
        method=method,
        url=url,
        keys={},
        headers=headers,
        body=body,
        user_agent=USER_AGENT,
        deadline_seconds=seconds,
        connect_seconds=CONNECT_SECONDS,
        max_body=MAX_RESPONSE_BYTES,
        route=settings.OUTBOUND_ROUTE,
    )
    return send(request=request)
