"""Rate limits per person for requests that are expensive here or at Datadog.

Those of signing in are ACCOUNT_RATE_LIMITS in orgadmin/settings.py.
"""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate

from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render

from connections.operations.write_probe import write_without_change
from connections.web.people.allauth_internals import consume_rate_limit

type View[**P] = Callable[Concatenate[HttpRequest, P], HttpResponseBase]


def is_first_this_minute(event: str) -> bool:
    """Whether `event` happens for the first time in this minute.

    Refusals are recorded that often.
    """
    return cache.add(f"orgadmin:{event}", True, timeout=60)


def too_many_requests(request: HttpRequest) -> HttpResponse:
    """The 429 page."""
    return render(request, "429.html", status=429)


def limited[**P](
    group: str,
    *,
    per_minute: int,
    over: Callable[..., HttpResponseBase] = lambda request, *args, **kwargs: too_many_requests(
        request
    ),
) -> Callable[[View[P]], View[P]]:
    """Respond with 429 instead of calling the view after `per_minute` requests by one person.

    The view must require sign-in. Views of one `group` are counted together, in the cache that all
    processes share. `over` renders the 429 page, for forms that must keep what was typed.
    """
    rates = {group: f"{per_minute}/m/user"}

    def decorate(view: View[P]) -> View[P]:
        @wraps(view)
        def limited_view(
            request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs
        ) -> HttpResponseBase:
            if consume_rate_limit(
                request, app="orgadmin", action=group, config=rates, limit_get=True
            ):
                return view(request, *args, **kwargs)
            # A count can also fail because the database accepts no writes, which has a different
            # page.
            write_without_change()
            response = over(request, *args, **kwargs)
            response["Retry-After"] = "60"
            return response

        return limited_view

    return decorate
