"""The format of the audit log: canonical text, hash chain and the frontier of the Merkle tree.

docs/EVIDENCE.md defines it. The hashes of the tree's leaves and nodes are in
connections/verifier/merkle.py, because offline verification needs them too. The results of these
functions must never change: stored events, and checkpoints that have left the server, depend on
them.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from connections.verifier.merkle import node_hash

FORMAT = 1
NO_HASH = bytes(32)
_EVENT_TAG = b"orgadmin audit event 1\n"


def canonical_text(document: Mapping[str, Any]) -> str:
    """The canonical JSON of a document of strings, whole numbers, booleans and nulls.

    Replaces characters that no database or encoding can hold. Raises TypeError for other values,
    floats included: two programs might write them differently.
    """
    return json.dumps(
        _clean(document), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def clean(text: str) -> str:
    """The text with every character that no database or encoding can hold replaced."""
    if "\x00" in text:
        text = text.replace("\x00", "\ufffd")
    if not text.isascii():
        # JSON escapes can produce lone surrogates.
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    # Turns an enum member into a plain string.
    return str(text)


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("A key in an event must be a string.")
        return {clean(key): _clean(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [_clean(item) for item in value]
    raise TypeError(f"An event can't contain a {type(value).__name__}.")


def event_hash(previous: bytes, text: bytes) -> bytes:
    """The hash of an event, over the previous hash (NO_HASH for the first) and its text."""
    return hashlib.sha256(
        b"%b%b%b%b" % (_EVENT_TAG, previous, len(text).to_bytes(8, "big"), text)
    ).digest()


def extend(frontier: list[bytes], *, size: int, leaf: bytes) -> None:
    """Add a leaf to a tree of `size` leaves.

    `frontier` holds the roots of its full subtrees, the largest first: one for each bit set in
    `size`.
    """
    node = leaf
    while size & 1:
        node = node_hash(frontier.pop(), node)
        size >>= 1
    frontier.append(node)


def root_of(frontier: Sequence[bytes]) -> bytes:
    """The root of the tree, as RFC 6962 defines it."""
    if not frontier:
        return hashlib.sha256(b"").digest()
    root = frontier[-1]
    for node in reversed(frontier[:-1]):
        root = node_hash(node, root)
    return root


def format_frontier(frontier: Sequence[bytes]) -> str:
    """The frontier as AuditHead stores it: hex, the largest subtree first."""
    return b"".join(frontier).hex()


def parse_frontier(text: str) -> list[bytes]:
    """The frontier in a stored text. Raises ValueError."""
    data = bytes.fromhex(text)
    if len(data) % 32:
        raise ValueError("A frontier is made of hashes of 32 bytes.")
    return [data[start : start + 32] for start in range(0, len(data), 32)]
