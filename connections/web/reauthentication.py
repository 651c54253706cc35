"""Proving again who one is: whether a person did so within five minutes, and how they may.

The proof is a password or a passkey; a code of an authenticator app or from paper alone is none.
When it was given stands in the session, by the database's clock; what was typed never does.
`mark` is for whoever takes a proof elsewhere, such as a provider that was asked to sign the
person in anew. connections/web/reauthentication_views.py guards views with it.
"""

import time
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from allauth.account.adapter import get_adapter
from allauth.account.authentication import get_authentication_records
from allauth.core import ratelimit
from allauth.mfa.models import Authenticator
from django.contrib.auth.hashers import check_password
from django.core.cache import cache
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.views.decorators.debug import sensitive_variables
from fido2.webauthn import AuthenticationResponse, UserVerificationRequirement

from connections.core import clock
from connections.core.secret import Secret
from connections.models import Person
from connections.people import sign_in_events
from connections.web.people import allauth_internals
from connections.web.people.passkeys import WRONG_PASSKEY as WRONG_PASSKEY
from connections.web.people.passkeys import refusing_malformed, require_own_origin
from connections.web.support import request_id_of, signed_in_person

WINDOW = timedelta(minutes=5)
WRONG_PASSWORD = "That is not your password."  # noqa: S105 - a message
TOO_MANY = "Too many wrong answers. Wait five minutes, then try again."
# Over the limit, one event in so many seconds.
REFUSAL_EVENT_EVERY = 60
_STAMP = "stepped_up"
_ACTION = "reauthenticate"


class Method(StrEnum):
    """What the person gave."""

    PASSWORD = "password"  # noqa: S105 - a word, not a password
    PASSKEY = "passkey"
    PROVIDER = "provider"  # signed in anew at the provider of their account


class RefusedError(Exception):
    """The proof was not accepted; the message is for the person."""


def is_recent(request: HttpRequest) -> bool:
    """Whether this session's person gave a password or passkey within the last five minutes.

    Asked once for each request, which is shorter than any difference.
    """
    known: bool | None = getattr(request, "_is_stepped_up", None)
    if known is None:
        known = _is_stamp_fresh(request)
        request._is_stepped_up = known  # type: ignore[attr-defined]
    return known


def _is_stamp_fresh(request: HttpRequest) -> bool:
    person, stamp = signed_in_person(request), request.session.get(_STAMP)
    if person is None or not isinstance(stamp, dict) or stamp.get("person") != str(person.pk):
        return False
    at = datetime.fromisoformat(stamp["at"])
    if clock.elapsed_since(at, now=clock.now()) < WINDOW:
        return True
    # Removed, so that a clock that is set back later can't make it recent again.
    del request.session[_STAMP]
    return False


def mark(request: HttpRequest, *, method: Method) -> None:
    """Record that the signed-in person has just proved who they are, and remember when."""
    person = _person(request)
    sign_in_events.record_step_up(person=person, method=method, request_id=request_id_of(request))
    _stamp(request, person=person)


def _stamp(request: HttpRequest, *, person: Person, age: timedelta = timedelta()) -> None:
    at = clock.now() - age
    request.session[_STAMP] = {"person": str(person.pk), "at": at.isoformat()}
    request._is_stepped_up = None  # type: ignore[attr-defined]


def stamp_sign_in(sender: Any, request: HttpRequest, user: Person, **_: Any) -> None:
    """Count a sign-in by password or passkey as a proof, from when that was given or chosen.

    Receives Django's `user_logged_in`. A session that code makes outside of any request from a
    browser (Django's test client) has no such trail and counts as well.
    """
    del sender
    request.session.pop(_STAMP, None)
    if not hasattr(request, "allauth"):
        _stamp(request, person=user)
        return
    given = [one["at"] for one in get_authentication_records(request, user) if _is_proof(one)]
    if given:
        # By this process's clock, which also wrote when it was given.
        now = datetime.fromtimestamp(time.time(), UTC)
        age = clock.elapsed_since(datetime.fromtimestamp(max(given), UTC), now=now)
        if age < WINDOW:
            _stamp(request, person=user, age=age)


