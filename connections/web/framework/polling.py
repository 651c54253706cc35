"""The one protocol of pages that poll for what is new."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django_htmx.http import HttpResponseStopPolling


def poll(
    request: HttpRequest,
    *,
    version: str,
    interval: int | None,
    respond: Callable[[], HttpResponse],
    watch: Callable[[], HttpResponse],
) -> HttpResponse:
    """The response to a poll. If nothing is new, it replaces nothing, so that input is kept.

    A page polls its own address with the `version` that it shows in `seen`, and with its `interval`
    in seconds in `every`. The response is

    - `respond()`, the part of the page that can change, if its version is another one;
    - 286, which makes htmx stop, if nothing can change soon: the interval is None;
    - 204, which replaces nothing, if the interval is the same;
    - `watch()`, the element that polls, with the new interval.
    """
    if request.GET.get("seen") != version:
        return respond()
    if interval is None:
        return HttpResponseStopPolling()
    if request.GET.get("every") == str(interval):
        return HttpResponse(status=204)
    return watch()
