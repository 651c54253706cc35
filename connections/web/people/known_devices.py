"""Browsers in which somebody signed in before: failed sign-ins of strangers don't lock them out.

A signed cookie names the browser and who signed in there. It opens nothing: sign-ins from that
browser are merely counted apart from everybody else's, by the same limits. It ends for a person
with what ends their sessions: a new password, a role lost, being disabled.
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
# The pages on which one signs in, by name.
_SIGN_IN_PAGES = frozenset({"account_login", "mfa_authenticate", "mfa_login_webauthn"})
_MOST_PEOPLE = 5


def cookie_name() -> str:
    """The cookie's name, with the prefix that binds it to this host where that can be."""
    return "__Host-known-device" if settings.SESSION_COOKIE_SECURE else "known-device"


def remember_device(request: HttpRequest, response: HttpResponse, *, person: Person) -> None:
    """Set the cookie that says that the person has signed in in this browser."""
    device, people = _read(request)
    others = {key: value for key, value in people.items() if key != str(person.pk)}
    # The newest last.
    kept = dict([*others.items(), (str(person.pk), _fingerprint(person))][-_MOST_PEOPLE:])
    response.set_cookie(
        cookie_name(),
        signing.dumps({"device": device or token_urlsafe(16), "people": kept}, salt=_SALT),
        max_age=MAX_AGE,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def device_for(request: HttpRequest, *, login: str) -> str:
    """The id of this browser, if whoever has this name or address signed in in it; else ""."""
    names = {name.upper() for one in _people(request) for name in (one.username, one.email) if name}
    return _read(request)[0] if login.upper() in names else ""


def device_signing_in(request: HttpRequest) -> str:
    """The id of this browser, if it's on a sign-in page and somebody signed in in it; else ""."""
    match = request.resolver_match
    if match is None or match.url_name not in _SIGN_IN_PAGES or not _people(request):
        return ""
    return _read(request)[0]


def _read(request: HttpRequest) -> tuple[str, dict[str, str]]:
    """The browser's id, and a fingerprint for each id of a person; empty without the cookie."""
    try:
        said = signing.loads(request.COOKIES.get(cookie_name(), ""), salt=_SALT, max_age=MAX_AGE)
    except signing.BadSignature:
        return "", {}
    return said["device"], said["people"]


def _people(request: HttpRequest) -> list[Person]:
    """Who signed in in this browser, and has had no new password since."""
    _, fingerprints = _read(request)
    return [
        person
        for person in Person.objects.filter(pk__in=fingerprints, is_active=True)
        if constant_time_compare(fingerprints[str(person.pk)], _fingerprint(person))
    ]


def _fingerprint(person: Person) -> str:
    return salted_hmac(_SALT, person.get_session_auth_hash(), algorithm="sha256").hexdigest()
