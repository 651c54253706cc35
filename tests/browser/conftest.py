"""Chromium, a running server, and pages with a signed-in person."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.test import override_settings
from playwright.sync_api import Browser, BrowserContext, Page, Response, expect
from pytest_django import DjangoDbBlocker

from connections.models import Person, Role
from sandbox.demo_world import demo_world
from sandbox.server import SandboxServer
from tests.browser.chromium import find_chromium
from tests.browser.demo_world import build, load_world, save_world
from tests.browser.live_service import database_at, make_blank_database, served
from tests.browser.requester import Requester
from tests.browser.sessions import session_cookie
from tests.browser.watch import HEAR_CSP, Watch
from tests.support.people import make_person

# Longer than the service takes on a busy machine, but short enough to fail fast.
TIMEOUT_MS = 15_000
# Playwright's own limit is a third of that.
expect.set_options(timeout=TIMEOUT_MS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything here, so that `-m browser` and `-m "not browser"` choose."""
    here = Path(__file__).parent
    for item in items:
        if item.path.parent == here:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def chromium() -> str:
    """Where Chromium is. Without it the tests are skipped; on a build server they fail."""
    path = find_chromium()
    if path:
        return path
    if os.environ.get("CI") == "true":
        pytest.fail("Chromium is missing: install the package `chromium-headless-shell`.")
    pytest.skip("Chromium is missing")


@pytest.fixture(scope="session", autouse=True)
def _with_chromium(chromium: str) -> None:
    """Every test here needs it."""


@pytest.fixture(scope="session")
def browser_type_launch_args(chromium: str) -> dict[str, Any]:
    """Debian's Chromium, without any background network access."""
    return {
        "executable_path": chromium,
        "args": [
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-default-apps",
            "--no-default-browser-check",
        ],
    }


@pytest.fixture(scope="session")
def base_url() -> str:
    """Each test has its own service, so there is no shared base URL."""
    return ""


def make_once(name: str, *, make: Callable[[Path], None], paths: pytest.TempPathFactory) -> Path:
    """The directory of this name, which the first of all test processes of a run fills."""
    base = paths.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    directory = base / name
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not directory.exists():
            unfinished = paths.mktemp(name)
            make(unfinished)
            unfinished.rename(directory)
    return directory


