"""What people do with connections: sync them, protect them, remove protections."""

from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render
from django.urls import reverse
from django_htmx.http import HttpResponseClientRefresh

from connections.access.actor import Actor
from connections.core.causes import unavailable_text
from connections.core.errors import ConflictError, UnavailableError
from connections.inventory import protections, syncs
from connections.lookups.objects import require_connection
from connections.models import OrgConnectionKey, Protection, Sync
from connections.web.framework.actions import NOT_REFUSED, Refusal, Subject, service_action
from connections.web.framework.addresses import connection_url, org_url
from connections.web.framework.forms import ReasonForm
from connections.web.framework.http import SeeOther, actor_of, find_posted_org
from connections.web.framework.person_limits import limited
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


def _protect_page(request: HttpRequest, refusal: Refusal = NOT_REFUSED) -> HttpResponse:
    form, error = refusal.form or ProtectionForm(initial=request.GET.dict()), refusal.error
    if isinstance(error, ConflictError):
        form.add_error(None, str(error))
    is_hidden = isinstance(error, protections.HiddenConnectionError)
    status = 404 if is_hidden else refusal.status
    return render(request, "inventory/protect.html", {"form": form}, status=status)


def _protected(
    request: HttpRequest, actor: Actor, subject: None, protection: Protection
) -> HttpResponse:
    if protections.is_being_sent(protection.key):
        messages.warning(request, "Connection protected, but a DELETE is in progress.")
    else:
        messages.success(request, "Connection protected.")
    return SeeOther(connection_url(protection.key))


# Protects a connection, even one that was never listed here.
org_connection_protect = service_action(
    Subject(name="", find=lambda actor: None, page=_protect_page, respond=_protected),
    "org-connection-protect",
    protections.protect_connection,
    form=ProtectionForm,
)


def _find_protection(actor: Actor, site: str, connection_id: UUID) -> Protection:
    """The connection's latest protection. Raises PermissionDenied for one's own, and Http404."""
    key = OrgConnectionKey(site=site, connection_id=connection_id)
    require_connection(key, actor=actor)
    every = protections.list_protections(key)
    if not every:
        raise Http404("This connection was never protected.")
    if not hasattr(every[-1], "removal"):
        protections.require_not_own(every[-1], actor=actor)
    return every[-1]


def _unprotect_page(
    request: HttpRequest, site: str, connection_id: UUID, refusal: Refusal = NOT_REFUSED
) -> HttpResponse:
    protection = _find_protection(actor_of(request), site, connection_id)
    back_url = connection_url(protection.key)
    if hasattr(protection, "removal"):
        messages.error(request, str(refusal.error or "This connection isn't protected."))
        return SeeOther(back_url)
    form = refusal.form or ReasonForm()
    context = {"form": form, "protection": protection, "back_url": back_url}
    return render(request, "inventory/unprotect.html", context, status=refusal.status)


# Removes another person's protection, with a reason.
org_connection_unprotect = service_action(
    Subject(
        name="protection",
        find=_find_protection,
        page=_unprotect_page,
        respond=lambda request, actor, protection, removal: SeeOther(
            connection_url(protection.key)
        ),
    ),
    "org-connection-unprotect",
    protections.remove_protection,
    form=ReasonForm,
    page=_unprotect_page,
    done=lambda protection, removal: "Protection removed.",
    reauthenticate=True,
)
