"""What a request says and who makes it, and the responses that every view can give."""

import base64
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.core.exceptions import BadRequest, PermissionDenied
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    QueryDict,
    StreamingHttpResponse,
)
from django.shortcuts import render
from django.urls import reverse

from connections.access.actor import Actor, person_actor
from connections.core import clock
from connections.core.tabular import CONTENT_TYPES
from connections.core.trusted_proxies import client_address
from connections.exports.export import Export, start_export
from connections.inventory.orgs import OrgSummary, find_org
from connections.lookups.objects import raise_org_not_found
from connections.models import Person
from connections.people.sign_in_events import SignInOrigin


class SeeOther(HttpResponseRedirect):
    """303: the action was carried out, and the browser continues with a GET."""

    status_code = 303


def redirect_to(item: Any, *, query: QueryDict | None = None) -> SeeOther:
    """A 303 to the page of an object, which is named after its model."""
    name = str(item._meta.verbose_name).replace(" ", "-")
    return SeeOther(reverse(f"{name}-detail", args=[item.pk], query=query))


def wants_fragment(request: HttpRequest) -> bool:
    """Whether htmx requests a fragment. A boosted link requests the whole page."""
    return bool(request.htmx) and not request.htmx.boosted  # type: ignore[attr-defined]


def polled_version(request: HttpRequest) -> str:
    """The version of the page that polls. Empty if this request is no poll."""
    return request.GET.get("seen", "") if wants_fragment(request) else ""


def render_for(
    request: HttpRequest,
    template: str,
    context: dict[str, Any],
    *,
    part: str,
    status: int = 200,
) -> HttpResponse:
    """The page. htmx takes the element whose ID is `part` from it, so it gets no sidebar."""
    is_for_htmx = wants_fragment(request)
    response = render(request, template, context | {"is_for_htmx": is_for_htmx}, status=status)
    if is_for_htmx:
        response["HX-Reselect"] = f"#{part}"
    return response


def request_id_of(request: HttpRequest) -> str:
    """The ID that this request's audit events and log lines share. Also sent as X-Request-ID."""
    return getattr(request, "request_id", "")


def signed_in_person(request: HttpRequest) -> Person | None:
    """The signed-in person. Also None if the request failed before sign-in was checked."""
    person = getattr(request, "user", None)
    return person if isinstance(person, Person) else None


def require_signed_in_person(request: HttpRequest) -> Person:
    """The signed-in person. Raises PermissionDenied if no one is signed in."""
    person = signed_in_person(request)
    if person is None:
        raise PermissionDenied("Sign in first.")
    return person


def time_of(request: HttpRequest) -> datetime:
    """The database's time, read with the session or when this request first needs it."""
    now: datetime | None = getattr(request, "_database_time", None)
    if now is None:
        now = getattr(request.session, "read_at", None) or clock.now()
        request._database_time = now  # type: ignore[attr-defined]
    return now


def actor_of(request: HttpRequest) -> Actor:
    """The signed-in person as the actor of what this request does.

    Raises PermissionDenied if no one is signed in.
    """
    person = require_signed_in_person(request)
    return person_actor(person=person, request_id=request_id_of(request))


def find_posted_org(posted: QueryDict, *, actor: Actor) -> OrgSummary:
    """The org that a form names as "<site>/<org ID>".

    Raises Http404 if the actor doesn't know it, and BadRequest for NUL, which PostgreSQL refuses.
    """
    site, _, org_id = posted.get("org", "").partition("/")
    if "\0" in site + org_id:
        raise BadRequest("This isn't an org.")
    org = find_org(actor=actor, site=site, org_id=org_id)
    if org is None:
        raise_org_not_found(actor=actor, site=site, org_id=org_id)
    return org


def export_format(
    request: HttpRequest, *, formats: Sequence[str] = tuple(CONTENT_TYPES), default: str = "csv"
) -> str:
    """The format of the export that the address requests. Raises BadRequest for any other."""
    requested = request.GET.get("format", default)
    if requested not in formats:
        raise BadRequest(f"The format of an export is one of {', '.join(formats)}.")
    return requested


def download(
    request: HttpRequest, *, export: Export[Any], name: str
) -> HttpResponse | StreamingHttpResponse:
    """The export as an attachment. Its file name starts with `name` and contains the time.

    A header contains the newest checkpoint. The file name contains the checkpoint's size and root,
    which stay with the file without changing its contents.
    """
    response: HttpResponse | StreamingHttpResponse
    content_type = CONTENT_TYPES[export.file_format]
    if request.method == "HEAD":
        # No data is sent, so no export is recorded.
        response = HttpResponse(content_type=content_type)
    else:
        response = StreamingHttpResponse(start_export(export=export), content_type=content_type)
    name += f"-{clock.now():%Y%m%dT%H%M%SZ}"
    if export.checkpoint:
        name += f"-cp{export.checkpoint.size}-{export.checkpoint.root[:16]}"
        note = base64.b64encode(export.checkpoint.note.encode()).decode()
        response["X-Orgadmin-Checkpoint"] = note
    response["Content-Disposition"] = f'attachment; filename="{name}.{export.file_format}"'
    return response


def origin_of(request: HttpRequest) -> SignInOrigin:
    """Where the request came from, for events about signing in."""
    return SignInOrigin(
        address=client_address(request),
        agent=request.headers.get("User-Agent", ""),
        request_id=request_id_of(request),
    )
