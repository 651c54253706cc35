"""A service on a loopback port with its own SQLite file, in this process.

The tests' shared database is in memory, where all threads would share one connection, unlike in an
installation. With a file, each thread has its own connection, and copying the file is faster than
emptying the tables. The same process serves it, so that a test can shorten a deadline.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from django.core.handlers.wsgi import WSGIHandler
from django.core.management import call_command
from django.test.testcases import LiveServerThread

from tests.support.databases import using_database

HOST = "127.0.0.1"


def database_at(path: Path) -> AbstractContextManager[None]:
    """Let the SQLite file at `path` be the database."""
    return using_database(NAME=str(path))


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
