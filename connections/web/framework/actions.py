"""The one way to write a POST that calls one service about one object."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse

from connections.access.actor import Actor
from connections.core.errors import (
    ClockBehindError,
    DomainError,
    InvalidInputError,
    UnavailableError,
)
from connections.web.framework.forms import ServiceForm
from connections.web.framework.http import actor_of, redirect_to
from connections.web.framework.reauthentication import requires_reauthentication

type ActionView = Callable[..., HttpResponse]
# A page with forms. It is called with the request and the arguments in its URL and, after a POST
# that was refused, with a Refusal.
type Page = Callable[..., HttpResponse]


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why a page shows a posted form again. Without a form, nothing was posted."""

    form: Any = None
    # What the service raised. None while an identity check is missing.
    error: DomainError | None = None

    @property
    def status(self) -> int:
        """The status of the page. 200 without an error."""
        if self.error is None:
            return 200
        if isinstance(self.error, InvalidInputError):
            return 422
        return 503 if isinstance(self.error, UnavailableError | ClockBehindError) else 409


NOT_REFUSED = Refusal()


type Respond[T] = Callable[[HttpRequest, Actor, T, Any], HttpResponse]


@dataclass(frozen=True, kw_only=True)
class Subject[T]:
    """What a family of actions is about."""

    # The name of the services' argument. "" if the form says what it is about.
    name: str
    # Finds it for an action by the arguments in its URL, without the rows that only its page shows.
    # Raises Http404.
    find: Callable[..., T]
    page: Page
    # The response once the service has returned, from the object and what the service returned.
    respond: Respond[T] = lambda request, actor, item, result: redirect_to(item)


def service_action[T](
    subject: Subject[T],
    name: str,
    service: Callable[..., Any],
    *,
    form: type[ServiceForm] = ServiceForm,
    page: Page | None = None,
    respond: Respond[T] | None = None,
    done: Callable[[T, Any], str] | None = None,
    reauthenticate: bool = False,
    when: Callable[[HttpRequest], bool] = lambda request: True,
    require: Callable[[Actor, T], object] = lambda actor, item: None,
) -> ActionView:
    """A view that passes the form's fields to a service. Its URL is named `name`.

    If the service refuses, the page says why and keeps what was typed. `page` is the action's own
    page, which a GET shows, if it isn't on the subject's. `done` is the message about the success.
    With `reauthenticate`, the POST needs an identity check if `when` says so, and an own page needs
    one before it is shown. `require` raises PermissionDenied for a person who lacks what the action
    requires in addition to its URL's permission, so that they are refused before the identity
    check.
    """
    show, answer = page or subject.page, respond or subject.respond

    def act(request: HttpRequest, /, **url: Any) -> HttpResponse:
        if request.method != "POST":
            return show(request, *url.values())
        actor = actor_of(request)
        item = subject.find(actor, **url)
        posted = form.about(item, request.POST)
        about = {subject.name: item} if subject.name else {}
        try:
            posted.require_valid()
            result = service(**about, actor=actor, **posted.arguments)
        except DomainError as error:
            if isinstance(error, InvalidInputError):
                posted.add_errors(error)
            return show(request, *url.values(), Refusal(form=posted, error=error))
        if done:
            messages.success(request, done(item, result))
        return answer(request, actor, item, result)

    def ask(request: HttpRequest, /, **url: Any) -> HttpResponse:
        actor = actor_of(request)
        item = subject.find(actor, **url)
        require(actor, item)
        return show(request, *url.values(), Refusal(form=form.about(item, request.POST)))

    guard = requires_reauthentication(on_missing=ask, before_page=page is not None, when=when)
    view = guard(act) if reauthenticate else act
    view.__name__ = name
    return view
