"""The web server of `./run serve` and `./run web`: waitress with deadlines and a graceful stop.

waitress reads all connections in one thread and passes a request to a worker thread only when its
head and body are complete, so slow clients can't delay others. This module adds what waitress
lacks: a time limit for a request to arrive, room for new connections when all are in use, and a
stop that first drains the connections and then lets running requests finish.

`python -m orgadmin.web_server FD` serves on the listening socket with this file descriptor.
"""

import gc
import logging
import math
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable
from threading import Thread
from types import FrameType
from typing import Any

from django.conf import settings
from django.urls import reverse
from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.buffers import OverflowableBuffer
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import TcpWSGIServer
from waitress.task import ThreadedTaskDispatcher, WSGITask

from connections.core import logs
from connections.core.errors import STOP_SIGNALS
from connections.core.trusted_proxies import get_trusted_networks, is_in_networks
from connections.operations.supervisor import end_with_parent

logger = logging.getLogger(__name__)

Environ = dict[str, Any]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

THREADS = 8
# In addition to its connections: for databases, logs and the identity provider.
OTHER_FILES = 256
MAX_HEAD_SIZE = 32 * 1024
# Larger bodies go to a temporary file, except those that contain the keys of an import.
BODY_SIZE_IN_MEMORY = 64 * 1024
# Bytes of a response that wait for a slow client before more of it is made.
OUTPUT_BUFFER_SIZE = 1 << 20
# Longer than the 30 s that Datadog has to respond to a DELETE plus the work before and after it.
STOP_SECONDS = 60.0
# How long a browser has to follow the redirect after a form.
FOLLOW_SECONDS = 2.0
# Between two looks for saved responses.
RECORDING_SECONDS = 60.0
SECURE_SCHEME_HEADERS = {
    "HTTP_X_FORWARDED_PROTO": "https",
    "HTTP_X_FORWARDED_PROTOCOL": "ssl",
    "HTTP_X_FORWARDED_SSL": "on",
}


class Parser(HTTPRequestParser):  # type: ignore[misc]
    """Reads one request. The body of an import never goes to a temporary file."""

    def parse_header(self, header_plus: bytes) -> None:
        """Parse the head, and keep the body in memory if it is an import."""
        super().parse_header(header_plus)
        if self.body_rcv is not None and self.path == reverse("credential-import"):
            self.body_rcv.buf = OverflowableBuffer(settings.WEB_MAX_BODY_SIZE + 1)


class Task(WSGITask):  # type: ignore[misc]
    """One request in progress."""

    def build_response_header(self) -> bytes:
        """The head of the response. While stopping, it is the last one of its connection."""
        if self.channel.server.is_stopping:
            self.request.headers["CONNECTION"] = "close"
        return bytes(super().build_response_header())

    @property
    def has_body(self) -> bool:
        """Whether the response can have a body. waitress doesn't handle HEAD."""
        is_head = self.request.command == "HEAD"
        return bool(super().has_body) and not (is_head and self.content_length is None)


class ClientChannel(HTTPChannel):  # type: ignore[misc]
    """One connection. Its times are monotonic, and only the I/O thread uses them."""

    task_class = Task
    parser_class = Parser

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.await_request()
        # When the client last read something, or had nothing to read.
        self.read_at = time.monotonic()
        super().__init__(*args, **kwargs)

    def await_request(self) -> None:
        """Start the time limit for the next request."""
        self.waiting_since = time.monotonic()
        self._has_begun = False

    @property
    def is_busy(self) -> bool:
        """Whether a request is running, or its response has not been read completely.

        If the client disconnects in the meantime, that is noticed only at the next write.
        """
        return bool(self.requests) or self.total_outbufs_len > 0

    def close_if_overdue(self, *, now: float) -> None:
        """Close the connection if its client has sent or read nothing useful for too long."""
        if self.is_busy:
            self.await_request()
        if not self.total_outbufs_len:
            self.read_at = now
        if now - min(self.waiting_since, self.read_at) > settings.WEB_REQUEST_SECONDS:
            # Not `will_close`, which waits until the client can be written to.
            self.handle_close()

    def received(self, data: bytes) -> bool:
        """Process received data.

        The first byte of a request restarts its time limit, but only once.

        Blank lines don't extend it.
        """
        if not self._has_begun:
            self.await_request()
            self._has_begun = True
        return bool(super().received(data))

    def send(self, data: bytes, do_close: bool = True) -> int:
        """Send as much as the client accepts now."""
        sent: int = super().send(data, do_close=do_close)
        if sent:
            self.read_at = time.monotonic()
        return sent


