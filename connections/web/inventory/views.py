"""The inventory: every org connection of every org, one of them, reading again, export."""

import json
from itertools import islice
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import BadRequest
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    QueryDict,
    StreamingHttpResponse,
)
from django.shortcuts import render
from django.urls import reverse
from django_htmx.http import HttpResponseClientRefresh

from connections.access import permissions
from connections.access.actor import Actor
from connections.audit import lookups
from connections.core import clock
from connections.core.errors import ConflictError, InvalidInputError, UnavailableError
from connections.core.text import age_words
from connections.inventory import protections, sync, timeline
from connections.inventory.export import prepare_export
from connections.inventory.inventory import (
    Inventory,
    InventoryRow,
    build_inventory,
    find_open_deletions,
)
from connections.models import OrgConnectionKey, Protection, Sync
from connections.people import people
from connections.web.deletions.review import review_url
from connections.web.inventory import rows as shown
from connections.web.inventory.forms import PROTECTED, InventoryForm, ProtectionForm, RemovalForm
from connections.web.inventory.protections import connection_url, protection_page
from connections.web.inventory.timeline import timeline_of
from connections.web.rate_limits import limited
from connections.web.reauthentication import requires_reauthentication
from connections.web.support import SeeOther, actor_of, download
from connections.wording import badge, unavailable_text
from connections.wording.connections import creator_kind, site_name

# More rows than anybody scrolls through; a page of so many is rendered in well under 300 ms.
PAGE_SIZE = 500
EXPORT_FORMATS = ("csv", "json")


def org_connection_list(request: HttpRequest) -> HttpResponse:
    """Every org connection that the newest stored snapshots show."""
    actor = actor_of(request)
    form = InventoryForm(request.GET)
    inventory = build_inventory(actor=actor, only=form.inventory_filter())
    # What comes after a refresh never asks for another by itself, however that one went.
    is_fragment = request.htmx.target == "inventory"  # type: ignore[attr-defined]
    page, next_after = _page(inventory.rows, after=_cursor(request))
    context = {
        "inventory": inventory,
        "rows": _row_views(page, actor=actor),
        "is_fragment": is_fragment,
        "is_first_page": "after" not in request.GET,
        "next_url": _address(form, after=next_after) if next_after else "",
        "first_url": _address(form),
        **_filters(form, inventory),
        **_freshness(inventory, actor=actor),
        "can_export": permissions.can_export(actor),
        "can_refresh": permissions.can_refresh(actor),
        "can_protect": permissions.can_protect(actor),
        "can_manage_credentials": permissions.can_manage_credentials(actor),
        "administrators": people.names_of_administrators() if _has_no_credential(inventory) else [],
    }
    name = "connections/org_connection_list.html"
    return render(request, f"{name}#inventory" if is_fragment else name, context)


def _row_views(page: list[InventoryRow], *, actor: Actor) -> list[shown.RowView]:
    deletions = find_open_deletions(page, actor=actor)
    names = {site: site_name(site) for site in {row.snapshot.site for row in page}}
    return [
        shown.row_view(
            row,
            deletion=deletions.get((row.snapshot.site, row.snapshot.connection_id)),
            actor=actor,
            site_names=names,
        )
        for row in page
    ]


def _page(
    rows: list[InventoryRow], *, after: tuple[str, ...] | None
) -> tuple[list[InventoryRow], str]:
    """The rows of one page, and the key that the next one starts after ("" at the end)."""
    following = iter(rows) if after is None else (row for row in rows if row.order > after)
    page = list(islice(following, PAGE_SIZE + 1))
    if len(page) <= PAGE_SIZE:
        return page, ""
    page = page[:PAGE_SIZE]
    return page, json.dumps(page[-1].order, ensure_ascii=False, separators=(",", ":"))


def _cursor(request: HttpRequest) -> tuple[str, ...] | None:
    text = request.GET.get("after")
    if not text:
        return None
    try:
        key = json.loads(text)
    except (ValueError, RecursionError):
        key = None
    if not isinstance(key, list) or not all(isinstance(part, str) for part in key):
        raise BadRequest("This is not a place in the inventory.")
    return tuple(key)


def _address(form: InventoryForm, **more: str) -> str:
    query = QueryDict(mutable=True)
    query.update({**form.values(), **more})
    url = reverse("org-connection-list")
    return f"{url}?{query.urlencode()}" if query else url


