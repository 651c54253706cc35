"""Views for signing in at the identity provider, and for connecting an account there."""

import logging

from allauth.account.adapter import get_adapter
from allauth.account.utils import perform_login
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import HASH_SESSION_KEY
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse

from connections.core.errors import ConflictError, InvalidInputError
from connections.models import Person
from connections.people import provider_accounts, sign_in_events
from connections.people.oidc.identity import Failure, ProviderError, ProviderIdentity
from connections.people.provider_sign_in import SignInRefusal, SignInRefusedError, admit
from connections.web.framework import addresses, http, reauthentication
from connections.web.framework.person_limits import is_first_this_minute, too_many_requests
from connections.web.framework.reauthentication import redirect_to_prompt, requires_reauthentication
from connections.web.people import single_sign_on
from connections.web.people.allauth_internals import consume_rate_limit, record_authentication

logger = logging.getLogger(__name__)

# Their limits are in ACCOUNT_RATE_LIMITS. A renewal counts for its person, because many people can
# share an address.
USE_OF_PROVIDER = "use_of_provider"
_RENEWAL = "provider_renewal"
# Reasons that say nothing about the account: a session that is being renewed can try again.
_SAYS_NOTHING = {
    Failure.UNREACHABLE,
    Failure.BUSY,
    Failure.UNKNOWN_ADDRESS,
    Failure.STALE,
}
_SHOWN = "provider_account_shown"
_STATUSES: dict[Failure | SignInRefusal, int] = {
    Failure.UNREACHABLE: 502,
    Failure.BUSY: 503,
}
# Where an administrator can help if they know the account.
_NAMES_ACCOUNT = {SignInRefusal.UNKNOWN_ACCOUNT, SignInRefusal.NO_PROFILE, SignInRefusal.NAME_TAKEN}


def provider_start(request: HttpRequest) -> HttpResponse:
    """Redirect to the provider, to sign in."""
    if http.signed_in_person(request):
        return redirect("overview")
    return _start(request, purpose=single_sign_on.SignInPurpose.SIGN_IN)


def provider_reauthentication(request: HttpRequest) -> HttpResponse:
    """Redirect to the provider, to reauthenticate."""
    return _start(request, purpose=single_sign_on.SignInPurpose.REAUTHENTICATE)


def provider_renewal(request: HttpRequest) -> HttpResponse:
    """Redirect to the provider, because the roles of this session are old."""
    if single_sign_on.roles_state(request) == single_sign_on.RolesState.CURRENT:
        return redirect("overview")
    return _start(request, purpose=single_sign_on.SignInPurpose.RENEW)


def provider_connect_start(request: HttpRequest) -> HttpResponse:
    """Redirect to the provider, to connect the account there."""
    single_sign_on.require_provider()
    if not reauthentication.is_recent(request):
        return redirect_to_prompt(request)
    return _start(request, purpose=single_sign_on.SignInPurpose.CONNECT)


def _start(request: HttpRequest, *, purpose: single_sign_on.SignInPurpose) -> HttpResponse:
    single_sign_on.require_provider()
    wanted = request.GET.get("next", "")
    to = wanted if addresses.is_local_url(request, wanted) else reverse("overview")
    # Otherwise another site's page could start a sign-in for the person. A renewal only continues
    # a session, and also follows a link from an email to one of our pages.
    is_renewal = purpose == single_sign_on.SignInPurpose.RENEW
    if not is_renewal and request.headers.get("Sec-Fetch-Site", "none") not in {
        "none",
        "same-origin",
    }:
        return redirect("overview")
    action = _RENEWAL if is_renewal else USE_OF_PROVIDER
    if not consume_rate_limit(request, app="allauth.account", action=action, limit_get=True):
        return too_many_requests(request)
    try:
        url = single_sign_on.start(request, purpose=purpose, to=to)
    except ProviderError as error:
        return _refused(request, error.reason, text=str(error))
    return HttpResponseRedirect(url)


def provider_callback(request: HttpRequest) -> HttpResponse:
    """The return from the provider."""
    single_sign_on.require_provider()
    purpose = single_sign_on.pending_purpose(request)
    try:
        completed = single_sign_on.finish(request)
    except ProviderError as error:
        is_renewal = purpose == single_sign_on.SignInPurpose.RENEW
        renewed = http.signed_in_person(request) if is_renewal else None
        if renewed and error.reason not in _SAYS_NOTHING:
            get_adapter(request).logout(request)
        # Record only sign-ins that were started here, because anyone can open this URL.
        return _refused(
            request,
            error.reason,
            text=str(error),
            person=renewed,
            is_recorded=purpose is not None,
        )
    if completed.purpose == single_sign_on.SignInPurpose.SIGN_IN:
        return _sign_in(request, completed)
    person = http.signed_in_person(request)
    if person is None or str(person.pk) != completed.person_id:
        return _refused(request, Failure.STALE, text="Another person has signed in since.")
    if completed.purpose == single_sign_on.SignInPurpose.CONNECT:
        request.session[_SHOWN] = {
            "person": completed.person_id,
            "issuer": completed.identity.issuer,
            "subject": completed.identity.subject,
        }
        return redirect("provider-account")
    if completed.purpose == single_sign_on.SignInPurpose.RENEW:
        return _renew(request, completed, person)
    return _reauthenticated(request, completed, person)


