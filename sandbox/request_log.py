"""The requests that the simulator received, in order."""

import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime


@dataclass(frozen=True, kw_only=True)
class ReceivedRequest:
    """One received request.

    `executed` means that it created, changed or deleted something, whatever the response was. Only
    the names of its headers are stored (in lower case), because some values are keys.
    """

    method: str
    path: str
    query: str
    site: str
    org: str | None
    connection_id: str | None
    received_at: datetime
    executed: bool
    fault: str | None
    header_names: tuple[str, ...]
    # Of a POST.
    sink_org: str | None = None


class RequestLog:
    """A thread-safe log of received requests. Callers can wait for changes to it."""

    def __init__(self, *, changed: threading.Condition) -> None:
        self._changed = changed
        self._numbers = itertools.count(1)
        self._requests: dict[int, ReceivedRequest] = {}

    def add(self, request: ReceivedRequest) -> int:
        """Add a request and return its number for `mark_executed`."""
        with self._changed:
            number = next(self._numbers)
            self._requests[number] = request
            self._changed.notify_all()
            return number

    def mark_executed(self, *, number: int) -> None:
        """Mark the request as executed."""
        with self._changed:
            # A reset can empty the log between a request and its late execution.
            if number in self._requests:
                self._requests[number] = replace(self._requests[number], executed=True)
            self._changed.notify_all()

    def find(self, **filters: str | None) -> list[ReceivedRequest]:
        """Return the requests whose fields have these values. None matches any value."""
        with self._changed:
            requests = list(self._requests.values())
        return [
            request
            for request in requests
            if all(
                value is None or getattr(request, key) == value for key, value in filters.items()
            )
        ]

    def wait_until(self, condition: Callable[[], bool], *, seconds: float) -> bool:
        """Wait for the condition, which is checked after each change to the log."""
        with self._changed:
            return self._changed.wait_for(condition, timeout=seconds)

    def clear(self) -> None:
        """Remove every request."""
        with self._changed:
            self._requests.clear()
