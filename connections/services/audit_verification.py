"""Verifying the record: every text, hash and copied column, and every checkpoint.

It reads in pieces and keeps one hash and one frontier, so its memory does not grow with the
record. Events that are appended while it runs are left to the next time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from django.conf import settings

from connections import chain
from connections.models import AuditHead, Checkpoint
from connections.services.audit_rows import (
    BrokenError,
    Fault,
    Row,
    check_row,
    pieces,
    values_kept,
)
from connections.signed_notes import Note, NoteError, parse
from connections.signing_key import SigningKeyError, fingerprint_of, read_signing_key

# The signatures of so many stored checkpoints are checked, the newest. A root that such a one
# vouches for vouches for every event before it; the roots of older ones are compared all the same.
SIGNATURES_CHECKED = 500

# What must hold at a size: (size, root in hex, where that is known from).
type Mark = tuple[int, str, str]


class CannotCheckError(Exception):
    """It could not be found out whether the record is whole; the text says why."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was found. `first_bad_seq` is the first event that cannot be relied on."""

    size: int
    checkpoints: int
    fault: Fault | None = None
    first_bad_seq: int | None = None
    message: str = "The record is whole."


@dataclass
class _State:
    """How far it has come."""

    # Number → commitment of every erasable value, erased or not.
    values: dict[str, str]
    seq: int = 0
    hash: bytes = chain.NO_HASH
    frontier: list[bytes] = field(default_factory=list)
    # The newest size at which a checkpoint was met and held, and how many were.
    proved: int = 0
    met: int = 0


def verify_record(*, notes: Sequence[tuple[str, str]] = ()) -> Report:
    """Read the whole record once, and check it against every checkpoint stored here and given.

    `notes` are checkpoints kept elsewhere, each with a name for it. Raises CannotCheckError for
    a note that is none or of another record, or without the public keys; and what the database
    raises.
    """
    found = [report for report in verify_in_pieces(notes=notes) if report is not None]
    return found[0]


def verify_in_pieces(*, notes: Sequence[tuple[str, str]] = ()) -> Iterator[Report | None]:
    """As `verify_record`; gives None after each piece of some thousand events, then the report."""
    # Before the head, which can only be further then.
    newest = list(Checkpoint.objects.order_by("-size", "-id")[:SIGNATURES_CHECKED])
    head = AuditHead.objects.get()
    state = _State(values=values_kept())
    report = Report(size=head.size, checkpoints=0)
    try:
        given = _marks(head, newest=newest, notes=notes)
        _meet(state, [mark for mark in given if mark[0] == 0])
        for rows in pieces(upto=head.size):
            _check_rows(rows, state, given)
            yield None
        _check_end(state, head, given)
    except BrokenError as broken:
        report = replace(
            report, fault=broken.fault, first_bad_seq=broken.seq, message=broken.message
        )
    yield replace(report, checkpoints=state.met)


# --- Checkpoints --------------------------------------------------------------------------------


def _marks(
    head: AuditHead, *, newest: list[Checkpoint], notes: Sequence[tuple[str, str]]
) -> list[Mark]:
    """What the given notes say, once every signature was checked. The newest stored one with them.

    Stored ones are looked at again where their events are read.
    """
    if not newest and not notes:
        return []
    trusted = _trusted_public_keys()
    for stored in newest:
        name = f"The stored checkpoint at {stored.size}"
        note = _checked(name, stored.note, head=head, trusted=trusted)
        if (note.size, note.root.hex()) != (stored.size, stored.root):
            raise BrokenError(Fault.CHECKPOINT, 1, f"{name} is not what was signed.")
    checked = [(name, _checked(name, text, head=head, trusted=trusted)) for name, text in notes]
    marks = [(note.size, note.root.hex(), name) for name, note in checked]
    if newest:
        end = newest[0]
        marks.append((end.size, end.root, _stored_name(end.size)))
    return sorted(marks)


def _stored_name(size: int) -> str:
    return f"the stored checkpoint at {size}"


def _trusted_public_keys() -> tuple[bytes, ...]:
    try:
        return read_signing_key(Path(settings.SIGNING_KEY_FILE)).trusted_public_keys
    except SigningKeyError as error:
        raise CannotCheckError(
            f"There are checkpoints, and not the public keys to check them with. {error}"
        ) from None


def _checked(name: str, text: str, *, head: AuditHead, trusted: tuple[bytes, ...]) -> Note:
    try:
        note = parse(text)
    except NoteError as error:
        raise CannotCheckError(f"{name} cannot be read. {error}") from None
    if note.origin != head.origin:
        raise CannotCheckError(f"{name} is of another record: {note.origin}, not {head.origin}.")
    if not any(note.is_signed_by(key) for key in trusted):
        ours = ", ".join(fingerprint_of(key)[:16] for key in trusted)
        raise BrokenError(
            Fault.OTHER_KEY,
            1,
            f"{name} (size {note.size}) is not signed by a key of this installation ({ours}…). "
            "Either it or the record was made by somebody else: no event can be relied on.",
        )
    return note


def _meet(state: _State, marks: list[Mark]) -> None:
    """Compare what must hold at this size with the tree so far."""
    for size, root, name in marks:
        if chain.root_of(state.frontier).hex() != root:
            raise BrokenError(
                Fault.REHASHED,
                state.proved + 1,
                f"The record is not what it was when {name} was signed: the chain was made anew "
                f"from an event between {state.proved + 1} and {size} on.",
            )
        state.proved = size
        state.met += 1


def _check_end(state: _State, head: AuditHead, given: list[Mark]) -> None:
    if state.seq < head.size:
        seq = state.seq + 1
        raise BrokenError(
            Fault.DELETED, seq, f"Event {seq} and all after it are missing, up to {head.size}."
        )
    if given and given[-1][0] > head.size:
        size, _, name = given[-1]
        seq = head.size + 1
        raise BrokenError(
            Fault.TRUNCATED,
            seq,
            f"The record ends at {head.size}, and {name} has seen {size} events: those from "
            f"{seq} on were removed.",
        )
    is_same_end = head.hash == state.hash.hex()
    if not is_same_end or head.frontier != chain.frontier_as_text(state.frontier):
        raise BrokenError(
            Fault.HEAD, head.size, "The head row does not hold the hash of the last event."
        )


# --- Events -------------------------------------------------------------------------------------


def _check_rows(rows: list[Row], state: _State, given: list[Mark]) -> None:
    first, last = rows[0][0], rows[-1][0]
    stored = Checkpoint.objects.filter(size__gte=first, size__lte=last).values_list("size", "root")
    marks: dict[int, list[Mark]] = {}
    for size, root in stored:
        marks.setdefault(size, []).append((size, root, _stored_name(size)))
    for mark in given:
        if mark not in marks.setdefault(mark[0], []):
            marks[mark[0]].append(mark)
    for row in rows:
        state.hash, leaf = check_row(
            row, expected=state.seq + 1, previous=state.hash, values=state.values
        )
        chain.extend(state.frontier, size=state.seq, leaf=leaf)
        state.seq += 1
        if state.seq in marks:
            _meet(state, marks[state.seq])
