#!/usr/bin/env python3
"""Verify an evidence bundle of Org Admin, offline.

    python3 -I verify.py bundle.zip [--fingerprint HEX] [--checkpoint FILE]

A single file for Python 3.9 or newer that needs only the standard library. It opens no connection
and writes nothing. With -I, Python imports no module from this file's folder. Org Admin's
docs/EVIDENCE.md describes every format that this file reads, so that anyone can write another
verifier. Get this file and the key's fingerprint separately from the bundle: a forged bundle can
contain a verifier that accepts it.

Exit code 0: every check passed. 1: a check failed. 2: the bundle could not be checked.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import bisect
import hashlib
import heapq
import html
import json
import os
import re
import stat
import struct
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, BinaryIO, NamedTuple

# Otherwise an older Python would end with a traceback and 1, as if a check had failed.
if sys.version_info < (3, 9):  # noqa: UP036
    print("COULD NOT CHECK: this needs Python 3.9 or newer.")  # noqa: T201
    sys.exit(2)

FORMAT = "orgadmin evidence bundle 1"
# Every file of a bundle, in the archive's order.
FILE_NAMES = (
    "README.txt",
    "verify.py",
    "keys.json",
    "checkpoint.txt",
    "checkpoints.ndjson",
    "values.ndjson",
    "population.json",
    "sample-25.json",
    "deletions.json",
    "deletions.html",
    "access-review.json",
    "plan.json",
    "events.ndjson",
    "manifest.json",
    "manifest.sig",
)
MANIFEST_FILES = FILE_NAMES[:-2]
# The first is only in the bundle of an access review, the second only in that of a bulk deletion.
ACCESS_REVIEW_FILE, PLAN_FILE = OPTIONAL_FILES = ("access-review.json", "plan.json")
# The types of an event's subject.
DELETION, ACCESS_REVIEW, BATCH = "deletion", "access_review", "batch"
SAMPLE_SIZE = 25
CHUNK_SIZE = 1 << 20
# Limits memory use: longer lines, and longer files that are read as a whole, are refused.
MAX_LINE_BYTES = 8 << 20
MAX_EVENTS_PER_RECORD = 50_000
MAX_PLAN_ROWS = 50_000


class VerificationFailed(Exception):
    """A check failed. The message says which one."""


class UncheckedError(Exception):
    """The bundle could not be checked. The message says why."""


def pluralize(number: int, noun: str) -> str:
    """The number with its noun."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def open_regular(path: str) -> BinaryIO:
    """Open a regular file for reading. Reading a pipe or a device might never end."""
    handle = open(path, "rb", opener=_open_without_waiting)  # noqa: SIM115 - the caller closes it
    if not stat.S_ISREG(os.fstat(handle.fileno()).st_mode):
        handle.close()
        raise UncheckedError(f"{path} is not a regular file. Save it as one first.")
    return handle


def _open_without_waiting(path: str, flags: int) -> int:
    # Windows has no O_NONBLOCK and no pipes in its file system.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def require(condition: object, failure: str) -> None:
    """Raise VerificationFailed with this message unless the condition is true."""
    if not condition:
        raise VerificationFailed(failure)


# --- Strict JSON --------------------------------------------------------------------------------


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
        raise VerificationFailed(f"{what} is not valid JSON of the expected form.") from None


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
    require(type(value) is kind, f"{what} has no valid “{key}”.")
    return value


def decode_base64(text: Any, length: int, what: str) -> bytes:
    """The `length` bytes of `text`, which must be canonical base64."""
    try:
        data = base64.b64decode(text, validate=True) if type(text) is str else b""
    except (binascii.Error, ValueError):
        data = b""
    if len(data) != length or base64.b64encode(data).decode() != text:
        raise VerificationFailed(f"{what} is not valid base64 of {length} bytes.")
    return data


# --- Ed25519 (RFC 8032), verification only ------------------------------------------------------

