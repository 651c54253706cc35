"""The inventory: list, one connection, sync, export, protections."""

from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import messages
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    QueryDict,
    StreamingHttpResponse,
)
from django.shortcuts import render
from django.urls import reverse
from django_htmx.http import HttpResponseClientRefresh

from connections.access import permissions
from connections.access.actor import Actor
from connections.access_reviews.progress import list_decisions
from connections.batches import drafts
from connections.changes.changes import ChangeFilter, get_change_page
from connections.core.causes import unavailable_text
from connections.core.errors import ConflictError, InvalidInputError, UnavailableError
from connections.core.sites import site_name
from connections.core.text import format_age, format_relative
from connections.inventory import protections, syncs, timeline
from connections.inventory.export import prepare_export
from connections.inventory.inventory import (
    Inventory,
    build_inventory,
    filter_from_values,
    valid_filters,
)
from connections.inventory.matrix import list_connections_between
from connections.lookups.objects import NotVisibleError, require_connection
from connections.models import OrgConnectionKey, Protection, Sync
from connections.people import people
from connections.web.badges import ROW_BADGES
from connections.web.deletions.status_section import review_url
from connections.web.framework.forms import ReasonForm
from connections.web.framework.lists import (
    SELECT_COLUMN,
    Column,
    Filter,
    FilterBar,
    chosen_sort,
    count_of_total_text,
    filter_bar,
    numbered_links,
    numbered_page,
    shared_names,
    site_filter,
    sortable,
)
from connections.web.framework.rate_limits import limited
from connections.web.framework.reauthentication import requires_reauthentication
from connections.web.framework.support import (
    SeeOther,
    actor_of,
    connection_url,
    download,
    export_format,
    find_posted_org,
    org_url,
)
from connections.web.inventory.forms import ProtectionForm, connection_filters
from connections.web.inventory.matrix import MATRIX, matrix_page, view_links
from connections.web.inventory.protections import protection_page
from connections.web.inventory.rows import connection_row_views, failed_syncs, sync_text
from connections.web.inventory.timeline import timeline_of

_COLUMNS = (
    Column(label="Source", css="cell-org", sort="source"),
    Column(label="to", css="cell-arrow"),
    Column(label="Destination", css="cell-org", sort="destination"),
    Column(label="Data types", css="cell-types"),
    Column(label="Site", css="cell-site", sort="site"),
    Column(label="Created", css="cell-time", sort="created"),
    Column(label="Creator", css="cell-person cell-medium", sort="creator"),
    Column(label="Visible to", css="cell-number cell-wide", sort="visible"),
    Column(label="Flags", css="cell-flags"),
    Column(label="ID", css="cell-id cell-wide"),
    Column(label="Delete", css="cell-action"),
)


def org_connection_list(request: HttpRequest) -> HttpResponse:
    """All org connections in the newest stored snapshots, as a list or as a matrix."""
    if request.GET.get("view") == MATRIX:
        return matrix_page(request)
    actor = actor_of(request)
    values = valid_filters(request.GET)
    query, filters = urlencode(values), filter_from_values(values)
    sort = chosen_sort(request, _COLUMNS, default="source")
    inventory = build_inventory(actor=actor, filters=filters, sort=sort)
    # A fragment is requested after an automatic sync and must not start another sync.
    is_fragment = request.htmx.target == "inventory"  # type: ignore[attr-defined]
    page = numbered_page(request, inventory.matches)
    can_plan = permissions.can_delete(actor)
    context = {
        # Not the inventory itself: a context stays in memory until the next garbage collection, and
        # with it every connection would.
        "total": inventory.total,
        "found": len(inventory.matches),
        "coverage": inventory.coverage,
        "unlisted_protections": inventory.unlisted_protections,
        "at": inventory.at,
        "rows": connection_row_views(inventory, list(page.object_list), actor=actor),
        "columns": sortable(
            request, (SELECT_COLUMN, *_COLUMNS) if can_plan else _COLUMNS, sort=sort
        ),
        "can_plan": can_plan,
        "plannable": len(inventory.matches) if len(inventory.matches) <= drafts.MAX_ROWS else 0,
        "shared_names": shared_names(inventory.orgs),
        "is_fragment": is_fragment,
        "bar": _filter_bar(request, inventory),
        "views": view_links(request),
        "query": query,
        "count": count_of_total_text(
            len(inventory.matches), total=inventory.total, noun="connection"
        ),
        **numbered_links(request, page),
        **_freshness(inventory, actor=actor),
        "can_export": permissions.can_export(actor),
        "can_refresh": permissions.can_sync(actor),
        "can_protect": permissions.can_protect(actor),
        # `start_review` refuses a filter by time.
        "can_start_access_review": permissions.can_manage_access_reviews(actor)
        and not filters.changed,
        "access_review_url": reverse(
            "access-review-new", query={"scope": query} if query else None
        ),
        "can_manage_credentials": permissions.can_manage_credentials(actor),
        "administrators": people.list_administrator_names()
        if _has_no_credential(inventory)
        else [],
    }
    name = "inventory/list.html"
    return render(request, f"{name}#inventory" if is_fragment else name, context)