@pytest.fixture(scope="session")
def blank_database(
    django_db_setup: None,
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A migrated and empty SQLite file, to be copied."""
    if not django_settings.DATABASE_IS_SQLITE:
        pytest.skip("The browser's tests bring a SQLite file of their own.")

    def make(directory: Path) -> None:
        with django_db_blocker.unblock():
            make_blank_database(directory / "orgadmin.sqlite3")

    return make_once("blank", make=make, paths=tmp_path_factory) / "orgadmin.sqlite3"


@pytest.fixture
def service_url(
    blank_database: Path, django_db_blocker: DjangoDbBlocker, tmp_path: Path
) -> Iterator[str]:
    """The address of a service with this test's own database."""
    path = tmp_path / "orgadmin.sqlite3"
    shutil.copy(blank_database, path)
    with django_db_blocker.unblock(), database_at(path), served() as address:
        yield address


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Everything the browser reports; anything unexpected fails the test."""
    watch = Watch()
    yield watch
    assert watch.unexpected() == []


OpenAs = Callable[..., Page]


@pytest.fixture
def open_as(service_url: str, new_context: Callable[..., BrowserContext], watch: Watch) -> OpenAs:
    """Open a page in which the person (None: no one) is signed in, in a browser of their own."""
    return page_opener(address=service_url, new_context=new_context, watch=watch)


def page_opener(
    *, address: str, new_context: Callable[..., BrowserContext], watch: Watch
) -> OpenAs:
    """The `open_as` function for the service at `address`."""

    def open_page(person: Person | None, **context_options: Any) -> Page:
        context = new_context(
            base_url=address, viewport={"width": 1280, "height": 900}, **context_options
        )
        context.set_default_timeout(TIMEOUT_MS)
        watch.follow(context)
        if person:
            context.add_cookies([session_cookie(person, address=address)])
        return context.new_page()

    return open_page


@pytest.fixture(scope="session")
def shared_page(browser: Browser) -> Iterator[Page]:
    """A page for tests that only look at what an address shows: a new one takes longer to start."""
    with browser.new_context() as context:
        context.set_default_timeout(TIMEOUT_MS)
        context.add_init_script(HEAR_CSP)
        yield context.new_page()


@pytest.fixture
def operator(service_url: str) -> Person:
    """Ada, an Operator."""
    return make_person("ada", Role.OPERATOR)


@pytest.fixture
def administrator(service_url: str) -> Person:
    """Rosa, an administrator."""
    return make_person("rosa", is_administrator=True)


@pytest.fixture
def requester(operator: Person, sandbox: SandboxServer, open_as: OpenAs) -> Requester:
    """Ada's browser, and the connection from Payments US to Group SOC."""
    return Requester.at(sandbox=sandbox, page=open_as(operator))


@dataclass(frozen=True, kw_only=True)
class Demo:
    """The demo's company: its world, and a directory with its database and its keys."""

    sandbox: SandboxServer
    directory: Path

    @property
    def database(self) -> Path:
        return self.directory / "orgadmin.sqlite3"

    @property
    def key_ring(self) -> Path:
        return self.directory / "keyring.json"

    def known(self) -> override_settings:
        """Settings with its keys and sites."""
        return override_settings(
            KEYRING_FILE=self.key_ring,
            SIGNING_KEY_FILE=self.directory / "signing_key.json",
            EXTRA_SITES=self.sandbox.base_urls,
        )


@pytest.fixture(scope="session")
def demo(
    blank_database: Path,
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Demo]:
    """The demo company in all its variety, to be copied."""

    def make(directory: Path) -> None:
        with SandboxServer(demo_world()) as server:
            made = Demo(sandbox=server, directory=directory)
            shutil.copy(blank_database, made.database)
            with django_db_blocker.unblock(), made.known(), database_at(made.database):
                build(server.world)
            save_world(server.world, directory / "world.pickle")

    shared = make_once("demo", make=make, paths=tmp_path_factory)
    directory = tmp_path_factory.mktemp("demo")
    shutil.copytree(shared, directory, dirs_exist_ok=True)
    with SandboxServer(load_world(directory / "world.pickle")) as server:
        yield Demo(sandbox=server, directory=directory)


@pytest.fixture
def demo_stage(
    demo: Demo, key_ring_file: Path, django_db_blocker: DjangoDbBlocker, tmp_path: Path
) -> Iterator[str]:
    """The address of a service with a month of the demo company's data."""
    path = tmp_path / "orgadmin.sqlite3"
    shutil.copy(demo.database, path)
    with django_db_blocker.unblock(), demo.known(), database_at(path), served() as address:
        yield address


@pytest.fixture
def open_demo_as(
    demo_stage: str, new_context: Callable[..., BrowserContext], watch: Watch
) -> OpenAs:
    """Open a page of the demo's company as one of its people, by username."""
    open_page = page_opener(address=demo_stage, new_context=new_context, watch=watch)

    def open_by_name(username: str | None, **options: Any) -> Page:
        person = Person.objects.get(username=username) if username else None
        return open_page(person, **options)

    return open_by_name


VisitAs = Callable[[str | None, str], tuple[Page, Response | None]]


@contextmanager
def visitor(*, address: str, page: Page) -> Iterator[VisitAs]:
    """A function that opens an address of the service in the page, as one of its people."""
    context = page.context
    cookies: dict[str, Any] = {}

    def visit(username: str | None, path: str) -> tuple[Page, Response | None]:
        # What is on the open page could still send a request, as the next person, or replace a
        # part of the page that is no longer there.
        page.evaluate("window.stop(); document.body.replaceChildren()")
        context.clear_cookies()
        if username:
            if username not in cookies:
                person = Person.objects.get(username=username)
                cookies[username] = session_cookie(person, address=address)
            context.add_cookies([cookies[username]])
        page.set_viewport_size({"width": 1280, "height": 800})
        page.emulate_media(color_scheme="light", reduced_motion="reduce")
        return page, page.goto(f"{address}{path}")

    # On a busy machine, a module's tests take longer than an identity check is valid.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("connections.web.framework.reauthentication.WINDOW", timedelta(hours=1))
        yield visit
    page.goto("about:blank")  # so that it requests nothing once the service has stopped


@pytest.fixture(scope="module")
def visit_demo_as(
    demo: Demo,
    shared_page: Page,
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[VisitAs]:
    """Open an address as one of the demo's people, in one page and one service for the module."""
    path = tmp_path_factory.mktemp("pages") / "orgadmin.sqlite3"
    shutil.copy(demo.database, path)
    with (
        demo.known(),
        django_db_blocker.unblock(),
        database_at(path),
        served() as address,
        visitor(address=address, page=shared_page) as visit,
    ):
        yield visit


@pytest.fixture
def page_watch(shared_page: Page, watch: Watch) -> Iterator[Watch]:
    """The watch of this test on the shared page."""
    watch.listen(shared_page.context)
    yield watch
    watch.stop_listening(shared_page.context)