def _is_proof(record: dict[str, Any]) -> bool:
    is_password = record["method"] == "password" or record.get("chose_password")
    # As a second factor it was perhaps merely touched: only alone must it have checked its owner.
    return bool(is_password or record.get("passwordless"))


def ways_of(person: Person) -> frozenset[Method]:
    """What a person could give here; empty for one who only ever came by a link or a provider."""
    ways = set()
    if person.has_usable_password():
        ways.add(Method.PASSWORD)
    if Authenticator.objects.filter(user=person, type=Authenticator.Type.WEBAUTHN).exists():
        ways.add(Method.PASSKEY)
    return frozenset(ways)


@sensitive_variables("password")
def prove_by_password(request: HttpRequest, *, password: Secret) -> None:
    """Mark the session if that is the person's password. Raises RefusedError."""
    person = _person(request)
    _count(request, person=person)
    # Not the person's own check_password: it may renew the hash, which would end the session.
    if not check_password(password.reveal(), person.password):
        raise _refused(request, person=person, message=WRONG_PASSWORD)
    ratelimit.clear(request, action=_ACTION, user=person)
    mark(request, method=Method.PASSWORD)


def passkey_challenge(request: HttpRequest) -> dict[str, Any]:
    """The options for the browser's `navigator.credentials.get`.

    They ask for a key that checks its owner (by PIN, finger or face): one that is merely touched
    proves that somebody sits there.
    """
    options, state = allauth_internals.get_server().authenticate_begin(
        credentials=allauth_internals.get_credentials(_person(request)),
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    allauth_internals.set_state(state)
    return dict(options)


def prove_by_passkey(request: HttpRequest, *, credential: dict[str, Any]) -> None:
    """Mark the session if the browser's answer is right. Raises RefusedError."""
    person = _person(request)
    _count(request, person=person)
    try:
        require_checked_owner(credential, request=request)
        with refusing_malformed():
            authenticator = allauth_internals.complete_authentication(person, credential)
    except ValidationError:
        raise _refused(request, person=person, message=WRONG_PASSKEY) from None
    finally:
        # A challenge is for one answer.
        allauth_internals.clear_state()
    ratelimit.clear(request, action=_ACTION, user=person)
    authenticator.record_usage()
    mark(request, method=Method.PASSKEY)


def require_checked_owner(credential: dict[str, Any], *, request: HttpRequest) -> None:
    """Raise ValidationError unless the key says, in what it signs, that it checked its owner.

    Asking for it is not enough: allauth keeps one challenge for all its forms, and one of a
    second factor or of a new key asks for less.
    """
    answer = answer_of(credential, request=request)
    if not answer.response.authenticator_data.is_user_verified():
        raise ValidationError(WRONG_PASSKEY)


def answer_of(credential: dict[str, Any], *, request: HttpRequest) -> AuthenticationResponse:
    """What the browser said of a key, read.

    Raises ValidationError when that is no such answer, or one given to another origin.
    """
    with refusing_malformed():
        answer: AuthenticationResponse = allauth_internals.parse_authentication_response(credential)
        require_own_origin(answer.response.client_data, request)
    return answer


def _person(request: HttpRequest) -> Person:
    person = signed_in_person(request)
    if person is None:
        raise RefusedError("Sign in first.")
    return person


def _count(request: HttpRequest, *, person: Person) -> None:
    if ratelimit.consume(request, action=_ACTION, user=person):
        return
    if cache.add(f"orgadmin:step-ups-refused:{person.pk}", True, timeout=REFUSAL_EVENT_EVERY):
        _record_failure(request, person=person, is_over_limit=True)
    raise RefusedError(TOO_MANY)


def _refused(request: HttpRequest, *, person: Person, message: str) -> RefusedError:
    _record_failure(request, person=person, is_over_limit=False)
    return RefusedError(message)


def _record_failure(request: HttpRequest, *, person: Person, is_over_limit: bool) -> None:
    sign_in_events.record_failed_step_up(
        person=person,
        address=get_adapter().get_client_ip(request),
        is_over_limit=is_over_limit,
        request_id=request_id_of(request),
    )
