"""Protecting a connection, and lifting what another person protected."""

from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from connections.access import permissions
from connections.access.actor import Actor
from connections.audit import lookups
from connections.core.errors import ConflictError, InvalidInputError
from connections.inventory import protections
from connections.models import OrgConnectionKey, Protection
from connections.web.inventory.protection_forms import ProtectionForm, RemovalForm
from connections.web.inventory.protections import connection_url
from connections.web.reauthentication_views import requires_reauthentication
from connections.web.support import SeeOther, actor_of


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
    protection = protections.protection_of(key)
    if protection is None and not protections.protections_of(key):
        raise Http404("It was never protected.")
    if protection:
        protections.check_not_own(protection, actor=actor)
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
