"""JSON of the one form that bundles use, and the encodings in it."""

from __future__ import annotations

import base64
import binascii
import json
from datetime import datetime
from typing import Any

from connections.verifier.messages import VerificationFailed, require


def load_json(data: bytes, what: str) -> Any:
    """A JSON document. Refuses duplicate keys, fractions and numbers of more than 19 digits."""
    try:
        return json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_no_number,
            parse_constant=_no_number,
        )
    except (ValueError, RecursionError):
        raise VerificationFailed("{} is not valid JSON of the expected form.", what) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("duplicate key")
    return document


def _integer(digits: str) -> int:
    if len(digits) > 19:
        raise ValueError("number too long")
    return int(digits)


def _no_number(digits: str) -> int:
    raise ValueError("not an integer")


def get(document: Any, key: str, kind: type, what: str) -> Any:
    """The value of a key, which must have exactly this type."""
    value = document.get(key) if type(document) is dict else None
    require(type(value) is kind, "{} has no valid “{}”.", what, key)
    return value


def decode_base64(text: Any, length: int, what: str) -> bytes:
    """The `length` bytes of `text`, which must be canonical base64."""
    try:
        data = base64.b64decode(text, validate=True) if type(text) is str else b""
    except (binascii.Error, ValueError):
        data = b""
    if len(data) != length or base64.b64encode(data).decode() != text:
        raise VerificationFailed("{} is not valid base64 of {} bytes.", what, length)
    return data


def decode_hex(text: str) -> bytes:
    """The bytes of a salt in hex."""
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise VerificationFailed("A salt is not valid hex.") from None


def parse_time(text: str) -> datetime:
    """The time in a text. Raises VerificationFailed."""
    try:
        at = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise VerificationFailed("A time in the bundle is not valid.")
    return at
