"""Sign-ins at the identity provider: their state in the session, and the texts of refusals."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest
from django.urls import reverse

from connections.core import clock
from connections.core.own_address import own_origin
from connections.core.text import format_limit
from connections.models import Person
from connections.people import people, provider_accounts
from connections.people.oidc import client
from connections.people.oidc.client import SignInRequest
from connections.people.oidc.exchange import open_exchange
from connections.people.oidc.identity import Failure, ProviderError, ProviderIdentity
from connections.people.provider_roles import list_provider_roles
from connections.people.provider_sign_in import SignInRefusal
from connections.web.framework.http import signed_in_person, time_of


class RefusalText(NamedTuple):
    """`audit_text` follows "was refused: " in the audit event."""

    audit_text: str
    headline: str
    body: str


_INVALID = "Invalid response"
_FAULT = "The identity provider might be set up wrongly. Tell an administrator."
# How long a sign-in can take.
MAX_DURATION = timedelta(minutes=10)
REFUSAL_TEXTS: dict[Failure | SignInRefusal, RefusalText] = {
    Failure.UNREACHABLE: RefusalText(
        "the identity provider gave no usable response",
        "No response from the identity provider",
        "Try again in a minute.",
    ),
    Failure.BUSY: RefusalText(
        "too many sign-ins were waiting for the identity provider",
        "Try again in a minute",
        "The identity provider is slow and other sign-ins are waiting for it. Reload this page in "
        "a minute.",
    ),
    Failure.UNKNOWN_ADDRESS: RefusalText(
        "it was started at a host that ALLOWED_HOSTS doesn't name exactly",
        "No SSO sign-in at this address",
        "Open Org Admin at its usual address. Administrators: set ORGADMIN_BASE_URL.",
    ),
    Failure.CANCELLED: RefusalText(
        "it was canceled there",
        "Sign-in canceled",
        "Nothing was changed. Try again.",
    ),
    Failure.REFUSED: RefusalText(
        "the identity provider refused it",
        "The identity provider refused the sign-in",
        "Try again. If it keeps failing, tell an administrator.",
    ),
    Failure.STALE: RefusalText(
        "no sign-in was in progress in this browser",
        "Sign-in expired",
        f"It took longer than {format_limit(MAX_DURATION)}, was already used, or started in "
        "another browser. Sign in again.",
    ),
    Failure.BAD_TOKEN: RefusalText("the ID token isn't from this provider", _INVALID, _FAULT),
    Failure.WRONG_ISSUER: RefusalText("the response is from another issuer", _INVALID, _FAULT),
    Failure.WRONG_AUDIENCE: RefusalText(
        "the ID token is for another application", _INVALID, _FAULT
    ),
    Failure.WRONG_NONCE: RefusalText("the ID token is for another sign-in", _INVALID, _FAULT),
    Failure.EXPIRED: RefusalText(
        "the ID token is too old or from the future",
        "Response expired",
        "The clocks of this server and the provider differ, or the response took too long. "
        "Sign in again.",
    ),
    Failure.NOT_REAUTHENTICATED: RefusalText(
        "the person didn't sign in again there",
        "Sign in again there",
        "The provider didn't confirm that you just entered your password or used a key. Try again.",
    ),
    Failure.NO_ROLES_CLAIM: RefusalText(
        "the identity provider didn't say which groups the account is in",
        "Your groups are unknown",
        "The identity provider sent no usable list of groups, so your roles weren't changed and "
        "you aren't signed in. Administrators: see ORGADMIN_OIDC_ROLES_CLAIM.",
    ),
    Failure.ROLES_CLAIM_TOO_LARGE: RefusalText(
        "the account is in too many groups for the identity provider to name them",
        "Too many groups",
        "You are in too many groups for the identity provider to send them, so your roles weren't "
        "changed and you aren't signed in. Administrators: let the identity provider send only the "
        "groups that are assigned to Org Admin, or application roles.",
    ),
    SignInRefusal.UNKNOWN_ACCOUNT: RefusalText(
        "the account isn't connected to anyone here",
        "Account not connected",
        "An administrator can connect it on your page under People, with the subject below. A "
        "matching name or email address isn't enough.",
    ),
    SignInRefusal.DISABLED: RefusalText(
        "the person is disabled",
        "Account disabled",
        "You aren't signed in. Ask an administrator to enable the account.",
    ),
    SignInRefusal.OTHER_ACCOUNT: RefusalText(
        "they used a different account there",
        "Different account",
        "Sign in there with the account that is connected to yours here.",
    ),
    SignInRefusal.NO_ROLE: RefusalText(
        "none of the account's groups has a role here",
        "No access",
        "None of your groups at the identity provider has a role in Org Admin. Ask for a group "
        "that has one.",
    ),
    SignInRefusal.LAST_ADMINISTRATOR: RefusalText(
        "their groups would take the Administrator role from the last active administrator",
        "No access",
        "Your groups at the identity provider no longer make you an administrator, but you are "
        "the last one, so you keep that role and aren't signed in. Make another person an "
        "administrator with change_person on the server.",
    ),
    SignInRefusal.NO_PROFILE: RefusalText(
        "the identity provider sent no usable username and email address for a new person",
        "Account not created",
        "The identity provider sent no usable username and verified email address. Ask an "
        "administrator to add you and to connect your account, with the subject below.",
    ),
    SignInRefusal.NAME_TAKEN: RefusalText(
        "a new person's username or email address already belongs to another person",
        "Account not created",
        "Another person here already has your username or email address, which isn't proof that "
        "it's you. An administrator can connect your account to that person, with the subject "
        "below.",
    ),
}


# How many can be pending in one browser.
MAX_PENDING = 5
_SESSION_KEY = "provider_sign_ins"
_MFA_SESSION_KEY = "provider_second_factor"
# When the roles of the session's person were last taken from the provider.
_ROLES_SESSION_KEY = "provider_roles_at"
_LOGOUT_SESSION_KEY = "provider_logout"
# With a role map, a session asks the provider again at its next page after this time.
ROLES_LAST = timedelta(hours=1)
# Until then, a form that was open is still accepted, unless a page has asked.
_FORMS_LAST = 2 * ROLES_LAST


class SignInPurpose(StrEnum):
    """Why a person is sent to the provider."""

    SIGN_IN = "sign_in"
    REAUTHENTICATE = "reauthenticate"
    CONNECT = "connect"  # connect an account at the provider
    RENEW = "renew"  # the roles of a session are old


@dataclass(frozen=True, kw_only=True)
class CompletedSignIn:
    """A valid sign-in. `person_id` is who was signed in when it started, or "" for no one."""

    identity: ProviderIdentity
    purpose: SignInPurpose
    to: str
    person_id: str
    # The provider's logout page; "" if it has none.
    logout_url: str


def is_on() -> bool:
    """Whether a provider is completely configured. operations/checks.py says what is missing."""
    return bool(settings.OIDC_ISSUER and settings.OIDC_CLIENT_ID and settings.OIDC_SECRET_FILE)


def require_provider() -> None:
    """Raise Http404 unless a provider is completely configured."""
    if not is_on():
        raise Http404


def provider_name() -> str:
    """The provider's name on screen; "" unless it is completely configured."""
    return settings.OIDC_NAME if is_on() else ""


