"""How often one person may ask for what costs this service, or Datadog, much."""

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
    """Answer 429, and do nothing, once a person asked more than `per_minute` times in a minute.

    Views of one `group` are counted together, in the cache that all processes share. Two counted
    in the same instant may count as one: it keeps load off, it guards nothing. `over` is the page
    of the refusal, where something was typed that it must keep.
    """

    def decorate(
        view: Callable[Concatenate[HttpRequest, P], HttpResponseBase],
    ) -> Callable[Concatenate[HttpRequest, P], HttpResponseBase]:
        @wraps(view)
        def answer(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            person = signed_in_person(request)
            if person is None or _count(f"{group}:{person.pk}") <= per_minute:
                return view(request, *args, **kwargs)
            response = over(request, *args, **kwargs)
            response["Retry-After"] = str(_WINDOW_SECONDS)
            return response

        return answer

    return decorate


def _refusal(request: HttpRequest) -> HttpResponse:
    return render(request, "429.html", status=429)


def _count(key: str) -> int:
    """How often it was asked in the present minute, this time included."""
    name = f"orgadmin:limit:{key}:{_present_minute()}"
    if cache.add(name, 1, 2 * _WINDOW_SECONDS):
        return 1
    try:
        return cache.incr(name)
    except ValueError:  # It was pushed out of the cache in between.
        return 1


def _present_minute() -> int:
    return int(time.time()) // _WINDOW_SECONDS
