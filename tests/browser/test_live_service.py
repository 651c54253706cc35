"""The service of the browser's tests ends cleanly."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from django.db import connection, connections

from tests.browser.live_service import database_at


def test_a_request_that_ends_after_its_service_closes_its_connection(
    db: None, blank_database: Path, tmp_path: Path
):
    path = tmp_path / "orgadmin.sqlite3"
    shutil.copy(blank_database, path)
    with ThreadPoolExecutor(1) as thread:
        with database_at(path):
            # In a lambda, because `connection` is the one of the thread that evaluates it.
            thread.submit(lambda: connection.ensure_connection()).result()
        thread.submit(connections.close_all).result()
        assert thread.submit(lambda: connection.connection).result() is None
