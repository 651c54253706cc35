"""A clock of this machine that doesn't stop while the machine is suspended."""

import time

# Linux's CLOCK_MONOTONIC stands still while the machine is suspended, and that of macOS doesn't.
_SUSPENDED_TOO: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def seconds_since_boot() -> float:
    """Seconds that have passed on this machine, also while it was suspended."""
    return time.clock_gettime(_SUSPENDED_TOO)
