"""Collects console errors, CSP violations and failed requests of a browser."""

import re
from dataclasses import dataclass, field

from playwright.sync_api import BrowserContext, ConsoleMessage, Request, WebError

# Violations are written to the console, which outlives the page.
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
        """Listen to every current and future page of the context."""
        context.add_init_script(HEAR_CSP)
        self.listen(context)

    def listen(self, context: BrowserContext) -> None:
        """Listen to a context that already has the script."""
        context.on("console", self._on_console)
        context.on("weberror", self._on_error)
        context.on("requestfailed", self._on_failed_request)

    def stop_listening(self, context: BrowserContext) -> None:
        """Stop collecting: what this context reports from now on belongs to another test."""
        context.remove_listener("console", self._on_console)
        context.remove_listener("weberror", self._on_error)
        context.remove_listener("requestfailed", self._on_failed_request)

    def expect(self, pattern: str) -> None:
        """Don't report messages that match."""
        self._expected.append(pattern)

    def unexpected(self) -> list[str]:
        """The messages that were not expected."""
        return [
            complaint
            for complaint in self.complaints
            if not any(re.search(pattern, complaint) for pattern in self._expected)
        ]

    def _on_console(self, message: ConsoleMessage) -> None:
        # The page ends a request of its own this way. One that fails is reported as another event.
        was_aborted = message.text.startswith(("htmx:sendAbort,", "htmx:afterRequest,"))
        if message.type in ("error", "warning") and not was_aborted:
            self.complaints.append(f"{message.type}: {message.text} at {message.location['url']}")

    def _on_error(self, error: WebError) -> None:
        self.complaints.append(f"page error: {error.error}")

    def _on_failed_request(self, request: Request) -> None:
        # Leaving a page or downloading a file ends requests this way.
        if request.failure != "net::ERR_ABORTED":
            self.complaints.append(f"failed: {request.method} {request.url} {request.failure}")