def _sign_in(request: HttpRequest, completed: single_sign_on.CompletedSignIn) -> HttpResponse:
    identity = completed.identity
    try:
        person = admit(identity, request_id=http.request_id_of(request)).person
    except SignInRefusedError as error:
        return _refused_here(request, error, identity)
    if http.signed_in_person(request) is not None:
        # Never reuse one person's session for another.
        get_adapter(request).logout(request)
    single_sign_on.record_provider_mfa(request, person_id=str(person.pk), identity=identity)
    single_sign_on.set_logout_url(request, completed.logout_url)
    authenticated_at = identity.authenticated_at
    record_authentication(
        request,
        person,
        "provider",
        authenticated_at=authenticated_at.timestamp() if authenticated_at else None,
    )
    # Through allauth, which still requires any MFA that is set up here.
    response: HttpResponse = perform_login(request, person, redirect_url=completed.to)
    return response


def _renew(
    request: HttpRequest, completed: single_sign_on.CompletedSignIn, person: Person
) -> HttpResponse:
    """Continue the session with the roles that the provider gives now, or end it."""
    identity = completed.identity
    try:
        _require_account_of(person, identity)
        admission = admit(identity, request_id=http.request_id_of(request))
    except SignInRefusedError as error:
        get_adapter(request).logout(request)
        return _refused_here(request, error, identity)
    if admission.previous_hash != person.get_session_auth_hash():
        get_adapter(request).logout(request)
        return _refused(
            request, Failure.STALE, text="The session was ended meanwhile.", person=person
        )
    # A lost role ends every session of the person. This one continues with what is left, unless
    # its row was deleted meanwhile: saving it then fails.
    request.session[HASH_SESSION_KEY] = admission.person.get_session_auth_hash()
    single_sign_on.note_roles(request)
    return HttpResponseRedirect(completed.to)


def provider_signed_out(request: HttpRequest) -> HttpResponse:
    """After signing out of a session that began at the provider: its logout page, as a link."""
    context = {"logout_url": single_sign_on.logout_url(request)}
    return render(request, "people/single_sign_on_signed_out.html", context)


def _reauthenticated(
    request: HttpRequest, completed: single_sign_on.CompletedSignIn, person: Person
) -> HttpResponse:
    try:
        _require_account_of(person, completed.identity)
    except SignInRefusedError as error:
        return _refused_here(request, error, completed.identity)
    reauthentication.record_reauthentication(request, method=reauthentication.Method.PROVIDER)
    return HttpResponseRedirect(completed.to)


@requires_reauthentication(on_missing=lambda request: _account_page(request))
def provider_account(request: HttpRequest) -> HttpResponse:
    """The person's own account at the provider. A POST connects the account just used."""
    single_sign_on.require_provider()
    account = _shown_account(request)
    if request.method != "POST" or account is None:
        return _account_page(request)
    try:
        provider_accounts.connect_account(
            actor=http.actor_of(request),
            person=http.require_signed_in_person(request),
            **account,
        )
    except (ConflictError, InvalidInputError) as error:
        return _account_page(request, problem=str(error))
    del request.session[_SHOWN]
    messages.success(request, "Account connected.")
    return http.SeeOther(reverse("provider-account"))


def _account_page(request: HttpRequest, *, problem: str = "") -> HttpResponse:
    single_sign_on.require_provider()
    person = http.require_signed_in_person(request)
    context = {
        "account": provider_accounts.find_account(person=person, issuer=settings.OIDC_ISSUER),
        "shown": _shown_account(request),
        "problem": problem,
    }
    status = 409 if problem else 200
    return render(request, "people/single_sign_on_account.html", context, status=status)


def _shown_account(request: HttpRequest) -> dict[str, str] | None:
    """Issuer and subject of the account that this person signed in with to connect it, or None."""
    account, person = request.session.get(_SHOWN), http.signed_in_person(request)
    if not account or person is None or account["person"] != str(person.pk):
        return None
    return {"issuer": account["issuer"], "subject": account["subject"]}


def _require_account_of(person: Person, identity: ProviderIdentity) -> None:
    """Raise RefusedError unless the account is this person's."""
    if provider_accounts.find_person(issuer=identity.issuer, subject=identity.subject) != person:
        raise SignInRefusedError(SignInRefusal.OTHER_ACCOUNT, person=person)


def _refused_here(
    request: HttpRequest, error: SignInRefusedError, identity: ProviderIdentity
) -> HttpResponse:
    account = identity if error.refusal in _NAMES_ACCOUNT else None
    return _refused(request, error.refusal, person=error.person, identity=account)


def _is_repeated(request: HttpRequest, reason: Failure | SignInRefusal) -> bool:
    """Whether the renewal of this person's sessions, which each page asks for, just failed so."""
    person = http.signed_in_person(request)
    is_renewal = single_sign_on.roles_state(request) != single_sign_on.RolesState.CURRENT
    if person is None or not is_renewal:
        return False
    return not is_first_this_minute(f"renewal-refused:{person.pk}:{reason}")


def _refused(
    request: HttpRequest,
    reason: Failure | SignInRefusal,
    *,
    text: str = "",
    person: Person | None = None,
    identity: ProviderIdentity | None = None,
    is_recorded: bool = True,
) -> HttpResponse:
    refusal = single_sign_on.REFUSAL_TEXTS[reason]
    if text:
        logger.warning("A sign-in at the provider was refused. %s", text)
    # Failure.BUSY refuses nothing, because the provider was not contacted.
    if is_recorded and reason != Failure.BUSY and not _is_repeated(request, reason):
        sign_in_events.record_single_sign_on_refused(
            person=person,
            reason=reason,
            why=refusal.audit_text,
            origin=http.origin_of(request),
        )
    context = {"refusal": refusal, "identity": identity}
    response = render(request, "people/single_sign_on_refused.html", context)
    response.status_code = _STATUSES.get(reason, 403)
    if reason == Failure.BUSY:
        response.headers["Retry-After"] = "60"
    return response