def start(request: HttpRequest, *, purpose: SignInPurpose, to: str) -> str:
    """Store a new sign-in in the session, and return the provider's URL for the browser.

    Raises ProviderError.
    """
    redirect_uri = _redirect_uri(request)
    provider = provider_accounts.load_identity_provider()
    with open_exchange(provider) as exchange:
        metadata = client.fetch_metadata(exchange)
    started = client.start(
        is_reauthentication=purpose == SignInPurpose.REAUTHENTICATE, now=clock.now()
    )
    person = signed_in_person(request)
    pending = dict(list(_pending(request).items())[-(MAX_PENDING - 1) :])
    pending[started.state] = {
        "request": asdict(started) | {"at": started.at.isoformat()},
        "purpose": purpose,
        "to": to,
        "person": str(person.pk) if person else "",
        "logout": metadata.end_session_endpoint,
    }
    request.session[_SESSION_KEY] = pending
    is_page = request.headers.get("Sec-Fetch-Dest", "document") == "document"
    if purpose == SignInPurpose.RENEW and is_page:
        # Someone whom the provider no longer lets in doesn't come back, and sends no form either.
        request.session[_ROLES_SESSION_KEY] = ""
    return client.build_authorization_url(
        provider=provider, metadata=metadata, request=started, redirect_uri=redirect_uri
    )


def finish(request: HttpRequest) -> CompletedSignIn:
    """Complete a sign-in that was started in this browser.

    Raises ProviderError. After Failure.BUSY the same response can be used again.
    """
    pending = _pending(request)
    started_here = pending.pop(request.GET.get("state", ""), None)
    if started_here is None:
        raise ProviderError(Failure.STALE, "No such sign-in was started in this browser.")
    now = clock.now()
    at = datetime.fromisoformat(started_here["request"]["at"])
    started = SignInRequest(**started_here["request"] | {"at": at})
    purpose = SignInPurpose(started_here["purpose"])
    if clock.elapsed_since(started.at, now=now) > MAX_DURATION:
        raise ProviderError(Failure.STALE, "The sign-in took too long.")
    with open_exchange(provider_accounts.load_identity_provider()) as exchange:
        # From now on the response counts as used. Failure.BUSY never gets here.
        request.session[_SESSION_KEY] = pending
        identity = client.fetch_identity(
            exchange,
            request=started,
            redirect_uri=_redirect_uri(request),
            callback={name: request.GET[name] for name in request.GET},
            reads_claims=purpose in {SignInPurpose.SIGN_IN, SignInPurpose.RENEW},
            is_known=lambda known: (
                provider_accounts.find_person(issuer=known.issuer, subject=known.subject)
                is not None
            ),
            now=now,
        )
    return CompletedSignIn(
        identity=identity,
        purpose=purpose,
        to=started_here["to"],
        person_id=started_here["person"],
        logout_url=started_here["logout"],
    )


