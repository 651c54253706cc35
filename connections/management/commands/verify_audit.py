"""Verify the audit log: exit code 0 intact, 1 verification failed, 2 could not verify."""

import re
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from connections.core.text import pluralize
from connections.evidence.stored_events import Fault
from connections.evidence.verification import VerificationReport, verify_audit_log
from connections.management.base import OrgAdminCommand, Result
from connections.models import AuditHead

VERIFICATION_FAILED = 1
NOT_VERIFIED = 2
# The keys with the IDs of records that differ from their events.
_DIFFERING = {
    "deletions": Fault.DELETION,
    "access_requests": Fault.ACCESS_REQUEST,
    "changes": Fault.CHANGE,
    "batches": Fault.BATCH,
    "access_reviews": Fault.ACCESS_REVIEW,
    "protections": Fault.PROTECTION,
    "agreements": Fault.AGREEMENT,
    "holds": Fault.HOLD,
}
_CHECKPOINT = re.compile(r"[^\n]+\n[0-9]+\n[^\n]+\n\n\u2014 [^\n]+\n")


class Command(OrgAdminCommand):
    """Reads every event once and compares other records with it. Changes nothing."""

    help = (
        "Verify the audit log. Names the first unreliable event, or the other records that differ "
        "from their events. Exit codes: 0 intact, 1 verification failed, 2 could not verify."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--checkpoint",
            action="append",
            default=[],
            type=Path,
            metavar="FILE",
            help="A file with checkpoints kept elsewhere; repeatable.",
        )

    def run(self, **options: Any) -> Result:
        notes = [
            note
            for path in options["checkpoint"]
            for note in _split(self.read_text(path), name=str(path))
        ]
        try:
            report = verify_audit_log(notes=notes)
        except AuditHead.DoesNotExist:
            self.usage_error(
                "The end of the audit log is missing: this isn't an Org Admin audit log."
            )
        exit_code = VERIFICATION_FAILED if report.fault else 0
        return Result(_document(report), _text(report), exit_code=exit_code)

    @property
    def failure_code(self) -> int:
        """2, because 1 means that the verification failed."""
        return NOT_VERIFIED


def _split(text: str, *, name: str) -> list[tuple[str, str]]:
    """The checkpoints in a file that contains several, like a recipient's, each with its name.

    Any other text is returned as the only item. Verifying it then says what is wrong.
    """
    text = text.replace("\r\n", "\n")
    notes = _CHECKPOINT.findall(text)
    if not notes or _CHECKPOINT.sub("", text).strip():
        return [(name, text)]
    if len(notes) == 1:
        return [(name, notes[0])]
    return [(f"checkpoint {number} of {name}", note) for number, note in enumerate(notes, start=1)]


def _document(report: VerificationReport) -> dict[str, Any]:
    return {
        "whole": report.fault is None,
        "events": report.size,
        "checkpoints": report.checkpoints,
        "fault": report.fault,
        "first_bad_seq": report.first_bad_seq,
        "first_bad_at_latest": report.at_latest,
        "differing": report.differing,
        **{key: list(report.differing_ids.get(fault, ())) for key, fault in _DIFFERING.items()},
        "message": report.message,
    }


def _text(report: VerificationReport) -> str:
    counts = f"{pluralize(report.size, 'event')}, {pluralize(report.checkpoints, 'checkpoint')}"
    if report.fault is None:
        return f"{report.message} {counts}."
    if report.first_bad_seq is None:
        return f"FAILED ({report.fault}). {report.message} {counts}."
    where = f"event {report.first_bad_seq}"
    if report.at_latest != report.first_bad_seq:
        where = f"an event between {report.first_bad_seq} and {report.at_latest}"
    return f"FAILED ({report.fault}) at {where}. {report.message} {counts}."
