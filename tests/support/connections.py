"""Clients that connect and then send little or nothing."""

import contextlib
import socket
from collections.abc import Iterator
from threading import Event, Thread


@contextlib.contextmanager
def connections(port: int, count: int, *, first: bytes = b"") -> Iterator[list[socket.socket]]:
    """Open this many connections that send these bytes and nothing else."""
    with contextlib.ExitStack() as all_of_them:
        opened = []
        for _ in range(count):
            one = all_of_them.enter_context(socket.create_connection(("127.0.0.1", port), 10))
            one.sendall(first)
            opened.append(one)
        yield opened


@contextlib.contextmanager
def trickling(sockets: list[socket.socket], *, with_bytes: bytes = b"a") -> Iterator[None]:
    """During the block, each connection sends a little more every tenth of a second."""
    is_over = Event()

    def trickle() -> None:
        while not is_over.wait(0.1):
            for one in sockets:
                with contextlib.suppress(OSError):  # cut by the server
                    one.sendall(with_bytes)

    thread = Thread(target=trickle)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def is_cut(connection: socket.socket) -> bool:
    """Whether the server has closed this connection without a response."""
    connection.settimeout(0.01)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionResetError:
        return True
