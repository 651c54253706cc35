"""Runs bulk deletions: claims and sends their rows like any other deletion, and verifies them.

One thread uses the database: it checks, claims and records. The other threads only send DELETEs, so
a claim remains the only way to send, and a process that dies leaves at most PARALLEL_DELETES claims
without a response. Rows of one credential that share a check are claimed together, and responses
that arrive together are recorded together. Any number of workers can run the same bulk deletion.
"""

import logging
import time
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import AbstractContextManager
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, cast
from uuid import UUID

from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.db.models.functions import Least

from connections import audit
from connections.access.actor import Actor
from connections.batches import drafts, endings, stopping
from connections.change_requests import (
    guards,
    lifecycle,
    rechecks,
    saved_responses,
    sending,
    verification,
)
from connections.change_requests.sending import ClaimedAttempt, OldListError
from connections.core import clock, logs, time_limits
from connections.core.causes import Cause
from connections.core.errors import BlockedError, ClockBehindError, UnavailableError
from connections.core.threads import RequestThreads
from connections.datadog.responses import AttemptResult, WriteResponse
from connections.inventory import fetching, rate_limits, storing
from connections.inventory.fetching import SyncResult
from connections.inventory.rate_limits import OrgKey
from connections.models import (
    RUN_BY_BATCH,
    AttemptFields,
    Batch,
    BatchState,
    Credential,
    Deletion,
    Outcome,
    State,
)
from connections.net.http import pool

logger = logging.getLogger(__name__)

# How many DELETEs one process can have in progress.
PARALLEL_DELETES = 8
# How many rows are read together.
ROWS_READ = 100
# Seconds after which a pass makes no more claims, so that the worker can do its other work. A check
# made within this time is recent enough to be shared (time_limits.LIST_WINDOW).
PASS_SECONDS = 5.0
# While others are being sent, rows wait this long so that one sync verifies many of them.
VERIFY_AFTER = timedelta(seconds=30)
# A row whose check or claim failed unexpectedly waits this long. The other rows continue.
POSTPONED_FOR = timedelta(seconds=60)
# The most rows in one pass. The others follow in the next pass.
MAX_VERIFIED = 200
MAX_EXPIRED = 200
# How many are verified separately if the shared sync failed, using any credential of either org.
MAX_VERIFIED_ALONE = 5


@pool()
def run_due(
    *, actor: Actor, is_stopped: Callable[[], bool] = lambda: False, batch: Batch | None = None
) -> int:
    """Do what is due for all bulk deletions. Return how many rows were handled.

    `batch` limits this to one. It takes PASS_SECONDS plus the time for the DELETEs then in
    progress. Raises database errors, and ResponseNotRecordedError as `send` does, after
    doing the rest.
    """
    rows = _of(batch)
    handled = _withdraw_cancelled(rows, actor=actor) + _expire_rows(rows, actor=actor)
    _pause_after_unknown(rows, actor=actor)
    failure = None
    try:
        handled += send_due(actor=actor, is_stopped=is_stopped, batch=batch)
    except Exception as error:  # noqa: BLE001 - this must not keep other rows from being verified
        failure = error
    try:
        # Before verifying, because rows of a bulk deletion that has ended are verified without
        # waiting for others.
        handled += len(endings.end_due(actor=actor, batch=batch))
    except Exception as error:  # noqa: BLE001 - as above
        failure = failure or error
    handled += _verify_due(actor=actor, batch=batch)
    if failure:
        raise failure
    return handled


_WAITING = Q(RUN_BY_BATCH, state=State.WAITING, settled_at=None)


def _withdraw_cancelled(rows: QuerySet[Deletion], *, actor: Actor) -> int:
    """Withdraw rows that were being sent when it was canceled and then waited, say after a 429."""
    cancelled = rows.filter(_WAITING, batch__state=BatchState.CANCELLED)
    count = 0
    for batch in Batch.objects.filter(pk__in=cancelled.order_by().values("batch")):
        with audit.atomic():
            drafts.lock_batch(batch)
            count += stopping.withdraw_unsent(batch, actor=actor)
    return count


def _expire_rows(rows: QuerySet[Deletion], *, actor: Actor) -> int:
    """Close rows whose time to be sent has passed, whether paused or not."""
    now = clock.now()
    _extend_rows_held_back(now=now)
    over = rows.filter(_WAITING, expires_at__lte=now)[:MAX_EXPIRED]
    return sum(lifecycle.expire(change_request=deletion, actor=actor) for deletion in over)


