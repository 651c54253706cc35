"""Sign-ins at the identity provider: their state in the session, and texts for refusals."""

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest
from django.urls import reverse

from connections.core import clock
from connections.people import provider_accounts
from connections.people.oidc import client
from connections.people.oidc.client import SignInRequest
from connections.people.oidc.exchange import open_exchange
from connections.people.oidc.tokens import ProviderError, ProviderIdentity, Reason
from connections.web.support import signed_in_person


class Refusal(StrEnum):
    """Why a valid identity from the provider is refused here."""

    UNKNOWN_ACCOUNT = "unknown_account"  # connected to no person here
    DISABLED = "disabled"  # the person is disabled
    OTHER_ACCOUNT = "other_account"  # not the signed-in person's


@dataclass(frozen=True, kw_only=True)
class RefusalText:
    """`audit_text` follows "was refused: " in the audit event."""

    audit_text: str
    headline: str
    body: str


_AGAIN = "Sign in once more. If it stays so, tell an administrator."
_FAULT = "The answer was refused. Tell an administrator: the provider may be set up wrongly."

_TEXTS: dict[str, RefusalText] = {
    Reason.UNREACHABLE: RefusalText(
        audit_text="the provider did not answer as it should",
        headline="The provider does not answer",
        body="Try again in a minute, or sign in with a password.",
    ),
    Reason.BUSY: RefusalText(
        audit_text="too many sign-ins were waiting for the identity provider",
        headline="Try again in a minute",
        body="The identity provider is slow, and other sign-ins are waiting for it. Nothing was "
        "lost: reload this page in a minute, or sign in with a password.",
    ),
    Reason.CANCELLED: RefusalText(
        audit_text="it was cancelled there",
        headline="You did not sign in there",
        body="Nothing was done. Sign in once more, or with a password.",
    ),
    Reason.REFUSED: RefusalText(
        audit_text="the provider refused it",
        headline="The provider refused to sign you in",
        body=_AGAIN,
    ),
    Reason.STALE: RefusalText(
        audit_text="none was begun in this browser",
        headline="This sign-in is over",
        body="It took longer than ten minutes, was used already, or was begun in another browser. "
        "Sign in once more.",
    ),
    Reason.BAD_TOKEN: RefusalText(
        audit_text="the ID token is not one of this provider",
        headline="That was not valid",
        body=_FAULT,
    ),
    Reason.WRONG_ISSUER: RefusalText(
        audit_text="the answer is from another issuer", headline="That was not valid", body=_FAULT
    ),
    Reason.WRONG_AUDIENCE: RefusalText(
        audit_text="the ID token is for another application",
        headline="That was not valid",
        body=_FAULT,
    ),
    Reason.EXPIRED: RefusalText(
        audit_text="the ID token is too old or too new",
        headline="That was not valid any more",
        body="The clocks of this server and the provider differ, or the answer took too long. "
        "Sign in once more.",
    ),
    Reason.WRONG_NONCE: RefusalText(
        audit_text="the ID token answers another sign-in",
        headline="That was not valid",
        body=_FAULT,
    ),
    Reason.NOT_REAUTHENTICATED: RefusalText(
        audit_text="the person did not sign in anew there",
        headline="You were to sign in once more",
        body="The provider did not say that you just gave your password or key there. Try again.",
    ),
    Refusal.UNKNOWN_ACCOUNT: RefusalText(
        audit_text="the account there is nobody's here",
        headline="This account is not connected to anybody here",
        body="An administrator can connect it to you: on your page under People, with the subject "
        "below. A name or an e-mail address connects nothing.",
    ),
    Refusal.DISABLED: RefusalText(
        audit_text="they are disabled",
        headline="This account is disabled",
        body="You are not signed in. An administrator can enable it again.",
    ),
    Refusal.OTHER_ACCOUNT: RefusalText(
        audit_text="it was another account than theirs",
        headline="That is another account",
        body="Sign in there with the account that is connected to you here.",
    ),
}


