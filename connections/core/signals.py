"""The signals that ask a process to stop."""

import signal

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class StopRequestedError(BaseException):
    """SIGTERM, SIGINT or SIGHUP arrived. A BaseException, so that `except Exception` ignores it."""