def _filters(form: InventoryForm, inventory: Inventory) -> dict[str, Any]:
    values = form.values()
    count = f"{len(inventory.rows):,}"
    return {
        "values": values,
        "query": form.query(),
        "clear_url": reverse("org-connection-list") if values else "",
        "site_options": [(site, site_name(site)) for site in inventory.sites],
        "org_options": [(org, org) for org in inventory.orgs],
        "protected_options": PROTECTED,
        "type_options": [(kind, kind) for kind in inventory.connection_types],
        "count": f"{count} of {inventory.total:,} shown" if values else f"{count} shown",
    }


def _freshness(inventory: Inventory, *, actor: Actor) -> dict[str, Any]:
    oldest_at = inventory.coverage.oldest_at
    age = age_words(oldest_at, now=inventory.at) if oldest_at else ""
    return {
        "age": age,
        "as_of": f"oldest part read {age}" if age else "",
        "failed_parts": shown.failed_syncs(inventory.coverage, now=inventory.at),
        "parts": shown.org_syncs(inventory),
        "unverified": [each for each in inventory.coverage.never_listed if not each.org_id],
        "has_no_credential": _has_no_credential(inventory),
        "refreshes_by_itself": inventory.coverage.is_stale and permissions.can_refresh(actor),
    }


def _has_no_credential(inventory: Inventory) -> bool:
    coverage = inventory.coverage
    return not (coverage.listed or coverage.failed or coverage.never_listed)


@limited("refresh", per_minute=20)
def org_connection_refresh(request: HttpRequest) -> HttpResponse:
    """Ask Datadog again, then back to where the person was, with the same filters.

    `only_stale` leaves out what was read within the last 5 minutes: so many people opening the
    page at once ask once.
    """
    by_itself = "only_stale" in request.POST
    try:
        listings = sync.sync_orgs(actor=actor_of(request), only_stale=by_itself)
    except UnavailableError as error:
        why = unavailable_text(cause=error.cause, why=str(error))
        messages.error(request, f"Nothing was read. {why}")
    else:
        if not by_itself:
            _tell(request, listings)
        if listings and "reload" in request.POST and request.htmx:  # type: ignore[attr-defined]
            return HttpResponseClientRefresh()
    if request.POST.get("back") == "overview":
        return SeeOther(reverse("overview"))
    return SeeOther(_address(InventoryForm(QueryDict(request.POST.get("filters", "")))))


def _tell(request: HttpRequest, listings: list[Sync]) -> None:
    complete = sum(listing.is_complete for listing in listings)
    level = messages.SUCCESS if complete else messages.ERROR
    if 0 < complete < len(listings):
        level = messages.WARNING
    messages.add_message(request, level, shown.sync_text(listings))


