"""Adding a person, and the actions on a person's page."""

from functools import partial
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse

from connections.access.actor import Actor
from connections.core import clock
from connections.core.errors import InvalidInputError
from connections.core.own_address import own_origin
from connections.models import Person
from connections.people import people, provider_accounts, sign_in_links
from connections.web.framework.actions import Subject, service_action
from connections.web.framework.http import SeeOther, actor_of
from connections.web.framework.reauthentication import requires_reauthentication
from connections.web.people import detail, forms, single_sign_on
from connections.web.people.account import end_sessions

_action = partial(
    service_action,
    Subject(
        name="person",
        find=lambda actor, pk: get_object_or_404(Person, pk=pk),
        page=detail.person_detail,
    ),
    reauthenticate=True,
)

person_roles = _action(
    "person-roles",
    people.set_roles,
    form=forms.RolesForm,
    done=lambda person, stored: f"Roles of {person.display_name} saved.",
)
person_email = _action(
    "person-email",
    people.change_email,
    form=forms.EmailForm,
    done=lambda person, stored: f"Email of {person.display_name} saved.",
)
person_break_glass = _action(
    "person-break-glass",
    people.set_break_glass,
    form=forms.AllowBreakGlassForm,
    done=lambda person, stored: (
        f"{person.display_name} can {'now' if stored.has_break_glass else 'no longer'} use "
        "break glass."
    ),
)
person_disable = _action(
    "person-disable",
    people.disable_person,
    done=lambda person, stored: f"{person.display_name} is disabled and signed out everywhere.",
)
person_enable = _action(
    "person-enable",
    people.enable_person,
    done=lambda person, stored: f"{person.display_name} can sign in again.",
)
# Ends one session of a person or, without `session`, all of them.
person_sessions_end = _action(
    "person-sessions-end",
    end_sessions,
    form=forms.SessionForm,
    done=lambda person, text: text,
)


def _change_provider_account(
    *, actor: Actor, person: Person, subject: str, is_disconnected: bool
) -> str:
    """Connect the provider account with this subject, or disconnect the current one."""
    if is_disconnected:
        provider_accounts.disconnect_account(
            actor=actor, person=person, issuer=settings.OIDC_ISSUER
        )
        return f"Account disconnected. {person.display_name} is signed out everywhere."
    single_sign_on.require_provider()
    provider_accounts.connect_account(
        actor=actor, person=person, issuer=settings.OIDC_ISSUER, subject=subject
    )
    return "Account connected."


person_provider = _action(
    "person-provider",
    _change_provider_account,
    form=forms.ProviderAccountForm,
    done=lambda person, text: text,
)


def _make_link(
    *, actor: Actor, person: Person, removes_second_factor: bool = False
) -> dict[str, Any]:
    """A sign-in link, as template variables."""
    now = clock.now()
    link = sign_in_links.make_sign_in_link(
        actor=actor, person=person, now=now, removes_second_factor=removes_second_factor
    )
    return {
        "link": link,
        "link_expires_at": now + sign_in_links.SIGN_IN_LINK_LIFETIME,
        "link_removes_second_factor": removes_second_factor,
    }


def _page_with_link(
    request: HttpRequest, actor: Actor, person: Person, link: dict[str, Any]
) -> HttpResponse:
    # No redirect, because that would require storing the token.
    link["link"] = f"{own_origin(request)}{link['link']}"
    return detail.render_person(request, person, **link)


# Shows the link, once.
person_link = _action("person-link", _make_link, form=forms.MakeLinkForm, respond=_page_with_link)


def _new_page(request: HttpRequest, form: forms.PersonForm | None = None) -> HttpResponse:
    form = form or forms.PersonForm(request.POST or None)
    status = 422 if form.is_bound else 200
    return render(request, "people/new.html", {"form": form}, status=status)


@requires_reauthentication(on_missing=_new_page, before_page=True)
def person_new(request: HttpRequest) -> HttpResponse:
    """Add a person. The response shows their sign-in link once."""
    actor, form = actor_of(request), forms.PersonForm(request.POST or None)
    if form.is_valid():
        try:
            person = people.add_person(actor=actor, **form.cleaned_data)
        except InvalidInputError as error:
            form.add_errors(error)
        else:
            if person.is_program:
                messages.success(request, f"{person.display_name} added. Create its first token.")
                return SeeOther(reverse("person-token-list"))
            if not people.can_use_sign_in_link(person):
                messages.success(
                    request, f"{person.display_name} added. Connect their SSO account."
                )
                return SeeOther(reverse("person-detail", args=[person.pk]))
            return _page_with_link(request, actor, person, _make_link(actor=actor, person=person))
    return _new_page(request, form)
