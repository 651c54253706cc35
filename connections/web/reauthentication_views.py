"""Asking who it is before an act that is hard to take back.

`guarded` stands before every view that needs it: a POST without a recent proof never reaches the
view, and comes back as the page it was sent from, with the question in it. Nothing of it is kept.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import wraps
from typing import Concatenate, Protocol
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import Resolver404, resolve, reverse
from django.utils.http import urlencode
from django_htmx.http import HttpResponseClientRedirect

from connections.models import Person
from connections.people import provider_accounts
from connections.web import reauthentication
from connections.web.people import single_sign_on
from connections.web.reauthentication import Method, RefusedError
from connections.web.reauthentication_forms import ReauthenticationForm
from connections.web.support import SeeOther, is_local_url, signed_in_person

EMPTY = "Give your password or use a passkey."
type View[**P] = Callable[Concatenate[HttpRequest, P], HttpResponse]


class _Guard(Protocol):
    def __call__[**P](self, view: View[P], /) -> View[P]: ...


@dataclass(frozen=True, kw_only=True)
class ReauthPrompt:
    """What a form shows while its act needs a proof."""

    takes_password: bool
    takes_passkey: bool
    # Where to prove it at the provider; empty for whoever has no account there.
    provider_url: str
    provider_name: str
    # Where a POST came without a proof, its address: nothing was done. Else empty.
    late_at: str
    # What was wrong with the proof that was given; empty when none was.
    problem: str
    # The page on which it is asked, to come back from.
    url: str
    # Where to go without giving one.
    back_url: str


def prompt_for(request: HttpRequest) -> ReauthPrompt | None:
    """The question for this request's page; None while no proof is needed."""
    person = signed_in_person(request)
    if person is None or reauthentication.is_recent(request):
        return None
    ways = reauthentication.ways_of(person)
    return ReauthPrompt(
        takes_password=Method.PASSWORD in ways,
        takes_passkey=Method.PASSKEY in ways,
        provider_url=_provider_url(request, person),
        provider_name=single_sign_on.provider_name(),
        late_at=getattr(request, "_step_up_late_at", ""),
        problem=getattr(request, "_step_up_problem", ""),
        url=prompt_url(request),
        back_url=page_behind(request.path),
    )


def _provider_url(request: HttpRequest, person: Person) -> str:
    if not single_sign_on.is_on():
        return ""
    if not provider_accounts.account_of(person=person, issuer=settings.OIDC_ISSUER):
        return ""
    return f"{reverse('provider-step-up')}?{urlencode({'next': _page_of(request)})}"


def _page_of(request: HttpRequest) -> str:
    """Where to go on after proving it elsewhere: no address of a POST."""
    if request.path == reverse("step-up"):
        return request.POST.get("next") or request.GET.get("next", "")
    if request.method == "POST":
        return page_behind(request.path)
    return request.get_full_path()


def page_behind(path: str) -> str:
    """The page on which an act was chosen: its own address or the one above, else the overview."""
    for address in (path, f"{path.rstrip('/').rpartition('/')[0]}/"):
        with suppress(Resolver404):
            if (resolve(address).url_name or "").endswith(("-detail", "-list")):
                return address
    return reverse("overview")


def requires_reauthentication(
    *,
    comes_back: Callable[..., HttpResponse],
    asks_first: bool = False,
    applies: Callable[[HttpRequest], bool] = lambda request: True,
) -> _Guard:
    """Let a POST reach the view only with a proof of the last five minutes, or a right one in it.

    `comes_back` answers any other POST: it shows the page that was sent, with everything typed
    and with the question, does nothing, and asks the same permissions as the view.
    `asks_first`: the page is not even shown before. `applies` says which POSTs need a proof.
    """

    def decorate[**P](view: View[P]) -> View[P]:
        @wraps(view)
        def asking(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
            if request.method == "POST":
                if _is_proven(request) or not applies(request):
                    return view(request, *args, **kwargs)
                request._step_up_late_at = request.path  # type: ignore[attr-defined]
                response = comes_back(request, *args, **kwargs)
                if response.status_code == 200:
                    response.status_code = 422
                return response
            # Run first, since whoever may not see the page is told so and not asked.
            response = view(request, *args, **kwargs)
            is_asked = (
                asks_first
                and response.status_code == 200
                and not reauthentication.is_recent(request)
            )
            return redirect_to_prompt(request) if is_asked else response

        # The URL of the view declares the same: routing.py holds the two together.
        asking.reauthenticates = True  # type: ignore[attr-defined]
        return asking

    return decorate


def _is_proven(request: HttpRequest) -> bool:
    """Whether the session is recent, or becomes so by an answer that came with the form."""
    form = ReauthenticationForm(request.POST)
    # Nothing that handles the rest of what was typed gets to see it.
    request.POST = form.the_rest  # type: ignore[assignment]
    if reauthentication.is_recent(request) or not form.is_filled_in:
        return reauthentication.is_recent(request)
    try:
        _prove(request, form)
    except RefusedError as error:
        request._step_up_problem = str(error)  # type: ignore[attr-defined]
        return False
    return True


def _prove(request: HttpRequest, form: ReauthenticationForm) -> None:
    form.is_valid()
    password, passkey = form.cleaned_data.get("password"), form.cleaned_data.get("passkey")
    if password:
        reauthentication.prove_by_password(request, password=password)
    elif isinstance(passkey, dict):
        reauthentication.prove_by_passkey(request, credential=passkey)
    else:
        raise RefusedError(reauthentication.WRONG_PASSKEY)


def prompt_url(request: HttpRequest) -> str:
    """The page that asks, and then leads to the page of this request."""
    return f"{reverse('step-up')}?{urlencode({'next': request.get_full_path()})}"


def redirect_to_prompt(request: HttpRequest) -> HttpResponse:
    """Lead there with nothing but the address: a POST is neither kept nor done afterwards."""
    url = prompt_url(request)
    if "HX-Request" in request.headers:
        return HttpResponseClientRedirect(url)
    return HttpResponseRedirect(url)


def reauthentication_page(request: HttpRequest) -> HttpResponse:
    """Ask who it is, then lead to where the person was going."""
    wanted = request.POST.get("next") or request.GET.get("next", "")
    to = wanted if is_local_url(request, wanted) else reverse("overview")
    if reauthentication.is_recent(request) or (request.method == "POST" and _is_proven(request)):
        return SeeOther(to)
    if request.method == "POST" and not getattr(request, "_step_up_problem", ""):
        request._step_up_problem = EMPTY  # type: ignore[attr-defined]
    status = 422 if request.method == "POST" else 200
    context = {"next": to, "back_url": page_behind(urlsplit(to).path)}
    return render(request, "connections/reauthentication.html", context, status=status)


def reauthentication_passkey(request: HttpRequest) -> HttpResponseBase:
    """What the browser needs to ask for a passkey; replaces the challenge before it."""
    return JsonResponse(reauthentication.passkey_challenge(request))
