"""Audit log tasks of the worker: due checkpoints, and daily or requested verifications."""

import logging
import time
from collections.abc import Iterator
from datetime import timedelta

from connections.audit import checkpoints
from connections.core import clock
from connections.evidence.verification import (
    CannotVerifyError,
    last_verification,
    verification_requested_at,
    verify_and_store,
)
from connections.models import AuditVerification

logger = logging.getLogger(__name__)

VERIFICATION_INTERVAL = timedelta(hours=24)
# How often to check what is due, and how long one call can verify while deletions wait.
CHECK_INTERVAL_SECONDS = 10.0
MAX_VERIFICATION_SECONDS = 2.0


class AuditMaintenance:
    """Runs a verification in steps, so that a large audit log doesn't block the worker."""

    def __init__(self) -> None:
        self._next_check = time.monotonic()
        self._running: Iterator[AuditVerification | None] | None = None

    def run_due(self) -> None:
        """Do what is due, for at most a few seconds. Raises database errors."""
        if self._running is None and time.monotonic() < self._next_check:
            return
        self._next_check = time.monotonic() + CHECK_INTERVAL_SECONDS
        checkpoints.make_checkpoint_if_due()
        running, self._running = self._running or self._start_if_due(), None
        if running is None:
            return
        try:
            if not _continue_verification(running):
                self._running = running
        except CannotVerifyError as error:
            logger.warning("The audit log could not be verified. %s", error)
            self._next_check = time.monotonic() + checkpoints.CHECKPOINT_INTERVAL.total_seconds()

    def _start_if_due(self) -> Iterator[AuditVerification | None] | None:
        last = last_verification()
        now = clock.now()
        is_fresh = (
            last is not None
            and clock.elapsed_since(last.checked_at, now=now) < VERIFICATION_INTERVAL
        )
        return None if is_fresh and verification_requested_at() is None else verify_and_store()


def _continue_verification(running: Iterator[AuditVerification | None]) -> bool:
    """Continue for at most MAX_VERIFICATION_SECONDS. Return whether it finished."""
    stop_at = time.monotonic() + MAX_VERIFICATION_SECONDS
    for result in running:
        if result is not None:
            if result.fault:
                logger.error("The audit log failed verification. %s", result.message)
            return True
        if time.monotonic() >= stop_at:
            return False
    return True