def refusal_text(reason: Reason | Refusal) -> RefusalText:
    """The texts for one reason."""
    return _TEXTS[reason]


# How long a sign-in may take, and how many can be pending in one browser.
MAX_DURATION = timedelta(minutes=10)
MAX_PENDING = 5
_SESSION_KEY = "provider_sign_ins"
_MFA_SESSION_KEY = "provider_second_factor"


class SignInPurpose(StrEnum):
    """Why a person is sent to the provider."""

    SIGN_IN = "sign_in"
    REAUTHENTICATE = "reauthenticate"
    CONNECT = "connect"  # connect an account there


@dataclass(frozen=True, kw_only=True)
class CompletedSignIn:
    """A valid sign-in. `person_id`: who was signed in when it started; "" for no one."""

    identity: ProviderIdentity
    purpose: SignInPurpose
    to: str
    person_id: str


def is_on() -> bool:
    """Whether a provider is configured in full; operations/checks.py says what is missing."""
    return bool(settings.OIDC_ISSUER and settings.OIDC_CLIENT_ID and settings.OIDC_SECRET_FILE)


def require_provider() -> None:
    """Raise Http404 unless a provider is configured in full."""
    if not is_on():
        raise Http404


def provider_name() -> str:
    """What the provider is called on screen."""
    name: str = settings.OIDC_NAME
    return name


def start(request: HttpRequest, *, purpose: SignInPurpose, to: str) -> str:
    """Store a new sign-in in the session, and return the provider's URL for the browser.

    Raises ProviderError.
    """
    provider = provider_accounts.load_identity_provider()
    with open_exchange(provider) as exchange:
        metadata = client.fetch_metadata(exchange)
    begun = client.start(
        is_reauthentication=purpose == SignInPurpose.REAUTHENTICATE, now=clock.now()
    )
    person = signed_in_person(request)
    pending = dict(list(_pending(request).items())[-(MAX_PENDING - 1) :])
    pending[begun.state] = {
        "request": asdict(begun) | {"at": begun.at.isoformat()},
        "purpose": purpose,
        "to": to,
        "person": str(person.pk) if person else "",
    }
    request.session[_SESSION_KEY] = pending
    return client.build_authorization_url(
        provider=provider, metadata=metadata, request=begun, redirect_uri=_redirect_uri(request)
    )


def finish(request: HttpRequest) -> CompletedSignIn:
    """Complete a sign-in that was started in this browser.

    Raises ProviderError. After Reason.BUSY the same response can be used again.
    """
    pending = _pending(request)
    kept = pending.pop(request.GET.get("state", ""), None)
    if kept is None:
        raise ProviderError(Reason.STALE, "No such sign-in was begun in this browser.")
    now = clock.now()
    at = datetime.fromisoformat(kept["request"]["at"])
    begun = SignInRequest(**kept["request"] | {"at": at})
    if clock.elapsed_since(begun.at, now=now) > MAX_DURATION:
        raise ProviderError(Reason.STALE, "The sign-in took too long.")
    with open_exchange(provider_accounts.load_identity_provider()) as exchange:
        # From here on the response is used up; after Reason.BUSY this line was not reached.
        request.session[_SESSION_KEY] = pending
        identity = client.fetch_identity(
            exchange,
            request=begun,
            redirect_uri=_redirect_uri(request),
            callback={name: request.GET[name] for name in request.GET},
            now=now,
        )
    return CompletedSignIn(
        identity=identity,
        purpose=SignInPurpose(kept["purpose"]),
        to=kept["to"],
        person_id=kept["person"],
    )


def is_pending(request: HttpRequest) -> bool:
    """Whether this browser started the sign-in that it returns from."""
    return request.GET.get("state", "") in _pending(request)


def record_provider_mfa(
    request: HttpRequest, *, person_id: str, identity: ProviderIdentity
) -> None:
    """Remember whether the provider says, in words that are configured, that it asked for two."""
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
    path = reverse("provider-answer")
    return f"{settings.BASE_URL}{path}" if settings.BASE_URL else request.build_absolute_uri(path)
