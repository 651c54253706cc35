"""Delete the org connections of a plan file from the command line."""

import logging
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from django.core.management.base import CommandError
from django.db import Error as DatabaseError
from django.db import connection

from connections.access.actor import command_actor
from connections.batches import drafts, foreground, plan_files, requesting, stopping
from connections.batches.plan_files import FailedLine, FilePlan, OpenPlan, PlanLine
from connections.core import clock
from connections.core.causes import cause_text
from connections.core.errors import DomainError
from connections.core.text import format_time, pluralize
from connections.inventory import syncs
from connections.management.base import FAILED, UNKNOWN, USAGE, Result
from connections.management.deleting import STILL_LISTED, DeletingCommand, exit_code_of
from connections.models import Batch, BatchState, Deletion
from connections.operations.heartbeats import Heartbeat

logger = logging.getLogger(__name__)

_NEEDS_APPROVAL = 7
# The exit code is the first of these that applies to one of the connections.
_MOST_SERIOUS_FIRST = (UNKNOWN, STILL_LISTED, 8, 4, USAGE, 5, FAILED, 3)


class Command(DeletingCommand):
    """Requests and confirms a bulk deletion, and sends its connections like a worker does.

    The same plan, given again while its bulk deletion is open, continues it.
    """

    help = (
        "Delete the org connections of a plan: CSV with the columns site,connection_id and, "
        "optionally, credential, or a JSON list of objects with the same keys. A line that can't "
        "be used doesn't affect others. Exit codes: 0 all deleted, 7 needs approval, otherwise "
        "the first that applies to a connection: 6 unknown, 9 returned 200 but still listed, 8 "
        "changed or still present, 4 refused by Datadog, 2 line that can't be used, 5 not sent or "
        "waiting, 1 failed with nothing sent, 3 already absent or gone."
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._batch: Batch | None = None
        # Whether this process requested it, so that a signal cancels it while nothing was sent.
        self._is_new = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--plan",
            required=True,
            metavar="FILE",
            help="The plan, UTF-8. “-” reads standard input.",
        )
        super().add_arguments(parser)
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="Sync and check the plan; request and send nothing.",
        )

    def run(self, **options: Any) -> Result:
        requester = self.require_confirmed_input(options)
        lines = plan_files.read_plan(self.read_input(options["plan"]))
        open_plan = self._find_open_plan(lines)
        if not open_plan:
            self._sync(lines)
            # Checked again, because the sync can take minutes.
            open_plan = self._find_open_plan(lines)
        if open_plan:
            if options["dry_run"]:
                return _dry_run_of_open(open_plan)
            return self._continue(open_plan)
        plan = plan_files.build_plan(lines=lines, actor=command_actor(), requester=requester)
        if plan is None or not plan.sendable:
            failed = plan.failed if plan else plan_files.find_failed(lines=lines, rows={})
            return _unsent(rows=(), failed=failed, exit_code=USAGE)
        requesting.require_requester(plan.batch)
        if options["dry_run"]:
            return _dry_run_of_new(plan)
        return self._request_and_send(plan, lines=lines, options=options)

    def _sync(self, lines: Sequence[PlanLine]) -> None:
        """Sync every org of the plan's sites, because a snapshot can be old or missing."""
        sites = {line.site for line in lines if not line.problem}
        in_use = syncs.credentials_in_use(actor=command_actor())
        credentials = {row.pk: row for row in in_use if row.site in sites}
        results = syncs.sync_orgs(actor=command_actor(), credentials=list(credentials.values()))
        for result in results:
            if not result.is_complete:
                name = credentials[result.credential_id].name
                self.stderr.write(f"The sync of {name} failed. {cause_text(result.cause)}")

    def _find_open_plan(self, lines: Sequence[PlanLine]) -> OpenPlan | None:
        open_plan = plan_files.find_open_plan(lines=lines)
        if open_plan:
            self.stderr.write("This plan was requested before. Its bulk deletion is still open.")
        return open_plan

    def _request_and_send(
        self, plan: FilePlan, *, lines: Sequence[PlanLine], options: dict[str, Any]
    ) -> Result:
        """Request the bulk deletion, which also confirms it if no approval is needed."""
        actor = command_actor()
        drafts.store_draft(plan.batch, rows=plan.rows)
        self._begin(plan.batch, is_new=True)
        try:
            requesting.request_batch(
                batch=plan.batch,
                actor=actor,
                reason=options["reason"],
                ticket=options["ticket"],
                digest=plan.batch.digest,
            )
        except DomainError:
            stopping.cancel_batch(batch=plan.batch, actor=actor)
            self.has_begun = False
            # Another process might just have requested the same plan.
            open_plan = self._find_open_plan(lines)
            if not open_plan:
                raise
            return self._continue(open_plan)
        return self._send(plan.batch, failed=plan.failed)

    def _continue(self, open_plan: OpenPlan) -> Result:
        self._begin(open_plan.batch)
        return self._send(open_plan.batch, failed=open_plan.failed)

    def _send(self, batch: Batch, *, failed: Sequence[FailedLine]) -> Result:
        """Send what can be sent, as a worker does."""
        heartbeat, error = Heartbeat(batch=batch), ""
        try:
            foreground.run_to_end(
                batch=batch,
                actor=command_actor(),
                record_heartbeat=heartbeat.record,
                note_wait=self._note_wait,
            )
        except Exception as failure:
            # Some rows might have been sent, so it reports what is known.
            error, _ = super().find_failure(failure) or (f"Unexpected error: {failure}", UNKNOWN)
            logger.exception("Bulk deletion %s was not completed.", batch.pk)
            if isinstance(failure, DatabaseError):
                # Closed because a broken connection would never recover.
                connection.close()
        heartbeat.remove()
        batch.refresh_from_db()
        result = _result_of(batch, failed=failed, next_step=_next_step(batch))
        if error:
            result.document["error"] = error
            result.errors = [error]
        return result

    def _begin(self, batch: Batch, *, is_new: bool = False) -> None:
        self.has_begun, self._batch, self._is_new = True, batch, is_new

    def _note_wait(self, until: datetime) -> None:
        self.stderr.write(f"Waiting until {format_time(until)} to send the next.")

    @property
    def failure_code(self) -> int:
        """6 once it might have been requested, so that this process or a worker sends it."""
        return UNKNOWN if self.has_begun else FAILED

    def find_failure(self, error: Exception) -> tuple[str, int] | None:
        """The failure, and how to continue what might have been requested."""
        failure = super().find_failure(error)
        if not failure or not self.has_begun or isinstance(error, CommandError):
            return failure
        return f"{failure[0]} {self.unfinished_text}", UNKNOWN

    @property
    def unfinished_text(self) -> str:
        """What might have been requested or sent, and how to continue."""
        url = _url_of(self._batch) if self._batch else ""
        return (
            "DELETEs might have been sent and might have worked. A worker, or this command run "
            f"again with the same plan, continues. Bulk deletion: {url}"
        )

    def withdraw_unsent(self) -> str | None:
        """Cancel what this process requested. Return its address, or None if it might be sent."""
        batch = Batch.objects.filter(pk=self._batch.pk).first() if self._batch else None
        if batch is None:
            return ""
        sent = batch.deletions.exclude(epoch=0)
        if not self._is_new or sent.exists():
            return None
        if not batch.has_ended:
            stopping.cancel_batch(batch=batch, actor=command_actor())
        return None if sent.exists() else f"Bulk deletion: {_url_of(batch)}"


