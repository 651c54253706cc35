"""Holds a page's poll on its way to the server, so that a test can do something in between."""

import re

from playwright.sync_api import Page, Route

POLLS = re.compile(r"[?&]seen=")


def hold_poll(page: Page) -> list[Route]:
    """Wait for a poll. The server doesn't get it before the test lets it through."""
    polls: list[Route] = []
    page.route(POLLS, lambda route: polls.append(route), times=1)
    with page.expect_request(POLLS):
        pass
    return polls


def let_through(polls: list[Route], page: Page) -> None:
    """Let the server respond to the poll, and htmx handle its response."""
    page.evaluate("""() => {
        window.polled = new Promise((resolve) => {
            document.addEventListener("htmx:afterRequest", ({ detail }) => {
                if (detail.requestConfig.elt.id === "watch") resolve();
            });
        });
    }""")
    polls[0].continue_()
    page.evaluate("() => window.polled")
