"""The pages of a service that no one has used yet: accessible, clean and in bounds."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.test import override_settings
from playwright.sync_api import Page
from pytest_django import DjangoDbBlocker

from connections.models import Role
from tests.browser.conftest import VisitAs, visitor
from tests.browser.fitness import assert_listed_page_is_fit
from tests.browser.live_service import database_at, served
from tests.browser.pages import PAGES, Listed
from tests.browser.watch import Watch
from tests.support.people import make_person


@pytest.fixture(scope="module")
def database(blank_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of the service that all tests here use, in a directory with its keys."""
    path = tmp_path_factory.mktemp("new") / "orgadmin.sqlite3"
    shutil.copy(blank_database, path)
    return path


@pytest.fixture(scope="module")
def visit_as(
    database: Path, shared_page: Page, django_db_blocker: DjangoDbBlocker
) -> Iterator[VisitAs]:
    """Open an address as one of three people."""
    keys = override_settings(
        KEYRING_FILE=database.with_name("keyring.json"),
        SIGNING_KEY_FILE=database.with_name("signing_key.json"),
    )
    with (
        keys,
        django_db_blocker.unblock(),
        database_at(database),
        served() as address,
        visitor(address=address, page=shared_page) as visit,
    ):
        make_person("administrator", is_administrator=True)
        make_person("operator", Role.OPERATOR)
        make_person("viewer", Role.VIEWER)
        yield visit


@pytest.fixture
def key_ring_file(database: Path) -> Path:
    """The service's, instead of one for each test: the open page can request between tests."""
    return database.with_name("keyring.json")


@pytest.mark.sweep(every=2)
@pytest.mark.parametrize(
    "listed", [page for page in PAGES if page.is_fresh], ids=lambda one: one.slug
)
def test_a_page_of_a_new_service_is_accessible_and_in_bounds(
    listed: Listed, visit_as: VisitAs, page_watch: Watch
):
    assert_listed_page_is_fit(listed, visit_as=visit_as, watch=page_watch)
