"""Limits on an org's requests per window, like Datadog's."""

import math
import threading
import time
from dataclasses import dataclass, field

_NAME = "org_connections"


@dataclass(frozen=True, kw_only=True)
class RateLimitState:
    """The limit when one request was counted. `reset` is in seconds from then."""

    limit: int = 6000
    period: int = 60
    remaining: int = 5999
    reset: int = 42
    is_exceeded: bool = False

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """The headers of the response."""
        return (
            ("X-RateLimit-Limit", str(self.limit)),
            ("X-RateLimit-Period", str(self.period)),
            ("X-RateLimit-Remaining", str(self.remaining)),
            ("X-RateLimit-Reset", str(self.reset)),
            ("X-RateLimit-Name", _NAME),
        )


@dataclass(kw_only=True)
class _Window:
    limit: int
    seconds: int
    count: int = 0
    # How many requests exceeded the limit in each window so far.
    exceeded: list[int] = field(default_factory=list)
    ends_at: float = field(default_factory=time.monotonic)


class RateLimits:
    """The limits of all orgs. Thread-safe. An org without a limit is never limited."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._windows: dict[str, _Window] = {}

    def set(self, *, org_id: str, limit: int, seconds: int) -> None:
        """Allow an org this many requests per window. A window starts with a request."""
        with self._lock:
            self._windows[org_id] = _Window(limit=limit, seconds=seconds)

    def exceeded(self, *, org_id: str) -> list[int]:
        """How many requests each window of a limited org has refused."""
        with self._lock:
            return list(self._windows[org_id].exceeded)

    def count(self, *, org_id: str | None) -> RateLimitState:
        """Count one request of the org."""
        with self._lock:
            window = self._windows.get(org_id or "")
            if window is None:
                return RateLimitState()
            now = time.monotonic()
            if now >= window.ends_at:
                window.count, window.ends_at = 0, now + window.seconds
                window.exceeded.append(0)
            window.count += 1
            window.exceeded[-1] += window.count > window.limit
            return RateLimitState(
                limit=window.limit,
                period=window.seconds,
                remaining=max(window.limit - window.count, 0),
                reset=math.ceil(window.ends_at - now),
                is_exceeded=window.count > window.limit,
            )
