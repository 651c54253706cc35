"""Django's SMTP backend with one deadline for a message, and the certificates of the settings."""

import contextlib
import functools
import ssl
from typing import Any

from django.conf import settings
from django.core.mail.backends import smtp

from connections.net.connection import Deadline, tls_context
from connections.net.smtp import DEADLINE_SECONDS, DeadlineSMTP, DeadlineSMTPOverTLS


class EmailBackend(smtp.EmailBackend):
    """Adds a deadline, and trusts the same certificates as requests.

    Django's timeout applies to each read, so a slow server could block for hours. Its TLS trusts
    the certificates of the system, which an image need not have, and obeys SSLKEYLOGFILE.
    """

    _deadline: Deadline | None = None

    @property
    def connection_class(self) -> Any:
        assert self._deadline is not None  # noqa: S101 - only `open` reads it, after setting it
        kind = DeadlineSMTPOverTLS if self.use_ssl else DeadlineSMTP
        return functools.partial(kind, deadline=self._deadline)

    @property
    def ssl_context(self) -> ssl.SSLContext:
        """How TLS is verified. Raises OSError when a CA file can't be read."""
        route = settings.OUTBOUND_ROUTE
        return tls_context(route.ca_bundle, route.extra_ca_file)

    def open(self) -> bool | None:
        """Connect and start the deadline, which runs until `close`. Raises OSError."""
        if self.connection is None:
            self._end_deadline()
            self._deadline = Deadline(
                deadline_seconds=DEADLINE_SECONDS, connect_seconds=DEADLINE_SECONDS
            )
            self._deadline.start()
        return super().open()

    def close(self) -> None:
        """Disconnect, ignoring errors. The server has already accepted or refused the message."""
        try:
            with contextlib.suppress(OSError):
                super().close()
        finally:
            self._end_deadline()

    def _end_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.finish()
            self._deadline = None
