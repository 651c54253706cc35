"""Verifies the audit log: every text, hash and copied column, every checkpoint and every key.

If the chain is intact, every deletion, access request, bulk deletion, access review, protection,
agreement and change outside Org Admin is compared with its events. It reads in batches and keeps
one hash, one frontier and the IDs of changes, so its memory hardly grows with the log. Events
appended while it runs are left to the next verification.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from django.db import Error as DatabaseError
from django.db.models import Max, Model

from connections import audit
from connections.access import permissions
from connections.access.actor import WORKER, Actor
from connections.audit import chain, events
from connections.audit.personal_data import Sentence
from connections.core import clock
from connections.core.errors import DomainError
from connections.evidence.changes import compare_all_changes
from connections.evidence.comparison import compare_all, find_missing
from connections.evidence.differing import DifferingRecords
from connections.evidence.key_rotation import KeyRotationVerifier, MissingPublicKeysError
from connections.evidence.records import KINDS
from connections.evidence.stored_events import (
    AuditFault,
    EventRow,
    Fault,
    StoredValues,
    load_values,
    row_batches,
    verify_row,
)
from connections.models import (
    AUDIT_VERIFICATION,
    AccessRequest,
    AccessReviewRow,
    AuditEvent,
    AuditHead,
    AuditVerification,
    Change,
    Checkpoint,
    Deletion,
    PeriodicTask,
)
from connections.notification_queue import outbox
from connections.verifier.messages import VerificationFailed
from connections.verifier.notes import CheckpointNote, parse_checkpoint

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class KnownCheckpoint:
    """A checkpoint. `name` tells in messages where it comes from."""

    name: str
    size: int
    # None for a stored checkpoint that isn't the one that was signed. That is reported when its
    # size is reached, so that the earliest fault is found first.
    signed: CheckpointNote | None


class CannotVerifyError(DomainError):
    """The audit log could not be verified. The message says why."""


@dataclass(frozen=True, kw_only=True)
class VerificationReport:
    """The result. `first_bad_seq` is the first event that can't be relied on.

    If only a range is known, the first bad event is between it and `at_latest`. If the events are
    intact but other records differ from them, `differing` is the number of differences, and
    `differing_ids` has the IDs of the first records of each kind.
    """

    size: int
    checkpoints: int
    fault: Fault | None = None
    first_bad_seq: int | None = None
    at_latest: int | None = None
    message: str = "The audit log is intact."
    differing: int = 0
    differing_ids: Mapping[Fault, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _InitialState:
    """What was stored before the head was read. The head can only have more events."""

    events: int
    checkpoints: int
    verified: int

    @classmethod
    def read(cls) -> "_InitialState":
        def newest(model: type[AuditEvent | Checkpoint | AuditVerification], field: str) -> int:
            number: int | None = model.objects.aggregate(newest=Max(field))["newest"]
            return number or 0

        return cls(
            events=newest(AuditEvent, "seq"),
            checkpoints=newest(Checkpoint, "pk"),
            verified=newest(AuditVerification, "size"),
        )


@dataclass
class _Progress:
    """How far the verification has progressed."""

    values: StoredValues
    keys: KeyRotationVerifier
    seq: int = 0
    hash: str = chain.NO_HASH.hex()
    frontier: list[bytes] = field(default_factory=list)
    # The size of the last correct checkpoint, and how many were correct.
    proved: int = 0
    checkpoints: int = 0
    # Each kind of record has a fault of its own.
    differing: dict[Fault, DifferingRecords] = field(
        default_factory=lambda: {
            **{kind.fault: DifferingRecords(noun=kind.noun) for kind in KINDS},
            Fault.CHANGE: DifferingRecords(noun="change"),
        }
    )


def verify_audit_log(*, notes: Sequence[tuple[str, str]] = ()) -> VerificationReport:
    """Verify the whole audit log against every stored checkpoint and those in `notes`.

    `notes` are checkpoints kept elsewhere, each as its name and text. Raises CannotVerifyError when
    a checkpoint is malformed or from another log, or when the public keys are missing; and database
    errors.
    """
    return next(filter(None, verify_in_steps(notes=notes)))


def verify_in_steps(
    *, notes: Sequence[tuple[str, str]] = ()
) -> Iterator[VerificationReport | None]:
    """Like `verify_audit_log`, but yield None after each batch of events, and the report at the
    end.
    """
    before = _InitialState.read()
    head = AuditHead.objects.get()
    external = [_parse_external(name, text, origin=head.origin) for name, text in notes]
    state = _Progress(values=load_values(), keys=KeyRotationVerifier(origin=head.origin))
    report = VerificationReport(size=head.size, checkpoints=0)
    try:
        _verify_checkpoints(
            state, known=[checkpoint for checkpoint in external if checkpoint.size == 0]
        )
        for rows in row_batches(upto=head.size):
            known = _checkpoints_by_size(rows, head, newest=before.checkpoints, external=external)
            subjects = _verify_rows(rows, state, known=known)
            for kind in KINDS:
                missing = find_missing(kind, ids=subjects.get(kind.name, set()))
                state.differing[kind.fault].add_missing(missing)
            yield None
        _verify_end(state, head, before=before, external=external)
        for kind in KINDS:
            yield from compare_all(kind, differing=state.differing[kind.fault])
        yield from compare_all_changes(state.differing[Fault.CHANGE], upto=head.size)
        report = _with_differences(report, state)
    except AuditFault as error:
        report = replace(
            report,
            fault=error.fault,
            first_bad_seq=error.seq,
            at_latest=error.at_latest,
            message=error.message,
        )
    except MissingPublicKeysError as error:
        raise CannotVerifyError(str(error)) from None
    yield replace(report, checkpoints=state.checkpoints)


def _with_differences(report: VerificationReport, state: _Progress) -> VerificationReport:
    """The report, with the records that differ from their events if there are any."""
    differing = {fault: records for fault, records in state.differing.items() if records.count}
    if not differing:
        return report
    return replace(
        report,
        fault=next(iter(differing)),
        message=" ".join(records.message for records in differing.values()),
        differing=sum(records.count for records in differing.values()),
        differing_ids={fault: tuple(records.ids) for fault, records in differing.items()},
    )


# --- Checkpoints --------------------------------------------------------------------------------


def _parse_external(name: str, text: str, *, origin: str) -> KnownCheckpoint:
    try:
        signed = parse_checkpoint(text.encode(), "It")
    except VerificationFailed as error:
        raise CannotVerifyError(f"{name} can't be read. {error}") from None
    if signed.origin != origin:
        raise CannotVerifyError(
            f"{name} belongs to another audit log: {signed.origin}, not {origin}."
        )
    return KnownCheckpoint(name=name, size=signed.size, signed=signed)


def _parse_stored(stored: Checkpoint, *, origin: str) -> KnownCheckpoint:
    name = f"the stored checkpoint at {stored.size}"
    signed: CheckpointNote | None
    try:
        signed = parse_checkpoint(stored.note.encode(), name)
    except VerificationFailed:
        signed = None
    columns = (origin, stored.size, stored.root)
    if signed and (signed.origin, signed.size, signed.root.hex()) != columns:
        signed = None
    return KnownCheckpoint(name=name, size=stored.size, signed=signed)


def _checkpoints_by_size(
    rows: list[EventRow], head: AuditHead, *, newest: int, external: list[KnownCheckpoint]
) -> dict[int, list[KnownCheckpoint]]:
    """The checkpoints whose sizes are among these events' numbers, by size."""
    first, last = rows[0][0], rows[-1][0]
    stored = Checkpoint.objects.filter(size__gte=first, size__lte=last, pk__lte=newest)
    known = [
        _parse_stored(checkpoint, origin=head.origin)
        for checkpoint in stored.order_by("size", "pk")
    ]
    by_size: dict[int, list[KnownCheckpoint]] = {}
    for checkpoint in [*known, *external]:
        by_size.setdefault(checkpoint.size, []).append(checkpoint)
    return by_size