def _extend_rows_held_back(*, now: datetime) -> None:
    """For rows held back by a rate limit, start the time for retries at the limit's reset.

    Each row's own response gave a reset time, but a later response to another row might have moved
    it.
    """
    # Includes limits that have already reset, in case no worker ran since the response.
    limits = rate_limits.low_limits(reset_after=now - time_limits.SENDING_WINDOW)
    queue_ends_at = F("confirmed_at") + time_limits.QUEUE_WINDOW
    for limit in limits:
        org = OrgKey(site=limit.site, org_id=limit.org_id)
        ends_at = Least(limit.resets_at + time_limits.SENDING_WINDOW, queue_ends_at)
        rows = Deletion.objects.filter(_WAITING, _is_of_org([org]), epoch__gt=0)
        # A row whose time had passed when the response arrived is never sent again.
        in_time = rows.filter(expires_at__gte=limit.observed_at)
        _update_in_order(in_time.filter(expires_at__lt=ends_at), expires_at=ends_at)


def _update_in_order(rows: QuerySet[Deletion], **columns: Any) -> None:
    """Update rows, locking them in the order in which claims and syncs lock them.

    In any other order, two transactions could each wait for a row that the other one locked.
    """
    with audit.atomic():
        locked = rows.select_for_update(no_key=True, of=("self",)).order_by("pk")
        pks = list(locked.values_list("pk", flat=True))
        Deletion.objects.filter(pk__in=pks).update(**columns)


def _about(row: Deletion) -> AbstractContextManager[None]:
    return logs.about(deletion=row.pk, batch=row.batch_id)


def _row_of(attempt: AttemptFields) -> Deletion:
    return cast("Deletion", attempt.change_request)


# --- Sending ----------------------------------------------------------------------------------


