"""Django's SMTP backend with one deadline for a whole message."""

import contextlib
import functools
from typing import Any

from django.core.mail.backends import smtp

from connections.net.smtp import DEADLINE_SECONDS, Bounded, BoundedTLS, Deadline


class EmailBackend(smtp.EmailBackend):
    """Django's own, whose time-out is for each wait alone: a slow drip would hold it for hours."""

    _deadline: Deadline | None = None

    @property
    def connection_class(self) -> Any:
        assert self._deadline is not None  # noqa: S101 - `open` alone asks, and has made it
        kind = BoundedTLS if self.use_ssl else Bounded
        return functools.partial(kind, deadline=self._deadline)

    def open(self) -> bool | None:
        """Connect; from here to `close` the deadline runs. Raises OSError."""
        if self.connection is None:
            self._end_deadline()
            self._deadline = Deadline(DEADLINE_SECONDS)
        return super().open()

    def close(self) -> None:
        """Take leave, unless the far end does not: what was said before stands."""
        try:
            # A message was taken, or refused, before: what comes now changes nothing.
            with contextlib.suppress(OSError):
                super().close()
        finally:
            self._end_deadline()

    def _end_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.finish()
            self._deadline = None
