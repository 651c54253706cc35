"""/readyz and `doctor` report a database that can't be written."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest
from django.core.cache import cache
from django.core.checks import ERROR
from django.db import connection
from django.test import Client

from connections.operations import checks, write_probe
from tests.support.no_writes import grown_log, no_space, read_only_database
from tests.support.processes import clean_environment, manage

UNWRITABLE = (503, "the database can't be written\n")


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def readiness() -> tuple[int, str]:
    response = Client().get("/readyz")
    return response.status_code, response.text


def errors_about_the_database() -> list[str]:
    findings = checks.run_all_checks()
    return [f.msg for f in findings if f.obj == "database" and f.level == ERROR]


@pytest.mark.django_db(transaction=True)
@pytest.mark.database
def test_a_read_only_database_is_not_ready():
    with read_only_database():
        assert readiness() == UNWRITABLE
        [message] = errors_about_the_database()
    assert message.startswith("not writable: ")
    assert readiness() == (200, "ok\n")


@pytest.mark.django_db(transaction=True)
@pytest.mark.database
def test_the_probe_leaves_nothing_behind():
    cache.clear()
    assert write_probe.find_write_problem() is None
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM orgadmin_cache")
        assert cursor.fetchone() == (0,)
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA user_version")
            assert cursor.fetchone() == (0,)
            cursor.execute("PRAGMA busy_timeout")
            assert cursor.fetchone() == (20_000,)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("free", "expected"),
    [
        (16 * 1024 * 1024, (200, "ok\n")),
        (16 * 1024 * 1024 - 1, (503, "less than 16 MiB free for data\n")),
    ],
)
def test_too_little_free_space_is_not_ready(
    monkeypatch: pytest.MonkeyPatch, free: int, expected: tuple[int, str]
):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(free, 0, free))
    assert readiness() == expected
    assert bool(errors_about_the_database()) == (expected[0] == 503)


def test_doctor_reports_a_full_disk(migrated_directory: Path):
    env = clean_environment(data_dir=migrated_directory)
    with grown_log(migrated_directory / "orgadmin.sqlite3"):
        done = manage("doctor", "--json", env=env, hindrance=no_space)
    errors = [f for f in json.loads(done.stdout)["findings"] if f["level"] == "error"]
    assert [(f["check"], f["message"]) for f in errors] == [
        ("database", "not writable: disk I/O error")
    ]
    assert done.returncode == 1


def test_a_busy_database_counts_as_writable(migrated_directory: Path):
    env = clean_environment(data_dir=migrated_directory)
    database = migrated_directory / "orgadmin.sqlite3"
    with closing(sqlite3.connect(database, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        done = manage("doctor", "--json", env=env)
    assert done.returncode == 0
