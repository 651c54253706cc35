"""The page of one person."""

from typing import Any, cast
from uuid import UUID

from django.conf import settings
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render

from connections.audit.texts import brief_sentence
from connections.core.errors import ConflictError
from connections.core.role_map import ADMINISTRATOR
from connections.models import AuditEvent, Person, with_values
from connections.people import people, provider_accounts
from connections.people.provider_roles import list_provider_roles
from connections.web.framework.actions import NOT_REFUSED, Refusal
from connections.web.framework.forms import ServiceForm
from connections.web.people import forms
from connections.web.people.account import session_rows

EVENTS_SHOWN = 20


def person_detail(request: HttpRequest, pk: UUID, refusal: Refusal = NOT_REFUSED) -> HttpResponse:
    """One person: roles, access, sessions and latest events."""
    person, status = get_object_or_404(Person, pk=pk), refusal.status
    if isinstance(refusal.error, ConflictError):
        return render_person(request, person, problem=str(refusal.error), status=status)
    return render_person(request, person, form=refusal.form, status=status)


def render_person(
    request: HttpRequest,
    person: Person,
    *,
    form: ServiceForm | None = None,
    status: int = 200,
    **more: Any,
) -> HttpResponse:
    """The page, with the posted form in place of an empty one, and `more` template variables."""
    roles: dict[str, Any] = {
        "roles": [role.value for role in people.get_stored_roles(person)],
        "is_administrator": person.is_superuser,
    }
    empty: list[ServiceForm] = [
        forms.RolesForm(initial=roles),
        forms.EmailForm(initial={"email": person.email}),
        forms.MakeLinkForm(),
        forms.ProviderAccountForm(),
    ]
    roles_form, email_form, link_form, account_form = (
        form if type(form) is type(other) else other for other in empty
    )
    held = [*roles["roles"], *([ADMINISTRATOR] if person.is_superuser else [])]
    fixed = list_provider_roles(person)
    cast(forms.RolesForm, roles_form).fix(fixed, held=held)
    about = Q(actor_id=person.pk) | Q(subject_type="person", subject_id=str(person.pk))
    latest = AuditEvent.objects.filter(about).order_by("-seq")[:EVENTS_SHOWN]
    context = {
        "person": person,
        "has_mfa": people.list_authenticators(person.pk).exists(),
        "roles_form": roles_form,
        "has_provider_roles": bool(fixed),
        "can_use_link": people.can_use_sign_in_link(person),
        "email_form": email_form,
        "link_form": link_form,
        "account_form": account_form,
        "sessions": session_rows(request, person),
        # The session to end, if that still needs reauthentication.
        "ending": request.POST.get("session", ""),
        "account": provider_accounts.find_account(person=person, issuer=settings.OIDC_ISSUER),
        "events": [(event, brief_sentence(event)) for event in with_values(latest)],
    } | more
    return render(request, "people/detail.html", context, status=status)