def _filter_bar(request: HttpRequest, inventory: Inventory) -> FilterBar:
    names = {org.org_id: org.name for org in inventory.orgs}
    return filter_bar(
        request,
        [
            site_filter(sorted({org.site for org in inventory.orgs})),
            *connection_filters(orgs=inventory.orgs, types=inventory.connection_types),
        ],
        more=[
            # A link from an org's page or from the matrix names the org by its ID.
            Filter(name=name, label=label, value_label=names.get(request.GET.get(name, ""), ""))
            for name, label in (("source", "Source"), ("destination", "Destination"))
        ],
    )


def org_connection_between(request: HttpRequest) -> HttpResponse:
    """Redirect to the connection from one org to another, or to the list if there are several.

    A cell of the matrix links here because this address compresses better than one with the
    connection's ID, which no other cell has.
    """
    filters = filter_from_values(valid_filters(request.GET))
    found = list_connections_between(
        actor=actor_of(request),
        site=filters.site,
        source_org_id=filters.source,
        sink_org_id=filters.destination,
    )
    if len(found) == 1:
        return HttpResponseRedirect(connection_url(found[0]))
    return HttpResponseRedirect(_list_url(request.GET))


def _list_url(filters: QueryDict) -> str:
    """The list or matrix with these filters."""
    query = valid_filters(filters)
    if filters.get("view") == MATRIX:
        query["view"] = MATRIX
    return reverse("org-connection-list", query=query)


def _freshness(inventory: Inventory, *, actor: Actor) -> dict[str, Any]:
    coverage = inventory.coverage
    oldest_at = coverage.oldest_at
    newest_syncs = [*coverage.listed, *coverage.failed]
    age = format_age(oldest_at, now=inventory.at) if oldest_at else ""
    as_of = [f"oldest sync {age}"] if age else []
    if coverage.next_sync_at:
        as_of.append(f"next sync due {format_relative(coverage.next_sync_at, now=inventory.at)}")
    return {
        "age": age,
        "as_of": ", ".join(as_of),
        "failed_syncs": failed_syncs(coverage),
        "only_sync": newest_syncs[0] if len(newest_syncs) == 1 else None,
        "unverified": [credential for credential in coverage.never_listed if not credential.org_id],
        "has_no_credential": _has_no_credential(inventory),
        "refreshes_automatically": coverage.is_stale and permissions.can_sync(actor),
    }


def _has_no_credential(inventory: Inventory) -> bool:
    coverage = inventory.coverage
    return not (coverage.listed or coverage.failed or coverage.never_listed)


@limited("refresh", per_minute=20)
def org_connection_refresh(request: HttpRequest) -> HttpResponse:
    """Sync, then redirect back with the same filters.

    `only_stale` leaves out orgs synced within the last 5 minutes, so that many people who open the
    page at the same time cause one sync. `org` syncs only that org, and returns to its page.
    """
    by_itself = "only_stale" in request.POST
    actor = actor_of(request)
    org = find_posted_org(request.POST, actor=actor) if "org" in request.POST else None
    try:
        listings = syncs.sync_orgs(
            actor=actor, credentials=org.credentials if org else None, only_stale=by_itself
        )
    except UnavailableError as error:
        why = unavailable_text(cause=error.cause, why=str(error))
        messages.error(request, f"Nothing was synced. {why}")
    else:
        if not by_itself:
            _add_message(request, listings)
        if listings and "reload" in request.POST and request.htmx:  # type: ignore[attr-defined]
            return HttpResponseClientRefresh()
    if org:
        return SeeOther(org_url(org.org))
    if request.POST.get("back") == "overview":
        return SeeOther(reverse("overview"))
    return SeeOther(_list_url(QueryDict(request.POST.get("filters", ""))))


def _add_message(request: HttpRequest, listings: list[Sync]) -> None:
    complete = sum(listing.is_complete for listing in listings)
    level = messages.SUCCESS if complete else messages.ERROR
    if 0 < complete < len(listings):
        level = messages.WARNING
    messages.add_message(request, level, sync_text(listings))