def _require_signed(checkpoint: KnownCheckpoint, *, proved: int) -> CheckpointNote:
    if checkpoint.signed is None:
        raise AuditFault(
            Fault.CHECKPOINT,
            proved + 1,
            f"The signature of {checkpoint.name} does not match its contents, so it proves nothing "
            f"about the events after {proved}.",
            at_latest=max(checkpoint.size, proved + 1),
        )
    return checkpoint.signed


def _verify_checkpoints(state: _Progress, *, known: Sequence[KnownCheckpoint]) -> None:
    """Verify the checkpoints of the current size against the tree so far."""
    for checkpoint in known:
        signed = _require_signed(checkpoint, proved=state.proved)
        state.keys.check(checkpoint.name, signed, proved=state.proved)
        if chain.root_of(state.frontier) != signed.root:
            raise AuditFault(
                Fault.REHASHED,
                state.proved + 1,
                f"The audit log isn't what it was when {checkpoint.name} was signed: the first "
                f"{signed.size} events give a different root. The chain was rebuilt from an event "
                f"between {state.proved + 1} and {signed.size} on.",
                at_latest=max(signed.size, state.proved + 1),
            )
        state.proved = signed.size
        state.checkpoints += 1


# --- Events -------------------------------------------------------------------------------------


def _verify_rows(
    rows: list[EventRow], state: _Progress, *, known: dict[int, list[KnownCheckpoint]]
) -> dict[str, set[str]]:
    """Verify these events. Return the IDs of the records whose rows they set, by kind."""
    subjects: dict[str, set[str]] = {}
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
        if event["code"] == audit.EventCode.SIGNING_KEY_ROTATED:
            state.keys.follow(event)
        if "rows" in event["details"]:
            subjects.setdefault(row[10], set()).add(row[11])
        if state.seq in known:
            _verify_checkpoints(state, known=known[state.seq])
    return subjects


