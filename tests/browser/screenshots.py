"""Screenshots of every page, for review: `python -m tests.browser.screenshots DIRECTORY`.

Each page at two widths in both themes, from the demo's company. It also makes docs/screenshot.png,
which the README shows.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

import django

django.setup()

from django.conf import settings  # noqa: E402 - needs the set-up
from django.test import override_settings  # noqa: E402
from playwright.sync_api import Browser, Page, sync_playwright  # noqa: E402

from connections.models import Person  # noqa: E402
from sandbox.demo_world import demo_world  # noqa: E402
from sandbox.server import SandboxServer  # noqa: E402
from tests.browser.demo_world import build  # noqa: E402
from tests.browser.live_service import database_at, make_blank_database, served  # noqa: E402
from tests.browser.pages import PAGES, Listed  # noqa: E402
from tests.browser.sessions import session_cookie  # noqa: E402

WIDTHS = (390, 1280, 1680)
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
README_PICTURE = Path(__file__).resolve().parents[2] / "docs" / "screenshot.png"
README_PAGE = "review-reviewed"


@contextmanager
def demo_service(directory: Path) -> Iterator[str]:
    """The address of a service with the demo's company in it."""
    database = directory / "orgadmin.sqlite3"
    make_blank_database(database)
    Path(settings.STATIC_ROOT).mkdir(parents=True, exist_ok=True)
    with SandboxServer(demo_world()) as sandbox:
        known = override_settings(
            KEYRING_FILE=directory / "keyring.json",
            SIGNING_KEY_FILE=directory / "signing_key.json",
            EXTRA_SITES=sandbox.base_urls,
        )
        with known, database_at(database):
            build(sandbox.world)
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


def readme_picture(page: Page) -> None:
    """Save the README's screenshot."""
    [listed] = [one for one in PAGES if one.slug == README_PAGE]
    page.set_viewport_size({"width": 1280, "height": 800})
    page.goto(listed.path())
    page.get_by_label("Reason").fill(
        "Fraud Detection has read these logs from the lake since March."
    )
    page.get_by_label("Ticket").fill("SEC-212")
    page.get_by_label("To confirm, type").fill("Fraud Detection")
    page.screenshot(path=README_PICTURE)


def main(arguments: list[str]) -> int:
    """Take screenshots of all pages, or of those named; return the exit code."""
    if not arguments:
        sys.stderr.write("Say where to: python -m tests.browser.screenshots DIRECTORY [PAGE…]\n")
        return 2
    directory, wanted = Path(arguments[0]), set(arguments[1:])
    directory.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as scratch,
        demo_service(Path(scratch)) as address,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        open_as = opener(browser, address=address)
        for listed in PAGES:
            if not listed.is_fresh and (not wanted or listed.slug in wanted):
                page = open_as(listed.who)
                picture(page, listed, directory=directory)
                page.context.close()
        if not wanted or README_PAGE in wanted:
            readme_picture(open_as("operator"))
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
