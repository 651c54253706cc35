"""Verifying the record: every text, hash and copied column, every checkpoint and every key.

Once the chain holds, every deletion and its attempts are compared with what their events say. It
reads in pieces and keeps one hash and one frontier, so its memory does not grow with the record.
Events that are appended while it runs are left to the next time.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from django.db import Error as DatabaseError
from django.db.models import Max

from connections.access import permissions
from connections.access.actor import WORKER, Actor
from connections.audit import chain, events, outbox
from connections.audit.comparison import (
    DifferingDeletions,
    compare_all_deletions,
    find_missing_deletions,
)
from connections.audit.key_rotation import KeyRotationVerifier, MissingPublicKeysError
from connections.audit.signed_notes import (
    InvalidCheckpointError,
    SignedCheckpoint,
    parse_checkpoint,
)
from connections.audit.stored_events import (
    AuditFault,
    EventRow,
    Fault,
    StoredValues,
    load_values,
    row_batches,
    verify_row,
)
from connections.core import clock
from connections.models import AuditEvent, AuditHead, AuditVerification, Checkpoint, Deletion

logger = logging.getLogger(__name__)

ROTATED = "signing_key.rotated"

# What somebody has seen of the record: where that is known from, and the checkpoint.
type Seen = tuple[str, SignedCheckpoint]
# One of either kind; a stored one is read where it is met.
type Mark = Seen | Checkpoint


class CannotVerifyError(Exception):
    """It could not be found out whether the record is whole; the text says why."""


@dataclass(frozen=True, kw_only=True)
class VerificationReport:
    """What was found. `first_bad_seq` is the first event that cannot be relied on.

    Where only a stretch is known, the first bad event stands between it and `at_latest`. Where the
    events hold and deletions differ from them, `differing` counts these, and `deletions` holds the
    ids of the first of them.
    """

    size: int
    checkpoints: int
    fault: Fault | None = None
    first_bad_seq: int | None = None
    at_latest: int | None = None
    message: str = "The record is whole."
    differing: int = 0
    deletions: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _InitialState:
    """What was there before the head was looked at, which can only be further then."""

    events: int
    checkpoints: int
    verified: int

    @classmethod
    def read(cls) -> "_InitialState":
        def newest(model: type[AuditEvent | Checkpoint | AuditVerification], field: str) -> int:
            found: int | None = model.objects.aggregate(newest=Max(field))["newest"]
            return found or 0

        return cls(
            events=newest(AuditEvent, "seq"),
            checkpoints=newest(Checkpoint, "pk"),
            verified=newest(AuditVerification, "size"),
        )


@dataclass
class _Progress:
    """How far it has come."""

    values: StoredValues
    keys: KeyRotationVerifier
    seq: int = 0
    hash: str = chain.NO_HASH.hex()
    frontier: list[bytes] = field(default_factory=list)
    # The newest size at which a checkpoint was met and held, and how many were.
    proved: int = 0
    met: int = 0
    differing: DifferingDeletions = field(default_factory=DifferingDeletions)


def verify_audit_log(*, notes: Sequence[tuple[str, str]] = ()) -> VerificationReport:
    """Read the whole record once, and check it against every checkpoint stored here and given.

    `notes` are checkpoints kept elsewhere, each with a name for it. Raises CannotCheckError for
    a note that is none or of another record, or without the public keys; and what the database
    raises.
    """
    found = [report for report in verify_in_steps(notes=notes) if report is not None]
    return found[0]


def verify_in_steps(
    *, notes: Sequence[tuple[str, str]] = ()
) -> Iterator[VerificationReport | None]:
    """As `verify_record`; gives None after each piece of some thousand events, then the report."""
    before = _InitialState.read()
    head = AuditHead.objects.get()
    given = [(name, _parse_given(name, text, origin=head.origin)) for name, text in notes]
    state = _Progress(values=load_values(), keys=KeyRotationVerifier(origin=head.origin))
    report = VerificationReport(size=head.size, checkpoints=0)
    try:
        _verify_checkpoints(state, head, marks=[seen for seen in given if seen[1].size == 0])
        for rows in row_batches(upto=head.size):
            marks = _checkpoints_by_size(rows, newest=before.checkpoints, given=given)
            _verify_rows(rows, state, head, marks=marks)
            state.differing.add_missing(find_missing_deletions(_deletions_in(rows)))
            yield None
        _verify_end(state, head, before=before, given=given)
        yield from compare_all_deletions(state.differing)
        report = _with_differences(report, state.differing)
    except AuditFault as broken:
        report = replace(
            report,
            fault=broken.fault,
            first_bad_seq=broken.seq,
            at_latest=broken.at_latest,
            message=broken.message,
        )
    except MissingPublicKeysError as error:
        raise CannotVerifyError(str(error)) from None
    yield replace(report, checkpoints=state.met)


def _deletions_in(rows: list[EventRow]) -> set[str]:
    """The ids of the deletions that these events are about."""
    return {row[11] for row in rows if row[10] == "deletion"}


def _with_differences(
    report: VerificationReport, differing: DifferingDeletions
) -> VerificationReport:
    if not differing.count:
        return report
    return replace(
        report,
        fault=Fault.DELETION,
        message=differing.message,
        differing=differing.count,
        deletions=tuple(differing.ids),
    )


# --- Checkpoints --------------------------------------------------------------------------------


def _parse_given(name: str, text: str, *, origin: str) -> SignedCheckpoint:
    try:
        note = parse_checkpoint(text)
    except InvalidCheckpointError as error:
        raise CannotVerifyError(f"{name} cannot be read. {error}") from None
    if note.origin != origin:
        raise CannotVerifyError(f"{name} is of another record: {note.origin}, not {origin}.")
    return note


def _checkpoints_by_size(
    rows: list[EventRow], *, newest: int, given: list[Seen]
) -> dict[int, list[Mark]]:
    """The checkpoints that were made at the sizes of these events, by size."""
    first, last = rows[0][0], rows[-1][0]
    marks: dict[int, list[Mark]] = {}
    stored = Checkpoint.objects.filter(size__gte=first, size__lte=last, pk__lte=newest)
    for one in stored.order_by("size", "pk"):
        marks.setdefault(one.size, []).append(one)
    for seen in given:
        marks.setdefault(seen[1].size, []).append(seen)
    return marks


def _parse_stored(stored: Checkpoint, *, head: AuditHead, proved: int) -> Seen:
    name = f"the stored checkpoint at {stored.size}"
    try:
        note = parse_checkpoint(stored.note)
    except InvalidCheckpointError:
        note = None
    told = (head.origin, stored.size, stored.root)
    if note is None or (note.origin, note.size, note.root.hex()) != told:
        raise AuditFault(
            Fault.CHECKPOINT,
            proved + 1,
            f"What was signed is not what stands in {name}: it shows nothing of the events after "
            f"{proved}.",
            at_latest=max(stored.size, proved + 1),
        )
    return name, note


def _verify_checkpoints(state: _Progress, head: AuditHead, *, marks: Sequence[Mark]) -> None:
    """Compare what was signed at this size with the tree so far."""
    for mark in marks:
        if isinstance(mark, Checkpoint):
            mark = _parse_stored(mark, head=head, proved=state.proved)
        name, note = mark
        state.keys.check(name, note, proved=state.proved)
        if chain.root_of(state.frontier) != note.root:
            raise AuditFault(
                Fault.REHASHED,
                state.proved + 1,
                f"The record is not what it was when {name} was signed: the first {note.size} "
                f"events give another root. The chain was made anew from an event between "
                f"{state.proved + 1} and {note.size} on.",
                at_latest=max(note.size, state.proved + 1),
            )
        state.proved = note.size
        state.met += 1


# --- Events -------------------------------------------------------------------------------------


def _verify_rows(
    rows: list[EventRow], state: _Progress, head: AuditHead, *, marks: dict[int, list[Mark]]
) -> None:
    for row in rows:
        event, leaf = verify_row(
            row,
            expected=state.seq + 1,
            previous=state.hash,
            proved=state.proved,
            values=state.values,
        )
        chain.extend(state.frontier, size=state.seq, leaf=leaf)
        state.seq += 1
        state.hash = row[2]
        if event["code"] == ROTATED:
            state.keys.follow(event)
        if state.seq in marks:
            _verify_checkpoints(state, head, marks=marks[state.seq])


def _verify_end(
    state: _Progress, head: AuditHead, *, before: _InitialState, given: list[Seen]
) -> None:
    size = head.size
    if state.seq < size:
        seq = state.seq + 1
        raise AuditFault(
            Fault.DELETED, seq, f"Event {seq} and all after it are missing, up to {size}."
        )
    if before.events > size:
        seq = size + 1
        raise AuditFault(
            Fault.INSERTED, seq, f"Event {seq} stands after the end of the record: it was put in."
        )
    for name, seen in _larger_sizes(state, head, before=before, given=given):
        raise AuditFault(
            Fault.TRUNCATED,
            size + 1,
            f"The record ends at {size}, and {name} has seen {seen} events: those from {size + 1} "
            "on were removed.",
        )
    is_same_end = head.hash == state.hash
    if not is_same_end or head.frontier != chain.format_frontier(state.frontier):
        raise AuditFault(Fault.HEAD, size, "The head row does not hold the hash of the last event.")
    state.keys.check_end(size=size, proved=state.proved)


def _larger_sizes(
    state: _Progress, head: AuditHead, *, before: _InitialState, given: list[Seen]
) -> Iterator[tuple[str, int]]:
    """Whatever has seen more events than there are, and how many."""
    stored = Checkpoint.objects.filter(size__gt=head.size, pk__lte=before.checkpoints)
    seen = [
        _parse_stored(one, head=head, proved=state.proved) for one in stored.order_by("size")[:1]
    ]
    for name, note in [*seen, *(each for each in given if each[1].size > head.size)]:
        if not state.keys.is_signed_by_any(note):
            state.keys.check(name, note, proved=state.proved)
        yield name, note.size
    if before.verified > head.size:
        yield "a verification", before.verified


# As much is read while somebody waits for the page, in about a second: events, and deletions
# that are compared with theirs.
MAX_EVENTS_IN_REQUEST = 20_000
MAX_DELETIONS_IN_REQUEST = 1_000


def last_verification() -> AuditVerification | None:
    """The newest verification that was kept, if there was any.

    By the order they were kept in: after the clock was set back, an older one has a later time.
    """
    return AuditVerification.objects.order_by("-id").first()


def verify_and_store(*, actor: Actor = WORKER) -> Iterator[AuditVerification | None]:
    """A verification in pieces: None after each, then the row that keeps its result.

    One that a person made, or that found the record broken, is an event too. Raises
    CannotCheckError and what the database raises.
    """
    for report in verify_in_steps():
        if report is None:
            yield None
        else:
            yield _store(report, actor=actor)


def _store(report: VerificationReport, *, actor: Actor) -> AuditVerification:
    with events.atomic():
        stored = AuditVerification.objects.create(
            checked_at=clock.now(),
            size=report.size,
            fault=report.fault or "",
            first_bad_seq=report.first_bad_seq,
            message=report.message,
        )
        if report.fault:
            # Not by its event, which a broken record may refuse.
            outbox.enqueue_verification_failure(verification=stored)
    if report.fault or actor.person is not None:
        try:
            with events.atomic():
                _record(report, actor=actor)
        except DatabaseError:
            # A record that is broken may refuse whatever is appended; the finding stands above.
            logger.exception("A verification could not be put on the record.")
    return stored


def _record(report: VerificationReport, *, actor: Actor) -> None:
    is_whole = report.fault is None
    events.record(
        code=events.EventCode.AUDIT_LOG_VERIFIED
        if is_whole
        else events.EventCode.AUDIT_LOG_VERIFICATION_FAILED,
        actor=actor,
        sentence=f"The record was verified up to event {report.size}. {report.message}",
        details={
            "size": report.size,
            "checkpoints": report.checkpoints,
            "fault": report.fault,
            "first_bad_seq": report.first_bad_seq,
        },
    )


def verify_now(*, actor: Actor) -> AuditVerification | None:
    """Verify at once while the record is small; else ask the worker for it, and give None.

    Either is recorded. Raises PermissionDenied, CannotCheckError and what the database raises.
    """
    permissions.require(permissions.can_audit(actor), "verify the record of acts")
    size = AuditHead.objects.values_list("size", flat=True).get()
    if size <= MAX_EVENTS_IN_REQUEST and Deletion.objects.count() <= MAX_DELETIONS_IN_REQUEST:
        [stored] = [done for done in verify_and_store(actor=actor) if done is not None]
        return stored
    events.record(
        code=events.EventCode.AUDIT_LOG_VERIFICATION_REQUESTED,
        actor=actor,
        sentence=f"A verification of the record up to event {size} was asked for.",
        details={"size": size},
    )
    return None


def verification_requested_at() -> datetime | None:
    """When somebody asked for a verification that was not made yet."""
    asked = AuditEvent.objects.filter(code=events.EventCode.AUDIT_LOG_VERIFICATION_REQUESTED)
    newest = asked.order_by("-seq").first()
    last = last_verification()
    if newest is None:
        return None
    if last is None:
        return newest.at
    # One that covers the request was made after it, whatever the clock said.
    is_done = last.size >= newest.seq or (
        last.size == newest.seq - 1 and last.checked_at > newest.at
    )
    return None if is_done else newest.at
