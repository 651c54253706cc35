"""Collects console errors, CSP violations and failed requests of a browser."""

import re
from dataclasses import dataclass, field

from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Request, WebError

# Said in the console, which outlives the page that it happened in.
HEAR_CSP = """
document.addEventListener("securitypolicyviolation", (event) => {
  console.error(`CSP: ${event.violatedDirective} blocked ${event.blockedURI} ${event.sample}`);
});
"""


@dataclass
class Watch:
    """Console errors and warnings, page errors, CSP violations and failed requests."""

    complaints: list[str] = field(default_factory=list)
    _expected: list[str] = field(default_factory=list)

    def follow(self, context: BrowserContext) -> None:
        """Listen to every page of the context, present and to come."""
        context.add_init_script(HEAR_CSP)
        context.on("console", self._on_console)
        context.on("weberror", self._on_error)
        context.on("requestfailed", self._on_failed_request)

    def expect(self, pattern: str) -> None:
        """A complaint that matches belongs to the test."""
        self._expected.append(pattern)

    def unexpected(self) -> list[str]:
        """What was complained of and not expected."""
        return [
            one
            for one in self.complaints
            if not any(re.search(pattern, one) for pattern in self._expected)
        ]

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text} at {message.location['url']}")

    def _on_error(self, error: WebError) -> None:
        self.complaints.append(f"page error: {error.error}")

    def _on_failed_request(self, request: Request) -> None:
        # A page that is left, and an answer that is saved as a file, end their requests so.
        if request.failure != "net::ERR_ABORTED":
            self.complaints.append(f"failed: {request.method} {request.url} {request.failure}")


def has_settled(page: Page) -> None:
    """Wait until no request of the page is under way."""
    page.wait_for_load_state("networkidle")