@dataclass(kw_only=True)
class _Pass:
    """One pass over the rows that are due."""

    actor: Actor
    is_stopped: Callable[[], bool]
    threads: RequestThreads
    ends_at: float
    # The only bulk deletion to send. None for all.
    only: Batch | None
    in_progress: dict[Future[WriteResponse], ClaimedAttempt] = field(default_factory=dict)
    # The sync that checks the rows of each credential. A claim refuses one that is too old.
    checks: dict[UUID, SyncResult] = field(default_factory=dict)
    # The rows to claim next. The claim notices what changed since they were read.
    next_rows: deque[Deletion] = field(default_factory=deque)
    # Rows whose list was too old when they were claimed.
    read_again: set[UUID] = field(default_factory=set)
    # Whether each row is claimed in a transaction of its own.
    is_separate: bool = False
    # As last read or changed, so that most results need no statement.
    batches: dict[UUID, Batch] = field(default_factory=dict)
    handled: int = 0
    failure: BaseException | None = None

    def run(self) -> int:
        """Claim, send and record until nothing is due or the time has passed."""
        while True:
            try:
                self._claim_due()
            except Exception as error:  # noqa: BLE001 - record what is in progress first
                self.failure = self.failure or error
            if not self.in_progress:
                break
            self._record(wait(self.in_progress, return_when=FIRST_COMPLETED).done)
        if self.failure:
            raise self.failure
        return self.handled

    def _claim_due(self) -> None:
        """Claim rows until every thread is busy or no row is due, once half the threads are free.

        Rows that are claimed together share a transaction, and so do their responses.
        """
        if len(self.in_progress) > PARALLEL_DELETES // 2:
            return
        while len(self.in_progress) < PARALLEL_DELETES and not self._is_over():
            if not self.next_rows:
                self._read_next_rows()
            if not self.next_rows:
                return
            rows = self._take_rows(PARALLEL_DELETES - len(self.in_progress))
            try:
                self._claim(rows)
            except ClockBehindError:
                raise
            except (BlockedError, UnavailableError):
                self._claim_separately()
            except Exception:
                if len(rows) > 1:
                    logger.exception("%s rows could not be claimed together.", len(rows))
                    self._claim_separately()
                elif self._postpone(rows[0]):
                    with _about(rows[0]):
                        logger.exception(
                            "Deletion %s was not sent. It is retried later.", rows[0].pk
                        )
                else:
                    raise

    def _is_over(self) -> bool:
        return self.failure is not None or self.is_stopped() or time.monotonic() >= self.ends_at

    def _read_next_rows(self) -> None:
        now = clock.now()
        lost_claims = Deletion.objects.filter(
            RUN_BY_BATCH, state=State.SENDING, due_at__lte=now, batch=OuterRef("batch")
        )
        due = _of(self.only).filter(_WAITING, due_at__lte=now, batch__state=BatchState.RUNNING)
        due = due.exclude(_is_of_org(rate_limits.held_back_until(now=now)))
        due = due.exclude(Exists(lost_claims), batch__stop_at_first_problem=True)
        due = due.exclude(guards.is_row_held())
        # Prefetched instead of joined, because nearly all rows have the same credential and batch.
        due = due.prefetch_related("credential", "batch")
        self.next_rows.extend(
            due.order_by("batch__confirmed_at", "batch_row__position")[:ROWS_READ]
        )
        self.batches |= {row.batch.pk: row.batch for row in self.next_rows if row.batch}

    def _take_rows(self, count: int) -> list[Deletion]:
        """The next rows of one bulk deletion and credential, if they can share a check.

        If the first problem pauses the bulk deletion, returns only one row, because no row after a
        problem can be claimed.
        """
        first = self.next_rows.popleft()
        rows = [first]
        batch = self._batch_of(first)
        is_alone = self.is_separate or batch.stop_at_first_problem
        if is_alone or first.credential_id not in self.checks:
            return rows
        while self.next_rows and len(rows) < count:
            row = self.next_rows[0]
            if (row.batch_id, row.credential_id) != (first.batch_id, first.credential_id):
                break
            rows.append(self.next_rows.popleft())
        return rows

    def _claim(self, rows: Sequence[Deletion]) -> None:
        """Check rows that `_take_rows` returned, claim them together, and start to send them.

        Raises BlockedError and UnavailableError only for several rows.
        """
        [first, *others] = rows
        shared = self.checks.get(first.credential_id)
        check = SyncResult()
        claims = list[ClaimedAttempt]()
        now = clock.now()
        try:
            check = shared or self._check(first.credential)
            sendable = [row for row in rows if self._is_sendable(row, check=check, now=now)]
            # Even if the time has passed: every pass could end during this row's check.
            if sendable and not self.is_stopped():
                claims = sending.claim(
                    sendable,
                    actor=self.actor,
                    was_rechecked=True,
                    listed_at=check.started_at,
                )
        except OldListError:
            # It is read again, once.
            if first.pk in self.read_again:
                check = replace(check, cause=Cause.LIST_TOO_SLOW)
                rechecks.record_recheck_failure(
                    change_request=first, result=check, actor=self.actor
                )
            self.read_again.add(first.pk)
        except (BlockedError, UnavailableError) as refusal:
            if others:
                raise
            self._record_refusal(first, refusal)
            check = SyncResult(cause=refusal.cause)
        # Before anything else, so that nothing prevents sending a claimed row.
        self._submit(claims)
        self.handled += len(rows)
        claimed_ids = {claimed.attempt.change_request_id for claimed in claims}
        for row in rows:
            if row.pk not in claimed_ids:
                self._note_unclaimed(row, check=check)

    def _submit(self, claims: Sequence[ClaimedAttempt]) -> None:
        for claimed in claims:
            try:
                # Each thread gets a copy of the context so that all share the connections.
                with _about(_row_of(claimed.attempt)):
                    future = self.threads.submit(copy_context().run, sending.send_claimed, claimed)
            except RuntimeError as error:
                # No thread can be started. Another one might still send the request, so the row
                # becomes unknown when its claim expires.
                self.failure = self.failure or error
            else:
                self.in_progress[future] = claimed

    def _claim_separately(self) -> None:
        """Claim rows one by one from now on, because one of them might stop the others."""
        self.is_separate = True
        # Read again, because an object can be ahead of its row now.
        self.next_rows.clear()

    def _check(self, credential: Credential) -> SyncResult:
        """Sync to check rows of this credential. Raises UnavailableError.

        A complete sync is shared by the following rows.
        """
        result = fetching.fetch(credential=credential)
        storing.store(result, actor=self.actor)
        if result.is_complete:
            if any(limit.is_low for limit in result.rate_limits):
                # The next rows might be of an org that should get no requests for now.
                self.next_rows.clear()
            self.checks[credential.pk] = result
        return result

    def _is_sendable(self, row: Deletion, *, check: SyncResult, now: datetime) -> bool:
        """Whether the row can be sent after this check. If not, that is recorded."""
        if lifecycle.expire(change_request=row, actor=self.actor, now=now):
            return False
        return rechecks.recheck(change_request=row, result=check, actor=self.actor) is not None

    def _record_refusal(self, row: Deletion, refusal: BlockedError | UnavailableError) -> None:
        if isinstance(refusal, BlockedError):
            sending.record_blocked(change_request=row, blocked=refusal, actor=self.actor)
        else:
            result = SyncResult(cause=refusal.cause)
            rechecks.record_recheck_failure(change_request=row, result=result, actor=self.actor)

    def _postpone(self, row: Deletion) -> bool:
        """Postpone a row whose check or claim failed unexpectedly, if it still waits."""
        self.handled += 1
        rows = Deletion.objects.filter(_WAITING, pk=row.pk)
        return bool(rows.update(due_at=clock.now() + POSTPONED_FOR))

    def _note_unclaimed(self, row: Deletion, *, check: SyncResult) -> None:
        # What stopped this row might stop the next ones too: a 429 or a pause.
        self.next_rows.clear()
        is_problem = None
        if row.state == State.WAITING:
            # Its check failed or was too old.
            self.checks.pop(row.credential_id, None)
            if check.cause and check.cause != Cause.RATE_LIMITED:
                is_problem = True
        self._note(row, is_problem=is_problem)

    def _record(self, done: Collection[Future[WriteResponse]]) -> None:
        """Record the responses that have arrived, together those for one credential."""
        by_credential = defaultdict[UUID, list[tuple[AttemptFields, WriteResponse]]](list)
        for future in done:
            attempt = self.in_progress.pop(future).attempt
            if error := future.exception():
                self.failure = self.failure or error
                # It becomes unknown when its claim expires.
                self._note(_row_of(attempt), is_problem=True)
            else:
                response = future.result()
                by_credential[attempt.change_request.credential_id].append((attempt, response))
        for responses in by_credential.values():
            try:
                saved_responses.record_or_save(responses, actor=self.actor)
            except Exception as error:  # noqa: BLE001 - record the other responses first
                self.failure = self.failure or error
                continue
            for attempt, response in responses:
                self._note(_row_of(attempt), is_problem=_is_problem(response))
                if response.rate_limit and response.rate_limit.is_low:
                    # The next rows might belong to an org that should get no requests for now.
                    self.next_rows.clear()

    def _note(self, deletion: Deletion, *, is_problem: bool | None) -> None:
        """`_note_result`. If that fails, nothing more is claimed."""
        batch = self._batch_of(deletion)
        try:
            _note_result(deletion, batch=batch, is_problem=is_problem, actor=self.actor)
        except Exception as error:  # noqa: BLE001 - as above
            self.failure = self.failure or error
        if batch.state != BatchState.RUNNING:
            self.next_rows.clear()

    def _batch_of(self, row: Deletion) -> Batch:
        if row.batch_id is None:
            raise ValueError("Only rows of bulk deletions are read.")
        return self.batches[row.batch_id]


