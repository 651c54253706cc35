"""Fixtures for all tests: people, a clock, the Datadog simulator, and automatic setup."""

import gc
import os
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from _pytest.terminal import TerminalReporter
from django.core.cache import cache
from django.test import Client
from pytest_django import Settings
from whitenoise.middleware import WhiteNoiseMiddleware

from connections.access.actor import Actor, person_actor
from connections.audit.signing import new_signing_key_text
from connections.core.private_files import create_private_text
from connections.crypto.encryption import new_key_ring_text
from connections.models import Person, Role
from sandbox.server import SandboxServer
from tests.support.append_only import _let_tests_empty_tables
from tests.support.clock import SettableClock
from tests.support.database_copies import django_db_setup, pytest_unconfigure
from tests.support.databases import (
    migrated_directory,
    pooled_url,
    postgresql_template,
    postgresql_url,
    shared_database,
    sqlite_template,
)
from tests.support.fault_table import print_fault_table
from tests.support.lock_order import _lock_order
from tests.support.mfa import _no_code_expires
from tests.support.people import just_signed_in, make_person
from tests.support.sandbox import sandbox as bare_sandbox
from tests.support.sweeps import leave_out_cases
from tests.support.tiers import (
    mark_desk,
    print_skipped,
    pytest_addoption,
    pytest_configure,
    pytest_report_header,
)

HERE = Path(__file__).parent
KEY_DIRECTORIES = count()

__all__ = [
    "_let_tests_empty_tables",
    "_lock_order",
    "_no_code_expires",
    "bare_sandbox",
    "django_db_setup",
    "migrated_directory",
    "pooled_url",
    "postgresql_template",
    "postgresql_url",
    "pytest_addoption",
    "pytest_configure",
    "pytest_report_header",
    "pytest_unconfigure",
    "shared_database",
    "sqlite_template",
]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests at the desk, take a sample of long sweeps, and start slow files first.

    So no worker is still running one after the others are done. Those of each directory are spread
    among the others: the browser's keep a CPU busy, and those that kill processes wait for
    deadlines.
    """
    mark_desk(items)
    leave_out_cases(config, items)
    slow: dict[str, list[Path]] = {}
    for path in dict.fromkeys(one.path for one in items if one.get_closest_marker("slow")):
        slow.setdefault(path.relative_to(HERE).parts[0], []).append(path)
    places = {
        path: (number + 0.5) / len(paths)
        for paths in slow.values()
        for number, path in enumerate(paths)
    }
    items.sort(key=lambda item: places.get(item.path, 1.0))


def pytest_collection_finish() -> None:
    """Look for garbage less often, and not among the thousands of objects that stay to the end."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Print the table of faults, and what was skipped."""
    print_fault_table(terminalreporter)
    print_skipped(terminalreporter)


def pytest_xdist_auto_num_workers() -> int:
    """Two more workers than CPUs: many tests wait for other processes and for deadlines."""
    return (os.cpu_count() or 1) + 2


@pytest.fixture(autouse=True, scope="session")
def _one_search_for_static_files() -> Iterator[None]:
    # Every client makes its own WhiteNoise, which would look at every file.
    search = WhiteNoiseMiddleware.add_files_from_finders
    found: dict[str, Any] = {}

    def search_once(self: Any) -> None:
        if not found:
            search(self)
            found.update(self.files)
        self.files.update(found)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WhiteNoiseMiddleware, "add_files_from_finders", search_once)
        yield


@pytest.fixture(autouse=True, scope="session")
def _no_waiting_for_the_disk() -> Iterator[None]:
    # No test cuts the power, and a new key file would wait twice.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(autouse=True)
def _fixed_ids(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The records of a test have the same IDs in every run, and no other test's."""
    source = Random(request.node.nodeid)  # noqa: S311 - they protect nothing
    monkeypatch.setattr("uuid.os", SimpleNamespace(urandom=source.randbytes))


@pytest.fixture(autouse=True)
def key_ring_file(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key ring for this test only; with SQLite its first use creates it."""
    # Most tests create no file, so this creates no directory.
    path = tmp_path_factory.getbasetemp() / f"keys-{next(KEY_DIRECTORIES)}" / "keyring.json"
    settings.KEYRING_FILE = path
    settings.SIGNING_KEY_FILE = path.with_name("signing_key.json")
    settings.KEPT_CHECKPOINT_FILE = path.with_name("newest_checkpoint.json")
    settings.SAVED_RESPONSES_DIRECTORY = path.with_name("saved_responses")
    if not settings.DATABASE_IS_SQLITE:
        create_private_text(path, new_key_ring_text())
        create_private_text(settings.SIGNING_KEY_FILE, new_signing_key_text())
    return path


@pytest.fixture(autouse=True)
def _empty_cache(request: pytest.FixtureRequest) -> None:
    # Limits on sign-in live there, and a test with real transactions leaves them behind.
    if "transactional_db" in request.fixturenames or "live_server" in request.fixturenames:
        request.getfixturevalue("transactional_db")
        cache.clear()


@pytest.fixture
def sandbox(
    request: pytest.FixtureRequest,
    bare_sandbox: SandboxServer,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> SandboxServer:
    """The Datadog simulator on loopback ports, with its sites configured by name."""
    settings.EXTRA_SITES = bare_sandbox.base_urls
    if "clock" in request.fixturenames:
        monkeypatch.setattr(bare_sandbox.world, "now", request.getfixturevalue("clock").now)
    return bare_sandbox


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SettableClock:
    """The database's clock, standing still until `clock.advance(seconds=…)`."""
    settable = SettableClock()
    monkeypatch.setattr("connections.core.clock.now", settable.now)
    monkeypatch.setattr("connections.core.clock.now_in_query", settable.now_in_query)
    return settable


@pytest.fixture
def client_of(request: pytest.FixtureRequest) -> Callable[[Person], Client]:
    """A client in which the person is signed in and just passed an identity check."""
    if "clock" in request.fixturenames:
        # The sign-in uses the clock that the rest of the test uses.
        request.getfixturevalue("clock")
    return just_signed_in


@pytest.fixture
def actor_for() -> Callable[[Person], Actor]:
    """The actor that services receive for a signed-in person."""
    return lambda person: person_actor(person=person)


@pytest.fixture
def ada(db: None) -> Person:
    """An Operator, who requests deletions."""
    return make_person("ada", Role.OPERATOR)


@pytest.fixture
def grace(db: None) -> Person:
    """A second Operator."""
    return make_person("grace", Role.OPERATOR)


@pytest.fixture
def linus(db: None) -> Person:
    """An Approver."""
    return make_person("linus", Role.APPROVER)


@pytest.fixture
def margaret(db: None) -> Person:
    """A Credential manager."""
    return make_person("margaret", Role.CREDENTIAL_MANAGER)


@pytest.fixture
def edith(db: None) -> Person:
    """An Auditor."""
    return make_person("edith", Role.AUDITOR)


@pytest.fixture
def victor(db: None) -> Person:
    """A Viewer."""
    return make_person("victor", Role.VIEWER)


@pytest.fixture
def root(db: None) -> Person:
    """An administrator."""
    return make_person("root", is_administrator=True)


@pytest.fixture
def stranger(db: None) -> Person:
    """A person who can sign in and has no role."""
    return make_person("stranger")
