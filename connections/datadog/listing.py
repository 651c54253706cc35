"""Put the pages of a listing together, and tell whether nothing is missing."""

from connections.core.causes import Cause
from connections.datadog.errors import DatadogError
from connections.datadog.payloads import (
    ConnectionList,
    OrgConnection,
    Page,
    PayloadError,
    parse_page,
)
from connections.datadog.responses import reported_errors

MAX_PAGES = 100


class ListingReader:
    """Takes page after page; `next_offset` is None once there is nothing more to ask."""

    def __init__(self) -> None:
        self.next_offset: int | None = 0
        # None: the id came with two contents, of which neither is kept.
        self._found: dict[str, OrgConnection | None] = {}
        self._pages = 0
        self._total: int | None = None
        self._cause: Cause | None = None
        self._http_status: int | None = 200
        self._errors: tuple[str, ...] = ()

    def read(self, document: object) -> None:
        """Take a page's document, or the DatadogError in its place.

        Raises DatadogError when it is the first page that failed.
        """
        page = document if isinstance(document, DatadogError) else _page_or_error(document)
        if isinstance(page, DatadogError):
            if self._pages == 0:
                raise page
            self._stop_at(page)
            return
        self._add(page)

    def result(self) -> ConnectionList:
        """What all pages said together."""
        cause = self._cause or self._compare_with_total()
        return ConnectionList(
            org_connections=tuple(each for each in self._found.values() if each is not None),
            is_complete=cause is None,
            cause=cause,
            total=self._total,
            http_status=self._http_status,
            errors=self._errors,
        )

    def _add(self, page: Page) -> None:
        if page.has_errors:
            self._note(Cause.ERRORS_IN_RESPONSE)
            self._errors = self._errors or page.errors
        self._compare_counts(page)
        if len(page.org_connections) < page.count:
            self._note(Cause.MALFORMED_ELEMENT)
        if page.is_contradictory:
            self._note(Cause.CONTRADICTORY_ELEMENTS)
        known = len(self._found)
        for org_connection in page.org_connections:
            if self._found.setdefault(org_connection.id, org_connection) != org_connection:
                self._found[org_connection.id] = None
                self._note(Cause.CONTRADICTORY_ELEMENTS)
        self._pages += 1
        self._go_on(page, is_news=len(self._found) > known)

    def _compare_counts(self, page: Page) -> None:
        if self._pages == 0:
            self._total = page.total
        elif page.total is not None and page.total != self._total:
            self._note(Cause.COUNT_CHANGED)
        if page.total is None:
            self._note(Cause.COUNT_MISSING)
        elif page.do_counts_differ:
            self._note(Cause.COUNTS_DIFFER)

    def _go_on(self, page: Page, *, is_news: bool) -> None:
        """Move by what came, not by what was asked for: the server may cap the page.

        Without a count, a page that brings nothing new is the last.
        """
        offset = (self.next_offset or 0) + page.count
        is_last = not is_news if page.total is None else offset >= page.total or not page.count
        if not is_last and self._pages == MAX_PAGES:
            self._note(Cause.TOO_MANY_PAGES)
            is_last = True
        self.next_offset = None if is_last else offset

    def _stop_at(self, error: DatadogError) -> None:
        self.next_offset = None
        self._cause = error.cause
        self._http_status = error.http_status
        self._errors = error.errors

    def _note(self, cause: Cause) -> None:
        """Keep the first reason: what follows may be its consequence."""
        self._cause = self._cause or cause

    def _compare_with_total(self) -> Cause | None:
        if self._total is None or len(self._found) == self._total:
            return None
        return Cause.TOO_FEW if len(self._found) < self._total else Cause.TOO_MANY


def _page_or_error(document: object) -> Page | DatadogError:
    try:
        return parse_page(document)
    except PayloadError:
        return reported_errors(document) or DatadogError(cause=Cause.WRONG_TYPE, http_status=200)
