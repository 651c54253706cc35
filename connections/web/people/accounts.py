"""How django-allauth signs people in here: closed to strangers, and every act recorded."""

import ipaddress
import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.authentication import get_authentication_records
from allauth.core.exceptions import ReauthenticationRequired
from allauth.mfa.adapter import DefaultMFAAdapter
from django.conf import settings
from django.core.cache import cache
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from connections import audit
from connections.access.actor import person_actor
from connections.core.errors import InvalidInputError
from connections.core.secret import Secret
from connections.crypto import encryption
from connections.crypto.encrypted_fields import MFA_SECRET_CONTEXT
from connections.models import Person
from connections.models.sessions import ENDS_AT
from connections.people import people, sessions, sign_in_events
from connections.web import reauthentication
from connections.web.people import known_devices
from connections.web.reauthentication import redirect_to_prompt
from connections.web.support import is_local_url, request_id_of, signed_in_person

logger = logging.getLogger(__name__)

# Over the limit, one event in so many seconds.
REFUSAL_EVENT_EVERY = 60
_REFUSAL_RECORDED = "orgadmin:sign-ins-refused"


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """allauth's hook points, where the record is written.

    The adapter has a hook for each act we record, so no signal is needed.
    """

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Nobody adds themselves: an administrator or a set-up link does."""
        del request
        return False

    def is_safe_url(self, url: str | None) -> bool:
        """Only addresses of this very host: ALLOWED_HOSTS may name others."""
        return url is not None and is_local_url(self.request, url)

    def get_client_ip(self, request: HttpRequest) -> str:
        """The address whose failed sign-ins are counted together.

        X-Forwarded-For is believed only as far as ORGADMIN_TRUSTED_PROXIES wrote it. A browser in
        which somebody signed in before is counted by itself, whoever else shares its address.
        """
        return known_devices.device_signing_in(request) or client_address(request)

    def login(self, request: HttpRequest, user: Person) -> None:
        """Sign in, and record it or do neither."""
        request.session.pop(ENDS_AT, None)
        with audit.atomic():
            super().login(request, user)
            request.session[sessions.SESSION_START_KEY] = sessions.describe_start(
                address=client_address(request), agent=request.headers.get("User-Agent", "")
            )
            sign_in_events.record_sign_in(
                person=user,
                request_id=request_id_of(request),
                methods=available_methods(request, user),
                address=client_address(request),
                agent=request.headers.get("User-Agent", ""),
            )

    def post_login(self, request: HttpRequest, user: Person, **kwargs: Any) -> HttpResponse:
        """Lead on, and remember that the person signed in in this browser."""
        response: HttpResponse = super().post_login(request, user, **kwargs)
        known_devices.remember_device(request, response, person=user)
        return response

    def logout(self, request: HttpRequest) -> None:
        """Record who signs out, and sign out."""
        person = signed_in_person(request)
        with audit.atomic():
            if person is not None:
                sign_in_events.record_sign_out(person=person, request_id=request_id_of(request))
            super().logout(request)

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """Refuse what is over the limit, unread, with one event a minute."""
        try:
            super().pre_authenticate(request, **credentials)
        except ValidationError:
            if cache.add(_REFUSAL_RECORDED, True, timeout=REFUSAL_EVENT_EVERY):
                sign_in_events.record_sign_ins_refused(
                    address=client_address(request), request_id=request_id_of(request)
                )
            raise

    def _get_login_attempts_cache_key(self, request: HttpRequest, **credentials: Any) -> str:
        """Count by what was typed alone: allauth's own key holds the Host header, which has a port
        and a case at the guesser's choice. Folded as far as any database folds it. A browser in
        which that person signed in before has a limit of its own."""
        login: str = credentials.get("email") or credentials.get("username") or ""
        return known_devices.device_for(request, login=login) or login.upper()

    def authentication_failed(self, request: HttpRequest, **credentials: Any) -> None:
        """Record a wrong name or password."""
        sign_in_events.record_failed_sign_in(
            login=credentials.get("username") or credentials.get("email") or "",
            address=client_address(request),
            request_id=request_id_of(request),
            agent=request.headers.get("User-Agent", ""),
        )

    def get_reset_password_from_key_url(self, key: str) -> str:
        """The link in the mail: where people open it, not where a stranger's Host header says."""
        url: str = super().get_reset_password_from_key_url(key)
        return f"{settings.BASE_URL}{urlsplit(url).path}" if settings.BASE_URL else url

    def send_password_reset_mail(self, user: Person, email: str, context: dict[str, Any]) -> None:
        """Mail the link, once it is recorded; a mail server that fails tells a stranger nothing."""
        sign_in_events.record_reset_link_mailed(
            person=user,
            address=client_address(self.request),
            request_id=request_id_of(self.request),
        )
        try:
            super().send_password_reset_mail(user, email, context)
        except (OSError, ValueError) as error:
            logger.warning(
                "A link to choose a new password was not mailed: %s.", type(error).__name__
            )

    def is_reauthentication_required(self, *, app: str, **kwargs: Any) -> bool:
        """Whether allauth's own pages must ask who it is: by our rule, and for everybody.

        Raises ReauthenticationRequired itself, because what allauth would ask next lets pass
        whoever has neither password nor second factor, and those who typed a mere code.
        StepUpMiddleware answers it.
        """
        del app, kwargs
        if reauthentication.is_recent(self.request):
            return False
        raise ReauthenticationRequired

    def set_password(self, user: Person, password: str) -> None:
        """Change a password through the service, which records it."""
        actor = person_actor(person=user, request_id=request_id_of(self.request))
        try:
            people.set_password(actor=actor, person=user, password=password)
        except InvalidInputError as error:
            raise ValidationError(str(error)) from None


class MFAAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    """Keeps the secrets of second factors encrypted.

    allauth's hook is given the text alone, so the envelope is bound to its purpose and not to
    the row of the person. connections.crypto.encrypted_fields lists where they are, for rotation.
    """

    def encrypt(self, text: str) -> str:
        """The envelope that is stored. Raises encryption.KeyRingError."""
        return encryption.encrypt(Secret(text), context=MFA_SECRET_CONTEXT)

    def decrypt(self, encrypted_text: str) -> str:
        """What was encrypted. Raises encryption.EncryptionError."""
        return encryption.decrypt(encrypted_text, context=MFA_SECRET_CONTEXT).reveal()


def available_methods(request: HttpRequest, person: Person) -> list[str]:
    """By what the person proved in this session who they are, oldest first."""
    records = get_authentication_records(request, person)
    return [str(one.get("type") or one["method"]) for one in records]


class ReauthenticationMiddleware:
    """Asks who it is before django-allauth's own pages on how one signs in.

    Stands after allauth's middleware, so that it answers first: that one would store the whole
    POST in the session and replay it.
    """

    # Allauth asks for the old password on the one, unlimited by us, and for nothing on the other.
    GUARDED = frozenset({"account_change_password", "account_set_password"})

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any
    ) -> HttpResponseBase | None:
        """Lead to the question before a page that allauth itself would not guard."""
        del view, args, kwargs
        match = request.resolver_match
        if (
            match is None
            or match.url_name not in self.GUARDED
            or reauthentication.is_recent(request)
        ):
            return None
        return redirect_to_prompt(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponseBase | None:
        """Lead there from a page that allauth guards."""
        return redirect_to_prompt(request) if isinstance(error, ReauthenticationRequired) else None


def client_address(request: HttpRequest) -> str:
    """The network address that a request came from, behind the proxies we trust.

    The right-most entry of X-Forwarded-For that no trusted proxy wrote for itself; with "*" for
    the proxies, the last entry. A unix socket has no address: "local".
    """
    address = request.META.get("REMOTE_ADDR") or "local"
    entries = request.headers.get("X-Forwarded-For", "").split(",")
    if "*" in settings.TRUSTED_PROXIES:
        last = entries[-1].strip()
        return last if _is_address(last) else address
    while entries and _is_trusted_proxy(address):
        entry = entries.pop().strip()
        if not _is_address(entry):
            break
        address = entry
    return address


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_trusted_proxy(address: str) -> bool:
    if not _is_address(address):
        return address in settings.TRUSTED_PROXIES
    networks = (ipaddress.ip_network(one, strict=False) for one in settings.TRUSTED_PROXIES)
    return any(ipaddress.ip_address(address) in network for network in networks)
