"""What reached the listeners, in order."""

import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime


@dataclass(frozen=True, kw_only=True)
class ReceivedRequest:
    """One request that reached a listener.

    `executed` says whether it deleted, created or changed something, whatever was answered.
    Header names are kept (lower case), their values are not: among them are keys.
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
    user_agent: str


class Journal:
    """The received requests; safe for many threads, and one can wait for an entry."""

    def __init__(self, *, changed: threading.Condition) -> None:
        self._changed = changed
        self._numbers = itertools.count(1)
        self._entries: dict[int, ReceivedRequest] = {}

    def record(self, *, request: ReceivedRequest) -> int:
        """Write a request down; the number given back is for `mark_executed`."""
        with self._changed:
            number = next(self._numbers)
            self._entries[number] = request
            self._changed.notify_all()
            return number

    def mark_executed(self, *, number: int) -> None:
        """Note that the request had its effect."""
        with self._changed:
            # A reset may have emptied the journal between a request and its late effect.
            if number in self._entries:
                self._entries[number] = replace(self._entries[number], executed=True)
            self._changed.notify_all()

    def matching(self, **wanted: str | None) -> list[ReceivedRequest]:
        """Give the entries whose fields have these values; None matches anything."""
        with self._changed:
            entries = list(self._entries.values())
        return [
            one
            for one in entries
            if all(value is None or getattr(one, key) == value for key, value in wanted.items())
        ]

    def wait_until(self, condition: Callable[[], bool], *, seconds: float) -> bool:
        """Wait for the condition, looked at after each entry and each effect."""
        with self._changed:
            return self._changed.wait_for(condition, timeout=seconds)

    def clear(self) -> None:
        """Forget everything."""
        with self._changed:
            self._entries.clear()