def _dry_run_of_new(plan: FilePlan) -> Result:
    rows = [
        {
            "site": row.site,
            "connection_id": str(row.connection_id),
            "credential": row.credential.name if row.credential else None,
            "state": None,
            "outcome": None,
            "cause": None,
        }
        for row in plan.sendable
    ]
    exit_code = _dry_run_code(failed=plan.failed, needs_approval=plan.batch.needs_approval)
    return _unsent(rows=rows, failed=plan.failed, exit_code=exit_code)


def _dry_run_of_open(plan: OpenPlan) -> Result:
    """How far the bulk deletion is and what a run would do."""
    batch = plan.batch
    next_step = (
        "Without --dry-run, this command would send the rest."
        if batch.state == BatchState.RUNNING
        else _next_step(batch)
    )
    result = _result_of(batch, failed=plan.failed, next_step=next_step)
    needs_approval = batch.state in {BatchState.REQUESTED, BatchState.APPROVED}
    result.exit_code = _dry_run_code(failed=plan.failed, needs_approval=needs_approval)
    if result.exit_code == _NEEDS_APPROVAL and _has_expired(batch):
        result.exit_code = FAILED
    return result


def _unsent(
    *, rows: Sequence[dict[str, Any]], failed: Sequence[FailedLine], exit_code: int
) -> Result:
    """What would be deleted and what can't be deleted."""
    count = f"{pluralize(len(rows), 'connection')} can be deleted. Nothing was sent."
    approval = ["Approval is needed."] if exit_code == _NEEDS_APPROVAL else []
    return Result(
        {"batch": None, "deletions": rows, "counts": {}, "failed": _failed_rows(failed)},
        *_failed_texts(failed),
        count,
        *approval,
        exit_code=exit_code,
    )


