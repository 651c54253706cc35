"""The one way to write a POST that calls one service about one object."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from django.http import HttpRequest, HttpResponse

from connections.access import permissions
from connections.access.actor import Actor
from connections.core.errors import DomainError
from connections.web.framework.forms import ServiceForm
from connections.web.framework.reauthentication import requires_reauthentication
from connections.web.framework.support import actor_of

type ActionView = Callable[[HttpRequest, UUID], HttpResponse]


class _ShowPage(Protocol):
    def __call__(
        self,
        request: HttpRequest,
        pk: UUID,
        /,
        *,
        actor: Actor,
        form: ServiceForm,
        error: DomainError | None,
    ) -> HttpResponse: ...


@dataclass(frozen=True, kw_only=True)
class Subject[T]:
    """What a family of actions is about."""

    # The name of the services' argument.
    name: str
    # Finds it for an action, without the rows that only its page shows. Raises Http404.
    find: Callable[[Actor, UUID], T]
    # Its page, with what was typed and, if the service refused, why.
    show: _ShowPage
    # The response once the service has returned.
    respond: Callable[[HttpRequest, T, Actor], HttpResponse]


def service_action[T](
    subject: Subject[T],
    name: str,
    service: Callable[..., Any],
    *,
    form: type[ServiceForm] = ServiceForm,
    reauthenticate: bool = False,
    when: Callable[[HttpRequest], bool] = lambda request: True,
    is_allowed: Callable[[Actor, T], bool] = lambda actor, item: True,
    what: str = "",
) -> ActionView:
    """A view that passes the form's fields to a service. Its URL is named `name`.

    If the service refuses, the page says why and keeps what was typed. With `reauthenticate`, the
    POST needs an identity check if `when` says so. `is_allowed` is what the action requires in
    addition to its URL's permission, and `what` completes "permission to …": a person who lacks it
    is refused before the identity check.
    """

    def act(request: HttpRequest, pk: UUID) -> HttpResponse:
        actor = actor_of(request)
        item = subject.find(actor, pk)
        typed = form(request.POST)
        try:
            typed.require_valid()
            service(**{subject.name: item}, actor=actor, **typed.cleaned_data)
        except DomainError as error:
            return subject.show(request, pk, actor=actor, form=typed, error=error)
        return subject.respond(request, item, actor)

    def ask(request: HttpRequest, pk: UUID) -> HttpResponse:
        actor = actor_of(request)
        permissions.require(is_allowed(actor, subject.find(actor, pk)), what)
        return subject.show(request, pk, actor=actor, form=form(request.POST), error=None)

    view = requires_reauthentication(on_missing=ask, when=when)(act) if reauthenticate else act
    view.__name__ = name
    return view