def pending_purpose(request: HttpRequest) -> SignInPurpose | None:
    """Why this browser started the sign-in that it returns from. None if it didn't."""
    started_here = _pending(request).get(request.GET.get("state", ""))
    return started_here and SignInPurpose(started_here["purpose"])


def record_provider_mfa(
    request: HttpRequest, *, person_id: str, identity: ProviderIdentity
) -> None:
    """Remember whether the provider reports MFA with a value in ORGADMIN_OIDC_MFA_VALUES."""
    if identity.methods & set(settings.OIDC_MFA_VALUES):
        request.session[_MFA_SESSION_KEY] = person_id
    else:
        request.session.pop(_MFA_SESSION_KEY, None)


def has_provider_mfa(request: HttpRequest, *, person_id: str) -> bool:
    """Whether the person used MFA at the provider to sign in to this session."""
    return bool(request.session.get(_MFA_SESSION_KEY) == person_id)


class RolesState(StrEnum):
    """Whether the roles of a session are those that the provider gave recently."""

    CURRENT = "current"
    DUE = "due"  # the next page asks the provider
    EXPIRED = "expired"  # no form is accepted either


def require_allowed_way_in(person: Person, *, methods: Collection[str]) -> None:
    """Raise PermissionDenied for a program, and if ORGADMIN_SSO_ONLY forbids this way."""
    if person.is_program:
        raise PermissionDenied(people.NO_SIGN_IN)
    is_break_glass = "sign_in_link" in methods and people.can_use_sign_in_link(person)
    if settings.SSO_ONLY and "provider" not in methods and not is_break_glass:
        raise PermissionDenied("Sign in with SSO. Other ways are turned off.")


def start_roles_clock(request: HttpRequest, person: Person, *, methods: Collection[str]) -> None:
    """Note when the roles of a session that begins are from, if the provider gives them.

    Someone with an account there who signs in otherwise has old ones, except with a sign-in link:
    it is for when the provider doesn't work.
    """
    request.session.pop(_ROLES_SESSION_KEY, None)
    if "provider" in methods:
        note_roles(request)
    elif "sign_in_link" not in methods and list_provider_roles(person):
        request.session[_ROLES_SESSION_KEY] = ""


def note_roles(request: HttpRequest) -> None:
    """Note that the provider has just given the roles of this session's person."""
    request.session[_ROLES_SESSION_KEY] = clock.now().isoformat()


def roles_state(request: HttpRequest) -> RolesState:
    """How old the roles of this session are. A session that doesn't depend on them is current."""
    at = request.session.get(_ROLES_SESSION_KEY)
    if at is None or not settings.OIDC_ROLE_MAP or not is_on():
        return RolesState.CURRENT
    if not at:
        return RolesState.EXPIRED
    age = clock.elapsed_since(datetime.fromisoformat(at), now=time_of(request))
    if age <= ROLES_LAST:
        return RolesState.CURRENT
    return RolesState.DUE if age <= _FORMS_LAST else RolesState.EXPIRED


def logout_url(request: HttpRequest) -> str:
    """The provider's logout page for this session, as a link; "" for none."""
    url = request.session.get(_LOGOUT_SESSION_KEY, "") if is_on() else ""
    separator = "&" if urlsplit(url).query else "?"
    # No ID token names the session there, because none is kept: the provider asks the person.
    return url and f"{url}{separator}{urlencode({'client_id': settings.OIDC_CLIENT_ID})}"


def set_logout_url(request: HttpRequest, url: str) -> None:
    """Keep the address of the provider's logout page in the session."""
    request.session[_LOGOUT_SESSION_KEY] = url


@contextmanager
def keeping_logout_url(request: HttpRequest) -> Iterator[None]:
    """Keep that address while the session ends, for the page after signing out."""
    url = request.session.get(_LOGOUT_SESSION_KEY, "")
    yield
    if url:
        set_logout_url(request, url)


def _pending(request: HttpRequest) -> dict[str, Any]:
    return dict(request.session.get(_SESSION_KEY) or {})


def _redirect_uri(request: HttpRequest) -> str:
    origin = own_origin(request)
    if not origin:
        raise ProviderError(
            Failure.UNKNOWN_ADDRESS,
            f"ALLOWED_HOSTS doesn't name {request.get_host()} exactly. Set ORGADMIN_BASE_URL.",
        )
    return f"{origin}{reverse('provider-callback')}"