def _result_of(batch: Batch, *, failed: Sequence[FailedLine], next_step: str) -> Result:
    deletions = list(batch.deletions.order_by("batch_row__position"))
    return Result(
        _document_of(batch, deletions=deletions, failed=failed),
        *_lines_of(batch, deletions=deletions, failed=failed, next_step=next_step),
        exit_code=_exit_code(batch, deletions=deletions, has_failed_lines=bool(failed)),
    )


def _url_of(batch: Batch) -> str:
    return f"/deletions/batches/{batch.pk}/"


def _document_of(
    batch: Batch, *, deletions: Sequence[Deletion], failed: Sequence[FailedLine]
) -> dict[str, Any]:
    return {
        "batch": str(batch.pk),
        "url": _url_of(batch),
        "state": batch.state,
        "deletions": [_row_of(deletion) for deletion in deletions],
        "failed": _failed_rows(failed),
        "counts": Counter(deletion.outcome or deletion.state for deletion in deletions),
    }


def _lines_of(
    batch: Batch, *, deletions: Iterable[Deletion], failed: Iterable[FailedLine], next_step: str
) -> Iterable[str]:
    counts = Counter(deletion.progress for deletion in deletions)
    lines = [f"{count:,} {label.lower()}" for label, count in counts.most_common()]
    lines += [*_failed_texts(failed), next_step, f"Bulk deletion: {_url_of(batch)}"]
    return filter(None, lines)


def _row_of(deletion: Deletion) -> dict[str, Any]:
    return {
        "id": str(deletion.pk),
        "site": deletion.site,
        "connection_id": str(deletion.connection_id),
        "credential": deletion.credential_name,
        "state": deletion.state,
        "outcome": deletion.outcome or None,
        "cause": deletion.cause or None,
    }


def _failed_rows(failed: Iterable[FailedLine]) -> list[dict[str, Any]]:
    return [{"line": line.number, "error": line.error} for line in failed]


def _failed_texts(failed: Iterable[FailedLine]) -> list[str]:
    return [f"line {line.number}: {line.error}" for line in failed]


def _has_expired(batch: Batch) -> bool:
    return drafts.has_expired(batch, now=clock.now())


def _next_step(batch: Batch) -> str:
    if _has_expired(batch):
        return "Nothing was sent: the bulk deletion expired. Cancel it to request it again."
    match batch.state:
        case BatchState.REQUESTED:
            return "Nothing was sent: the bulk deletion needs approval."
        case BatchState.APPROVED:
            return f"Nothing was sent: {batch.requested_by_name} must confirm on its page."
        case BatchState.PAUSED:
            why = cause_text(batch.pause_cause)
            return f"Paused. {why} Resume it on its page.".replace("  ", " ")
        case BatchState.RUNNING:
            return "A worker, or this command run again with the same plan, sends the rest."
        case _:
            return ""


def _exit_code(batch: Batch, *, deletions: Iterable[Deletion], has_failed_lines: bool) -> int:
    codes = {FAILED} if _has_expired(batch) else {exit_code_of(deletion) for deletion in deletions}
    codes |= {USAGE} if has_failed_lines else set()
    if _NEEDS_APPROVAL in codes:
        return _NEEDS_APPROVAL
    return next((code for code in _MOST_SERIOUS_FIRST if code in codes), 0)


def _dry_run_code(*, failed: Sequence[FailedLine], needs_approval: bool) -> int:
    if failed:
        return USAGE
    return _NEEDS_APPROVAL if needs_approval else 0
