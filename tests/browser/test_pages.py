"""Every page with the demo's data: accessible, clean and in bounds."""

from pathlib import Path

import pytest

from tests.browser.conftest import Demo, VisitAs
from tests.browser.fitness import assert_listed_page_is_fit
from tests.browser.pages import NOT_PAGES, PAGES, Listed, names_of_urls
from tests.browser.watch import Watch

pytestmark = pytest.mark.slow


@pytest.fixture
def key_ring_file(demo: Demo) -> Path:
    """The demo's, instead of one for each test: the open page can send requests between tests."""
    return demo.key_ring


@pytest.mark.sweep(every=3)
@pytest.mark.parametrize(
    "listed", [page for page in PAGES if not page.is_fresh], ids=lambda one: one.slug
)
def test_a_page_is_accessible_and_in_bounds(
    listed: Listed, visit_demo_as: VisitAs, page_watch: Watch
):
    assert_listed_page_is_fit(listed, visit_as=visit_demo_as, watch=page_watch)


def test_every_url_is_a_page_checked_here_or_has_a_reason_not_to_be():
    pages = {page.name for page in PAGES if page.name}
    assert pages.isdisjoint(NOT_PAGES)
    assert pages | set(NOT_PAGES) == names_of_urls()
