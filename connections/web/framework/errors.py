"""Error pages, and what error reports leave out."""

import logging
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.core.exceptions import DisallowedHost
from django.core.signals import got_request_exception
from django.db import Error as DatabaseError
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import REASON_BAD_ORIGIN
from django.shortcuts import render
from django.template import Context
from django.template.loader import get_template, render_to_string
from django.urls import reverse
from django.views.debug import SafeExceptionReporterFilter
from django.views.decorators.csrf import requires_csrf_token

from connections.access.permissions import OwnRequestError
from connections.change_requests.attempt_facts import unrecorded_response_text
from connections.core.database import is_unavailable_error, is_unwritable_error, unwritable_text
from connections.core.errors import ResponseNotRecordedError
from connections.lookups.refusals import record_denial
from connections.people import people
from connections.web.badges import UNRECORDED_RESPONSES
from connections.web.framework import http
from connections.web.framework.routing import READ, Access

logger = logging.getLogger(__name__)


class HideKeysFilter(SafeExceptionReporterFilter):
    """Hides keys in error reports, which otherwise show every POST field while DEBUG is on."""

    def is_active(self, request: HttpRequest | None) -> bool:
        """True, even while DEBUG is on."""
        return True

    def get_post_parameters(self, request: HttpRequest | None) -> dict[str, Any]:
        """The POST fields, with the values of keys, passwords and tokens hidden."""
        posted: dict[str, Any] = super().get_post_parameters(request)
        return {name: self.cleanse_setting(name, value) for name, value in posted.items()}


PAGE = "deletions/response_not_recorded.html"
# The DELETE was sent but its outcome isn't recorded yet, so it is neither success nor failure.
ACCEPTED = 202


def response_not_recorded_page(
    request: HttpRequest, error: ResponseNotRecordedError
) -> HttpResponse:
    """The page that says so, without a database query. For htmx, only `#outcome`."""
    url = reverse(f"{error.noun}-detail", args=[error.change_request_id])
    tone, icon = UNRECORDED_RESPONSES[error.location]
    text = unrecorded_response_text(error)
    context = {"text": text, "tone": tone, "icon": icon, "url": url}
    # Without the request, because context processors query the database.
    name = f"{PAGE}#outcome" if http.wants_fragment(request) else PAGE
    return HttpResponse(render_to_string(name, context), status=ACCEPTED)


NO_ROLE = "You don't have a role yet."


type _ErrorView = Callable[..., HttpResponse]


def _error_page(view: _ErrorView) -> _ErrorView:
    """Make an error handler safe to call, whatever is wrong with the request.

    It never reads the body, because that might be what was refused. If the handler itself fails,
    the response is the 500 page and the failure is logged here. Django would log nothing, or only
    the original error.
    """
    view = requires_csrf_token(view)

    @wraps(view)
    def respond(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not hasattr(request, "_post"):
            request._mark_post_parse_error()  # type: ignore[attr-defined]
        try:
            return view(request, *args, **kwargs)
        except Exception:
            logger.exception("The page for an error failed: %s", request.path)
            got_request_exception.send(sender=None, request=request)
            response = server_error(request)
            # Otherwise Django would log the original error as the cause of this 500.
            response._has_been_logged = True  # type: ignore[attr-defined]
            return response

    return respond


@_error_page
def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """400. The reason is only logged, except that the host name is not allowed."""
    context = {
        "is_unknown_host": isinstance(exception, DisallowedHost),
        "request_id": http.request_id_of(request),
    }
    return render(request, "400.html", context, status=400)


@_error_page
def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """403: what was refused and who can grant it. Recorded in the audit log."""
    person = http.signed_in_person(request)
    context: dict[str, Any] = {"exception": exception}
    if person is not None:
        _record_denial(request)
        context["is_own"] = isinstance(exception, OwnRequestError)
        context["administrators"] = people.list_administrator_names()
        if not person.roles:
            context["exception"] = NO_ROLE
    return render(request, "403.html", context, status=403)


def _record_denial(request: HttpRequest) -> None:
    match = request.resolver_match
    try:
        record_denial(
            actor=http.actor_of(request),
            url_name=match.view_name if match else "",
            method=request.method or "",
            path=request.path,
        )
    except DatabaseError:
        # The request is still refused with 403. A failure to record that is no reason for a 500.
        logger.exception("A refusal could not be recorded.")


@_error_page
def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404. The exception's text is not shown, because it can contain names of models."""
    return render(request, "404.html", status=404)


def server_error(request: HttpRequest) -> HttpResponse:
    """500 for an unexpected error, or 503 if the database refuses writes or can't be used at all.

    Uses neither the database nor the session, because they might be what failed. Django calls this
    while it handles the exception.
    """
    error = sys.exception()
    is_unwritable = is_unwritable_error(error)
    if is_unwritable or is_unavailable_error(error):
        problem = "takes no writes" if is_unwritable else "can't be used"
        logger.error("The database %s: %s", problem, error)
        context = {
            "is_unwritable": is_unwritable,
            "cause": unwritable_text(error),
            "might_have_sent": _might_have_sent(request),
        }
        return _render_standalone(request, "503_database.html", status=503, context=context)
    return _render_standalone(request, "500.html", status=500, context={})


def _might_have_sent(request: HttpRequest) -> bool:
    """Whether a DELETE might have left before this request failed.

    It can't have left if the request only reads, failed before its view was found, or needs no
    sign-in.
    """
    access: Access | None = getattr(request, "access", None)
    return request.method not in READ and access is not None and access.needs_sign_in


def _render_standalone(
    request: HttpRequest, name: str, *, status: int, context: dict[str, Any]
) -> HttpResponse:
    request_id = http.request_id_of(request)
    context |= {"request_id": request_id, "theme": "system", "messages": ()}
    try:
        body = get_template(name).template.render(Context(context))  # type: ignore[attr-defined]
    except Exception:
        logger.exception("The error page failed.")
        body = f"Something went wrong. The server log has details under request {request_id}."
        return HttpResponse(body, status=status, content_type="text/plain")
    return HttpResponse(body, status=status)


@_error_page
def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """403 for a form whose CSRF token is missing or old, or which came from another address."""
    origin = request.headers.get("Origin", "")
    context = {
        "origin": origin if reason == REASON_BAD_ORIGIN % origin else "",
        "address": f"{request.scheme}://{request.get_host()}",
    }
    return render(request, "403_csrf.html", context, status=403)
