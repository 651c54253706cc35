"""Handles signals to a command that sends: it stops if nothing was sent, else finishes first.

The web server and the worker don't use this: they finish what they are doing before they end.
"""

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType
from uuid import UUID

from connections.core.errors import STOP_SIGNALS, StopRequestedError

# In seconds. A closing terminal sends SIGHUP twice, and systemd can send it right after SIGTERM.
_SAME_HANGUP = 1.0


@dataclass(kw_only=True)
class Stop:
    """Which signals this process received, and what it has sent so far.

    While `is_held`, the first signal is only noted; otherwise it raises StopRequestedError.
    `is_held` is a plain attribute, so that no signal handler can run while it is being set.
    """

    when_noted: Callable[[], None]
    # Called for a second signal. It ends the process.
    end_immediately: Callable[[], None]
    is_held: bool = True
    is_requested: bool = False
    # The request that might have been sent.
    sent_id: UUID | None = None
    is_response_recorded: bool = False
    _requested_at: float = field(default=0.0, init=False)

    def request(self, number: int, frame: FrameType | None) -> None:
        """Handle one signal."""
        del frame
        if self.is_requested:
            is_same = time.monotonic() - self._requested_at < _SAME_HANGUP
            if number != signal.SIGHUP or not is_same:
                self.end_immediately()
            return
        self.is_requested, self._requested_at = True, time.monotonic()
        if not self.is_held:
            raise StopRequestedError(signal.Signals(number).name)
        self.when_noted()

    def begin_sending(self, request_id: UUID) -> None:
        """Hold signals from just before the claim commits, so that the attempt is finished first.

        Raises StopRequestedError if a signal came before, so that the claim is rolled back.
        """
        self.is_held = True
        if self.is_requested:
            raise StopRequestedError
        self.sent_id = request_id

    def end_sending(self) -> None:
        """Release signals, because any response is recorded."""
        self.is_response_recorded = self.sent_id is not None
        self.release()

    def release(self) -> None:
        """From now on, let signals raise StopRequestedError.

        Raise it now if a signal came before.
        """
        self.is_held = False
        if self.is_requested:
            raise StopRequestedError


def handle_signals(stop: Stop) -> None:
    """Handle SIGTERM, SIGINT and SIGHUP with `stop`. An ignored signal stays ignored."""
    for number in STOP_SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, stop.request)
    # manage.py blocks signals while Django is loaded.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


def ignore_signals() -> None:
    """Ignore signals while the process ends, so that they don't change its exit code."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
