"""Middleware: health, headers, access rules, sign-in, reauthentication, hostile text."""

import logging
import re
import uuid
from typing import Any, NoReturn

from allauth.account.adapter import get_adapter
from allauth.core.exceptions import ReauthenticationRequired
from allauth.mfa.models import Authenticator
from allauth.mfa.utils import is_mfa_enabled
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import (
    BadRequest,
    PermissionDenied,
    TooManyFieldsSent,
    TooManyFilesSent,
)
from django.core.files.uploadhandler import FileUploadHandler, MemoryFileUploadHandler
from django.core.handlers.wsgi import WSGIRequest
from django.db import Error as DatabaseError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware.gzip import GZipMiddleware
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.deprecation import MiddlewareMixin
from django.utils.http import parse_header_parameters
from django_htmx.http import HttpResponseClientRedirect

from connections.access import permissions
from connections.core import logs
from connections.core.database import is_unwritable_error
from connections.core.errors import ResponseNotRecordedError
from connections.core.trusted_proxies import is_from_trusted_proxy
from connections.crypto.encryption import EncryptionError, check_key_ring
from connections.models import Person
from connections.operations.schema import Fit, read_schema
from connections.operations.write_probe import find_write_problem, write_without_change
from connections.web.framework.addresses import sign_in_url_after_post
from connections.web.framework.errors import response_not_recorded_page
from connections.web.framework.http import request_id_of, signed_in_person
from connections.web.framework.monitoring import metrics_for_token
from connections.web.framework.reauthentication import is_recent, redirect_to_prompt
from connections.web.framework.routing import Access, View, access_of
from connections.web.people import single_sign_on
from connections.web.people.single_sign_on import RolesState, has_provider_mfa

logger = logging.getLogger(__name__)

# The controls of the Unicode Bidirectional Algorithm (UAX #9 § 2) in UTF-8: U+061C, U+200E/F,
# U+202A–E, U+2066–9. A name with one of these can make the text next to it read differently.
_BIDI_CONTROLS = re.compile(rb"\xd8\x9c|\xe2\x80[\x8e\x8f\xaa-\xae]|\xe2\x81[\xa6-\xa9]")


class BidiControlMiddleware(MiddlewareMixin):
    """Shows bidirectional control characters as text, such as [U+202E], on every page.

    Pages show names and error texts from Datadog and from people inside their own sentences. Stored
    and exported data keeps the characters.
    """

    def process_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        """Replace the characters in a page."""
        if not response.streaming and response.get("Content-Type", "").startswith("text/html"):
            content = response.content  # type: ignore[attr-defined]
            if _BIDI_CONTROLS.search(content):
                response.content = _BIDI_CONTROLS.sub(_code_point, content)  # type: ignore[attr-defined]
        return response


def _code_point(match: re.Match[bytes]) -> bytes:
    return f"[U+{ord(match[0].decode()):04X}]".encode()


# What proxies make, such as a UUID. Audit events have room for 64 characters.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_UNREADABLE = "unreadable"


class Request(WSGIRequest):
    """A request whose Content-Type header can contain anything.

    If Django can't parse the header, or its charset doesn't decode the query, Django raises while
    it creates the request, outside all error handlers.
    """

    def _set_content_type_params(self, meta: dict[str, Any]) -> None:
        try:
            self.content_type, self.content_params = parse_header_parameters(
                meta.get("CONTENT_TYPE", "")
            )
        except ValueError:
            self.content_type, self.content_params = "", {"charset": _UNREADABLE}
        # The encoding stays unset, which means UTF-8. CharsetMiddleware refuses any other.


class CharsetMiddleware(MiddlewareMixin):
    """Responds with 400 if the Content-Type names a charset other than UTF-8.

    No browser sends another one. Some of Python's encodings aren't for text (base64), and some
    raise even with errors="replace" (idna).
    """

    def process_request(self, request: HttpRequest) -> None:
        """Raise BadRequest for another charset."""
        charset = (request.content_params or {}).get("charset", "utf-8")
        if charset.lower() != "utf-8":
            raise BadRequest("The charset of a request must be UTF-8.")


SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
SCHEMA_PROBLEM = (
    "the database was changed outside Org Admin, or can't be read: see the log, or run doctor"
)


class RequestIdMiddleware(MiddlewareMixin):
    """Gives each request an ID, which its records in the log and its audit events share."""

    def process_request(self, request: HttpRequest) -> None:
        """Keep the ID that a trusted proxy gave the request, or make a new one."""
        request_id = request.headers.get("X-Request-ID", "")
        is_kept = is_from_trusted_proxy(request) and _REQUEST_ID.fullmatch(request_id)
        request.request_id = request_id if is_kept else uuid.uuid4().hex  # type: ignore[attr-defined]
        logs.start_request(request_id_of(request))

    def process_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        """Return the ID."""
        response["X-Request-ID"] = request_id_of(request)
        return response


