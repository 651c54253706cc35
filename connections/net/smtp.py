"""SMTP connections with one deadline per message."""

import smtplib
import socket
from typing import Any

from connections.net.connection import Deadline, connect_to_one_of, resolve

# Seconds for one message, from the name lookup to the server's last response.
DEADLINE_SECONDS = 20.0


class DeadlineSMTP(smtplib.SMTP):
    """An SMTP connection with a deadline. `smtplib`'s own name lookup has no timeout."""

    def __init__(self, *args: Any, deadline: Deadline, **kwargs: Any) -> None:
        self._deadline = deadline
        super().__init__(*args, **kwargs)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        addresses = resolve(
            host=host, port=port, timeout_seconds=self._deadline.remaining_connect_seconds
        )
        connection = connect_to_one_of(addresses, deadline=self._deadline)
        connection.settimeout(timeout)
        return connection


class DeadlineSMTPOverTLS(DeadlineSMTP, smtplib.SMTP_SSL):
    """A DeadlineSMTP that uses TLS from the start."""

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        connection = super()._get_socket(host, port, timeout)
        return self.context.wrap_socket(connection, server_hostname=host)