def send_due(
    *, actor: Actor, is_stopped: Callable[[], bool] = lambda: False, batch: Batch | None = None
) -> int:
    """Check and send due rows of running bulk deletions. Return how many were handled.

    `batch` limits this to one. Raises what `run_due` raises.
    """
    with pool(), RequestThreads(max_workers=PARALLEL_DELETES) as threads:
        ends_at = time.monotonic() + PASS_SECONDS
        return _Pass(
            actor=actor, is_stopped=is_stopped, threads=threads, ends_at=ends_at, only=batch
        ).run()


def _of(batch: Batch | None) -> QuerySet[Deletion]:
    """The deletions of one bulk deletion, or of all."""
    return batch.deletions.all() if batch else Deletion.objects.all()


def is_held_back(*, now: datetime) -> Q:
    """Whether the row waits until it is resumed, a hold is released or a rate limit resets."""
    is_stopped = ~Q(batch__state=BatchState.RUNNING) | guards.is_row_held()
    return _WAITING & (is_stopped | _is_of_org(rate_limits.held_back_until(now=now)))


def _is_of_org(orgs: Collection[OrgKey]) -> Q:
    """Whether the row's credential belongs to one of these orgs."""
    is_of_org = Q(pk__in=[])
    for org in orgs:
        is_of_org |= Q(site=org.site, credential__org_id=org.org_id)
    return is_of_org


def _is_problem(response: WriteResponse) -> bool:
    """Whether the response shows a problem with the credential or Datadog: 401, 403, 5xx or lost.

    A 400 or 404 concerns only this connection, and a 429 only the rate.
    """
    if response.verdict == AttemptResult.REFUSED:
        return response.cause in {Cause.UNAUTHORIZED, Cause.FORBIDDEN}
    return response.verdict == AttemptResult.AMBIGUOUS


_STOPPING_OUTCOMES = (Outcome.STALE, Outcome.REFUSED, Outcome.NOT_SENT)


