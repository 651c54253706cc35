"""The web server of `./run serve`: waitress, with deadlines and an orderly end.

waitress reads every connection in one thread and gives a request to one of its own only when head
and body are there, so no number of slow clients can hold up the others. This module adds what
waitress lacks: a limit on how long a request may take to arrive, room for new connections when all
are taken, and an end that lets running requests finish.

`python -m orgadmin.web_server FD` serves on the listening socket with this file descriptor.
"""

import logging
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

from django.conf import settings
from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer
from waitress.task import ThreadedTaskDispatcher, WSGITask

from connections.operations import serving
from connections.operations.supervisor import end_with_parent

logger = logging.getLogger(__name__)

Environ = dict[str, Any]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

THREADS = 8
# Besides its connections the process needs files for databases, logs and the sign-in provider.
OTHER_FILES = 256
MAX_HEAD_SIZE = 32 * 1024
# What is larger than this waits in a temporary file and not in memory.
BODY_SIZE_IN_MEMORY = 64 * 1024
# Longer than the 30 s that Datadog has to answer a DELETE, and than what comes before and after it.
STOP_SECONDS = 60.0
# How long a browser has to open the page that the answer to its form leads to.
FOLLOW_SECONDS = 2.0
SECURE_SCHEME_HEADERS = {
    "HTTP_X_FORWARDED_PROTO": "https",
    "HTTP_X_FORWARDED_PROTOCOL": "ssl",
    "HTTP_X_FORWARDED_SSL": "on",
}


class Task(WSGITask):  # type: ignore[misc]
    """One request being answered."""

    @property
    def has_body(self) -> bool:
        """Whether the response can have a body; waitress forgets HEAD."""
        is_head = self.request.command == "HEAD"
        return bool(super().has_body) and not (is_head and self.content_length is None)


class Channel(HTTPChannel):  # type: ignore[misc]
    """One connection. Its times are monotonic, and only the reading thread uses them."""

    task_class = Task

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.await_request()
        # When the client last read something, or there was nothing to read.
        self.read_at = time.monotonic()
        super().__init__(*args, **kwargs)

    def await_request(self) -> None:
        """Start the time that the next request has to arrive."""
        self.waiting_since = time.monotonic()
        self._has_begun = False

    @property
    def is_busy(self) -> bool:
        """Whether a request is being answered, or its response has not been read to the end.

        A client that leaves meanwhile is noticed only when it is sent something.
        """
        return bool(self.requests) or self.total_outbufs_len > 0

    def close_if_overdue(self, *, now: float) -> None:
        """Close the connection when its client sends or reads nothing useful for too long."""
        if self.is_busy:
            self.await_request()
        if not self.total_outbufs_len:
            self.read_at = now
        if now - min(self.waiting_since, self.read_at) > settings.WEB_REQUEST_SECONDS:
            # Not `will_close`, which waits until the client can be sent something.
            self.handle_close()

    def received(self, data: bytes) -> bool:
        """Take what has arrived. The first byte of a request starts its time anew, but only once:
        blank lines are no request."""
        if not self._has_begun:
            self.await_request()
            self._has_begun = True
        return bool(super().received(data))

    def send(self, data: bytes, do_close: bool = True) -> int:
        """Send what the client's side takes now."""
        sent: int = super().send(data, do_close=do_close)
        if sent:
            self.read_at = time.monotonic()
        return sent


