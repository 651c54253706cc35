"""Rate limits per person for requests that are expensive here or at Datadog."""

import time
from collections.abc import Callable
from functools import wraps
from typing import Concatenate

from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render

from connections.web.support import signed_in_person

_WINDOW_SECONDS = 60


def limited[**P](
    group: str,
    *,
    per_minute: int,
    over: Callable[..., HttpResponseBase] = lambda request, *args, **kwargs: _refusal(request),
) -> Callable[
    [Callable[Concatenate[HttpRequest, P], HttpResponseBase]],
    Callable[Concatenate[HttpRequest, P], HttpResponseBase],
]:
    """Respond 429 instead of calling the view after `per_minute` requests by one person.

    Views of one `group` are counted together, in the cache that all processes share. Simultaneous
    requests may be counted once: the limit reduces load and is no security measure. `over` renders
    the 429 page, for forms that must keep what was typed.
    """

    def decorate(
        view: Callable[Concatenate[HttpRequest, P], HttpResponseBase],
    ) -> Callable[Concatenate[HttpRequest, P], HttpResponseBase]:
        @wraps(view)
        def limited_view(
            request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs
        ) -> HttpResponseBase:
            person = signed_in_person(request)
            if person is None or _count(f"{group}:{person.pk}") <= per_minute:
                return view(request, *args, **kwargs)
            response = over(request, *args, **kwargs)
            response["Retry-After"] = str(_WINDOW_SECONDS)
            return response

        return limited_view

    return decorate


def _refusal(request: HttpRequest) -> HttpResponse:
    return render(request, "429.html", status=429)


def _count(key: str) -> int:
    """The number of requests in this minute, including this one."""
    name = f"orgadmin:limit:{key}:{_present_minute()}"
    if cache.add(name, 1, 2 * _WINDOW_SECONDS):
        return 1
    try:
        return cache.incr(name)
    except ValueError:  # The cache dropped it in between.
        return 1


def _present_minute() -> int:
    return int(time.time()) // _WINDOW_SECONDS
