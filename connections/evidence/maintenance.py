"""Verification of the audit log by the worker: daily, or when a person requests it."""

import logging
import time
from collections.abc import Iterator
from datetime import timedelta

from connections.evidence.verification import CannotVerifyError
from connections.models import AuditVerification

logger = logging.getLogger(__name__)

VERIFICATION_INTERVAL = timedelta(hours=24)
# When the audit log can't be verified, say without the public keys, it is tried again after this.
RETRY_AFTER = timedelta(hours=1)
# How long one call can verify while deletions wait.
MAX_VERIFICATION_SECONDS = 2.0


def continue_verification(steps: Iterator[AuditVerification | None]) -> timedelta | None:
    """Verify for a few seconds. Return when to verify again, or None if this isn't finished.

    `steps` comes from `verify_and_store`. Raises database errors.
    """
    stop_at = time.monotonic() + MAX_VERIFICATION_SECONDS
    try:
        for result in steps:
            if result is not None and result.fault:
                logger.error("The audit log failed verification. %s", result.message)
            if result is None and time.monotonic() >= stop_at:
                return None
    except CannotVerifyError as error:
        logger.warning("The audit log could not be verified. %s", error)
        return RETRY_AFTER
    return VERIFICATION_INTERVAL
