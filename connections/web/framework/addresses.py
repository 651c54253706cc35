"""The addresses of pages: of an object, above a path, and after signing in."""

from collections.abc import Sequence
from contextlib import suppress
from urllib.parse import urlsplit
from uuid import UUID

from django.http import HttpRequest
from django.urls import NoReverseMatch, Resolver404, resolve, reverse
from django.utils.http import url_has_allowed_host_and_scheme

from connections.access import permissions
from connections.access.actor import Actor
from connections.access_requests.actions import pair_of
from connections.access_requests.moving import kind_left
from connections.inventory.matching import KnownOrg
from connections.models import AccessRequest, OrgConnectionKey, OrgPair, RequestKind


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


def request_again_url(access_request: AccessRequest) -> str:
    """The address of the page that requests the same access again."""
    return access_request_url(
        kind_left(access_request),
        pair_of(access_request),
        deletion=access_request.restored_from_id,
        types=access_request.types_after,
        reason=access_request.reason,
        ticket=access_request.ticket,
    )


def org_url(org: KnownOrg) -> str:
    """The page of the org; "" for an ID that isn't a UUID, which Datadog never gives."""
    try:
        return reverse("org-detail", args=[org.site, org.org_id])
    except NoReverseMatch:
        return ""


def by_id_links(connection_id: UUID, *, actor: Actor) -> list[tuple[str, str]]:
    """What the actor can start for a connection that no sync lists: a label and an address."""
    query = {"connection_id": str(connection_id)}
    links = []
    if permissions.can_delete(actor):
        links.append(("Delete by ID…", reverse("deletion-confirm", query=query)))
    if permissions.can_protect(actor):
        links.append(("Protect by ID…", reverse("org-connection-protect", query=query)))
    return links


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
