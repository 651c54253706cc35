"""The simulator's server: one loopback port per site, one thread per client."""

import contextlib
import selectors
import socket
import ssl
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from sandbox.handler import Handler
from sandbox.world import World

LOOPBACK = "127.0.0.1"
_JOIN_SECONDS = 5.0


class SandboxServer:
    """Serves a world until it is stopped. Also a context manager.

    `ports` are fixed ports by site name; the system chooses the others. With `tls`, every site
    needs HTTPS.
    """

    def __init__(
        self,
        world: World,
        *,
        ports: Mapping[str, int] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.world = world
        self.stopping = threading.Event()
        self._ports = dict(ports or {})
        self._tls = tls
        self._listeners: dict[str, socket.socket] = {}
        self._wakeup: tuple[socket.socket, socket.socket] | None = None
        self._accept_thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._clients: dict[socket.socket, threading.Thread] = {}

    @property
    def base_urls(self) -> dict[str, str]:
        """The base URL of each site, without a trailing slash."""
        scheme = "https" if self._tls else "http"
        return {
            site: f"{scheme}://{LOOPBACK}:{listener.getsockname()[1]}"
            for site, listener in self._listeners.items()
        }

    def extra_sites_setting(self) -> str:
        """Return the value of ORGADMIN_EXTRA_SITES that makes Org Admin use this server."""
        return ",".join(f"{site}={url}" for site, url in self.base_urls.items())

    def start(self) -> Self:
        """Listen on every site's port. Raises OSError if a fixed port is in use."""
        self.stopping.clear()
        try:
            for site in self.world.sites:
                self._listeners[site] = socket.create_server(
                    (LOOPBACK, self._ports.get(site, 0)), backlog=128
                )
        except OSError:
            self._close_listeners()
            raise
        self._wakeup = socket.socketpair()
        self.world.save_state()
        self._accept_thread = threading.Thread(target=self._accept, name="sandbox", daemon=True)
        self._accept_thread.start()
        return self

    def stop(self) -> None:
        """Close every socket, even of clients that still wait, and wait for the threads to end."""
        if self._accept_thread is None or self._wakeup is None:
            return
        self.stopping.set()
        self._wakeup[1].send(b"x")
        self._accept_thread.join(_JOIN_SECONDS)
        self._accept_thread = None
        for one in self._wakeup:
            one.close()
        self._close_listeners()
        with self._lock:
            threads = list(self._clients.values())
        self.close_client_connections()
        for thread in threads:
            thread.join(_JOIN_SECONDS)

    def close_client_connections(self) -> None:
        """Close all client connections, as servers do with idle connections."""
        with self._lock:
            clients = list(self._clients)
        for client in clients:
            with contextlib.suppress(OSError):  # the client can close it at the same time
                client.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _close_listeners(self) -> None:
        for listener in self._listeners.values():
            listener.close()
        self._listeners.clear()

    def _accept(self) -> None:
        assert self._wakeup is not None  # noqa: S101 - set by start()
        with selectors.DefaultSelector() as selector:
            selector.register(self._wakeup[0], selectors.EVENT_READ, None)
            for site, listener in self._listeners.items():
                listener.setblocking(False)
                selector.register(listener, selectors.EVENT_READ, site)
            while not self.stopping.is_set():
                for key, _ in selector.select():
                    if key.data is not None and isinstance(key.fileobj, socket.socket):
                        self._accept_client(listener=key.fileobj, site=key.data)

    def _accept_client(self, *, listener: socket.socket, site: str) -> None:
        try:
            client, _ = listener.accept()
        except OSError:  # the client left before it was accepted
            return
        client.setblocking(True)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls:
            # The handshake happens in the client's own thread, at its first read.
            client = self._tls.wrap_socket(client, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(
            target=self._serve, kwargs={"client": client, "site": site}, daemon=True
        )
        with self._lock:
            # Only threads that have ended are removed, so that `stop` waits for all others.
            for each, its_thread in list(self._clients.items()):
                if not its_thread.is_alive():
                    del self._clients[each]
            self._clients[client] = thread
        thread.start()

    def _serve(self, *, client: socket.socket, site: str) -> None:
        try:
            Handler(client, world=self.world, site=site, stopping=self.stopping)
        except OSError:  # the client left, or a fault closed the socket
            pass
        finally:
            client.close()
