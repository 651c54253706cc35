"""Verify the audit log: exit code 0 intact, 1 verification failed, 2 could not check."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any, NoReturn

from django.core.management.base import CommandError
from django.db import Error as DatabaseError

from connections.audit.signed_notes import split_checkpoints
from connections.evidence.verification import (
    CannotVerifyError,
    VerificationReport,
    verify_audit_log,
)
from connections.management.base import OrgAdminCommand
from connections.models import AuditHead
from connections.wording import pluralize

VERIFICATION_FAILED = 1
NOT_VERIFIED = 2


class Command(OrgAdminCommand):
    """Reads every event once and compares every deletion with its own; changes nothing."""

    help = (
        "Verify the record of acts and name the first event that cannot be relied on, or the "
        "deletions that do not match their events. "
        "Exit code 0: whole; 1: broken; 2: could not check."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--checkpoint",
            action="append",
            default=[],
            type=Path,
            metavar="FILE",
            help="One or more checkpoints that were kept elsewhere; may be given more than once.",
        )

    def run(self, **options: Any) -> None:
        try:
            notes = [note for path in options["checkpoint"] for note in _read(path)]
            report = verify_audit_log(notes=notes)
        except CannotVerifyError as error:
            self._fail(str(error))
        except DatabaseError as error:
            self._fail(f"The database refused: {error}. Is it reachable and migrated?")
        except AuditHead.DoesNotExist:
            self._fail("The row that ends the chain is missing: this is no record of ours.")
        self.emit(_document(report), _text(report))
        if report.fault:
            raise SystemExit(VERIFICATION_FAILED)

    def _fail(self, message: str) -> NoReturn:
        raise CommandError(message, returncode=NOT_VERIFIED)


def _read(path: Path) -> list[tuple[str, str]]:
    """Each checkpoint in the file with its name."""
    try:
        notes = split_checkpoints(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise CannotVerifyError(f"{path} cannot be read: {error}.") from None
    if len(notes) == 1:
        return [(str(path), notes[0])]
    return [(f"checkpoint {number} of {path}", note) for number, note in enumerate(notes, start=1)]


def _document(report: VerificationReport) -> dict[str, Any]:
    return {
        "whole": report.fault is None,
        "events": report.size,
        "checkpoints": report.checkpoints,
        "fault": report.fault,
        "first_bad_seq": report.first_bad_seq,
        "first_bad_at_latest": report.at_latest,
        "differing": report.differing,
        "deletions": list(report.deletions),
        "message": report.message,
    }


def _text(report: VerificationReport) -> str:
    counts = f"{pluralize(report.size, 'event')}, {pluralize(report.checkpoints, 'checkpoint')}"
    if report.fault is None:
        return f"{report.message} {counts}."
    if report.first_bad_seq is None:
        return f"BROKEN ({report.fault}). {report.message} {counts}."
    where = f"event {report.first_bad_seq}"
    if report.at_latest != report.first_bad_seq:
        where = f"an event between {report.first_bad_seq} and {report.at_latest}"
    return f"BROKEN ({report.fault}) at {where}. {report.message} {counts}."
