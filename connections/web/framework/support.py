"""Helpers for all views: the actor, redirects, downloads, warnings."""

import base64
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from django.core.exceptions import BadRequest, PermissionDenied
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    QueryDict,
    StreamingHttpResponse,
)
from django.shortcuts import render
from django.urls import NoReverseMatch, Resolver404, resolve, reverse
from django.utils.http import url_has_allowed_host_and_scheme

from connections.access.actor import Actor, person_actor
from connections.core import clock
from connections.core.tabular import CONTENT_TYPES
from connections.core.trusted_proxies import client_address
from connections.exports.export import Export, start_export
from connections.inventory.matching import KnownOrg
from connections.inventory.orgs import OrgSummary, find_org
from connections.lookups.objects import raise_org_not_found
from connections.models import OrgConnectionKey, OrgPair, Person, RequestKind
from connections.people.sign_in_events import SignInOrigin


@dataclass(frozen=True, kw_only=True)
class PageWarning:
    """Something to know before going on."""

    headline: str
    detail: str = ""
    # How many rows it is about, and the address that shows only these.
    count: int = 0
    rows_url: str = ""
    # What the link says, if not "View" and the count.
    link: str = ""


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


def access_request_url(
    kind: RequestKind,
    pair: OrgPair,
    *,
    deletion: UUID | None = None,
    types: Sequence[str] = (),
    **typed: str,
) -> str:
    """The address of the page that requests it, with these data types chosen, and what is typed."""
    query: dict[str, str | list[str]] = {
        "kind": str(kind),
        "source": f"{pair.site}/{pair.source_org_id}",
        "destination": f"{pair.site}/{pair.sink_org_id}",
    }
    if deletion:
        query["deletion"] = str(deletion)
    if types:
        query["connection_types"] = list(types)
    query.update(typed)
    return reverse("access-request-new", query=query)


def org_url(org: KnownOrg) -> str:
    """The page of the org; "" for an ID that isn't a UUID, which Datadog never gives."""
    try:
        return reverse("org-detail", args=[org.site, org.org_id])
    except NoReverseMatch:
        return ""


def connection_url(key: OrgConnectionKey) -> str:
    """The page of the connection."""
    return reverse("org-connection-detail", args=[key.site, key.connection_id])


# The texts of links to the subjects' pages, which are named after the types: "org-detail".
SUBJECT_LABELS = {
    "deletion": "Deletion",
    "access_request": "Access request",
    "batch": "Bulk deletion",
    "access_review": "Access review",
    "credential": "Credential",
    "person": "Person",
    "org_connection": "Connection",
    "org": "Org",
}
_ON_A_SITE = {"org_connection", "org"}


def subject_url(subject_type: str, subject_id: str, *, site: str = "") -> str:
    """The page of what an event or a notification is about; "" if there is none.

    `site` is the site of an org or a connection.
    """
    if subject_type not in SUBJECT_LABELS:
        return ""
    args = [site, subject_id] if subject_type in _ON_A_SITE else [subject_id]
    try:
        return reverse(f"{subject_type.replace('_', '-')}-detail", args=args)
    except NoReverseMatch:
        return ""


def is_local_url(request: HttpRequest, url: str) -> bool:
    """Whether `url` is on this host, so that a redirect there is safe."""
    return url_has_allowed_host_and_scheme(
        url, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )


def sign_in_url_after_post(request: HttpRequest) -> str:
    """The sign-in page for a POST that was refused because the person is signed out.

    It leads back to the page that the form was on, because the form's own address might accept only
    POST. A form that came back with an error is shown at that address.
    """
    page = request.headers.get("Referer", "")
    if not is_local_url(request, page):
        page = reverse("overview")
    elif not _is_page(path := urlsplit(page).path):
        page = parent_page_url(path)
    return reverse("account_login", query={"next": page, "undone": 1})


def _is_page(path: str) -> bool:
    with suppress(Resolver404):
        # django-allauth's views, which have no access rules, are all pages.
        access = getattr(resolve(path).func, "access", None)
        return access is None or "GET" in access.methods
    return False


def parent_page_url(path: str) -> str:
    """The page that an action is on, or else the overview."""
    return find_parent_page(path) or reverse("overview")


def find_parent_page(path: str) -> str:
    """The nearest page of an object or a list at this path or above it. "" if there is none."""
    while path.strip("/"):
        with suppress(Resolver404):
            if (resolve(path).url_name or "").endswith(("-detail", "-list")):
                return path
        path = f"{path.rstrip('/').rpartition('/')[0]}/"
    return ""


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
