"""The inventory: list, one connection, sync, export, protections."""

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
from connections.core.text import format_age
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
from connections.wording import unavailable_text
from connections.wording.connections import site_name

# A page of this many rows renders in well under 300 ms.
PAGE_SIZE = 500
EXPORT_FORMATS = ("csv", "json")


def org_connection_list(request: HttpRequest) -> HttpResponse:
    """All org connections in the newest stored snapshots."""
    actor = actor_of(request)
    form = InventoryForm(request.GET)
    inventory = build_inventory(actor=actor, filters=form.inventory_filter())
    # A fragment comes after an automatic sync and must not start another.
    is_fragment = request.htmx.target == "inventory"  # type: ignore[attr-defined]
    page, next_after = _page(inventory.rows, after=_parse_cursor(request))
    context = {
        "inventory": inventory,
        "rows": _row_views(page, actor=actor),
        "is_fragment": is_fragment,
        "is_first_page": "after" not in request.GET,
        "next_url": _list_url(form, after=next_after) if next_after else "",
        "first_url": _list_url(form),
        **_filters(form, inventory),
        **_freshness(inventory, actor=actor),
        "can_export": permissions.can_export(actor),
        "can_refresh": permissions.can_sync(actor),
        "can_protect": permissions.can_protect(actor),
        "can_manage_credentials": permissions.can_manage_credentials(actor),
        "administrators": people.list_administrator_names()
        if _has_no_credential(inventory)
        else [],
    }
    name = "connections/org_connection_list.html"
    return render(request, f"{name}#inventory" if is_fragment else name, context)


def _row_views(page: list[InventoryRow], *, actor: Actor) -> list[shown.RowView]:
    deletions = find_open_deletions(page, actor=actor)
    return [
        shown.row_view(
            row,
            deletion=deletions.get((row.snapshot.site, row.snapshot.connection_id)),
            actor=actor,
        )
        for row in page
    ]


def _page(
    rows: list[InventoryRow], *, after: tuple[str, ...] | None
) -> tuple[list[InventoryRow], str]:
    """The rows of one page, and the key after which the next page starts ("" at the end)."""
    following = iter(rows) if after is None else (row for row in rows if row.order > after)
    page = list(islice(following, PAGE_SIZE + 1))
    if len(page) <= PAGE_SIZE:
        return page, ""
    page = page[:PAGE_SIZE]
    return page, json.dumps(page[-1].order, ensure_ascii=False, separators=(",", ":"))


def _parse_cursor(request: HttpRequest) -> tuple[str, ...] | None:
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


def _list_url(form: InventoryForm, **more: str) -> str:
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
    age = format_age(oldest_at, now=inventory.at) if oldest_at else ""
    return {
        "age": age,
        "as_of": f"oldest part read {age}" if age else "",
        "failed_syncs": shown.failed_syncs(inventory.coverage),
        "syncs": shown.org_syncs(inventory.coverage),
        "unverified": [each for each in inventory.coverage.never_listed if not each.org_id],
        "has_no_credential": _has_no_credential(inventory),
        "refreshes_by_itself": inventory.coverage.is_stale and permissions.can_sync(actor),
    }


def _has_no_credential(inventory: Inventory) -> bool:
    coverage = inventory.coverage
    return not (coverage.listed or coverage.failed or coverage.never_listed)


@limited("refresh", per_minute=20)
def org_connection_refresh(request: HttpRequest) -> HttpResponse:
    """Sync, then redirect back with the same filters.

    `only_stale` leaves out orgs synced within the last 5 minutes, so that many people who open
    the page at once cause one sync.
    """
    by_itself = "only_stale" in request.POST
    try:
        listings = sync.sync_orgs(actor=actor_of(request), only_stale=by_itself)
    except UnavailableError as error:
        why = unavailable_text(cause=error.cause, why=str(error))
        messages.error(request, f"Nothing was read. {why}")
    else:
        if not by_itself:
            _add_message(request, listings)
        if listings and "reload" in request.POST and request.htmx:  # type: ignore[attr-defined]
            return HttpResponseClientRefresh()
    if request.POST.get("back") == "overview":
        return SeeOther(reverse("overview"))
    return SeeOther(_list_url(InventoryForm(QueryDict(request.POST.get("filters", "")))))


