"""Screenshots for review: `python -m tests.browser.screenshots DIRECTORY`.

Every page at three widths in both themes, from the demo's company. It also makes the pictures that
the README and docs/OPERATIONS.md show.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

import django

django.setup()

from django.test import override_settings  # noqa: E402
from playwright.sync_api import Browser, Page, sync_playwright  # noqa: E402

from connections.models import Person  # noqa: E402
from sandbox.demo_world import demo_world  # noqa: E402
from sandbox.server import SandboxServer  # noqa: E402
from sandbox.world import World  # noqa: E402
from tests.browser.chromium import find_chromium  # noqa: E402
from tests.browser.demo_world import build  # noqa: E402
from tests.browser.live_service import database_at, make_blank_database, served  # noqa: E402
from tests.browser.pages import PAGES, Listed  # noqa: E402
from tests.browser.sessions import session_cookie  # noqa: E402

WIDTHS = (390, 1280, 1680)
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
DOCS = Path(__file__).resolve().parents[2] / "docs"
README_PAGE = "confirm-listed"
# The pages in the documentation, with the name and the height of each picture.
DOCS_PICTURES = {
    README_PAGE: ("screenshot.png", 660),
    "batch-plan": ("screenshot-plan.png", 600),
    "change-list": ("screenshot-changes.png", 540),
    "access-review-open": ("screenshot-access-review.png", 540),
}


@contextmanager
def service_with(world: World, *, fill: Callable[[World], None], directory: Path) -> Iterator[str]:
    """The address of a service whose database was filled from these orgs."""
    database = directory / "orgadmin.sqlite3"
    make_blank_database(database)
    with SandboxServer(world) as sandbox:
        known = override_settings(
            KEYRING_FILE=directory / "keyring.json",
            SIGNING_KEY_FILE=directory / "signing_key.json",
            EXTRA_SITES=sandbox.base_urls,
        )
        with known, database_at(database):
            fill(sandbox.world)
            with served() as address:
                yield address


def opener(browser: Browser, *, address: str) -> Callable[[str | None], Page]:
    """Opens a page as one of the demo's people."""

    def open_as(username: str | None) -> Page:
        context = browser.new_context(base_url=address, reduced_motion="reduce")
        if username:
            person = Person.objects.get(username=username)
            context.add_cookies([session_cookie(person, address=address)])
        return context.new_page()

    return open_as


def picture(page: Page, listed: Listed, *, directory: Path) -> None:
    """Save the page at each width in each theme."""
    page.goto(listed.path())
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        for theme in THEMES:
            page.emulate_media(color_scheme=theme)
            name = f"{listed.slug}-{width}-{theme}.png"
            page.screenshot(path=directory / name, full_page=True)


def docs_picture(page: Page, listed: Listed) -> None:
    """Save the page's picture in the documentation; the README's shows a filled-in form."""
    name, height = DOCS_PICTURES[listed.slug]
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 1280, "height": height})
    page.goto(listed.path())
    if listed.slug == README_PAGE:
        page.get_by_label("Reason").fill(
            "Fraud Detection has read these logs from the lake since March."
        )
        page.get_by_label("Ticket").fill("SEC-212")
        page.get_by_label("To confirm, type").fill("Fraud Detection")
    page.screenshot(path=DOCS / name)


def take_demo_pictures(browser: Browser, *, address: str, directory: Path, slugs: set[str]) -> None:
    """Take pictures of the demo's pages, all or those with these slugs, and the docs'."""
    open_as = opener(browser, address=address)
    for listed in PAGES:
        if not listed.is_fresh and (not slugs or listed.slug in slugs):
            page = open_as(listed.who)
            picture(page, listed, directory=directory)
            if listed.slug in DOCS_PICTURES:
                docs_picture(page, listed)
            page.context.close()


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The parsed arguments. Ends the process with a usage message if they are invalid."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.browser.screenshots", description="Take screenshots for review."
    )
    parser.add_argument("directory", type=Path, help="where to save them")
    slugs = sorted(listed.slug for listed in PAGES if not listed.is_fresh)
    parser.add_argument("pages", nargs="*", metavar="page", help=f"only these: {', '.join(slugs)}")
    given = parser.parse_args(arguments)
    if unknown := set(given.pages) - set(slugs):
        parser.error(f"no page is called {', '.join(sorted(unknown))}")
    return given


def main(arguments: Sequence[str]) -> int:
    """Take screenshots; return the exit code."""
    given = parse(arguments)
    given.directory.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_chromium(), args=["--no-sandbox", "--disable-gpu"]
        )
        with (
            tempfile.TemporaryDirectory() as scratch,
            service_with(demo_world(), fill=build, directory=Path(scratch)) as at,
        ):
            slugs = set(given.pages)
            take_demo_pictures(browser, address=at, directory=given.directory, slugs=slugs)
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