def _verify_end(
    state: _Progress,
    head: AuditHead,
    *,
    before: _InitialState,
    external: list[KnownCheckpoint],
) -> None:
    size = head.size
    if state.seq < size:
        seq = state.seq + 1
        raise AuditFault(
            Fault.DELETED, seq, f"Event {seq} and all after it, up to {size}, are missing."
        )
    if before.events > size:
        seq = size + 1
        raise AuditFault(
            Fault.INSERTED,
            seq,
            f"Event {seq} comes after the end of the audit log: it was inserted.",
        )
    for name, larger in _larger_sizes(state, head, before=before, external=external):
        raise AuditFault(
            Fault.TRUNCATED,
            size + 1,
            f"The audit log ends at {size}, but {name} covers {larger} events: those from "
            f"{size + 1} on were removed.",
        )
    is_same_end = head.hash == state.hash
    if not is_same_end or head.frontier != chain.format_frontier(state.frontier):
        raise AuditFault(Fault.HEAD, size, "The head row doesn't have the last event's hash.")
    state.keys.check_end(size=size, proved=state.proved)


def _larger_sizes(
    state: _Progress,
    head: AuditHead,
    *,
    before: _InitialState,
    external: list[KnownCheckpoint],
) -> Iterator[tuple[str, int]]:
    """Proofs that the log once had more events than now, each as a name and the larger size."""
    stored = Checkpoint.objects.filter(size__gt=head.size, pk__lte=before.checkpoints)
    known = [
        _parse_stored(checkpoint, origin=head.origin) for checkpoint in stored.order_by("size")[:1]
    ]
    for checkpoint in [
        *known,
        *(checkpoint for checkpoint in external if checkpoint.size > head.size),
    ]:
        signed = _require_signed(checkpoint, proved=state.proved)
        state.keys.check_is_ours(checkpoint.name, signed, proved=state.proved)
        yield checkpoint.name, checkpoint.size
    if before.verified > head.size:
        yield "a verification", before.verified


# With up to this many events and rows, a verification takes about a second and runs within the
# request.
MAX_EVENTS_IN_REQUEST = 20_000
_MAX_ROWS_IN_REQUEST: dict[type[Model], int] = {
    Deletion: 1_000,
    AccessRequest: 1_000,
    Change: 10_000,
    AccessReviewRow: 10_000,
}


def last_verification() -> AuditVerification | None:
    """The newest stored verification, or None.

    Ordered by ID, because after the clock was set back an older one can have a later time.
    """
    return AuditVerification.objects.order_by("-id").first()


def verify_and_store(*, actor: Actor = WORKER) -> Iterator[AuditVerification | None]:
    """Verify in steps: yield None after each step, and the stored result at the end.

    A verification that a person requested or that failed is also recorded as an event. Raises
    CannotVerifyError and database errors.
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
            # No event queues it, because a damaged log might refuse to append one.
            outbox.enqueue_verification_failure(verification=stored)
    if report.fault or actor.person is not None:
        try:
            with events.atomic():
                _record(report, actor=actor)
        except DatabaseError:
            # A damaged log might refuse to append an event; the result is already stored.
            logger.exception("A verification could not be recorded in the audit log.")
    return stored


def _record(report: VerificationReport, *, actor: Actor) -> None:
    is_intact = report.fault is None
    events.record(
        code=audit.EventCode.AUDIT_LOG_VERIFIED
        if is_intact
        else audit.EventCode.AUDIT_LOG_VERIFICATION_FAILED,
        actor=actor,
        sentence=Sentence(
            "The audit log was verified up to event {size}. {result}",
            size=report.size,
            result=report.message,
        ),
        details={
            "size": report.size,
            "checkpoints": report.checkpoints,
            "fault": report.fault,
            "first_bad_seq": report.first_bad_seq,
        },
    )


def verify_now(*, actor: Actor) -> AuditVerification | None:
    """Verify a small audit log immediately. Otherwise have the worker do it and return None.

    Both are recorded. Raises PermissionDenied, CannotVerifyError and database errors.
    """
    permissions.require(permissions.can_audit(actor), "verify the audit log")
    size = AuditHead.objects.values_list("size", flat=True).get()
    if size <= MAX_EVENTS_IN_REQUEST and all(
        model._default_manager.count() <= limit for model, limit in _MAX_ROWS_IN_REQUEST.items()
    ):
        return next(filter(None, verify_and_store(actor=actor)))
    with events.atomic():
        PeriodicTask.objects.filter(name=AUDIT_VERIFICATION).update(due_at=clock.now())
        events.record(
            code=audit.EventCode.AUDIT_LOG_VERIFICATION_REQUESTED,
            actor=actor,
            sentence=Sentence(
                "Verification of the audit log up to event {size} was requested.",
                size=size,
            ),
            details={"size": size},
        )
    return None


def verification_requested_at() -> datetime | None:
    """When a verification that hasn't run yet was requested, or None."""
    requests = AuditEvent.objects.filter(code=audit.EventCode.AUDIT_LOG_VERIFICATION_REQUESTED)
    newest = requests.order_by("-seq").first()
    last = last_verification()
    if newest is None:
        return None
    if last is None:
        return newest.at
    # A verification that covers the request's event ran after the request, whatever its time.
    is_done = last.size >= newest.seq or (
        last.size == newest.seq - 1 and last.checked_at > newest.at
    )
    return None if is_done else newest.at