def _add_message(request: HttpRequest, listings: list[Sync]) -> None:
    complete = sum(listing.is_complete for listing in listings)
    level = messages.SUCCESS if complete else messages.ERROR
    if 0 < complete < len(listings):
        level = messages.WARNING
    messages.add_message(request, level, shown.sync_text(listings))


@limited("export", per_minute=30)
def org_connection_export(request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
    """The filtered inventory as CSV or JSON; each row has the time it was read."""
    file_format = request.GET.get("format", "csv")
    if file_format not in EXPORT_FORMATS:
        raise BadRequest("Export as csv or json.")
    form = InventoryForm(request.GET)
    export = prepare_export(
        actor=actor_of(request),
        filters=form.inventory_filter(),
        file_format=file_format,
        query=form.query(),
    )
    return download(request, export=export, name=f"org-connections-{clock.now():%Y-%m-%d}")


def org_connection_detail(request: HttpRequest, site: str, connection_id: UUID) -> HttpResponse:
    """One connection: details, credentials that list it, timeline, deletions."""
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
        "life": timeline_of(seen, links_to_evidence=permissions.can_audit(actor)),
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
    """Protect a connection, also one that was never listed here."""
    actor = actor_of(request)
    data = request.POST if request.method == "POST" else None
    form = ProtectionForm(data, initial=request.GET.dict())
    conflict, is_visible = "", True
    if form.is_valid():
        typed = form.cleaned_data
        key = OrgConnectionKey(site=typed["site"], connection_id=typed["connection_id"])
        try:
            protections.protect_connection(actor=actor, key=key, reason=typed["reason"])
        except InvalidInputError as error:
            form.add_errors(error)
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


def _find_removable_protection(actor: Actor, key: OrgConnectionKey) -> Protection | None:
    """The protection that the actor may remove; None where it is no longer protected."""
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


def _unprotect_page(
    request: HttpRequest, *, protection: Protection, form: RemovalForm, status: int
) -> HttpResponse:
    context = {"form": form, "protection": protection, "back_url": connection_url(protection.key)}
    return render(request, "connections/org_connection_unprotect.html", context, status=status)


def _unprotect_page_with_input(
    request: HttpRequest, site: str, connection_id: UUID
) -> HttpResponse:
    """The form with the posted input and the reauthentication prompt."""
    key = OrgConnectionKey(site=site, connection_id=connection_id)
    protection = _find_removable_protection(actor_of(request), key)
    if protection is None:
        return _not_protected(request, key)
    form = RemovalForm(initial=request.POST.dict())
    return _unprotect_page(request, protection=protection, form=form, status=422)


@requires_reauthentication(on_missing=_unprotect_page_with_input, before_page=True)
def org_connection_unprotect(request: HttpRequest, site: str, connection_id: UUID) -> HttpResponse:
    """Remove another person's protection, with a reason."""
    actor = actor_of(request)
    key = OrgConnectionKey(site=site, connection_id=connection_id)
    protection = _find_removable_protection(actor, key)
    if protection is None:
        return _not_protected(request, key)
    form = RemovalForm(request.POST if request.method == "POST" else None)
    if protection is not None and form.is_valid():
        try:
            protections.remove_protection(
                actor=actor, protection=protection, reason=form.cleaned_data["reason"]
            )
        except InvalidInputError as error:
            form.add_errors(error)
        except ConflictError as error:
            messages.error(request, str(error))
            return SeeOther(connection_url(key))
        else:
            messages.success(request, "The protection is lifted: it can be deleted again.")
            return SeeOther(connection_url(key))
    return _unprotect_page(
        request, protection=protection, form=form, status=422 if form.is_bound else 200
    )
