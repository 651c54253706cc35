"""The first half of the demo's pages: accessible, clean and in bounds."""

import pytest

from tests.browser.conftest import VisitAs
from tests.browser.fitness import assert_demo_page_is_fit
from tests.browser.pages import DEMO_PAGES, Listed
from tests.browser.watch import Watch

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("listed", DEMO_PAGES[::2], ids=lambda one: one.slug)
def test_a_page_is_accessible_and_in_bounds(
    listed: Listed, visit_demo_as: VisitAs, watch: Watch
) -> None:
    assert_demo_page_is_fit(listed, visit_as=visit_demo_as, watch=watch)