@limited("export", per_minute=30)
def org_connection_export(request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
    """The filtered inventory, streamed as a file. Each row has the time it was read."""
    file_format = export_format(request)
    values = valid_filters(request.GET)
    export = prepare_export(
        actor=actor_of(request),
        filters=filter_from_values(values),
        file_format=file_format,
        query=urlencode(values),
    )
    return download(request, export=export, name="org-connections")


def org_connection_detail(request: HttpRequest, site: str, connection_id: UUID) -> HttpResponse:
    """One connection: details, credentials that list it, timeline, deletions."""
    actor = actor_of(request)
    if not site.isprintable():
        raise Http404("There is no such site.")
    key = OrgConnectionKey(site=site, connection_id=connection_id)
    require_connection(key, actor=actor)
    history = timeline.get_connection_history(actor=actor, site=site, connection_id=connection_id)
    protection = protection_page(key=key, actor=actor)
    if history is None:
        if not protection.history:
            raise Http404("No sync listed this connection and no one requested its deletion.")
        context = {"key": key, "site_name": site_name(site), "protection": protection}
        return render(request, "inventory/unknown.html", context)
    is_free = history.open_deletion is None and protection.active is None
    decisions = list_decisions(actor=actor, key=key)
    context = {
        "last_decision": decisions[-1] if decisions else None,
        "decision_badge": ROW_BADGES[decisions[-1].decision.decision] if decisions else None,
        "protection": protection,
        "connection": history,
        "snapshot": history.snapshot,
        "site_name": site_name(site),
        "timeline": timeline_of(
            history,
            changes=get_change_page(actor=actor, filters=ChangeFilter(connection=key)).rows,
            decisions=decisions,
            actor=actor,
        ),
        "delete_links": [
            (
                observation,
                review_url(credential=observation.credential.pk, connection_id=connection_id),
            )
            for observation in history.observations
            if is_free
            and observation.is_current
            and permissions.can_use(actor, credential_id=observation.credential.pk)
        ],
    }
    return render(request, "inventory/detail.html", context)


def org_connection_protect(request: HttpRequest) -> HttpResponse:
    """Protect a connection, even one that was never listed here."""
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
        except NotVisibleError:
            is_visible = False
            form.add_error("connection_id", protections.NOT_VISIBLE)
        else:
            if protections.is_being_sent(key):
                messages.warning(request, "Connection protected, but a DELETE is in progress.")
            else:
                messages.success(request, "Connection protected.")
            return SeeOther(connection_url(key))
    context = {"form": form, "conflict": conflict}
    status = 409 if conflict else 404 if not is_visible else 422 if form.is_bound else 200
    return render(request, "inventory/protect.html", context, status=status)


def _find_removable_protection(actor: Actor, key: OrgConnectionKey) -> Protection | None:
    """The protection that the actor can remove. None if it is no longer protected."""
    require_connection(key, actor=actor)
    protection = protections.find_protection(key)
    if protection is None and not protections.list_protections(key):
        raise Http404("This connection was never protected.")
    if protection:
        protections.require_not_own(protection, actor=actor)
    return protection


def _not_protected(request: HttpRequest, key: OrgConnectionKey) -> HttpResponse:
    messages.error(request, "This connection isn't protected.")
    return SeeOther(connection_url(key))


def _unprotect_page(
    request: HttpRequest, *, protection: Protection, form: ReasonForm, status: int
) -> HttpResponse:
    context = {"form": form, "protection": protection, "back_url": connection_url(protection.key)}
    return render(request, "inventory/unprotect.html", context, status=status)


def _unprotect_page_with_input(
    request: HttpRequest, site: str, connection_id: UUID
) -> HttpResponse:
    """The form with the posted input and the reauthentication prompt."""
    key = OrgConnectionKey(site=site, connection_id=connection_id)
    protection = _find_removable_protection(actor_of(request), key)
    if protection is None:
        return _not_protected(request, key)
    form = ReasonForm(initial=request.POST.dict())
    return _unprotect_page(request, protection=protection, form=form, status=422)


@requires_reauthentication(on_missing=_unprotect_page_with_input, before_page=True)
def org_connection_unprotect(request: HttpRequest, site: str, connection_id: UUID) -> HttpResponse:
    """Remove another person's protection, with a reason."""
    actor = actor_of(request)
    key = OrgConnectionKey(site=site, connection_id=connection_id)
    protection = _find_removable_protection(actor, key)
    if protection is None:
        return _not_protected(request, key)
    form = ReasonForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
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
            messages.success(request, "Protection removed.")
            return SeeOther(connection_url(key))
    return _unprotect_page(
        request, protection=protection, form=form, status=422 if form.is_bound else 200
    )