class Server(TcpWSGIServer):  # type: ignore[misc]
    """Serves an application on a listening socket until `stop` is called."""

    channel_class = ClientChannel

    def __init__(self, application: Application, *, listener: socket.socket) -> None:
        self.is_stopping = False
        self._drain_until = math.inf
        self._refuses_forms = False
        self._connections = _raise_file_limit()
        self._next_overdue_check = 0.0
        adjustments = Adjustments(
            sockets=[listener],
            threads=THREADS,
            # Idle connections are closed to make room, so only busy ones can reach this limit.
            connection_limit=self._connections + 16,
            max_request_header_size=MAX_HEAD_SIZE,
            max_request_body_size=settings.WEB_MAX_BODY_SIZE,
            inbuf_overflow=BODY_SIZE_IN_MEMORY,
            # A buffer keeps what was sent until it is full, and an export fills several.
            outbuf_high_watermark=OUTPUT_BUFFER_SIZE,
            # `_wrap` and the application decide whether to trust X-Forwarded-*.
            clear_untrusted_proxy_headers=False,
            log_socket_errors=False,
            ident=None,
        )
        dispatcher = ThreadedTaskDispatcher()
        dispatcher.set_thread_count(adjustments.threads)
        super().__init__(
            self._wrap(application),
            {},
            True,
            listener,
            dispatcher=dispatcher,
            adj=adjustments,
            sockinfo=(listener.family, listener.type, listener.proto, listener.getsockname()),
            bind_socket=False,
        )

    def run(self) -> None:
        """Serve until `stop`, drain, then let running requests finish, for at most `STOP_SECONDS`.

        While draining, /readyz answers 503, so that a load balancer sends the next requests to
        other instances, and everything else is served as before. If requests are running after
        that, new ones other than forms are served for `FOLLOW_SECONDS` after the last of them,
        because the response to a form redirects the browser to another page.
        """
        while not self.is_stopping:
            self._turn(seconds=1.0)
        while time.monotonic() < self._drain_until:
            self._turn(seconds=0.1)
        self._refuses_forms = True
        give_up_at = time.monotonic() + STOP_SECONDS
        self._serve_redirects(give_up_at=give_up_at)
        # Closes only the listening socket, because the threads still need `self.trigger`.
        wasyncore.dispatcher.close(self)
        while self._is_busy and time.monotonic() < give_up_at:
            self._turn(seconds=0.1)
        if self._is_busy:
            logger.warning("Requests were still running after %d s.", STOP_SECONDS)

    def stop(self, *, drain_seconds: float) -> None:
        """End `run` after draining. Safe in a signal handler. A second call can't prolong it."""
        self._drain_until = min(self._drain_until, time.monotonic() + drain_seconds)
        self.is_stopping = True
        self.pull_trigger()

    def _serve_redirects(self, *, give_up_at: float) -> None:
        running = {channel for channel in self._channels() if channel.is_busy}
        follow_until = time.monotonic()
        while running or time.monotonic() < follow_until:
            if time.monotonic() >= give_up_at:
                return
            self._turn(seconds=0.1)
            if running:
                running = {channel for channel in running if channel.is_busy}
                follow_until = time.monotonic() + FOLLOW_SECONDS

    @property
    def _is_busy(self) -> bool:
        return any(channel.is_busy for channel in self._channels())

    def _turn(self, *, seconds: float) -> None:
        wasyncore.poll2(seconds, self._map)
        now = time.monotonic()
        if now >= self._next_overdue_check:
            self._next_overdue_check = now + 1.0
            for channel in self._channels():
                channel.close_if_overdue(now=now)

    def _channels(self) -> list[ClientChannel]:
        return list(self.active_channels.values())

    def maintenance(self, now: float) -> None:
        """Do nothing, because waitress's own timeouts use the wall clock."""

    def add_task(self, task: ClientChannel) -> None:
        """Queue a complete request for a worker thread."""
        task.await_request()
        super().add_task(task)

    def handle_accept(self) -> None:
        """Accept a new connection. If all are in use, close the one that has been idle longest."""
        channels = self._channels()
        if len(channels) >= self._connections:
            waiting = [
                channel for channel in channels if not (channel.is_busy or channel.will_close)
            ]
            if waiting:
                # Closed in the next turn, because its file descriptor must not be reused in this
                # one.
                min(waiting, key=lambda idle: idle.waiting_since).will_close = True
        super().handle_accept()

    def _wrap(self, application: Application) -> Application:
        networks = get_trusted_networks()

        def respond(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
            if self._must_refuse(environ):
                return _refuse_while_stopping(environ, start_response)
            # With it, waitress would close the file, and so end the request, in the I/O thread.
            del environ["wsgi.file_wrapper"]
            if is_in_networks(environ["REMOTE_ADDR"], networks) and _is_https_by_headers(environ):
                environ["wsgi.url_scheme"] = "https"
            response = application(environ, start_response)
            if environ["REQUEST_METHOD"] != "HEAD":
                return response
            if hasattr(response, "close"):
                response.close()
            return []

        return respond

    def _must_refuse(self, environ: Environ) -> bool:
        if environ["PATH_INFO"] == "/readyz":
            return self.is_stopping
        return self._refuses_forms and environ["REQUEST_METHOD"] not in {"GET", "HEAD", "OPTIONS"}


def _refuse_while_stopping(environ: Environ, start_response: Callable[..., Any]) -> list[bytes]:
    text = b"Org Admin is stopping. Nothing was changed. Try again in a minute.\n"
    headers = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(text))),
        ("Cache-Control", "no-store"),
        ("Retry-After", "60"),
    ]
    start_response("503 Service Unavailable", headers)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [text]