class HealthMiddleware(MiddlewareMixin):
    """Responds to monitoring before anything that could redirect or refuse it.

    /healthz says that the process responds. /readyz says that the database can be written and has
    the schema of this version, and that the key ring decrypts the stored keys. Neither needs
    sign-in, so the response only names the problem and the log has the details. /metrics is
    answered here if the request has a token; for people it is a page like any other.
    """

    def process_request(self, request: HttpRequest) -> HttpResponse | None:
        """Respond, or let the request through."""
        if request.path == "/healthz":
            return _health_response(request, problem=None)
        if request.path == "/readyz":
            return _health_response(request, problem=_readiness_problem())
        if request.path == "/metrics" and "Authorization" in request.headers:
            return _for_monitoring(request, metrics_for_token(request))
        return None


def _health_response(request: HttpRequest, *, problem: str | None) -> HttpResponse:
    response = HttpResponse(
        f"{problem or 'ok'}\n", status=503 if problem else 200, content_type="text/plain"
    )
    return _for_monitoring(request, response)


def _for_monitoring(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    if request.method not in SAFE_METHODS:
        response = HttpResponse(status=405, headers={"Allow": "GET, HEAD, OPTIONS"})
    response["Cache-Control"] = "no-store"
    response["X-Content-Type-Options"] = "nosniff"
    return response


def _readiness_problem() -> str | None:
    try:
        schema = read_schema()
        if not schema.is_usable:
            logger.warning("Not ready: %s", schema.text)
            # Strangers don't learn the role, the tables, or which trigger is off.
            return SCHEMA_PROBLEM if schema.fit is Fit.ALTERED else schema.text
        check_key_ring()
        problem = find_write_problem()
    except DatabaseError:
        logger.warning("Not ready: the database does not respond.", exc_info=True)
        return "the database does not respond"
    except EncryptionError as error:
        logger.warning("Not ready: %s", error)
        return "the key ring cannot be used"
    if problem:
        logger.warning("Not ready: %s", problem.detail)
        return problem.summary
    return None


class HeadersMiddleware(MiddlewareMixin):
    """Sets headers on everything except static files.

    A response can name orgs, people or deletions, so no cache keeps it, and the back button doesn't
    show it after sign-out.
    """

    HEADERS = {
        "Cache-Control": "no-store",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "accelerometer=(), autoplay=(), camera=(), display-capture=(), "
        "encrypted-media=(), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), "
        "midi=(), payment=(), usb=(), xr-spatial-tracking=(), clipboard-write=(self), "
        "publickey-credentials-create=(self), publickey-credentials-get=(self)",
    }

    def process_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        """Add the headers."""
        for name, value in self.HEADERS.items():
            response[name] = value
        return response


class CompressionMiddleware(GZipMiddleware):
    """Compresses responses, except those that can show a secret and files of a known size.

    A streamed export is compressed chunk by chunk, so that no row is held back.
    """

    def process_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        """Compress the response."""
        # Compression would hide the size, so a browser couldn't show the download's progress.
        is_file = response.streaming and response.has_header("Content-Length")
        # Without a view, it is an error page or a redirect.
        access: Access | None = getattr(request, "access", None)
        if is_file or (access and access.shows_secret):
            return response
        return super().process_response(request, response)


class RefusingHandler(FileUploadHandler):
    """Refuses every file with 400 as soon as its part of the body begins."""

    def new_file(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse it."""
        raise TooManyFilesSent("This URL accepts no files.")


class AccessMiddleware(MiddlewareMixin):
    """Applies the rules of a URL that come before its view, and before anything reads the body.

    In this order: files, fields, sign-in, MFA, and a database that can be written. routing.py
    declares the rules, and applies those of the view itself: methods and permissions.
    """

    def process_view(self, request: HttpRequest, view: View, *args: Any) -> HttpResponseBase | None:
        """Let the request through, redirect it, or raise what is wrong with it."""
        access = access_of(request, view)
        request.access = access  # type: ignore[attr-defined]
        if access.accepts_file:
            # In memory only. A file larger than FILE_UPLOAD_MAX_MEMORY_SIZE is dropped, as if none
            # had been sent.
            request.upload_handlers = [MemoryFileUploadHandler(request)]
        _limit_fields(request, access.max_fields)
        person = signed_in_person(request)
        logs.add_ids(person=person and person.pk)
        if settings.SSO_ONLY and not _is_open_with_sso_only(request):
            raise PermissionDenied("Sign in with SSO. Other ways are turned off.")
        if access.needs_sign_in and person is None:
            return _redirect_to_sign_in(request)
        if access.needs_sign_in and (response := _renewal(request)):
            return response
        if access.needs_mfa and person is not None and _lacks_mfa(request, person, access=access):
            messages.warning(request, "Set up MFA first. It's required here.")
            url = reverse("mfa_index")
            return HttpResponseClientRedirect(url) if _is_htmx(request) else redirect(url)
        if request.method not in SAFE_METHODS and not access.needs_mfa:
            # These pages count attempts in the cache, which is a database table. If it can't be
            # written, allauth would respond "too many requests", which isn't the reason.
            write_without_change()
        return None


def _limit_fields(request: HttpRequest, max_fields: int) -> None:
    # Django has one limit for all URLs, so that limit is the highest of theirs.
    for fields in (request.GET, request.POST):
        if sum(len(values) for _, values in fields.lists()) > max_fields:
            raise TooManyFieldsSent(f"This URL accepts {max_fields} fields.")


# Where people sign in, or prepare to, without the identity provider.
_LOCAL_SIGN_IN = ("mfa_login_webauthn", "account_login", "account_reset_password")


def _is_open_with_sso_only(request: HttpRequest) -> bool:
    name = request.resolver_match.view_name if request.resolver_match else ""
    # The sign-in page itself leads to the identity provider.
    is_page = name == "account_login" and request.method in SAFE_METHODS
    return is_page or not name.startswith(_LOCAL_SIGN_IN)


def _renewal(request: HttpRequest) -> HttpResponse | None:
    """The way to the identity provider, for a session whose roles are old. None for others.

    A POST isn't interrupted, unless no page has been opened for too long, or one has led to the
    provider and the person hasn't come back: then the session ends.
    """
    state = single_sign_on.roles_state(request)
    if state == RolesState.CURRENT:
        return None
    if request.method not in SAFE_METHODS:
        if state == RolesState.DUE:
            return None
        get_adapter(request).logout(request)
        return _redirect_to_sign_in(request)
    if _is_htmx(request):
        return HttpResponse(status=401)
    return redirect(reverse("provider-renewal", query={"next": request.get_full_path()}))


def _redirect_to_sign_in(request: HttpRequest) -> HttpResponse:
    if _is_htmx(request):
        # htmx would put the sign-in page inside the current page, over what the person is typing.
        return HttpResponse(status=401)
    if request.method not in SAFE_METHODS:
        return redirect(sign_in_url_after_post(request))
    return redirect_to_login(request.get_full_path())


def _lacks_mfa(request: HttpRequest, person: Person, *, access: Access) -> bool:
    """Whether the person must set up MFA first.

    They can still open the pages for that and sign out.
    """
    is_posted = request.method not in SAFE_METHODS
    is_required = permissions.requires_mfa(person) or (access.viewers_need_mfa and is_posted)
    if not settings.REQUIRE_MFA or not is_required:
        return False
    if has_provider_mfa(request, person_id=str(person.pk)):
        return False
    # Recovery codes alone don't count, because they are a backup for another method.
    return not is_mfa_enabled(person, [Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN])


class SessionUseMiddleware(MiddlewareMixin):
    """Extends the session on each request, because the session ends when idle.

    htmx's GET requests don't count, because pages send them automatically: an open page is not use.
    """

    _failed_last = False

    def process_request(self, request: HttpRequest) -> None:
        """Extend the session. A GET still works if the database accepts no writes."""
        if request.method == "GET" and _is_htmx(request):
            return
        try:
            if request.session.extend():  # type: ignore[attr-defined]
                self._failed_last = False
        except DatabaseError as error:
            if request.method not in {"GET", "HEAD"} or not is_unwritable_error(error):
                raise
            # Logged once until it works again, because the log might be on the same full disk.
            if not self._failed_last:
                logger.warning("The use of a session can't be noted: %s", error)
            self._failed_last = True


def _is_htmx(request: HttpRequest) -> bool:
    return "HX-Request" in request.headers


class ResponseNotRecordedMiddleware(MiddlewareMixin):
    """Responds when a DELETE was sent and the database then failed."""

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """The page that says so. None for any other error."""
        if not isinstance(error, ResponseNotRecordedError):
            return None
        with logs.about(**{error.noun: error.change_request_id}):
            logger.error("%s", error)
        return response_not_recorded_page(request, error)


class ReauthenticationMiddleware(MiddlewareMixin):
    """Requires reauthentication for django-allauth's own account pages.

    Comes after allauth's middleware so that it handles the exception first. allauth would store the
    whole POST in the session and replay it.
    """

    # allauth checks the old password on the first page, without Org Admin's limit, and nothing on
    # the second.
    GUARDED = frozenset({"account_change_password", "account_set_password"})

    def process_view(self, request: HttpRequest, view: View, *args: Any) -> HttpResponseBase | None:
        """Redirect from pages that allauth doesn't guard itself."""
        match = request.resolver_match
        if match is None or match.url_name not in self.GUARDED or is_recent(request):
            return None
        return redirect_to_prompt(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponseBase | None:
        """Redirect from pages that allauth guards."""
        return redirect_to_prompt(request) if isinstance(error, ReauthenticationRequired) else None