_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, _P - 2, _P) % _P
_ROOT_OF_MINUS_ONE = pow(2, (_P - 1) // 4, _P)
# A function of a public key, a message and a signature: whether the key signed the message.
IsSigned = Callable[[bytes, bytes, bytes], bool]
# A point as (X, Y, Z, T): x = X/Z, y = Y/Z, xy = T/Z.
_Point = tuple[int, int, int, int]
_NEUTRAL: _Point = (0, 1, 1, 0)


def _add(a: _Point, b: _Point) -> _Point:
    m = (a[1] - a[0]) * (b[1] - b[0]) % _P
    n = (a[1] + a[0]) * (b[1] + b[0]) % _P
    t, z = 2 * a[3] * b[3] * _D % _P, 2 * a[2] * b[2] % _P
    e, f, g, h = n - m, z - t, z + t, n + m
    return (e * f % _P, g * h % _P, f * g % _P, e * h % _P)


def _decompress(data: bytes) -> _Point | None:
    number = int.from_bytes(data, "little")
    sign, y = number >> 255, number & ((1 << 255) - 1)
    if y >= _P:
        return None
    square = (y * y - 1) * pow(_D * y * y + 1, _P - 2, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * _ROOT_OF_MINUS_ONE % _P
    if (x * x - square) % _P or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = _P - x
    return (x, y, 1, x * y % _P)


def _compress(point: _Point) -> bytes:
    inverse = pow(point[2], _P - 2, _P)
    x, y = point[0] * inverse % _P, point[1] * inverse % _P
    number: int = y | (x & 1) << 255
    return number.to_bytes(32, "little")


_BASE = _decompress((4 * pow(5, _P - 2, _P) % _P).to_bytes(32, "little")) or _NEUTRAL


def is_signed(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the key made this signature. False for encodings that RFC 8032 forbids."""
    if len(public_key) != 32 or len(signature) != 64:
        return False
    point, s = _decompress(public_key), int.from_bytes(signature[32:], "little")
    if point is None or s >= _L:
        return False
    double = _add(point, point)
    times_four = _add(double, double)
    if _compress(_add(times_four, times_four)) == _compress(_NEUTRAL):
        # With a key of small order, anything can be made to look signed.
        return False
    digest = hashlib.sha512(signature[:32] + public_key + message).digest()
    k = int.from_bytes(digest, "little") % _L
    minus = (_P - point[0], point[1], 1, _P - point[3])
    # s·B − k·A, computed together.
    table = (_NEUTRAL, _BASE, minus, _add(_BASE, minus))
    result: _Point = _NEUTRAL
    for bit in range(max(s.bit_length(), k.bit_length()) - 1, -1, -1):
        result = _add(result, result)
        which = (s >> bit & 1) | (k >> bit & 1) << 1
        if which:
            result = _add(result, table[which])
    return _compress(result) == signature[:32]


# --- The RFC 6962 tree --------------------------------------------------------------------------


def leaf_hash(text: bytes) -> bytes:
    """The leaf hash of an event's text."""
    return hashlib.sha256(b"\x00" + text).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of the node above two others."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_from_path(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """The root from leaf `index`, counted from 0, and its audit path. None for an invalid path."""
    if not 0 <= index < size:
        return None
    node, last = leaf, size - 1
    for sibling in path:
        if last == 0:
            return None
        if index & 1 or index == last:
            node = node_hash(sibling, node)
            while index and not index & 1:
                index, last = index >> 1, last >> 1
        else:
            node = node_hash(node, sibling)
        index, last = index >> 1, last >> 1
    return node if last == 0 else None


def is_prefix(
    old_size: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]
) -> bool:
    """Whether the consistency proof shows that the larger tree extends the smaller one."""
    if not 0 < old_size <= size:
        return False
    if old_size == size:
        return not proof and old_root == root
    nodes = list(proof)
    if old_size & (old_size - 1) == 0:
        nodes.insert(0, old_root)
    if not nodes:
        return False
    index, last = old_size - 1, size - 1
    while index & 1:
        index, last = index >> 1, last >> 1
    old = new = nodes[0]
    for node in nodes[1:]:
        if last == 0:
            return False
        if index & 1 or index == last:
            old, new = node_hash(node, old), node_hash(node, new)
            while index and not index & 1:
                index, last = index >> 1, last >> 1
        else:
            new = node_hash(new, node)
        index, last = index >> 1, last >> 1
    return last == 0 and old == old_root and new == root


# --- Signed notes -------------------------------------------------------------------------------


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


class Checkpoint(NamedTuple):
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
        raise VerificationFailed(f"{what} has no valid signature line.")
    return Signature(match[1], decode_base64(match[2], 68, f"The signature of {what}"))


def parse_checkpoint(data: bytes, what: str) -> Checkpoint:
    """The checkpoint in a text, without verifying its signature. Raises VerificationFailed."""
    body, blank, line = data.partition(b"\n\n")
    lines = body.decode("utf-8", "replace").split("\n")
    require(blank and len(lines) == 3, f"{what} is not a checkpoint.")
    origin, size, root = lines
    require(re.fullmatch("0|[1-9][0-9]{0,18}", size, re.ASCII), f"{what} has no valid size.")
    decoded = decode_base64(root, 32, f"The root of {what}")
    return Checkpoint(origin, int(size), decoded, body + b"\n", parse_signature(line, what))


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
    require(signature.name == origin, f"{what} is signed with a name other than {origin}.")
    is_trusted = find_signer(body, signature, origin, keys) is not None
    require(is_trusted, f"{what} is not signed by a trusted key.")


def read_checkpoint(data: bytes, origin: str, keys: Iterable[bytes], what: str) -> Checkpoint:
    """The checkpoint in a text, if it is of this log and signed by one of the keys."""
    checkpoint = parse_checkpoint(data, what)
    require(checkpoint.origin == origin, f"{what} belongs to a different audit log than {origin}.")
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
    require(is_valid, f"Event {seq} is not a valid rotation from one key to the next.")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


# --- The archive --------------------------------------------------------------------------------
# Files are stored uncompressed, and all other bytes follow from the files' names, sizes and
# checksums. So there is exactly one valid archive for these files, and it is compared byte by byte.


def local_header(name: str, crc: int, size: int) -> bytes:
    """The local header before a file."""
    head = struct.pack("<4s5H3L2H", b"PK\3\4", 10, 0, 0, 0, 0x21, crc, size, size, len(name), 0)
    return head + name.encode("ascii")


def central_header(name: str, crc: int, size: int, offset: int) -> bytes:
    """A file's entry in the central directory."""
    fields = (b"PK\1\2", 3 << 8 | 10, 10, 0, 0, 0, 0x21, crc, size, size, len(name))
    mode = 0o100644 << 16
    return struct.pack("<4s6H3L5H2L", *fields, 0, 0, 0, 0, mode, offset) + name.encode("ascii")


def end_record(count: int, size: int, offset: int) -> bytes:
    """The end record, for a central directory of this size in bytes at this offset."""
    return struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, size, offset, 0)


class Archive:
    """A bundle with a valid ZIP structure. Reads its files in pieces of limited size."""

    def __init__(self, path: str) -> None:
        self.path = path
        # Offset, size and SHA-256 of each file, by name.
        self.files: dict[str, tuple[int, int, str]] = {}
        with open_regular(path) as handle:
            self.length = handle.seek(0, 2)
            self._walk(handle)

    def _walk(self, handle: BinaryIO) -> None:
        offset, directory = 0, b""
        for name in FILE_NAMES:
            handle.seek(offset)
            head = handle.read(30 + len(name))
            if name in OPTIONAL_FILES and head[30:] != name.encode():
                continue
            if len(head) < 30 or head[:4] != b"PK\3\4":
                raise VerificationFailed(
                    f"The bundle is incomplete: {name} should begin at byte {offset}. Use the file "
                    "exactly as it was downloaded, not truncated and not repacked."
                )
            size = struct.unpack_from("<L", head, 22)[0]
            start = offset + 30 + len(name)
            require(start + size <= self.length, f"The archive ends inside {name}.")
            crc, digest = _checksums(handle, size)
            if head != local_header(name, crc, size):
                raise VerificationFailed(
                    f"The header of {name} at byte {offset} is not as expected: a file was "
                    "added, removed, replaced or changed, or the bundle was repacked."
                )
            self.files[name] = (start, size, digest)
            directory += central_header(name, crc, size, offset)
            offset = start + size
        handle.seek(offset)
        end = directory + end_record(len(self.files), len(directory), offset)
        rest = handle.read(len(end) + 1)
        require(rest == end, "The directory at the end of the archive does not match its files.")

    def read(self, name: str) -> bytes:
        """The content of a small file."""
        start, size, _ = self.files[name]
        require(size <= MAX_LINE_BYTES, f"{name} is too large.")
        with open_regular(self.path) as handle:
            handle.seek(start)
            return handle.read(size)

    def lines(self, name: str) -> Iterator[bytes]:
        """The lines of a file without line ends. Every line must end with U+000A."""
        start, left, _ = self.files[name]
        with open_regular(self.path) as handle:
            handle.seek(start)
            while left:
                line = handle.readline(min(left, MAX_LINE_BYTES))
                left -= len(line)
                require(line.endswith(b"\n"), f"A line of {name} is too long or has no line end.")
                yield line[:-1]


def _checksums(handle: BinaryIO, size: int) -> tuple[int, str]:
    crc, digest = 0, hashlib.sha256()
    while size:
        piece = handle.read(min(size, CHUNK_SIZE))
        if not piece:
            raise VerificationFailed("The file became shorter during the check.")
        crc = zlib.crc32(piece, crc)
        digest.update(piece)
        size -= len(piece)
    return crc, digest.hexdigest()


class Comparer:
    """Compares a file with its expected content, piece by piece."""

    def __init__(self, archive: Archive, name: str, handle: BinaryIO) -> None:
        start, self._left, _ = archive.files[name]
        self._name, self._handle = name, handle
        handle.seek(start)

    def expect(self, text: str) -> None:
        """Raise VerificationFailed unless the file continues with this."""
        data = text.encode("utf-8")
        self._left -= len(data)
        is_same = self._left >= 0 and self._handle.read(len(data)) == data
        require(is_same, f"{self._name} does not match deletions.json and the events.")

    def end(self) -> None:
        """Raise VerificationFailed unless the file ends here."""
        require(self._left == 0, f"{self._name} continues after its expected end.")


# --- Events and the names in them ---------------------------------------------------------------

_REFERENCE = re.compile(r"\{\{|\}\}|\{(?:name|address|agent):([0-9]+)\}", re.ASCII)


class Event:
    """One event, with references replaced by the values in the bundle."""

    def __init__(self, document: Any, shown: dict[str, str], what: str = "An event") -> None:
        actor = get(document, "actor", dict, what)
        self.seq: int = get(document, "seq", int, what)
        self.at: str = get(document, "at", str, what)
        self.code: str = get(document, "code", str, what)
        self.details: dict[str, Any] = get(document, "details", dict, what)
        self.refs: dict[str, Any] = get(document, "refs", dict, what)
        self.subject: Any = document.get("subject")
        self.actor_kind: str = get(actor, "kind", str, what)
        self.actor_id: Any = actor.get("id")
        name: str = get(actor, "name", str, what)
        self.actor: str = fill_in_values(name, shown)
        # A person's name is always a reference. For an erased person, it becomes a placeholder.
        self.is_actor_erased = name != self.actor and self.actor.startswith("erased person no. ")
        self.sentence: str = fill_in_values(get(document, "sentence", str, what), shown)

    @property
    def about(self) -> tuple[str, str]:
        """Type and ID of the deletion, access review or bulk deletion it is about, or empty."""
        subject = self.subject if type(self.subject) is dict else {}
        kind = str(subject.get("type"))
        is_record = kind in (DELETION, ACCESS_REVIEW, BATCH)
        return (kind, str(subject.get("id"))) if is_record else ("", "")


def fill_in_values(text: str, shown: dict[str, str]) -> str:
    """A text with its references replaced."""

    def read(match: re.Match[str]) -> str:
        if not match[1]:
            return match[0][0]
        require(match[1] in shown, f"Erasable value {match[1]} is missing.")
        return shown[match[1]]

    return _REFERENCE.sub(read, text)


def commitment_of(salt: bytes, kind: str, value: str) -> str:
    """The commitment to an erasable value, in the form that events contain."""
    data = b"orgadmin erasable value 1\n" + salt
    for part in (kind.encode(), value.encode()):
        data += len(part).to_bytes(8, "big") + part
    return hashlib.sha256(data).hexdigest()


def display_value(row: dict[str, Any]) -> str:
    """The value of a row of values.ndjson, or its placeholder if it was erased."""
    if row["value"] is not None:
        return str(row["value"])
    return erased_placeholder(row["kind"], row["number"], row["person_number"])


def erased_placeholder(kind: str, number: int, person_number: int) -> str:
    """The placeholder of an erased value."""
    if kind == "name":
        return f"erased person no. {person_number}"
    return f"erased {'browser' if kind == 'agent' else 'address'} no. {number}"


# --- Deletions compared with their events -------------------------------------------------------

# What the request event repeats unchanged.
_REQUEST_KEYS = (
    "site",
    "connection_id",
    "credential",
    "credential_fingerprint",
    "source_org",
    "sink_org",
    "connection_types",
    "is_reviewed",
    "policy",
    "reason",
    "ticket",
    "batch",
)
# From the key in an attempt's row to the key in the event of its response.
_RESPONSE_KEYS = {
    "verdict": "verdict",
    "http_status": "http_status",
    "errors": "errors",
    "body_sha256": "body_sha256",
    "duration_ms": "duration_ms",
    "cause": "response_cause",
    "headers": "headers",
    "body_is_complete": "body_is_complete",
}
_NEEDED = {"none": 0, "one": 1, "two": 2}
# Events that close a deletion. Its other events, such as a check, have their own causes.
_CLOSING = ("deletion.settled", "deletion.declined", "deletion.withdrawn")


def differences(row: dict[str, Any], events: Sequence[Event]) -> list[str]:
    """How a deletion in deletions.json differs from its events."""
    if not events or events[0].code != "deletion.requested":
        return ["it has no request event"]
    found = _request_differences(row, events[0])
    found += _people_differences(row, events)
    found += _break_glass_differences(row, events)
    found += _status_differences(row, events)
    found += _attempt_differences(row, events)
    return found


def _request_differences(row: dict[str, Any], requested: Event) -> list[str]:
    wrong = [key for key in _REQUEST_KEYS if row.get(key) != requested.details.get(key)]
    if not requested.sentence.startswith(f"{row.get('requested_by')} requested deletion of "):
        wrong.append("requested_by")
    if not _is_at(row.get("requested_at"), requested, "requested_at"):
        wrong.append("requested_at")
    return [f"“{key}” does not match the request event" for key in wrong]


def _people_differences(row: dict[str, Any], events: Sequence[Event]) -> list[str]:
    wrong = []
    # The approvals of the last attempt or, before the first attempt, the approvals so far.
    approved = approvals_of(_last(events, "deletion.sending"), events)
    if sorted(row.get("approved_by") or []) != sorted(event.actor for event in approved):
        wrong.append("approved_by")
    enough = [event for event in approved if event.details.get("missing") == 0]
    if not _is_at(row.get("approved_at"), enough[-1] if enough else None, "approved_at"):
        wrong.append("approved_at")
    rounds = rounds_of(events)
    if any(one.details.get("approval_round", n) != n for one, n in zip(events, rounds)):
        wrong.append("approval_round")
    confirmed = _last(events, "deletion.confirmed")
    if (row.get("confirmed_by") or "") != (confirmed.actor if confirmed else ""):
        wrong.append("confirmed_by")
    if not _is_at(row.get("confirmed_at"), confirmed, "confirmed_at"):
        wrong.append("confirmed_at")
    return [f"“{key}” does not match the events" for key in wrong]


def _break_glass_differences(row: dict[str, Any], events: Sequence[Event]) -> list[str]:
    row_facts = row.get("broke_glass")
    break_glass, reviewed = (
        _last(events, f"deletion.break_glass_{word}") for word in ("used", "reviewed")
    )
    if break_glass is None or type(row_facts) is not dict:
        is_same = row_facts is None and break_glass is None
    else:
        is_same = (
            row_facts.get("name") == break_glass.actor
            and row_facts.get("reason") == break_glass.details.get("reason")
            and _is_at(row_facts.get("at"), break_glass, "break_glass_at")
            and (row_facts.get("reviewed_by") or "") == (reviewed.actor if reviewed else "")
            and (row_facts.get("review_note") or "")
            == (reviewed.details["reason"] if reviewed else "")
            and _is_at(row_facts.get("reviewed_at"), reviewed, "reviewed_at")
        )
    return [] if is_same else ["“broke_glass” does not match the events"]


def _break_glass_text(facts: dict[str, Any] | None) -> str:
    if facts is None:
        return "None"
    review = f"reviewed by {facts['reviewed_by']}: {facts['review_note']}"
    return (
        f"{facts['name']}: {facts['reason']} – {review if facts['reviewed_by'] else 'not reviewed'}"
    )


def _status_differences(row: dict[str, Any], events: Sequence[Event]) -> list[str]:
    state, outcome, cause = "requested", "", ""
    settled: Event | None = None
    for event in events:
        if type(event.details.get("state")) is str:
            state, outcome = event.details["state"], event.details.get("outcome", "")
            cause = _cause_after(event, cause)
            if state == "settled" and event.code in _CLOSING:
                settled = settled or event
    verified, contradicted = (
        _last(events, f"deletion.{word}") for word in ("verified", "contradicted")
    )
    matches = {
        "state": row.get("state") == state,
        "outcome": (row.get("outcome") or "") == outcome,
        "settled_at": _is_at(row.get("settled_at"), settled, "settled_at"),
        "settled_by": (row.get("settled_by") or "") == (settled.actor if settled else ""),
        "settled_reason": row.get("settled_reason")
        == (settled.details.get("reason", "") if settled else ""),
        "cause": (row.get("cause") or "") == (settled.details.get("cause") if settled else cause),
        "sent_at": _is_at(row.get("sent_at"), _last(events, "deletion.sending"), "sending_at"),
        "verified_at": _is_at(row.get("verified_at"), verified, "at"),
        "contradicted_at": _is_at(row.get("contradicted_at"), contradicted, "at"),
    }
    return [f"“{key}” does not match the events" for key, is_same in matches.items() if not is_same]


def _cause_after(event: Event, cause: str) -> str:
    """The deletion's cause after one of its events."""
    if event.code == "deletion.checked":
        # The event's cause says why the check failed. The deletion keeps its own cause.
        return cause
    if event.code == "deletion.recheck_failed":
        return "listing_failed"
    return str(event.details.get("cause", ""))


def _attempt_differences(row: dict[str, Any], events: Sequence[Event]) -> list[str]:
    sent: dict[Any, Event] = {}
    responses: dict[Any, Event] = {}
    number: Any = None
    for event in events:
        if event.code == "deletion.sending":
            number = event.details.get("attempt")
            sent[number] = event
        elif event.code == "deletion.answered":
            responses[number] = event
        elif event.code == "deletion.answered_late":
            responses[event.details.get("attempt")] = event
    attempts = row.get("attempts")
    rows = attempts if type(attempts) is list else []
    if [attempt.get("number") for attempt in rows] != list(sent):
        return ["its attempts do not match the events"]
    if not responses.keys() <= sent.keys():
        return ["an event records a response to an attempt that was never made"]
    wrong = [
        str(attempt["number"]) for attempt in rows if not _matches_events(attempt, sent, responses)
    ]
    for one, sending in zip(rows, sent.values()):
        names = sorted(event.actor for event in approvals_of(sending, events))
        if sorted(one.get("approved_by") or []) != names:
            wrong.append(str(one["number"]))
    last = rows[-1] if rows else {"http_status": None, "errors": []}
    if any(row.get(key) != last.get(key) for key in ("http_status", "errors")):
        wrong.append(str(last.get("number")))
    return [f"attempt {number} does not match the events" for number in wrong]


def _matches_events(
    one: dict[str, Any], sent: dict[Any, Event], responses: dict[Any, Event]
) -> bool:
    """Whether an attempt matches its two events."""
    sending, response = sent[one["number"]], responses.get(one["number"])
    is_same_attempt = (
        one.get("credential") == sending.details.get("credential")
        and one.get("credential_fingerprint") == sending.details.get("fingerprint")
        and one.get("was_rechecked") == sending.details.get("was_rechecked")
        and one.get("epoch") == sending.details.get("epoch")
        and _is_at(one.get("sent_at"), sending, "sending_at")
    )
    if response is None:
        response_keys = ("answered_at", "is_late", *_RESPONSE_KEYS)
        return is_same_attempt and not any(one.get(key) for key in response_keys)
    return (
        is_same_attempt
        and _is_at(one.get("answered_at"), response, "answered_at")
        and one.get("is_late") == (response.code == "deletion.answered_late")
        # An empty string counts as a missing value.
        and all(
            (one.get(key) or None) == (response.details.get(event_key) or None)
            for key, event_key in _RESPONSE_KEYS.items()
        )
    )


def rounds_of(events: Sequence[Event]) -> list[int]:
    """The approval round of each event, counted from 1.

    A round ends when the outcome of an attempt becomes unknown, and when the approvals for
    another attempt after that are declined or lapse. The number is counted from the events. The
    number that an event states is not used.
    """
    rounds, number, state = [], 1, "requested"
    for event in events:
        rounds.append(number)
        before, state = state, str(event.details.get("state", state))
        is_declined = event.code == "deletion.declined" and state == "still_present"
        if (
            event.code == "deletion.approvals_lapsed"
            or is_declined
            or (state == "unknown" and before != "unknown")
        ):
            number += 1
    return rounds


def approvals_of(sending: Event | None, events: Sequence[Event]) -> list[Event]:
    """The approvals in an attempt's round before it. For None, those of the first round."""
    rounds = dict(zip((event.seq for event in events), rounds_of(events)))
    number = rounds[sending.seq] if sending else 1
    approved = [event for event in events if event.code == "deletion.approved"]
    return [
        event
        for event in approved
        if rounds[event.seq] == number and (sending is None or event.seq < sending.seq)
    ]


def sent_without_approvals(events: Sequence[Event]) -> list[Event] | None:
    """Each attempt that had too few approvals by other people in its own round.

    None if there was no attempt, or if no approval was required.
    """
    requested = events[0].details
    needed = _NEEDED.get(str(requested.get("policy")), 0)
    sent = [event for event in events if event.code == "deletion.sending"]
    if not needed or not sent:
        return None
    unapproved = []
    for sending in sent:
        approvers = {event.actor_id for event in approvals_of(sending, events)}
        if len(approvers - {requested.get("requested_by")}) < needed:
            unapproved.append(sending)
    return unapproved


def break_glass_for(sending: Event, events: Sequence[Event]) -> Event | None:
    """The break-glass event that replaced the approvals of an attempt, or None."""
    rounds = dict(zip((event.seq for event in events), rounds_of(events)))
    break_glass = _last(events, "deletion.break_glass_used")
    if break_glass is None or break_glass.seq > sending.seq:
        return None
    return break_glass if rounds[break_glass.seq] == rounds[sending.seq] else None


def _last(events: Sequence[Event], code: str) -> Event | None:
    return next((event for event in reversed(events) if event.code == code), None)


def _time(text: Any) -> datetime | None:
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise VerificationFailed("A time in the bundle is not valid.")
    return at


def _is_at(text: Any, event: Event | None, key: str) -> bool:
    """Whether this is the event's time under `key`. Without an event, it must be None."""
    return _time(text) == _time(event.details.get(key) if event else None)


# --- Access reviews compared with their events --------------------------------------------------

# The part of a row that the population's digest covers.
_POPULATION_KEYS = (
    *("position", "site", "connection_id", "source_org", "sink_org", "connection_types"),
    *("created_at", "created_by", "snapshot_at", "digest", "review_digest"),
)
# From the key in the access review to the key in its start event.
_STARTED_KEYS = {
    "name": "name",
    "scope": "scope",
    "due_at": "due_at",
    "created_at": "started_at",
    "row_count": "count",
    "without_reviewer": "without_reviewer",
    "population_digest": "population_digest",
}
# What the closing event repeats unchanged.
_CLOSED_KEYS = ("closed_at", "open_reason", "counts", "closing_digest")
# What a decision event says about each of its rows.
_DECIDED_KEYS = ("decision", "reason", "keep_until", "decided_at", "decided_together")
# Outcomes after which the connection is gone.
_GONE_OUTCOMES = ("deleted", "already_absent", "gone_unattributed")
# At most this many differences between rows are described.
_MAX_DESCRIBED = 10


def digest_of(document: dict[str, Any]) -> str:
    """SHA-256 of a document, in hex."""
    return hashlib.sha256(_ascii_json(document)).hexdigest()


def _ascii_json(document: Any) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode("ascii")


class RowsDigest:
    """Computes `digest_of` for a document whose last key is “rows”, from its rows one by one."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._digest = hashlib.sha256(_ascii_json({**document, "rows": []})[:-2])
        self._separator = b""

    def add(self, row: Any) -> None:
        """Add the next row."""
        self._digest.update(self._separator + _ascii_json(row))
        self._separator = b","

    def end(self) -> str:
        """The digest in hex. Call it once."""
        self._digest.update(b"]}")
        return self._digest.hexdigest()


def access_review_differences(
    review: dict[str, Any], rows: Iterable[dict[str, Any]], events: Sequence[Event]
) -> list[str]:
    """How an access review differs from its events. Reads each row once."""
    started, closed = (
        [event for event in events if event.code == f"access_review.{word}"]
        for word in ("started", "closed")
    )
    if len(started) != 1 or len(closed) > 1:
        return ["it does not have exactly one start event and at most one closing event"]
    found, decisions = list[str](), _decisions_by_row(events)
    population = RowsDigest({"format": "access review population 1"})
    closing = RowsDigest(
        {
            "format": "access review closing 1",
            "appeared": review.get("appeared"),
            "coverage": review.get("coverage_at_close"),
            "open_reason": review.get("open_reason"),
        }
    )
    counts, decision_count = dict.fromkeys(_CLOSED_AS, 0), 0
    for row in rows:
        population.add({key: row[key] for key in _POPULATION_KEYS})
        closing.add([row["position"], row["closed_as"], _final_decision(row)])
        counts[row["closed_as"]] = counts.get(row["closed_as"], 0) + 1
        decision_count += len(row["decisions"])
        decided = decisions.pop(row["position"], [])
        if len(found) < _MAX_DESCRIBED:
            found += _row_differences(row, decided)
    found += [f"row {position} is missing, but has decisions" for position in decisions]
    found += _start_differences(review, started[0])
    found += _reviewer_differences(review, started[0], events)
    is_same_count = review.get("row_count") == sum(counts.values())
    if review.get("population_digest") != population.end() or not is_same_count:
        found.append("its rows are not the population recorded at its start")
    counts["decisions"] = decision_count
    if closed:
        found += _closing_differences(review, closed[0], counts, closing.end())
    elif review.get("state") != "open" or any(counts[state] for state in _CLOSED_AS):
        found.append("it has no closing event")
    return found


def _start_differences(review: dict[str, Any], started: Event) -> Iterator[str]:
    details = started.details
    coverage = {"format": "access review coverage 1", "coverage": review.get("coverage")}
    matches = {
        **{key: review.get(key) == details.get(other) for key, other in _STARTED_KEYS.items()},
        "created_by": review.get("created_by") == started.actor,
        "coverage": digest_of(coverage) == details.get("coverage_digest"),
    }
    yield from _mismatches(matches, "its start event")


def _reviewer_differences(
    review: dict[str, Any], started: Event, events: Sequence[Event]
) -> Iterator[str]:
    """Decisions by people who were not reviewers at the time, and differences in the reviewers."""
    reviewers, sentence = started.details.get("reviewers"), started.sentence
    for event in events:
        if event.code == "access_review.reviewers_changed":
            if event.details.get("previous_reviewers") != reviewers:
                yield f"event {event.seq} states the wrong previous reviewers"
            reviewers, sentence = event.details.get("reviewers"), event.sentence
        is_decision = event.code == "access_review.decided"
        if is_decision and reviewers and event.actor_id not in reviewers:
            yield f"{event.actor} was not a reviewer when they decided in event {event.seq}"
    names = {reviewer["id"]: reviewer["name"] for reviewer in review["reviewers"]}
    named = ", ".join(names[name] for name in sorted(names))
    is_same = sorted(names) == reviewers and len(names) == len(review["reviewers"])
    if names:
        is_same = is_same and sentence.endswith(f" Reviewers: {named}.")
    matches = {
        "reviewers": is_same,
        "is_for_everyone": review.get("is_for_everyone") == (not reviewers),
    }
    yield from _mismatches(matches, "the last event that names the reviewers")


def _closing_differences(
    review: dict[str, Any], closed: Event, counts: dict[str, int], digest: str
) -> Iterator[str]:
    details = closed.details
    coverage = {"format": "access review coverage 1", "coverage": review.get("coverage_at_close")}
    matches = {
        **{key: review.get(key) == details.get(key) for key in _CLOSED_KEYS},
        "coverage_at_close": digest_of(coverage) == details.get("coverage_digest"),
        "appeared": len(review["appeared"]) == details.get("appeared"),
        "closed_by": review.get("closed_by") == closed.actor,
        "state": review.get("state") == "closed",
    }
    yield from _mismatches(matches, "its closing event")
    if counts.pop("decisions") != details.get("decisions"):
        yield "it does not have as many decisions as were recorded when it was closed"
    if review.get("counts") != counts or review.get("closing_digest") != digest:
        yield "its final states or connections that appeared are not those of its closing event"


def _mismatches(matches: dict[str, bool], what: str) -> Iterator[str]:
    for key, is_same in matches.items():
        if not is_same:
            yield f"“{key}” does not match {what}"


def _decisions_by_row(events: Sequence[Event]) -> dict[int, list[dict[str, Any]]]:
    """The decisions in the events, oldest first, by the position of their row."""
    found: dict[int, list[dict[str, Any]]] = {}
    for event in events:
        if event.code != "access_review.decided":
            continue
        common = {key: event.details.get(key) for key in _DECIDED_KEYS}
        common["decided_by"] = event.actor
        for row in get(event.details, "decisions", list, f"Event {event.seq}"):
            one = {**common, "id": row["id"], "review_digest": row["review_digest"]}
            found.setdefault(row["position"], []).append(one)
    return found


def _row_differences(row: dict[str, Any], decided: Sequence[dict[str, Any]]) -> Iterator[str]:
    name = f"row {row['position']} ({_name_of(row)})"
    decisions = row["decisions"]
    if len(decisions) != len(decided):
        count = pluralize(len(decisions), "decision")
        yield f"{name} has {count}, but its events have {len(decided)}"
    for number, (one, recorded) in enumerate(zip(decisions, decided), start=1):
        matches = {key: one.get(key) == value for key, value in recorded.items()}
        digest = review_digest_of(row, one["covered"])
        matches["covered"] = one["review_digest"] == digest
        yield from _mismatches(matches, f"the event of decision {number} about {name}")
    if row["closed_as"] in ("keep", "delete") and _final_decision(row) is None:
        yield f"the final state of {name} is not its last decision"


def _final_decision(row: dict[str, Any]) -> Any:
    """The ID of the decision that a row was closed with. None for a row without one."""
    last = row["decisions"][-1] if row["decisions"] else {}
    return last.get("id") if last.get("decision") == row["closed_as"] else None


def _name_of(row: dict[str, Any]) -> str:
    return f"{row['connection_id']} on {row['site']}"


def _was_deleted(deletions: Iterable[dict[str, Any]]) -> bool:
    """Whether the connection was gone after one of these deletions and is not listed again."""
    return any(
        deletion["outcome"] in _GONE_OUTCOMES and not deletion["contradicted_at"]
        for deletion in deletions
    )


def _gone_text(row: dict[str, Any]) -> str:
    """How a connection disappeared if no deletion is known to have deleted it, or ""."""
    if not row["is_gone"]:
        return ""
    # An attempt without a known outcome might have worked.
    return "gone, but it is not proven how" if row["deletions"] else "removed outside Org Admin"


def review_digest_of(row: dict[str, Any], covered: dict[str, Any]) -> str:
    """SHA-256 of what a decision about a row covers."""
    key = {"site": row["site"], "connection_id": row["connection_id"]}
    return digest_of({"format": "access review row 1", **key, **covered})


# --- Bulk deletions compared with their events --------------------------------------------------

# What the request event repeats unchanged.
_PLAN_KEYS = (
    *("origin", "filter", "site", "org", "access_review", "count", "digest", "approval_digest"),
    *("policy", "reason", "ticket", "stop_at_first_problem", "requested_at", "created_at"),
)
# The state after each event. An approval changes it only when no other approval is missing.
_BATCH_STATES = {
    "batch.requested": "requested",
    "batch.approved": "approved",
    "batch.declined": "declined",
    "batch.confirmed": "running",
    "batch.paused": "paused",
    "batch.resumed": "running",
    "batch.cancelled": "cancelled",
    "batch.expired": "expired",
    "batch.finished": "finished",
}
# Keys that a row has in common with its deletion, and the plan with all of its deletions.
_SAME_IN_ROW = ("source_org", "sink_org", "connection_types")
_SAME_IN_PLAN = ("policy", "reason", "ticket", "requested_at")
BATCH_STATUSES = {
    "requested": "Requested",
    "approved": "Approved",
    "declined": "Declined",
    "running": "Running",
    "paused": "Paused",
    "cancelled": "Canceled",
    "expired": "Expired",
    "finished": "Finished",
}
# Why a row was left out of the plan.
LEFT_OUT = {
    "malformed_id": "invalid ID",
    "duplicate": "an earlier row has the same connection",
    "not_visible": "not listed",
    "protected": "protected",
    "already_being_deleted": "another deletion was open",
    "no_credential": "no credential could delete it",
    "changed": "changed after the plan was made",
    "kept": "the access review decided to keep it",
}


class Plan:
    """A bulk deletion and its own events, for comparison with its rows and its deletions."""

    def __init__(self, document: dict[str, Any], events: Sequence[Event]) -> None:
        self.document, self.events = document, events
        # Rows by the ID of their deletion. `deletion_differences` removes those it has compared.
        self.rows: dict[str, dict[str, Any]] = {}
        # How many rows were left out, by their problem, and how many were removed.
        self.left_out: dict[str, int] = {}
        self.removed = 0
        self.confirmed = _last(events, "batch.confirmed")
        self._covered: list[list[Any]] = []
        self._states = _states_of(events)

    def differences(self, rows: Iterable[dict[str, Any]]) -> list[str]:
        """How the bulk deletion differs from its own events. Reads each row once."""
        plan, events = self.document, self.events
        found = list[str]()
        for position, row in enumerate(rows, start=1):
            require(position <= MAX_PLAN_ROWS, "The plan has too many rows.")
            found += [
                f"row {position}: {difference}"
                for difference in self._row_differences(row, position)
            ]
        if [event.code for event in events].count("batch.requested") != 1:
            return ["it does not have exactly one request event"]
        details = events[0].details
        matches = {key: plan.get(key) == details.get(key) for key in _PLAN_KEYS}
        matches["state"] = plan.get("state") == (self._states[-1][1] if self._states else "")
        found += _mismatches(matches, "its events")
        shown: list[Any] = ["bulk deletion, version 1", plan.get("policy"), self._covered]
        if _list_digest_of(shown) != plan.get("digest") or len(self.rows) != plan.get("count"):
            found.append("its rows are not those of the plan that was requested")
        shown = [plan.get(key) for key in ("digest", "reason", "ticket", "stop_at_first_problem")]
        if _list_digest_of(["bulk deletion approval, version 1", *shown]) != plan.get(
            "approval_digest"
        ):
            found.append("its approval digest is not that of its plan, reason and ticket")
        return found + list(self._approval_differences())

    @property
    def approvals_needed(self) -> int:
        return _NEEDED.get(str(self.document.get("policy")), 0)

    def _row_differences(self, row: dict[str, Any], position: int) -> Iterator[str]:
        if row["position"] != position:
            yield "its position is wrong"
        if not _has_digested_names(row):
            yield "its digest is not that of its orgs and data types"
        keys = ("position", "reference", "digest", "credential_id", "problem")
        if row["removed_at"] is None:
            self._covered.append([row[key] for key in keys])
        self.removed += row["removed_at"] is not None
        if row["removed_at"] is None and row["problem"]:
            self.left_out[row["problem"]] = self.left_out.get(row["problem"], 0) + 1
        is_sendable = row["removed_at"] is None and not row["problem"]
        if is_sendable != (row["deletion"] is not None):
            yield "it has no deletion" if is_sendable else "it was left out but has a deletion"
        if row["deletion"] in self.rows:
            yield "its deletion belongs to another row"
        if row["deletion"] is not None:
            self.rows[row["deletion"]] = row

    def _approval_differences(self) -> Iterator[str]:
        approved = [event for event in self.events if event.code == "batch.approved"]
        digest = self.document.get("approval_digest")
        if any(event.details.get("approval_digest") != digest for event in approved):
            yield "an approval is not for its plan, reason and ticket"
        if self.confirmed is None:
            return
        before = {event.actor_id for event in approved if event.seq < self.confirmed.seq}
        others = before - {self.events[0].details.get("requested_by")}
        if len(others) < self.approvals_needed:
            yield "it was confirmed without the required approvals"

    def deletion_differences(self, deletion: dict[str, Any], events: Sequence[Event]) -> list[str]:
        """How a deletion differs from its row and the bulk deletion. Call it once per deletion."""
        row = self.rows.pop(deletion["id"], None)
        if row is None:
            return ["no row of the plan became this deletion"]
        reference = f"{deletion['site']}/{deletion['connection_id']}"
        matches = {
            "batch": deletion["batch"] == self.document.get("id"),
            "connection_id": reference == row["reference"],
            "digest": events[0].details.get("digest") == row["digest"] if events else False,
            **{key: deletion[key] == row[key] for key in _SAME_IN_ROW},
            **{key: deletion[key] == self.document.get(key) for key in _SAME_IN_PLAN},
        }
        found = list(_mismatches(matches, f"row {row['position']} of the plan"))
        for event, number in zip(events, rounds_of(events)):
            if event.code == "deletion.sending" and not self._was_sending_allowed(event, number):
                attempt = f"attempt {event.details.get('attempt')}"
                found.append(f"{attempt} was made while the plan was not confirmed or not running")
        return found

    def _was_sending_allowed(self, sending: Event, approval_round: int) -> bool:
        """Whether the plan was running, or a person had confirmed this deletion individually."""
        if self.confirmed is None or self.confirmed.seq > sending.seq:
            return False
        before = bisect.bisect(self._states, (sending.seq, ""))
        return approval_round > 1 or self._states[before - 1][1] == "running"


def _states_of(events: Sequence[Event]) -> list[tuple[int, str]]:
    """The states of a bulk deletion, each with the number of the event that began it."""
    return [
        (event.seq, _BATCH_STATES[event.code])
        for event in events
        if event.code in _BATCH_STATES and not event.details.get("missing")
    ]


def _has_digested_names(row: dict[str, Any]) -> bool:
    """Whether a row's digest is that of its orgs and data types, or all of these are empty."""
    source, sink, types = row["source_org"], row["sink_org"], row["connection_types"]
    names = [source["id"], source["name"], sink["id"], sink["name"]]
    if not row["digest"]:
        return not any([*names, *types])
    site, _, connection_id = row["reference"].rpartition("/")
    shown = ["org connection, version 1", site, connection_id, *names, sorted(types)]
    return bool(_list_digest_of(shown) == row["digest"])


def _list_digest_of(shown: list[Any]) -> str:
    """SHA-256, in hex, of an array in the form that plans and snapshots use."""
    return hashlib.sha256(json.dumps(shown, ensure_ascii=True).encode()).hexdigest()


# --- The sample ---------------------------------------------------------------------------------


def score_of(seed: str, deletion_id: str) -> str:
    """The score of a deletion. The 25 lowest scores, in ascending order, are the sample."""
    return hashlib.sha256(f"orgadmin sample 1\n{seed}\n{deletion_id}\n".encode()).hexdigest()


def draw_sample(seed: str, deletion_ids: Iterable[str]) -> list[tuple[str, str]]:
    """The sample as (score, ID). Iterates over the IDs once and keeps only the sample."""
    return heapq.nsmallest(
        SAMPLE_SIZE, ((score_of(seed, deletion_id), deletion_id) for deletion_id in deletion_ids)
    )


# --- deletions.html -----------------------------------------------------------------------------

_STYLE = """\
:root{color-scheme:light}
body{font:15px/1.5 system-ui,sans-serif;color:#1a1a1a;background:#fff;margin:2rem auto;
max-width:52rem;padding:0 1rem;overflow-wrap:anywhere}
h1{font-size:1.6rem;margin:0 0 .5rem}h2{font-size:1.15rem;margin:0}
section{border-top:2px solid #1a1a1a;margin-top:2rem;padding-top:.75rem}
table{border-collapse:collapse;width:100%;margin:.5rem 0}
th,td{text-align:left;vertical-align:top;padding:.2rem .75rem .2rem 0;border-bottom:1px solid #ccc}
th{font-weight:600;white-space:nowrap}
td.at,td.n{white-space:nowrap;font-variant-numeric:tabular-nums}
th,td.at,td.words{overflow-wrap:break-word}
.outcome{font-weight:700;margin:.25rem 0}.id{color:#555;font-size:.85em}
@media(max-width:36rem){th{white-space:normal}td.at{white-space:normal}}
@media print{body{margin:0;max-width:none;font-size:10pt}section{break-inside:avoid-page}
tr{break-inside:avoid}thead{display:table-header-group}a{color:inherit;text-decoration:none}}
"""

OUTCOMES = {
    "": "Open",
    "deleted": "Deleted: Datadog returned 200",
    "already_absent": "Not found or already gone",
    "gone_unattributed": "Gone, unproven: not proven to be this request",
    "refused": "Refused by Datadog",
    "not_sent": "Gave up",
    "stale": "Changed after review",
    "declined": "Declined by an approver",
    "withdrawn": "Withdrawn",
    "expired": "Expired",
    "unresolved": "Unresolved: closed, the outcome was never determined",
}
# Outcomes that don't say what the attempts did, so the page adds that.
_ENDED = ("already_absent", "not_sent", "stale", "declined", "withdrawn", "expired", "unresolved")
_NOTHING, _REFUSED, _UNCERTAIN, _DELETED = range(4)
_RESULT_OF_VERDICT = {
    "not_sent": _NOTHING,
    "rate_limited": _REFUSED,
    "refused": _REFUSED,
    "not_found": _REFUSED,
    "deleted": _DELETED,
}


def get_attempts_result(attempts: Iterable[dict[str, Any]]) -> int:
    """The combined result of a row's attempts, following the rules in docs/EVIDENCE.md."""
    return max(
        (_RESULT_OF_VERDICT.get(str(attempt["verdict"]), _UNCERTAIN) for attempt in attempts),
        default=0,
    )


def get_outcome_text(row: dict[str, Any]) -> str:
    """The outcome of a row, and what its attempts did if the outcome doesn't say that."""
    outcome = row["outcome"] or ""
    label = str(OUTCOMES.get(outcome, outcome))
    if not outcome:
        return f"{label} ({row['state'].replace('_', ' ')})"
    late = [
        attempt
        for attempt in row["attempts"]
        if attempt["is_late"] and attempt["verdict"] == "deleted"
    ]
    if late and outcome in ("deleted", "gone_unattributed"):
        return f"{label}. Attempt {late[-1]['number']} returned 200 late"
    if outcome not in _ENDED:
        return label
    return f"{label}. {_RESULT_TEXTS[get_attempts_result(row['attempts'])]}"


_RESULT_TEXTS = {
    _NOTHING: "Nothing was sent",
    _REFUSED: "Nothing was deleted: Datadog carried out none of the attempts",
    _UNCERTAIN: "An attempt might have worked",
    _DELETED: "Datadog returned 200 to an attempt",
}


# Characters that change the direction of the text that follows them.
_DIRECTION_CONTROLS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def _text(value: Any) -> str:
    """Untrusted text as HTML, with direction control characters replaced by their names."""
    named = _DIRECTION_CONTROLS.sub(lambda match: f"[U+{ord(match[0]):04X}]", str(value))
    return f"<bdi>{html.escape(named)}</bdi>"


def _time_text(value: Any) -> str:
    text = str(value).replace("T", " ")
    return html.escape(text[:19] + " UTC") if value else "Never"


def _person_and_time(name: Any, at: Any) -> str:
    return (
        ", ".join(part for part in (name and _text(name), at and _time_text(at)) if part) or "None"
    )


def page_start(
    population: dict[str, Any], sample: Sequence[str], review: dict[str, Any] | None = None
) -> str:
    """deletions.html up to the access review, or up to the first deletion."""
    title = "Deletions of org connections"
    facts = [
        ("Audit log", _text(population["origin"])),
        ("Created", _time_text(population["made_at"])),
    ]
    if review:
        title = f"Access review: {review['name']}"
        facts.append(("Deletions of its connections", str(population["selected"])))
    else:
        period = population["period"]
        facts += [
            ("Requested from", _time_text(period["since"]) if period["since"] else "The beginning"),
            ("Requested before", _time_text(period["until"])),
            ("Filter", _text(population["filter_in_words"])),
            ("Deletions in this bundle", str(population["selected"])),
            ("Deletions in the period", str(population["in_period"])),
        ]
    facts += [(OUTCOMES.get(key, key), str(n)) for key, n in sorted(population["counts"].items())]
    links = "".join(
        f'<li><a href="#{html.escape(deletion_id)}">{html.escape(deletion_id)}</a></li>\n'
        for deletion_id in sample
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n"
        f"<style>\n{_STYLE}</style>\n</head>\n<body>\n<h1>{_text(title)}</h1>\n"
        "<p>This page alone proves nothing: verify the bundle with verify.py.</p>\n"
        f"{_facts_table(facts)}<h2>Sample{' of the deletions' if review else ''}</h2>\n"
        "<p>Selected by the seed in sample-25.json.</p>\n"
        f"<ol>\n{links}</ol>\n"
    )


def page_section(row: dict[str, Any], events: Sequence[Event]) -> str:
    """One deletion of deletions.html."""
    source, sink = row["source_org"], row["sink_org"]
    approved = ", ".join(row["approved_by"])
    facts = [
        ("Connection", f"{_text(row['connection_id'])} on {_text(row['site'])}"),
        ("Source org", f"{_text(source['name'])} ({_text(source['id'])})"),
        ("Destination org", f"{_text(sink['name'])} ({_text(sink['id'])})"),
        ("Data types", _text(", ".join(row["connection_types"]))),
        ("Credential", f"{_text(row['credential'])} ({_text(row['credential_fingerprint'])})"),
        ("Reason", _text(row["reason"])),
        ("Ticket", _text(row["ticket"] or "None")),
        ("Requested by", _person_and_time(row["requested_by"], row["requested_at"])),
        ("Approvals required", _text(_NEEDED.get(row["policy"]) or "None")),
        ("Approved by", _person_and_time(approved, row["approved_at"])),
        ("Confirmed by", _person_and_time(row["confirmed_by"], row["confirmed_at"])),
        ("Break glass", _text(_break_glass_text(row["broke_glass"]))),
        ("Last attempt", _time_text(row["sent_at"])),
        *((f"Attempt {attempt['number']}", _attempt_text(attempt)) for attempt in row["attempts"]),
        ("Closed by", _person_and_time(row["settled_by"], row["settled_at"])),
        ("Reason for closing", _text(row["settled_reason"] or "None")),
        ("Verified gone", _time_text(row["verified_at"])),
        ("Still listed", _time_text(row["contradicted_at"])),
    ]
    return (
        f'<section id="{html.escape(row["id"])}">\n'
        f"<h2>{_text(source['name'] or '?')} → {_text(sink['name'] or '?')}</h2>\n"
        f'<p class="id">Deletion {html.escape(row["id"])}</p>\n'
        f'<p class="outcome">{_text(get_outcome_text(row))}</p>\n{_facts_table(facts)}'
        f"{_events_table(events)}</section>\n"
    )


def _events_table(events: Sequence[Event]) -> str:
    lines = "".join(
        f'<tr><td class="n">{event.seq}</td><td class="at">{_time_text(event.at)}</td>'
        f'<td class="words">{_text(event.actor)}</td><td>{_text(event.sentence)}</td></tr>\n'
        for event in events
    )
    return (
        "<table>\n<thead><tr><th>Event</th><th>Time</th><th>Actor</th>"
        "<th>What happened</th></tr></thead>\n"
        f"<tbody>\n{lines}</tbody>\n</table>\n"
    )


def page_end() -> str:
    """deletions.html after the last deletion."""
    return "</body>\n</html>\n"


def _facts_table(facts: Sequence[tuple[str, str]]) -> str:
    rows = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{value}</td></tr>\n" for name, value in facts
    )
    return f"<table>\n{rows}</table>\n"


def _attempt_text(attempt: dict[str, Any]) -> str:
    if attempt["http_status"] is None:
        verdict = (attempt["verdict"] or "no response recorded").replace("_", " ")
        response = f"{verdict} {(attempt['cause'] or '').replace('_', ' ')}".strip()
    else:
        response = f"Datadog returned {attempt['http_status']} in {attempt['duration_ms']} ms"
    errors = "; ".join(str(error) for error in attempt["errors"])
    quoted = f". Datadog: “{errors}”" if errors else ""
    late = ", late" if attempt["is_late"] else ""
    return f"{_time_text(attempt['sent_at'])}: {_text(response + late + quoted)}"


# --- The access review in deletions.html --------------------------------------------------------

_CLOSED_AS = {
    "keep": "Keep",
    "delete": "Delete",
    "gone": "Gone: no longer listed, needs no decision",
    "pending": "Left open",
}


def access_review_start(review: dict[str, Any]) -> str:
    """The section of an access review, up to its first row."""
    reviewers = ", ".join(reviewer["name"] for reviewer in review["reviewers"])
    facts = [
        ("Filter", _text(review["scope"] or "All connections")),
        ("Started by", _person_and_time(review["created_by"], review["created_at"])),
        ("Due", _time_text(review["due_at"])),
        ("Reviewers", _text(reviewers or "Everyone who can review and see the connection")),
        ("Connections", str(review["row_count"])),
        (
            "Connections that no reviewer could decide on at the start",
            str(review["without_reviewer"]),
        ),
        *((_CLOSED_AS.get(key, key), str(n)) for key, n in sorted(review["counts"].items())),
        ("Closed by", _person_and_time(review["closed_by"], review["closed_at"])),
        ("Why connections were left open", _text(review["open_reason"] or "None were")),
    ]
    return (
        '<section id="access-review">\n<h2>Access review</h2>\n'
        f'<p class="id">ID {html.escape(review["id"])}</p>\n{_facts_table(facts)}'
        f"{_coverage(review['coverage'], 'at the start')}"
        f"{_coverage(review['coverage_at_close'], 'at the close')}"
        "<h3>Connections and decisions</h3>\n<table>\n<thead><tr><th>Connection</th>"
        "<th>Data types</th><th>Created by</th><th>Decisions</th><th>Result</th></tr></thead>\n"
        "<tbody>\n"
    )


def _coverage(coverage: dict[str, Any], when: str) -> str:
    orgs = "".join(
        f"<tr><td>{_org_text(org)}</td><td>{_text(org['credential'])}</td>"
        f'<td class="at">{_time_text(org["synced_at"])}</td>'
        f"<td>{'Yes' if org['is_complete'] else 'No'}</td>"
        f'<td class="at">{_time_text(org["complete_at"])}</td></tr>\n'
        for org in coverage["orgs"]
    )
    missing = "".join(f"<li>{_org_text(org)}</li>\n" for org in coverage["without_credential"])
    return (
        f"<h3>Syncs {when}</h3>\n<table>\n<thead><tr><th>Org</th><th>Credential</th>"
        "<th>Last sync</th><th>Complete</th><th>Last complete sync</th></tr></thead>\n"
        f"<tbody>\n{orgs}</tbody>\n</table>\n<p>Orgs without a credential; connections between two "
        f"of them are not known:</p>\n<ul>\n{missing or '<li>None</li>'}</ul>\n"
    )


def _org_text(org: dict[str, Any]) -> str:
    return f"{_text(org['org_name'])} ({_text(org['org_id'])} on {_text(org['site'])})"


def access_review_row(row: dict[str, Any]) -> str:
    """One connection in the section of an access review."""
    source, sink, creator = row["source_org"]["name"], row["sink_org"]["name"], row["created_by"]
    decisions = "".join(f"<li>{_decision_text(decision)}</li>\n" for decision in row["decisions"])
    disabled = ", disabled" if creator["disabled"] else ""
    return (
        f"<tr><td>{_text(source or '?')} → {_text(sink or '?')}<br>"
        f'<span class="id">{_text(row["connection_id"])} on {_text(row["site"])}</span></td>'
        f'<td class="words">{_text(", ".join(row["connection_types"]))}</td>'
        f"<td>{_text(creator['name'] or creator['id'] or 'Unknown')}{disabled}</td>"
        f'<td><p class="outcome">{_CLOSED_AS.get(row["closed_as"], "")}</p>\n'
        f"<ul>\n{decisions}</ul></td>"
        f"<td>{_result_text(row)}</td></tr>\n"
    )


def _decision_text(decision: dict[str, Any]) -> str:
    until = f" until {decision['keep_until']}" if decision["keep_until"] else ""
    together = decision["decided_together"]
    at_once = f", {together} decided at once" if together > 1 else ""
    who = _person_and_time(decision["decided_by"], decision["decided_at"])
    return (
        f"{_CLOSED_AS[decision['decision']]}{until}: {_text(decision['reason'])} – {who}{at_once}"
    )


def _result_text(row: dict[str, Any]) -> str:
    texts = [
        f'<a href="#{html.escape(deletion["id"])}">'
        f"{_text(OUTCOMES.get(deletion['outcome'] or '', deletion['outcome']))}</a>"
        f"{', still listed' if deletion['contradicted_at'] else ''}"
        for deletion in row["deletions"]
    ]
    gone = "" if _was_deleted(row["deletions"]) else _gone_text(row)
    if row["closed_as"] == "delete" and gone:
        texts.append(gone[0].upper() + gone[1:])
    elif row["closed_as"] == "delete" and not texts:
        texts.append("No deletion was requested")
    return "<br>".join(texts) or "None"


def access_review_end(review: dict[str, Any]) -> str:
    """The section of an access review after its last row."""
    appeared = "".join(
        f"<li>{_text(connection['connection_id'])} on {_text(connection['site'])}</li>\n"
        for connection in review["appeared"]
    )
    return (
        "</tbody>\n</table>\n<p>Connections that matched the filter at the close but not at the "
        "start, so they are not part of it:</p>\n"
        f"<ul>\n{appeared or '<li>None</li>'}</ul>\n</section>\n"
    )


# --- The bulk deletion in deletions.html --------------------------------------------------------


def plan_start(plan: dict[str, Any], events: Sequence[Event]) -> str:
    """The section of a bulk deletion, up to its first row."""
    facts = [
        ("Status", _text(BATCH_STATUSES.get(plan["state"], plan["state"]))),
        ("Deletions", str(plan["count"])),
        ("Reason", _text(plan["reason"])),
        ("Ticket", _text(plan["ticket"] or "None")),
        ("Approvals required", _text(_NEEDED.get(plan["policy"]) or "None")),
        ("Pauses at the first problem", "Yes" if plan["stop_at_first_problem"] else "No"),
        ("SHA-256 of the plan", _text(plan["digest"])),
    ]
    return (
        '<section id="plan">\n<h2>Bulk deletion</h2>\n'
        f'<p class="id">ID {html.escape(plan["id"])}</p>\n{_facts_table(facts)}'
        f"{_events_table(events)}<h3>Plan</h3>\n<table>\n<thead><tr><th>Row</th>"
        "<th>Connection</th><th>Data types</th><th>Deletion</th></tr></thead>\n<tbody>\n"
    )


def plan_row(row: dict[str, Any]) -> str:
    """One row in the section of a bulk deletion."""
    source, sink, name = row["source_org"]["name"], row["sink_org"]["name"], row["deletion"]
    if name is not None:
        result = f'<a href="#{html.escape(name)}">{html.escape(name)}</a>'
    elif row["removed_at"] is not None:
        result = f"Removed before the request, {_time_text(row['removed_at'])}"
    else:
        result = f"Left out: {_text(LEFT_OUT.get(row['problem'], row['problem']))}"
    return (
        f'<tr><td class="n">{row["position"]}</td>'
        f"<td>{_text(source or '?')} → {_text(sink or '?')}<br>"
        f'<span class="id">{_text(row["reference"])}</span></td>'
        f'<td class="words">{_text(", ".join(row["connection_types"]))}</td>'
        f"<td>{result}</td></tr>\n"
    )


def plan_end() -> str:
    """The section of a bulk deletion after its last row."""
    return "</tbody>\n</table>\n</section>\n"


# --- The verification ---------------------------------------------------------------------------


class Verification:
    """The verification of one bundle. `findings` lists what was verified."""

    def __init__(self, path: str, fingerprint: str, kept: str) -> None:
        self.path, self.fingerprint, self.kept = path, fingerprint, kept
        self.findings: list[str] = []
        self.shown: dict[str, str] = {}
        self.commitments: dict[str, str] = {}
        self.events = self.sent_with_approval = self.sent_requiring_approval = 0
        self.warnings: list[str] = []
        # The access review. `named` has the deletions in access-review.json not seen so far, by ID.
        self.review: dict[str, Any] | None = None
        self.decisions = 0
        self.named: dict[str, dict[str, Any]] = {}
        self.plan: Plan | None = None
        # The bulk deletions whose plans the bundle does not contain.
        self.without_plan: set[str] = set()

    def run(self) -> None:
        """Check everything. Raises VerificationFailed or UncheckedError."""
        self.archive = Archive(self.path)
        self._check_manifest()
        self._check_checkpoint()
        self._read_values()
        self._lines = self._event_lines()
        self._next = next(self._lines, None)
        self._check_own_events()
        self._check_checkpoints()
        self._check_deletions()

    def _check_manifest(self) -> None:
        data = self.archive.read("manifest.json")
        self.manifest = manifest = load_json(data, "manifest.json")
        given = get(manifest, "format", str, "manifest.json")
        if given != FORMAT:
            raise UncheckedError(f"This verifier reads “{FORMAT}”, but the bundle is “{given}”.")
        files = [
            {
                "name": name,
                "sha256": self.archive.files[name][2],
                "size": self.archive.files[name][1],
            }
            for name in MANIFEST_FILES
            if name in self.archive.files
        ]
        listed = get(manifest, "files", list, "manifest.json")
        for ours, theirs in zip(files, listed):
            require(ours == theirs, f"{ours['name']} does not match the manifest.")
        require(
            len(listed) == len(files),
            "The manifest lists different files than the bundle contains.",
        )
        self.origin = get(manifest, "origin", str, "manifest.json")
        self.size = get(manifest, "size", int, "manifest.json")
        self._read_keys()
        signature = parse_signature(self.archive.read("manifest.sig"), "The manifest")
        require_signed(data, signature, self.origin, self.keys[-1:], "The manifest")
        self.findings.append(
            f"{len(self.archive.files)} files, none added, missing, duplicated or changed: each "
            f"has the SHA-256 in the manifest, which key {fingerprint_of(self.keys[-1])} signed."
        )

    def _read_keys(self) -> None:
        rows = get(
            load_json(self.archive.read("keys.json"), "keys.json"), "keys", list, "keys.json"
        )
        self.keys: list[bytes] = []
        for row in rows:
            key = decode_base64(get(row, "public_key", str, "keys.json"), 32, "A public key")
            fingerprint = get(row, "fingerprint", str, "keys.json")
            require(
                fingerprint == fingerprint_of(key),
                "A fingerprint in keys.json is not that of its key.",
            )
            self.keys.append(key)
        require(self.keys, "keys.json contains no key.")
        known = [fingerprint_of(key) for key in self.keys]
        if self.fingerprint and self.fingerprint not in known:
            raise VerificationFailed(
                f"The fingerprint you gave belongs to no key of this bundle, which key {known[-1]} "
                "signed. The bundle might not be genuine, or the key was replaced and the bundle "
                "has no rotation from your key to the new one."
            )

    def _check_checkpoint(self) -> None:
        data = self.archive.read("checkpoint.txt")
        checkpoint = read_checkpoint(data, self.origin, self.keys[-1:], "checkpoint.txt")
        self.root = checkpoint.root
        require(
            (checkpoint.size, self.root.hex()) == (self.size, self.manifest.get("root")),
            "The checkpoint does not match the manifest.",
        )

    def _read_values(self) -> None:
        erased = 0
        size = self.archive.files["values.ndjson"][1]
        require(size <= 8 * MAX_LINE_BYTES, "values.ndjson is too large.")
        for line in self.archive.lines("values.ndjson"):
            row = load_json(line, "A line of values.ndjson")
            number = str(get(row, "number", int, "values.ndjson"))
            kind = get(row, "kind", str, "values.ndjson")
            get(row, "person_number", int, "values.ndjson")
            commitment = get(row, "commitment", str, "values.ndjson")
            require(number not in self.shown, f"Erasable value {number} is duplicated.")
            if row.get("value") is None:
                require(row.get("salt") is None, f"Erased value {number} still has its salt.")
                erased += 1
            else:
                salt = _hex(get(row, "salt", str, "values.ndjson"))
                value = get(row, "value", str, "values.ndjson")
                is_same = commitment_of(salt, kind, value) == commitment
                require(is_same, f"Erasable value {number} does not match its commitment.")
            self.shown[number], self.commitments[number] = display_value(row), commitment
        self.erased = erased

    def _event_lines(self) -> Iterator[Event]:
        """Every event of the bundle, after proving that it is in the audit log."""
        for line in self.archive.lines("events.ndjson"):
            row = load_json(line, "A line of events.ndjson")
            seq = get(row, "seq", int, "events.ndjson")
            text = get(row, "text", str, "events.ndjson").encode("utf-8", "surrogatepass")
            what = f"Event {seq}"
            path = [
                decode_base64(item, 32, f"The path of event {seq}")
                for item in get(row, "path", list, "events.ndjson")
            ]
            root = root_from_path(leaf_hash(text), seq - 1, self.size, path)
            require(root == self.root, f"{what} is not in the audit log of the checkpoint.")
            event = Event(load_json(text, what), self.shown, what)
            require(event.seq == seq, f"The text of event {seq} has a different number.")
            for number, commitment in event.refs.items():
                is_same = self.commitments.get(number) == commitment
                require(is_same, f"A name or address in event {seq} does not match its commitment.")
            self.events += 1
            yield event

    def _take_events(self, kind: str = "", subject_id: str = "") -> list[Event]:
        """The next consecutive events about this subject. By default, those about anything else."""
        taken: list[Event] = []
        while self._next is not None and self._next.about == (kind, subject_id):
            if taken:
                is_later = self._next.seq > taken[-1].seq
                require(is_later, f"Event {self._next.seq} is in the wrong place.")
            require(len(taken) < MAX_EVENTS_PER_RECORD, "One record has too many events.")
            taken.append(self._next)
            self._next = next(self._lines, None)
        return taken

    def _check_own_events(self) -> None:
        """Check the key rotations and the event that recorded the start of this bundle."""
        events = self._take_events()
        rotations = [event for event in events if event.code == "signing_key.rotated"]
        require(
            len(rotations) == len(self.keys) - 1,
            "The key rotations in the events do not lead to the newest key.",
        )
        for old, new, event in zip(self.keys, self.keys[1:], rotations):
            require_rotation(event.details, event.seq, self.origin, old, new)
        started = [event for event in events if event.code == "evidence_bundle.started"]
        require(
            len(started) == 1 and len(events) == len(rotations) + 1,
            "The events about the audit log itself are not the expected ones.",
        )
        self.started = started[0]
        require(
            self.started.details.get("seed") == self.manifest.get("seed"),
            "The seed is not the one recorded before the sample was selected.",
        )

    def _check_checkpoints(self) -> None:
        """Check that the log extends all earlier checkpoints, including the one that was kept."""
        kept = self._kept_checkpoint()
        is_met = kept is not None and kept == (self.size, self.root)
        count = last = 0
        for line in self.archive.lines("checkpoints.ndjson"):
            row = load_json(line, "A line of checkpoints.ndjson")
            note = get(row, "note", str, "checkpoints.ndjson").encode("utf-8", "surrogatepass")
            earlier = read_checkpoint(note, self.origin, self.keys, "An earlier checkpoint")
            size, root = earlier.size, earlier.root
            proof = get(row, "proof", list, "checkpoints.ndjson")
            nodes = [decode_base64(node, 32, "A consistency proof") for node in proof]
            require(last <= size, "The earlier checkpoints are not in order.")
            is_same = is_prefix(size, root, self.size, self.root, nodes)
            require(is_same, f"The audit log does not extend the checkpoint of size {size}.")
            if kept is not None and kept[0] == size:
                require(kept[1] == root, _REWRITTEN.format(size))
                is_met = True
            last, count = size, count + 1
        if kept is not None and not is_met:
            require(kept[0] != self.size, _REWRITTEN.format(kept[0]))
            raise UncheckedError(
                f"Your checkpoint has size {kept[0]}, and the bundle contains no proof from there "
                f"to {self.size}. Request a bundle that includes your checkpoint "
                "(make_evidence_bundle --checkpoint FILE)."
            )
        grew = f" and extends {pluralize(count, 'earlier checkpoint')}" if count else ""
        mine = ", including the one you kept" if kept is not None else ""
        events = pluralize(self.size, "event")
        self.findings.append(f"The checkpoint of {events} is signed{grew}{mine}.")

    def _kept_checkpoint(self) -> tuple[int, bytes] | None:
        if not self.kept:
            return None
        with open_regular(self.kept) as handle:
            data = handle.read(CHUNK_SIZE).replace(b"\r\n", b"\n").strip(b"\n") + b"\n"
        try:
            kept = read_checkpoint(data, self.origin, self.keys, "Your checkpoint")
        except VerificationFailed as error:
            raise VerificationFailed(
                f"{error} It belongs to a different audit log, or the audit log was rewritten."
            ) from None
        return kept.size, kept.root

    def _check_deletions(self) -> None:
        population = load_json(self.archive.read("population.json"), "population.json")
        sample = load_json(self.archive.read("sample-25.json"), "sample-25.json")
        self._check_population(population)
        selected = get(sample, "sample", list, "sample-25.json")
        ids = [get(entry, "id", str, "sample-25.json") for entry in selected]
        with open_regular(self.path) as handle:
            page = Comparer(self.archive, "deletions.html", handle)
            lines = self._lines_of(ACCESS_REVIEW_FILE, "access review")
            review = _document_without_rows(lines, ACCESS_REVIEW_FILE) if lines else None
            page.expect(page_start(population, ids, review))
            if review and lines:
                self._check_access_review(page, review, lines)
            self._check_plan(page)
            drawn = draw_sample(self.manifest["seed"], self._deletion_ids(page))
            page.expect(page_end())
            page.end()
        require(
            not self.named,
            f"access-review.json names deletion {next(iter(self.named), '')}, which deletions.json "
            "does not contain.",
        )
        missing = next(iter(self.plan.rows), "") if self.plan else ""
        require(not missing, f"plan.json names deletion {missing}, which is missing.")
        require(self._next is None, "The bundle has events of deletions that it does not contain.")
        counts = (self.count, self.counts)
        is_same = counts == (population.get("selected"), population.get("counts"))
        require(is_same, "The counts in population.json do not match the deletions.")
        self._check_sample(sample, drawn)
        deletions = pluralize(self.count, "deletion")
        self.findings += [
            f"Every event of this bundle ({self.events}) is in that audit log, word for word, with "
            f"the recorded names (names and addresses: {len(self.shown)}; shown as erased: "
            f"{self.erased}).",
            "deletions.json and deletions.html match these events for "
            f"{deletions}: requester, approvers, who confirmed, attempts, "
            "responses, times and outcome.",
            f"The sample is the one that its seed selects from {deletions}.",
        ]
        if self.sent_requiring_approval:
            attempted = pluralize(self.sent_requiring_approval, "attempted deletion")
            self.findings.append(
                f"Of {attempted} that required approval, {self.sent_with_approval} had enough "
                "approvals by other people before every attempt."
            )

    def _check_population(self, population: dict[str, Any]) -> None:
        period = get(population, "period", dict, "population.json")
        require(period == self.manifest.get("period"), "The period does not match the manifest.")
        for key in ("origin", "made_at"):
            is_same = get(population, key, str, "population.json") == self.manifest.get(key)
            require(is_same, f"“{key}” in population.json does not match the manifest.")
        for key in ("filter", "filter_in_words"):
            get(population, key, str, "population.json")
        for key, document in (("filter", population), ("since", period), ("until", period)):
            require(
                self.started.details.get(key) == document.get(key),
                "The filter or the period is not the one recorded when the bundle was started.",
            )
        get(population, "counts", dict, "population.json")
        selected = get(population, "selected", int, "population.json")
        in_period = get(population, "in_period", int, "population.json")
        require(selected <= in_period, "More deletions were selected than there are in the period.")
        get(self.manifest, "seed", str, "manifest.json")
        self.since, until = _time(period.get("since")), _time(period.get("until"))
        if until is None:
            raise VerificationFailed("The period has no end.")
        self.until = until
        self.population = population

    def _lines_of(self, name: str, what: str) -> Iterator[bytes] | None:
        """The lines of a file that is only in the bundle of one `what`. None for other bundles."""
        is_there = name in self.archive.files
        is_same = is_there == (_STARTED_KEY_OF[what] in self.started.details)
        require(is_same, f"{name} is missing, or the bundle is not of one {what}.")
        return self.archive.lines(name) if is_there else None

    def _check_plan(self, page: Comparer) -> None:
        """Check the bulk deletion against its events, if the bundle was made for one."""
        lines = self._lines_of(PLAN_FILE, "bulk deletion")
        if lines is None:
            return
        document = _document_without_rows(lines, PLAN_FILE)
        name = get(document, "id", str, PLAN_FILE)
        require(
            self.started.details.get(BATCH) == name,
            "The bulk deletion is not the one recorded when the bundle was started.",
        )
        events = self._take_events(BATCH, name)
        self.plan = Plan(document, events)
        page.expect(plan_start(document, events))
        wrong = self.plan.differences(self._plan_rows(lines, page))
        require(not wrong, f"The bulk deletion does not match its events: {'; '.join(wrong[:3])}.")
        page.expect(plan_end())
        self.findings += _plan_findings(self.plan)
        if self.plan.left_out:
            counts = self.plan.left_out
            why = ", ".join(f"{LEFT_OUT.get(key, key)}: {n}" for key, n in counts.items())
            rows = pluralize(sum(counts.values()), "row")
            self.warnings.append(f"Left out of the plan: {rows} ({why}).")

    def _plan_rows(self, lines: Iterator[bytes], page: Comparer) -> Iterator[dict[str, Any]]:
        for row in _rows(lines, PLAN_FILE, b"]}"):
            page.expect(plan_row(row))
            yield row

    def _check_access_review(
        self, page: Comparer, review: dict[str, Any], lines: Iterator[bytes]
    ) -> None:
        """Check the access review against its events. `lines` has its rows."""
        name = get(review, "id", str, ACCESS_REVIEW_FILE)
        require(
            self.started.details.get("access_review") == name,
            "The access review is not the one recorded when the bundle was started.",
        )
        page.expect(access_review_start(review))
        rows = self._access_review_rows(lines, page)
        wrong = access_review_differences(review, rows, self._take_events(ACCESS_REVIEW, name))
        require(not wrong, f"The access review does not match its events: {'; '.join(wrong[:3])}.")
        require(review.get("state") == "closed", "The access review is not closed.")
        page.expect(access_review_end(review))
        self.review = review
        self.findings.append(
            "access-review.json and deletions.html match its events: the connections and syncs at "
            "the start, each decision with its person, time and reason, and the final states "
            f"({pluralize(review['row_count'], 'connection')}, "
            f"{pluralize(self.decisions, 'decision')})."
        )

    def _access_review_rows(
        self, lines: Iterator[bytes], page: Comparer
    ) -> Iterator[dict[str, Any]]:
        for row in _rows(lines, ACCESS_REVIEW_FILE, b"]}"):
            page.expect(access_review_row(row))
            self.decisions += len(row["decisions"])
            if row["closed_as"] == "delete" and not _was_deleted(row["deletions"]):
                result = _gone_text(row) or "no deletion succeeded"
                self.warnings.append(f"{_name_of(row)} was to be deleted: {result}.")
            elif row["closed_as"] == "pending":
                self.warnings.append(
                    f"{_name_of(row)} was left open without a decision that counts."
                )
            for deletion in get(row, "deletions", list, "A row of access-review.json"):
                key = {"site": row["site"], "connection_id": row["connection_id"]}
                name = get(deletion, "id", str, "A deletion in access-review.json")
                require(name not in self.named, f"access-review.json has deletion {name} twice.")
                self.named[name] = deletion | key
            yield row

    def _deletion_ids(self, page: Comparer) -> Iterator[str]:
        self.count = 0
        self.counts: dict[str, int] = {}
        before: tuple[datetime, str] | None = None
        lines = self.archive.lines("deletions.json")
        require(next(lines, None) == b"[", "deletions.json does not begin with “[”.")
        for row in _rows(lines, "deletions.json", b"]"):
            name = get(row, "id", str, "A deletion")
            requested_at = _time(get(row, "requested_at", str, "A deletion"))
            if requested_at is None or (before is not None and (requested_at, name) >= before):
                raise VerificationFailed("The deletions are not in order, or one is duplicated.")
            before = (requested_at, name)
            is_within = requested_at < self.until and (
                self.since is None or requested_at >= self.since
            )
            require(is_within, f"Deletion {name} was requested outside the period.")
            events = self._take_events(DELETION, name)
            page.expect(page_section(row, events))
            found = differences(row, events)
            require(
                not found, f"Deletion {name} does not match its events: {', '.join(found[:3])}."
            )
            unapproved = sent_without_approvals(events)
            self.sent_requiring_approval += unapproved is not None
            self.sent_with_approval += unapproved == []
            for sending in unapproved or []:
                break_glass = break_glass_for(sending, events)
                used = f": {break_glass.actor} used break glass" if break_glass else ""
                number = sending.details.get("attempt")
                self.warnings.append(
                    f"Deletion {name}: attempt {number} was sent without required approvals{used}."
                )
            self._check_against_access_review(row)
            self._check_against_plan(row, events)
            outcome = row["outcome"] or ""
            self.count, self.counts[outcome] = self.count + 1, self.counts.get(outcome, 0) + 1
            yield name

    def _check_against_access_review(self, row: dict[str, Any]) -> None:
        """Check what access-review.json says about this deletion."""
        if self.review:
            keys = ("id", "state", "outcome", "contradicted_at", "site", "connection_id")
            is_same = self.named.pop(row["id"], None) == {key: row[key] for key in keys}
            require(is_same, f"Deletion {row['id']} does not match access-review.json.")

    def _check_against_plan(self, row: dict[str, Any], events: Sequence[Event]) -> None:
        """Check this deletion against the plan, or note that the bundle doesn't have its plan."""
        if self.plan:
            wrong = "; ".join(self.plan.deletion_differences(row, events)[:3])
            require(not wrong, f"Deletion {row['id']} does not match the bulk deletion: {wrong}.")
        elif row["batch"]:
            self.without_plan.add(row["batch"])

    def _check_sample(self, sample: Any, drawn: list[tuple[str, str]]) -> None:
        expected = [{"id": each, "score": score} for score, each in drawn]
        is_same = (
            sample.get("sample") == expected
            and sample.get("seed") == self.manifest["seed"]
            and sample.get("population") == self.count
            and sample.get("period") == self.manifest["period"]
        )
        require(is_same, "The sample is not the one that the seed selects.")


# The key in the start event with the ID of what the bundle was made for.
_STARTED_KEY_OF = {"access review": ACCESS_REVIEW, "bulk deletion": BATCH}
_REWRITTEN = (
    "Your checkpoint of size {} contradicts this bundle: the audit log was rewritten after one of "
    "the two was signed."
)


def _hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise VerificationFailed("A salt is not valid hex.") from None


def _plan_findings(plan: Plan) -> Iterator[str]:
    counts = {
        "became deletions": len(plan.rows),
        "left out": sum(plan.left_out.values()),
        "removed before the request": plan.removed,
    }
    rows = ", ".join(f"{count} {what}" for what, count in counts.items())
    yield (
        "plan.json and deletions.html match the events of the bulk deletion: its rows are those of "
        f"the plan that was requested ({rows}). Each of these deletions belongs to exactly one row."
    )
    if plan.confirmed is None:
        yield "The plan was not confirmed, and no attempt was made."
        return
    needed = plan.approvals_needed
    others = f"{needed} other {'person' if needed == 1 else 'people'}"
    approved = f", after at least {others} had approved it" if needed else ""
    yield (
        f"{plan.confirmed.actor} confirmed the plan before every attempt{approved}. No attempt was "
        "made while it was paused or after it ended, except for deletions that a person confirmed "
        "again individually after an unknown outcome."
    )


def _document_without_rows(lines: Iterator[bytes], name: str) -> dict[str, Any]:
    """The document in the lines of a file, without its rows, which follow one per line."""
    text = b""
    for line in lines:
        text += line + b"\n"
        require(len(text) <= MAX_LINE_BYTES, f"{name} is too large.")
        if line == b' "rows": [':
            break
    document: dict[str, Any] = load_json(text + b"]}", name)
    require(type(document) is dict, f"{name} is not a JSON object.")
    return document


def _rows(lines: Iterator[bytes], name: str, end: bytes) -> Iterator[dict[str, Any]]:
    """The rows in the lines of a file, one per line, up to the last line, which is `end`."""
    line = next(lines, None)
    while line is not None and line != end:
        after = next(lines, None)
        # Every row except the last ends with a comma.
        is_last = after == end
        require(line.endswith(b",") != is_last, f"{name} does not have one row per line.")
        row = load_json(line if is_last else line[:-1], f"A line of {name}")
        require(type(row) is dict, f"A line of {name} is not a row.")
        yield row
        line = after
    is_end = line == end and next(lines, None) is None
    require(is_end, f"{name} does not end with “{end.decode()}”.")


# --- Output -------------------------------------------------------------------------------------

NOT_PROVEN = (
    "The audit log was true when written. It contains what the server received and recorded.",
    "The bundle is complete. The filter or the server might have left out a deletion, or a later "
    "event of one. Compare the counts with the Deletions page, and have verify_audit run on the "
    "whole audit log.",
    "The clock was right. Times are those of the server's database.",
    "The person named was at the keyboard. A name means an account that was signed in.",
    "A name shown as erased was erased. The person who made the bundle can leave out a name in the "
    "same way. The audit log has an event person.erased for each erased person: ask to see it.",
    "Anything after the checkpoint.",
)
_NOT_PROVEN_OF_REVIEW = (
    "The access review had every connection. It has those that matched its filter in the newest "
    "syncs; access-review.json names the syncs that were incomplete, the orgs without a credential "
    "and the connections that matched later. Those are new, or changed so that they match.",
    "A connection that is “removed outside Org Admin” is gone. The syncs stored when the bundle "
    "was made no longer list it, but no deletion and no event proves that.",
    "A reviewer looked closely. The record shows the decision, its reason and how many were "
    "decided at once.",
)
_NOT_PROVEN_OF_PLAN = (
    "A row was left out of the plan for a good reason. The plan shows what Org Admin found when it "
    "was made or requested.",
    "A row that was removed before the request had this connection. The plan's digest covers only "
    "the other rows and their positions.",
    "The credential ID of a row belongs to the credential that its deletion names.",
    "Every pause of the bulk deletion is here. The server might have left out an event that no "
    "other one requires.",
)
WITHOUT_PLAN = (
    "No row of {} was left out. The bundle has neither a plan nor the events of a bulk deletion as "
    "a whole (request, approval, confirmation, pauses, end), because it was not made for one whole "
    "bulk deletion. A bundle made for one bulk deletion, without another "
    "filter, has both."
)
SIGNER_NOT_VERIFIED = ", but THE SIGNER WAS NOT VERIFIED: you gave no fingerprint."
NO_FINGERPRINT = (
    "WARNING: key {} signed this bundle, and you gave no fingerprint to compare it with. This "
    "proves only that the bundle is consistent: the person who made it might have made the key "
    "too. Get the fingerprint through a different channel (a person you know, an earlier "
    "document) and pass it with --fingerprint. Get verify.py through a different channel too."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify a bundle and print the result. Return the exit code."""
    parser = argparse.ArgumentParser(
        description="Verify an evidence bundle offline.",
        epilog="Exit code 0: every check passed; 1: a check failed; 2: could not check.",
    )
    parser.add_argument("bundle", help="the ZIP file, exactly as it was downloaded")
    parser.add_argument(
        "--fingerprint", default="", help="SHA-256 of the public key, from a different channel"
    )
    parser.add_argument(
        "--checkpoint", default="", metavar="FILE", help="an earlier checkpoint that you kept"
    )
    options = parser.parse_args(arguments)
    fingerprint = re.sub("[\\s:]", "", options.fingerprint).lower()
    if options.fingerprint and not re.fullmatch("[0-9a-f]{64}", fingerprint):
        return _print(2, ["COULD NOT CHECK: a fingerprint has 64 hex digits."])
    verification = Verification(options.bundle, fingerprint, options.checkpoint)
    try:
        verification.run()
    except VerificationFailed as error:
        return _print(1, [f"VERIFICATION FAILED: {error}", "Do not rely on this bundle."])
    except UncheckedError as error:
        return _print(2, [f"COULD NOT CHECK: {error}"])
    except OSError as error:
        name = error.filename or options.bundle
        why = error.strerror or error
        advice = "Check the path and that you can read the file."
        return _print(2, [f"COULD NOT CHECK: {name} can't be read ({why}). {advice}"])
    except Exception as error:  # noqa: BLE001 - a forged bundle might cause any error
        kind = type(error).__name__
        return _print(1, [f"VERIFICATION FAILED: part of the bundle is malformed ({kind})."])
    return _print(0, _report_lines(verification))


def _report_lines(done: Verification) -> list[str]:
    period = done.manifest["period"]
    lines = [f"Evidence bundle of {done.origin}, created {done.manifest['made_at']}."]
    if done.review:
        lines.append(
            f"Access review “{done.review['name']}” ({done.review['id']}), started "
            f"{done.review['created_at']}, closed {done.review['closed_at']}."
        )
    lines += [
        f"{pluralize(done.count, 'deletion')} requested from {period['since'] or 'the beginning'} "
        f"until {period['until']} (UTC). Filter: {done.population['filter_in_words']}. The server "
        f"counted {done.population['in_period']} in the period.",
        "",
        f"VERIFIED: every check passed{'.' if done.fingerprint else SIGNER_NOT_VERIFIED}",
        "",
        "Proven, if you trust the signing key:",
        *(f"  - {finding}" for finding in done.findings),
        "",
        "Not proven:",
        *(f"  - {text}" for text in _not_proven(done)),
        "",
    ]
    if done.warnings:
        lines += ["Needs attention:", *(f"  - {warning}" for warning in done.warnings[:50]), ""]
    if not done.fingerprint:
        return [*lines, NO_FINGERPRINT.format(fingerprint_of(done.keys[-1]))]
    return [
        *lines,
        "The signing key has the fingerprint you gave, or replaced that key.",
    ]


def _not_proven(done: Verification) -> Iterator[str]:
    yield from NOT_PROVEN
    if done.review:
        yield from _NOT_PROVEN_OF_REVIEW
    if done.plan:
        yield from _NOT_PROVEN_OF_PLAN
    if done.without_plan:
        yield WITHOUT_PLAN.format(pluralize(len(done.without_plan), "bulk deletion"))


def _print(code: int, lines: Iterable[str]) -> int:
    # Control characters in a forged name must not reach the terminal.
    shown = "".join(
        c if c == "\n" or c.isprintable() else f"\\u{ord(c):04x}" for c in "\n".join(lines)
    )
    encoding = sys.stdout.encoding or "ascii"
    sys.stdout.write(shown.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