def _note_result(
    deletion: Deletion, *, batch: Batch, is_problem: bool | None, actor: Actor
) -> None:
    """Count a row's result, and pause its bulk deletion if needed.

    `batch` was read a moment ago, so most results need no statement. `is_problem` is None if this
    process got no result that says whether the credential works.
    """
    key = str(deletion.credential_id)
    has_stopped = deletion.state == State.UNKNOWN or deletion.outcome in _STOPPING_OUTCOMES
    stops = batch.stop_at_first_problem and (is_problem or has_stopped)
    ends_count = is_problem is False and batch.problems_in_a_row.get(key)
    if not is_problem and not stops and not ends_count:
        return
    with audit.atomic():
        drafts.lock_batch(batch)
        in_a_row = batch.problems_in_a_row.get(key, 0)
        if is_problem is not None:
            in_a_row = in_a_row + 1 if is_problem else 0
            batch.problems_in_a_row[key] = in_a_row
            batch.save(update_fields=["problems_in_a_row"])
        if stops or in_a_row >= stopping.MAX_PROBLEMS_IN_A_ROW:
            stopping.pause_for(
                batch,
                # Without a cause, the sending thread failed.
                cause=deletion.cause or Cause.CLIENT_FAILURE,
                credential_name=deletion.credential_name,
                actor=actor,
            )


def _pause_after_unknown(rows: QuerySet[Deletion], *, actor: Actor) -> None:
    """Pause bulk deletions that stop at the first problem and have a row of unknown outcome.

    This process might not have noticed it, for example because another worker was killed.
    """
    is_new = Q(batch__resumed_at=None) | Q(sending_at__gt=F("batch__resumed_at"))
    unknown = rows.filter(
        is_new,
        state=State.UNKNOWN,
        batch__state=BatchState.RUNNING,
        batch__stop_at_first_problem=True,
    )
    for deletion in unknown.select_related("batch"):
        if deletion.batch:
            _note_result(deletion, batch=deletion.batch, is_problem=None, actor=actor)


# --- Verifying --------------------------------------------------------------------------------


def _verify_due(*, actor: Actor, batch: Batch | None) -> int:
    """Verify closed rows that are due, once a sync verifies enough of them."""
    now = clock.now()
    is_ready = Q(due_at__lte=now - VERIFY_AFTER) | ~Q(batch__state=BatchState.RUNNING)
    due = _unverified(batch, now=now)
    return _verify(due, actor=actor) if due.filter(is_ready).exists() else 0


def verify_batch(*, batch: Batch, actor: Actor) -> None:
    """Verify each closed row of one bulk deletion that is due, once."""
    count = _unverified(batch, now=clock.now()).count()
    for _ in range(0, count, MAX_VERIFIED):
        _verify(_unverified(batch, now=clock.now()), actor=actor)


def _unverified(batch: Batch | None, *, now: datetime) -> QuerySet[Deletion]:
    return _of(batch).filter(RUN_BY_BATCH, state=State.SETTLED, due_at__lte=now)


@pool()
def _verify(due: QuerySet[Deletion], *, actor: Actor) -> int:
    """Verify up to MAX_VERIFIED of these rows. One sync verifies all rows of a credential."""
    absent = list(due.filter(outcome=Outcome.ALREADY_ABSENT)[:MAX_VERIFIED])
    if absent:
        verification.sync_observing_credentials(change_requests=absent, actor=actor)
        _update_in_order(
            Deletion.objects.filter(pk__in=[deletion.pk for deletion in absent]), due_at=None
        )
    rows = due.exclude(outcome=Outcome.ALREADY_ABSENT).prefetch_related("credential")
    in_order = rows.order_by("credential", "due_at")[:MAX_VERIFIED]
    handled = len(absent)
    for _, some in groupby(in_order, key=lambda deletion: deletion.credential_id):
        handled += _verify_together(list(some), actor=actor)
    return handled


def _verify_together(deletions: Sequence[Deletion], *, actor: Actor) -> int:
    """Verify one credential's rows with one sync. If it fails, verify a few of them separately."""
    credential = deletions[0].credential
    try:
        result = fetching.fetch(credential=credential)
    except UnavailableError as error:
        result = SyncResult(cause=error.cause)
    began_at = result.started_at
    if not result.is_complete or began_at is None:
        storing.store(result, actor=actor)
        alone = deletions[:MAX_VERIFIED_ALONE]
        for deletion in alone:
            verification.verify(change_request=deletion, actor=actor)
        return len(alone)
    closed = [
        deletion
        for deletion in deletions
        if deletion.settled_at and guards.happened_by(deletion.settled_at, now=began_at) <= began_at
    ]
    verification.verify_together(change_requests=closed, result=result, actor=actor)
    return len(deletions)
