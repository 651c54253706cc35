"""Signed notes: checkpoints, and the rotations between the keys that sign them."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from connections.verifier.ed25519 import IsSigned, is_signed
from connections.verifier.messages import VerificationFailed, require
from connections.verifier.strict_json import decode_base64


def fingerprint_of(public_key: bytes) -> str:
    """The key's fingerprint, which people compare through a different channel."""
    return hashlib.sha256(public_key).hexdigest()


def key_id(origin: str, public_key: bytes) -> bytes:
    """The four bytes that identify the key in a signature. They prove nothing."""
    return hashlib.sha256(origin.encode() + b"\n\x01" + public_key).digest()[:4]


class Signature(NamedTuple):
    """A parsed signature line. `data` is the key ID followed by the signature, 68 bytes."""

    name: str
    data: bytes


class CheckpointNote(NamedTuple):
    """A parsed checkpoint. `body` is what is signed. The signature has not been verified."""

    origin: str
    size: int
    root: bytes
    body: bytes
    signature: Signature


def parse_signature(line: bytes, what: str) -> Signature:
    """The signature in a line. Raises VerificationFailed."""
    match = re.fullmatch("\u2014 (\\S+) (\\S+)\n", line.decode("utf-8", "replace"))
    if not match:
        raise VerificationFailed("{} has no valid signature line.", what)
    return Signature(match[1], decode_base64(match[2], 68, f"The signature of {what}"))


def parse_checkpoint(data: bytes, what: str) -> CheckpointNote:
    """The checkpoint in a text, without verifying its signature. Raises VerificationFailed."""
    body, blank, line = data.partition(b"\n\n")
    lines = body.decode("utf-8", "replace").split("\n")
    require(blank and len(lines) == 3, "{} is not a checkpoint.", what)
    origin, size, root = lines
    require(re.fullmatch("0|[1-9][0-9]{0,18}", size, re.ASCII), "{} has no valid size.", what)
    decoded = decode_base64(root, 32, f"The root of {what}")
    return CheckpointNote(origin, int(size), decoded, body + b"\n", parse_signature(line, what))


def find_signer(
    body: bytes,
    signature: Signature,
    origin: str,
    keys: Iterable[bytes],
    is_signed: IsSigned = is_signed,
) -> bytes | None:
    """The key among `keys` that signed the body under the log's name, or None."""
    for key in keys:
        is_named = signature.name == origin and signature.data[:4] == key_id(origin, key)
        if is_named and is_signed(key, body, signature.data[4:]):
            return key
    return None


def require_signed(
    body: bytes, signature: Signature, origin: str, keys: Iterable[bytes], what: str
) -> None:
    """Raise VerificationFailed unless one of the keys signed the body."""
    require(signature.name == origin, "{} is signed with a name other than {}.", what, origin)
    is_trusted = find_signer(body, signature, origin, keys) is not None
    require(is_trusted, "{} is not signed by a trusted key.", what)


def read_checkpoint(data: bytes, origin: str, keys: Iterable[bytes], what: str) -> CheckpointNote:
    """The checkpoint in a text, if it is of this log and signed by one of the keys."""
    checkpoint = parse_checkpoint(data, what)
    is_ours = checkpoint.origin == origin
    require(is_ours, "{} belongs to a different audit log than {}.", what, origin)
    require_signed(checkpoint.body, checkpoint.signature, origin, keys, what)
    return checkpoint


def rotation_statement(origin: str, size: int, old: bytes, new: bytes) -> bytes:
    """What both keys sign when `new` replaces `old` after `size` events."""
    lines = ["orgadmin signing key rotation 1", origin, str(size), _base64(old), _base64(new)]
    return "".join(f"{line}\n" for line in lines).encode()


def require_rotation(
    details: dict[str, Any],
    seq: int,
    origin: str,
    old: bytes,
    new: bytes,
    is_signed: IsSigned = is_signed,
) -> None:
    """Raise VerificationFailed unless event `seq` with these details replaces `old` with `new`."""
    keys = ("origin", "size", "previous_public_key", "public_key")
    expected = [origin, seq - 1, _base64(old), _base64(new)]
    is_valid = [details.get(key) for key in keys] == expected
    statement = rotation_statement(origin, seq - 1, old, new)
    for key, name in ((old, "signature_by_previous"), (new, "signature_by_new")):
        signature = decode_base64(details.get(name), 64, f"A signature in event {seq}")
        is_valid = is_valid and is_signed(key, statement, signature)
    require(is_valid, "Event {} is not a valid rotation from one key to the next.", seq)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
