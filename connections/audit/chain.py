"""The form of the record: canonical text, hash chain and Merkle tree. docs/EVIDENCE.md defines it.

Nothing here knows a database. What these functions give for a text may never change: stored
events, and checkpoints that have left the server, depend on it.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

FORMAT = 1
NO_HASH = bytes(32)
_EVENT_TAG = b"orgadmin audit event 1\n"
_VALUE_TAG = b"orgadmin erasable value 1\n"


def canonical_text(document: Mapping[str, Any]) -> str:
    """The one text that stands for a document of strings, whole numbers, booleans and nulls.

    Characters that no database or encoding can hold are replaced. Raises TypeError for anything
    else, a number with a fraction among them: two programs might write it differently.
    """
    return json.dumps(
        _clean(document), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def clean(text: str) -> str:
    """The text without what no database or encoding can hold."""
    if "\x00" in text:
        text = text.replace("\x00", "\ufffd")
    if not text.isascii():
        # A lone surrogate, as JSON may smuggle one in.
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    # The plain string of an enum's member.
    return str(text)


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("A key in the record is a string.")
        return {clean(key): _clean(each) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [_clean(each) for each in value]
    raise TypeError(f"The record cannot hold a {type(value).__name__}.")


def event_hash(previous: bytes, text: bytes) -> bytes:
    """The hash of an event: over the previous one's (NO_HASH for the first) and its own text."""
    return hashlib.sha256(
        b"%b%b%b%b" % (_EVENT_TAG, previous, len(text).to_bytes(8, "big"), text)
    ).digest()


def commitment(*, salt: bytes, kind: str, value: str) -> str:
    """What an event holds of an erasable value: 64 hex digits, telling nothing without the salt."""
    parts = [_VALUE_TAG, salt]
    for part in (kind.encode(), value.encode()):
        parts += [len(part).to_bytes(8, "big"), part]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def leaf_hash(text: bytes) -> bytes:
    """The leaf of RFC 6962 for an event's text."""
    return hashlib.sha256(b"\x00" + text).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The inner node of RFC 6962."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def extend(frontier: list[bytes], *, size: int, leaf: bytes) -> None:
    """Add a leaf to a tree of `size` leaves, of which `frontier` holds the full subtrees' roots.

    The largest stands first; there is one for each bit that is set in the size.
    """
    node = leaf
    while size & 1:
        node = node_hash(frontier.pop(), node)
        size >>= 1
    frontier.append(node)


def root_of(frontier: Sequence[bytes]) -> bytes:
    """The tree's root as RFC 6962 defines it."""
    if not frontier:
        return hashlib.sha256(b"").digest()
    root = frontier[-1]
    for node in reversed(frontier[:-1]):
        root = node_hash(node, root)
    return root


def format_frontier(frontier: Sequence[bytes]) -> str:
    """The frontier as one row keeps it: hex, the largest subtree first."""
    return b"".join(frontier).hex()


def parse_frontier(text: str) -> list[bytes]:
    """The frontier that a row keeps. Raises ValueError when it is none."""
    data = bytes.fromhex(text)
    if len(data) % 32:
        raise ValueError("A frontier is made of hashes of 32 bytes.")
    return [data[start : start + 32] for start in range(0, len(data), 32)]
