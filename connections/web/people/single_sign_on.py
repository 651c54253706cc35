"""Sign-ins at the identity provider: their state in the session, and the texts of refusals."""

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from django.conf import settings
from django.http import Http404, HttpRequest
from django.urls import reverse

from connections.core import clock
from connections.core.own_address import own_origin
from connections.core.text import format_limit
from connections.people import provider_accounts
from connections.people.oidc import client
from connections.people.oidc.client import SignInRequest
from connections.people.oidc.exchange import open_exchange
from connections.people.oidc.identity import ProviderError, ProviderIdentity, Reason
from connections.web.framework.support import signed_in_person


class Refusal(StrEnum):
    """Why a valid identity from the provider is refused here."""

    UNKNOWN_ACCOUNT = "unknown_account"  # not connected to a person here
    DISABLED = "disabled"  # the person is disabled
    OTHER_ACCOUNT = "other_account"  # not the signed-in person's


class RefusalText(NamedTuple):
    """`audit_text` follows "was refused: " in the audit event."""

    audit_text: str
    headline: str
    body: str


_INVALID = "Invalid response"
_FAULT = "The identity provider might be set up wrongly. Tell an administrator."
# How long a sign-in can take.
MAX_DURATION = timedelta(minutes=10)
REFUSAL_TEXTS: dict[Reason | Refusal, RefusalText] = {
    Reason.UNREACHABLE: RefusalText(
        "the identity provider gave no usable response",
        "No response from the identity provider",
        "Try again in a minute, or sign in with a password.",
    ),
    Reason.BUSY: RefusalText(
        "too many sign-ins were waiting for the identity provider",
        "Try again in a minute",
        "The identity provider is slow and other sign-ins are waiting for it. Reload this page in "
        "a minute, or sign in with a password.",
    ),
    Reason.UNKNOWN_ADDRESS: RefusalText(
        "it was started at a host that ALLOWED_HOSTS doesn't name exactly",
        "No SSO sign-in at this address",
        "Open Org Admin at its usual address. Administrators: set ORGADMIN_BASE_URL.",
    ),
    Reason.CANCELLED: RefusalText(
        "it was canceled there",
        "Sign-in canceled",
        "Nothing was changed. Try again, or sign in with a password.",
    ),
    Reason.REFUSED: RefusalText(
        "the identity provider refused it",
        "The identity provider refused the sign-in",
        "Try again. If it keeps failing, tell an administrator.",
    ),
    Reason.STALE: RefusalText(
        "no sign-in was in progress in this browser",
        "Sign-in expired",
        f"It took longer than {format_limit(MAX_DURATION)}, was already used, or started in "
        "another browser. Sign in again.",
    ),
    Reason.BAD_TOKEN: RefusalText("the ID token isn't from this provider", _INVALID, _FAULT),
    Reason.WRONG_ISSUER: RefusalText("the response is from another issuer", _INVALID, _FAULT),
    Reason.WRONG_AUDIENCE: RefusalText("the ID token is for another application", _INVALID, _FAULT),
    Reason.WRONG_NONCE: RefusalText("the ID token is for another sign-in", _INVALID, _FAULT),
    Reason.EXPIRED: RefusalText(
        "the ID token is too old or from the future",
        "Response expired",
        "The clocks of this server and the provider differ, or the response took too long. "
        "Sign in again.",
    ),
    Reason.NOT_REAUTHENTICATED: RefusalText(
        "the person didn't sign in again there",
        "Sign in again there",
        "The provider didn't confirm that you just entered your password or used a key. Try again.",
    ),
    Refusal.UNKNOWN_ACCOUNT: RefusalText(
        "the account isn't connected to anyone here",
        "Account not connected",
        "An administrator can connect it on your page under People, with the subject below. A "
        "matching name or email address isn't enough.",
    ),
    Refusal.DISABLED: RefusalText(
        "the person is disabled",
        "Account disabled",
        "You aren't signed in. Ask an administrator to enable the account.",
    ),
    Refusal.OTHER_ACCOUNT: RefusalText(
        "they used a different account there",
        "Different account",
        "Sign in there with the account that is connected to yours here.",
    ),
}


# How many can be pending in one browser.
MAX_PENDING = 5
_SESSION_KEY = "provider_sign_ins"
_MFA_SESSION_KEY = "provider_second_factor"


class SignInPurpose(StrEnum):
    """Why a person is sent to the provider."""

    SIGN_IN = "sign_in"
    REAUTHENTICATE = "reauthenticate"
    CONNECT = "connect"  # connect an account at the provider


@dataclass(frozen=True, kw_only=True)
class CompletedSignIn:
    """A valid sign-in. `person_id` is who was signed in when it started, or "" for no one."""

    identity: ProviderIdentity
    purpose: SignInPurpose
    to: str
    person_id: str


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
    }
    request.session[_SESSION_KEY] = pending
    return client.build_authorization_url(
        provider=provider, metadata=metadata, request=started, redirect_uri=redirect_uri
    )


def finish(request: HttpRequest) -> CompletedSignIn:
    """Complete a sign-in that was started in this browser.

    Raises ProviderError. After Reason.BUSY the same response can be used again.
    """
    pending = _pending(request)
    started_here = pending.pop(request.GET.get("state", ""), None)
    if started_here is None:
        raise ProviderError(Reason.STALE, "No such sign-in was started in this browser.")
    now = clock.now()
    at = datetime.fromisoformat(started_here["request"]["at"])
    started = SignInRequest(**started_here["request"] | {"at": at})
    if clock.elapsed_since(started.at, now=now) > MAX_DURATION:
        raise ProviderError(Reason.STALE, "The sign-in took too long.")
    with open_exchange(provider_accounts.load_identity_provider()) as exchange:
        # From now on the response counts as used. Reason.BUSY never gets here.
        request.session[_SESSION_KEY] = pending
        identity = client.fetch_identity(
            exchange,
            request=started,
            redirect_uri=_redirect_uri(request),
            callback={name: request.GET[name] for name in request.GET},
            now=now,
        )
    return CompletedSignIn(
        identity=identity,
        purpose=SignInPurpose(started_here["purpose"]),
        to=started_here["to"],
        person_id=started_here["person"],
    )


def is_pending(request: HttpRequest) -> bool:
    """Whether this browser started the sign-in that it returns from."""
    return request.GET.get("state", "") in _pending(request)


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


def _pending(request: HttpRequest) -> dict[str, Any]:
    return dict(request.session.get(_SESSION_KEY) or {})


def _redirect_uri(request: HttpRequest) -> str:
    origin = own_origin(request)
    if not origin:
        raise ProviderError(
            Reason.UNKNOWN_ADDRESS,
            f"ALLOWED_HOSTS doesn't name {request.get_host()} exactly. Set ORGADMIN_BASE_URL.",
        )
    return f"{origin}{reverse('provider-callback')}"
