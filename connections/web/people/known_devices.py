"""Known browsers: failed sign-ins by others don't lock out a browser that signed in before.

A signed cookie identifies the browser and the people who signed in there. It gives no access. It
only makes sign-ins from that browser count separately, with the same limits. For a person, it
expires together with their sessions: on a new password, a lost role, or being disabled.
"""

from datetime import timedelta
from secrets import token_urlsafe

from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare, salted_hmac

from connections.models import Person

MAX_AGE = timedelta(days=180)
_SALT = "connections.known_device"
# URL names of the sign-in pages.
_SIGN_IN_PAGES = frozenset({"account_login", "mfa_authenticate", "mfa_login_webauthn"})
_MAX_PEOPLE = 5


def cookie_name() -> str:
    """The cookie's name, with the __Host- prefix if cookies are secure."""
    return "__Host-known-device" if settings.SESSION_COOKIE_SECURE else "known-device"


def remember_device(request: HttpRequest, response: HttpResponse, *, person: Person) -> None:
    """Set the cookie that says that the person has signed in with this browser."""
    device, people = _read(request)
    people.pop(str(person.pk), None)
    # The newest is last.
    newest = [*people.items(), (str(person.pk), _fingerprint(person))][-_MAX_PEOPLE:]
    response.set_cookie(
        cookie_name(),
        signing.dumps({"device": device or token_urlsafe(16), "people": dict(newest)}, salt=_SALT),
        max_age=MAX_AGE,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def device_for(request: HttpRequest, *, login: str) -> str:
    """This browser's ID if the person with this username or email signed in there, otherwise ""."""
    names = {
        name.upper()
        for person in _people(request)
        for name in (person.username, person.email)
        if name
    }
    return _read(request)[0] if login.upper() in names else ""


def device_signing_in(request: HttpRequest) -> str:
    """This browser's ID if it's on a sign-in page and someone signed in there, otherwise ""."""
    match = request.resolver_match
    if match is None or match.url_name not in _SIGN_IN_PAGES or not _people(request):
        return ""
    return _read(request)[0]


def _read(request: HttpRequest) -> tuple[str, dict[str, str]]:
    """The browser's ID, and a fingerprint for each person's ID. Empty without the cookie."""
    try:
        cookie = signing.loads(request.COOKIES.get(cookie_name(), ""), salt=_SALT, max_age=MAX_AGE)
    except signing.BadSignature:
        return "", {}
    return cookie["device"], cookie["people"]


def _people(request: HttpRequest) -> list[Person]:
    """The people who signed in with this browser and whose password is unchanged since."""
    _, fingerprints = _read(request)
    return [
        person
        for person in Person.objects.filter(pk__in=fingerprints, is_active=True)
        if constant_time_compare(fingerprints[str(person.pk)], _fingerprint(person))
    ]


def _fingerprint(person: Person) -> str:
    return salted_hmac(_SALT, person.get_session_auth_hash(), algorithm="sha256").hexdigest()
