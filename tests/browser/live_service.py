"""A service on a loopback port with its own SQLite file, in this process.

The tests' shared database is in memory, where all threads would share one connection, unlike in an
installation. With a file, each thread has its own connection, and copying the file is faster than
emptying the tables. The same process serves it, so that a test can shorten a deadline.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.core.handlers.wsgi import WSGIHandler
from django.core.management import call_command
from django.db import connections
from django.test.testcases import LiveServerThread

HOST = "127.0.0.1"


@contextmanager
def database_at(path: Path) -> Iterator[None]:
    """Let the SQLite file at `path` be the database, in this thread and in all new ones."""
    shared = connections["default"]
    before = connections.settings["default"]
    # A copy: a connection refers to its settings and closes only if they name a file, and the
    # thread of a request can end after this block.
    connections.settings["default"] = before | {"NAME": str(path)}
    own = connections.create_connection("default")
    connections["default"] = own
    try:
        yield
    finally:
        own.close()
        connections.settings["default"] = before
        connections["default"] = shared


def make_blank_database(path: Path) -> None:
    """Make a migrated and empty database file."""
    with database_at(path):
        call_command("migrate", interactive=False, verbosity=0)


class _AsInstalled(WSGIHandler):
    """Only the application. WhiteNoise serves the static files, as in an installation."""

    def __init__(self, application: WSGIHandler) -> None:
        del application
        super().__init__()


@contextmanager
def served() -> Iterator[str]:
    """Serve the product. Yields its address without a trailing slash."""
    thread = LiveServerThread(HOST, static_handler=_AsInstalled)
    thread.daemon = True
    thread.start()
    thread.is_ready.wait()
    if thread.error:
        raise thread.error
    try:
        yield f"http://{HOST}:{thread.port}"
    finally:
        thread.terminate()
