"""What people do with connections: sync them, protect them, remove protections."""

from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render
from django.urls import reverse
from django_htmx.http import HttpResponseClientRefresh

from connections.access.actor import Actor
from connections.core.causes import unavailable_text
from connections.core.errors import ConflictError, InvalidInputError, UnavailableError
from connections.inventory import protections, syncs
from connections.lookups.objects import NotVisibleError, require_connection
from connections.models import OrgConnectionKey, Protection, Sync
from connections.web.framework.forms import ReasonForm
from connections.web.framework.rate_limits import limited
from connections.web.framework.reauthentication import requires_reauthentication
from connections.web.framework.support import (
    SeeOther,
    actor_of,
    connection_url,
    find_posted_org,
    org_url,
)
from connections.web.inventory.forms import ProtectionForm
from connections.web.inventory.list import list_url
from connections.web.inventory.rows import sync_text


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
        results = syncs.sync_orgs(
            actor=actor, credentials=org.credentials if org else None, only_stale=by_itself
        )
    except UnavailableError as error:
        why = unavailable_text(cause=error.cause, why=str(error))
        messages.error(request, f"Nothing was synced. {why}")
    else:
        if not by_itself:
            _add_message(request, results)
        if results and "reload" in request.POST and request.htmx:  # type: ignore[attr-defined]
            return HttpResponseClientRefresh()
    if org:
        return SeeOther(org_url(org.org))
    if request.POST.get("back") == "overview":
        return SeeOther(reverse("overview"))
    return SeeOther(list_url(QueryDict(request.POST.get("filters", ""))))


def _add_message(request: HttpRequest, listings: list[Sync]) -> None:
    complete = sum(listing.is_complete for listing in listings)
    level = messages.SUCCESS if complete else messages.ERROR
    if 0 < complete < len(listings):
        level = messages.WARNING
    messages.add_message(request, level, sync_text(listings))


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
