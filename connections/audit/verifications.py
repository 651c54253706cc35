"""Keeping what verifications of the record found, and asking for one before its time."""

import logging
from collections.abc import Iterator
from datetime import datetime

from django.db import Error as DatabaseError

from connections.access import permissions
from connections.access.actor import WORKER, Actor
from connections.audit import events, outbox
from connections.audit.verification import Report, verify_in_pieces
from connections.core import clock
from connections.models import AuditEvent, AuditHead, AuditVerification, Deletion

logger = logging.getLogger(__name__)

# As much is read while somebody waits for the page, in about a second: events, and deletions
# that are compared with theirs.
AT_ONCE = 20_000
DELETIONS_AT_ONCE = 1_000


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
    for report in verify_in_pieces():
        if report is None:
            yield None
        else:
            yield _store(report, actor=actor)


def _store(report: Report, *, actor: Actor) -> AuditVerification:
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


def _record(report: Report, *, actor: Actor) -> None:
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
    if size <= AT_ONCE and Deletion.objects.count() <= DELETIONS_AT_ONCE:
        [stored] = [done for done in verify_and_store(actor=actor) if done is not None]
        return stored
    events.record(
        code=events.EventCode.AUDIT_LOG_VERIFICATION_REQUESTED,
        actor=actor,
        sentence=f"A verification of the record up to event {size} was asked for.",
        details={"size": size},
    )
    return None


def asked_for_at() -> datetime | None:
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
