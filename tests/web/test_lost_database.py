"""What people see while the database can't be reached or read."""

import gc
import os
import socket
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import Client

from connections.core.database import is_unavailable_error
from connections.core.private_files import create_private_text
from connections.crypto.encryption import new_key_ring_text
from connections.models import Role
from tests.support.databases import (
    SharedDatabase,
    copied_postgresql,
    migrate_postgresql,
    using_database,
)
from tests.support.people import make_person
from tests.support.postgres import stopped, throw_away_postgresql
from tests.support.processes import ROOT, Running

pytestmark = pytest.mark.django_db(transaction=True)

TITLE = "Org Admin can't use its database"
CLAUSE = (
    "If you were deleting or requesting access, don't retry: check Deletions and Access requests "
    "first."
)
POSTGRESQL: dict[str, Any] = {
    "ENGINE": "django.db.backends.postgresql",
    "NAME": "orgadmin",
    "OPTIONS": {"connect_timeout": 5},
}


@contextmanager
def port_that_refuses() -> Iterator[int]:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        yield closed.getsockname()[1]


@contextmanager
def port_that_hangs_up() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            with suppress(OSError):  # once the listener is shut down
                while True:
                    listener.accept()[0].close()

        thread = Thread(target=hang_up)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def visit(client: Client) -> list[Any]:
    """Every kind of request: a page, one that needs a sign-in, a missing one, htmx, and forms."""
    form = {"login": "ada", "password": "wrong"}
    htmx = {"HX-Request": "true"}
    return [
        client.get("/accounts/login/"),
        client.get("/"),
        client.get("/missing/"),
        client.get("/deletions/", headers=htmx),
        client.post("/accounts/login/", form),
        client.post("/connections/refresh/", headers=htmx),
    ]


def visitor() -> Client:
    """A browser with a session cookie, whose errors become pages."""
    client = Client(raise_request_exception=False)
    client.cookies["sessionid"] = "x" * 32
    return client


@pytest.mark.parametrize("unreachable", [port_that_refuses, port_that_hangs_up])
def test_every_page_says_that_the_server_cannot_be_reached(unreachable: Any):
    with unreachable() as port, using_database(**POSTGRESQL, HOST="127.0.0.1", PORT=port):
        responses = visit(visitor())
        ready = Client().get("/readyz")
    assert [response.status_code for response in responses] == [503] * 6
    for response in responses:
        assert TITLE in response.text
        # The session couldn't be read, so no view ran.
        assert CLAUSE not in response.text
    assert (ready.status_code, ready.text) == (503, "the database does not respond\n")


def signed_in() -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(make_person("ada", Role.OPERATOR))
    return client


def replace_by_other_text(path: Path) -> None:
    path.write_bytes(b"not a database " * 1000)


def replace_by_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


# Django drops the connection to such a file without closing it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("lose", [replace_by_other_text, Path.unlink, replace_by_directory])
def test_every_page_says_that_the_file_is_lost(
    migrated_directory: Path, lose: Any, caplog: pytest.LogCaptureFixture
):
    file = migrated_directory / "orgadmin.sqlite3"
    with SharedDatabase(url=f"sqlite:///{file}", data_dir=migrated_directory).opened():
        client = signed_in()
        assert client.get("/").status_code == 200
        connection.close()
        for path in migrated_directory.glob("orgadmin.sqlite3-*"):
            path.unlink()
        lose(file)
        responses = visit(client)
        ready = Client().get("/readyz").status_code
    gc.collect()
    assert [response.status_code for response in responses] == [503] * 6
    assert all("its database" in response.text for response in responses)
    assert ready == 503
    assert "Traceback" in caplog.text
    assert "AttributeError" not in caplog.text


def test_a_file_that_stays_locked_is_unavailable(migrated_directory: Path):
    file = migrated_directory / "orgadmin.sqlite3"
    with SharedDatabase(url=f"sqlite:///{file}", data_dir=migrated_directory).opened():
        client = signed_in()
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with connection.cursor() as cursor:
                cursor.execute("PRAGMA busy_timeout = 50")
            response = client.post("/accounts/logout/")
    assert response.status_code == 503
    assert "Another process has been writing to it for too long." in response.text


class Cut:
    """Breaks the connection to PostgreSQL at the first statement after sign-in was checked."""

    def __call__(self, execute: Any, sql: str, *arguments: Any) -> Any:
        if "session" not in sql:
            with closing(socket.socket(fileno=os.dup(connection.connection.fileno()))) as peer:
                peer.shutdown(socket.SHUT_RDWR)
        return execute(sql, *arguments)


@pytest.mark.database
def test_a_form_whose_connection_was_lost_points_to_deletions(
    postgresql_url: str, postgresql_template: str, tmp_path: Path
):
    name = postgresql_template
    with (
        copied_postgresql(postgresql_url, template=name, data_dir=tmp_path) as database,
        database.opened(),
    ):
        client = signed_in()
        with connection.execute_wrapper(Cut()):
            response = client.post("/connections/refresh/")
        assert response.status_code == 503
        assert TITLE in response.text
        assert CLAUSE in response.text
        connection.close()
        assert client.get("/").status_code == 200


@pytest.mark.database
def test_pages_work_again_after_the_server_was_stopped(postgresql_url: str, tmp_path: Path):
    with (
        throw_away_postgresql() as url,
        migrate_postgresql(url, "migrated", data_dir=tmp_path).opened(),
    ):
        client = signed_in()
        assert client.get("/").status_code == 200
        with stopped(url):
            # The first request finds its connection lost, the next can't make a new one.
            statuses = [response.status_code for response in visit(client)]
            connection.close()
            statuses += [response.status_code for response in visit(client)]
        assert statuses == [503] * 12
        assert client.get("/").status_code == 200
        connection.close()


@pytest.mark.database
def test_a_web_server_that_starts_before_postgresql_waits_for_it(
    postgresql_url: str, tmp_path: Path
):
    create_private_text(tmp_path / "keyring.json", new_key_ring_text())
    with throw_away_postgresql() as url:
        database = migrate_postgresql(url, "migrated", data_dir=tmp_path)
        command = [sys.executable, str(ROOT / "manage.py"), "web"]
        with ExitStack() as stack:
            with stopped(url):
                web = stack.enter_context(Running(command, env=database.environment(PORT="0")))
                web.wait_for_line("The database is not available. Next attempt in 1 s.")
            web.wait_for_line("Org Admin is running at")
            assert web.end() == 0


def test_an_error_of_one_statement_is_no_lost_database():
    with pytest.raises(OperationalError) as error, connection.cursor() as cursor:
        cursor.execute("SELECT missing FROM connections_person")
    assert not is_unavailable_error(error.value)