@limited("export", per_minute=30)
def org_connection_export(request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
    """Exactly the filtered inventory as CSV or JSON; each row says as of when."""
    file_format = request.GET.get("format", "csv")
    if file_format not in EXPORT_FORMATS:
        raise BadRequest("Export as csv or json.")
    form = InventoryForm(request.GET)
    export = prepare_export(
        actor=actor_of(request),
        only=form.inventory_filter(),
        file_format=file_format,
        asked_for=form.query(),
    )
    return download(request, export=export, name=f"org-connections-{clock.now():%Y-%m-%d}")


def org_connection_detail(request: HttpRequest, site: str, connection_id: UUID) -> HttpResponse:
    """One connection: what it is, who sees it, how it changed, what was asked of it."""
    actor = actor_of(request)
    if not site.isprintable():
        raise Http404("No site is called so.")
    key = OrgConnectionKey(site=site, connection_id=connection_id)
    lookups.require_connection(key, actor=actor)
    seen = timeline.get_connection_history(actor=actor, site=site, connection_id=connection_id)
    protection = protection_page(key=key, actor=actor)
    if seen is None:
        if not protection.history:
            raise Http404("Nobody here ever saw this connection or asked to delete it.")
        context = {"key": key, "site_name": site_name(site), "protection": protection}
        return render(request, "connections/org_connection_unknown.html", context)
    is_free = seen.open_deletion is None and protection.held is None
    context = {
        "protection": protection,
        "seen": seen,
        "snapshot": seen.snapshot,
        "site_name": site_name(site),
        "creator_kind": creator_kind(seen.snapshot.creator_is_service_account),
        "life": timeline_of(seen, links_to_evidence=permissions.can_audit(actor)),
        "deletions": [(deletion, badge(deletion)) for deletion in seen.deletions],
        "ways": [
            (one, review_url(credential=one.credential.pk, connection_id=connection_id))
            for one in seen.observations
            if is_free
            and one.is_current
            and permissions.can_use(actor, credential_id=one.credential.pk)
        ],
    }
    return render(request, "connections/org_connection_detail.html", context)


def org_connection_protect(request: HttpRequest) -> HttpResponse:
    """Which connection must stay, seen here before or not, and why."""
    actor = actor_of(request)
    permissions.require(permissions.can_protect(actor), "protect connections")
    data = request.POST if request.method == "POST" else None
    form = ProtectionForm(data, initial=request.GET.dict())
    conflict, is_visible = "", True
    if form.is_valid():
        typed = form.cleaned_data
        key = OrgConnectionKey(site=typed["site"], connection_id=typed["connection_id"])
        try:
            protections.protect_connection(actor=actor, key=key, reason=typed["reason"])
        except InvalidInputError as error:
            form.add_service_errors(error)
        except ConflictError as error:
            conflict = str(error)
        except lookups.NotVisibleError:
            is_visible = False
            form.add_error("connection_id", protections.NOT_VISIBLE)
        else:
            if protections.is_being_sent(key):
                messages.warning(request, "It is protected, but a DELETE is on its way just now.")
            else:
                messages.success(request, "It is protected: nobody can delete it here.")
            return SeeOther(connection_url(key))
    context = {"form": form, "conflict": conflict}
    status = 409 if conflict else 404 if not is_visible else 422 if form.is_bound else 200
    return render(request, "connections/org_connection_protect.html", context, status=status)


def _liftable(actor: Actor, key: OrgConnectionKey) -> Protection | None:
    """What the actor may lift; None when nothing protects it any more."""
    permissions.require(permissions.can_lift_any(actor), "lift protections")
    lookups.require_connection(key, actor=actor)
    protection = protections.find_protection(key)
    if protection is None and not protections.list_protections(key):
        raise Http404("It was never protected.")
    if protection:
        protections.require_not_own(protection, actor=actor)
    return protection


def _not_protected(request: HttpRequest, key: OrgConnectionKey) -> HttpResponse:
    messages.error(request, "It is not protected now.")
    return SeeOther(connection_url(key))


def _lift_page(
    request: HttpRequest, *, protection: Protection, form: RemovalForm, status: int
) -> HttpResponse:
    context = {"form": form, "protection": protection, "back_url": connection_url(protection.key)}
    return render(request, "connections/org_connection_unprotect.html", context, status=status)


def _lift_asked_again(request: HttpRequest, site: str, connection_id: UUID) -> HttpResponse:
    """The form as it was sent, with the question who it is."""
    key = OrgConnectionKey(site=site, connection_id=connection_id)
    protection = _liftable(actor_of(request), key)
    if protection is None:
        return _not_protected(request, key)
    form = RemovalForm(initial=request.POST.dict())
    return _lift_page(request, protection=protection, form=form, status=422)


@requires_reauthentication(comes_back=_lift_asked_again, asks_first=True)
def org_connection_lift(request: HttpRequest, site: str, connection_id: UUID) -> HttpResponse:
    """Why it may be deleted again; somebody else's protection only."""
    actor = actor_of(request)
    key = OrgConnectionKey(site=site, connection_id=connection_id)
    protection = _liftable(actor, key)
    if protection is None:
        return _not_protected(request, key)
    form = RemovalForm(request.POST if request.method == "POST" else None)
    if protection is not None and form.is_valid():
        try:
            protections.remove_protection(
                actor=actor, protection=protection, reason=form.cleaned_data["reason"]
            )
        except InvalidInputError as error:
            form.add_service_errors(error)
        except ConflictError as error:
            messages.error(request, str(error))
            return SeeOther(connection_url(key))
        else:
            messages.success(request, "The protection is lifted: it can be deleted again.")
            return SeeOther(connection_url(key))
    return _lift_page(
        request, protection=protection, form=form, status=422 if form.is_bound else 200
    )