def _is_https_by_headers(environ: Environ) -> bool:
    """Whether the proxy's headers say HTTPS and no header contradicts that."""
    values = [
        environ[name] == https for name, https in SECURE_SCHEME_HEADERS.items() if name in environ
    ]
    return bool(values) and all(values)


def _raise_file_limit() -> int:
    """Raise the limit on open files. Return how many connections fit, with two files each."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * settings.WEB_CONNECTIONS + OTHER_FILES
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return min(settings.WEB_CONNECTIONS, (soft - OTHER_FILES) // 2)


def record_saved_responses() -> None:
    """Record the responses saved on this machine, now and every minute: no worker might run here.

    Never returns.
    """
    from django.db import connection

    from connections.change_requests import saved_responses

    while True:
        try:
            saved_responses.record_saved_responses()
        except Exception:
            logger.exception("Recording the saved responses failed. Next attempt in a minute.")
        connection.close()
        time.sleep(RECORDING_SECONDS)


def main() -> None:
    """Serve on the socket given by the first argument until a signal. Drains after SIGTERM only."""
    logs.set_up(is_service=True)
    end_with_parent(int(os.environ["ORGADMIN_SUPERVISOR"]))
    from orgadmin.wsgi import application

    server = Server(application, listener=socket.socket(fileno=int(sys.argv[1])))
    # What has been loaded stays; no garbage collection has to examine it.
    gc.freeze()
    # By default, a list of 10,000 connections is examined several times while it is built.
    gc.set_threshold(50_000, 10, 10)

    def stop(number: int, frame: FrameType | None) -> None:
        is_patient = number == signal.SIGTERM
        server.stop(drain_seconds=settings.DRAIN_SECONDS if is_patient else 0)

    # A service manager might signal every process, and the supervisor then signals this one again.
    for number in STOP_SIGNALS:
        signal.signal(number, stop)
    Thread(target=record_saved_responses, daemon=True).start()
    server.run()


if __name__ == "__main__":
    main()