class Server(TcpWSGIServer):  # type: ignore[misc]
    """Serves an application on a listening socket until `stop` is called."""

    channel_class = Channel

    def __init__(self, application: Application, *, listener: socket.socket) -> None:
        self.is_stopping = False
        self._connections = _raise_file_limit()
        self._closes_overdue_at = 0.0
        adjustments = Adjustments(
            sockets=[listener],
            threads=THREADS,
            # Connections that wait give way to new ones: this one is for those that are busy.
            connection_limit=self._connections + 16,
            max_request_header_size=MAX_HEAD_SIZE,
            max_request_body_size=settings.WEB_MAX_BODY_SIZE,
            inbuf_overflow=BODY_SIZE_IN_MEMORY,
            # `_answering` and the application judge what X-Forwarded-* is worth.
            clear_untrusted_proxy_headers=False,
            log_socket_errors=False,
            ident=None,
        )
        dispatcher = ThreadedTaskDispatcher()
        dispatcher.set_thread_count(adjustments.threads)
        super().__init__(
            self._answering(application),
            {},
            True,
            listener,
            dispatcher=dispatcher,
            adj=adjustments,
            sockinfo=(listener.family, listener.type, listener.proto, listener.getsockname()),
            bind_socket=False,
        )

    def run(self) -> None:
        """Serve until `stop`, then let running requests finish, for `STOP_SECONDS` at most.

        If there are any, everything is served for `FOLLOW_SECONDS` after the last of them: the
        answer to a form leads the browser to another page.
        """
        while not self.is_stopping:
            self._turn(seconds=1.0)
        give_up_at = time.monotonic() + STOP_SECONDS
        self._let_browsers_follow(give_up_at=give_up_at)
        # Closes the listening socket only: the threads still need `self.trigger`.
        wasyncore.dispatcher.close(self)
        while self._is_busy and time.monotonic() < give_up_at:
            self._turn(seconds=0.1)
        if self._is_busy:
            logger.warning("Requests were still running after %d s.", STOP_SECONDS)

    def stop(self) -> None:
        """Let `run` come to its end. Fit for a signal handler; a second call changes nothing."""
        self.is_stopping = True
        self.pull_trigger()

    def _let_browsers_follow(self, *, give_up_at: float) -> None:
        running = {channel for channel in self._channels() if channel.is_busy}
        followed_at = time.monotonic()
        while running or time.monotonic() < followed_at:
            if time.monotonic() >= give_up_at:
                return
            self._turn(seconds=0.1)
            if running:
                running = {channel for channel in running if channel.is_busy}
                followed_at = time.monotonic() + FOLLOW_SECONDS

    @property
    def _is_busy(self) -> bool:
        return any(channel.is_busy for channel in self._channels())

    def _turn(self, *, seconds: float) -> None:
        wasyncore.poll2(seconds, self._map)
        now = time.monotonic()
        if now >= self._closes_overdue_at:
            self._closes_overdue_at = now + 1.0
            for channel in self._channels():
                channel.close_if_overdue(now=now)

    def _channels(self) -> list[Channel]:
        return list(self.active_channels.values())

    def maintenance(self, now: float) -> None:
        """Do nothing: waitress's own deadlines follow the wall clock."""

    def add_task(self, task: Channel) -> None:
        """Take a complete request for one of the threads."""
        task.await_request()
        super().add_task(task)

    def handle_accept(self) -> None:
        """Take a new connection; when all are taken, close the one that has waited longest."""
        channels = self._channels()
        if len(channels) >= self._connections:
            waiting = [one for one in channels if not (one.is_busy or one.will_close)]
            if waiting:
                # Closed in the next turn: in this one its file number must not be used again.
                min(waiting, key=lambda one: one.waiting_since).will_close = True
        super().handle_accept()

    def _answering(self, application: Application) -> Application:
        networks = serving.trusted_networks()

        def answer(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
            if self.is_stopping and environ["REQUEST_METHOD"] not in {"GET", "HEAD", "OPTIONS"}:
                return _refuse_while_stopping(start_response)
            # waitress would close the file, and so end the request, in the reading thread.
            del environ["wsgi.file_wrapper"]
            if serving.is_in_networks(environ["REMOTE_ADDR"], networks) and _is_https_by_headers(
                environ
            ):
                environ["wsgi.url_scheme"] = "https"
            response = application(environ, start_response)
            if environ["REQUEST_METHOD"] != "HEAD":
                return response
            if hasattr(response, "close"):
                response.close()
            return []

        return answer


def _refuse_while_stopping(start_response: Callable[..., Any]) -> list[bytes]:
    text = b"Org Admin is stopping. Nothing was changed. Try again in a minute.\n"
    headers = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(text))),
        ("Cache-Control", "no-store"),
        ("Retry-After", "60"),
    ]
    start_response("503 Service Unavailable", headers)
    return [text]


def _is_https_by_headers(environ: Environ) -> bool:
    """Whether the proxy's headers say that the request came by HTTPS, and none contradicts it."""
    said = [
        environ[name] == https for name, https in SECURE_SCHEME_HEADERS.items() if name in environ
    ]
    return bool(said) and all(said)


def _raise_file_limit() -> int:
    """How many connections this process can have, each with a file for its request's body."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * settings.WEB_CONNECTIONS + OTHER_FILES
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return min(settings.WEB_CONNECTIONS, (soft - OTHER_FILES) // 2)


def main() -> None:
    """Serve on the socket that the first argument names until SIGTERM."""
    end_with_parent(int(os.environ["ORGADMIN_SUPERVISOR"]))
    from orgadmin.wsgi import application

    server = Server(application, listener=socket.socket(fileno=int(sys.argv[1])))

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        server.stop()

    # A service manager may signal every process, and the supervisor signals this one once more.
    signal.signal(signal.SIGTERM, stop)
    server.run()


if __name__ == "__main__":
    main()
