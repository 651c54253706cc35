"""Adapters for django-allauth: no sign-up, audit events, rate limits, encrypted MFA secrets."""

import logging
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.authentication import get_authentication_records
from allauth.core.exceptions import ReauthenticationRequired
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from connections import audit
from connections.access.actor import person_actor
from connections.core import clock
from connections.core.errors import InvalidInputError
from connections.core.own_address import own_origin
from connections.core.secret import Secret
from connections.core.text import format_limit
from connections.core.trusted_proxies import client_address
from connections.crypto import encryption
from connections.crypto.encrypted_fields import MFA_SECRET_CONTEXT
from connections.models import Person
from connections.models.sessions import ENDS_AT
from connections.people import people, sessions, sign_in_events
from connections.web.framework import addresses, http, reauthentication
from connections.web.framework.person_limits import is_first_this_minute
from connections.web.people import known_devices, single_sign_on

logger = logging.getLogger(__name__)


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """allauth's hooks for accounts, which write the audit events.

    There is a hook for every action that Org Admin records, so no signal is needed.
    """

    error_messages = {
        **DefaultAccountAdapter.error_messages,
        "email_password_mismatch": "Wrong email or password.",
        "too_many_login_attempts": "Too many failed sign-ins. Try again in "
        f"{format_limit(settings.FAILED_SIGN_IN_WINDOW)}.",
        "username_password_mismatch": "Wrong username or password.",
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """False: administrators add people, and the setup link adds the first one."""
        return False

    def is_safe_url(self, url: str | None) -> bool:
        """Whether the URL is on this host, because ALLOWED_HOSTS can contain others."""
        return url is not None and addresses.is_local_url(self.request, url)

    def get_client_ip(self, request: HttpRequest) -> str:
        """The address whose failed sign-ins are counted together.

        Entries of X-Forwarded-For count only if ORGADMIN_TRUSTED_PROXIES wrote them. A browser in
        which someone has signed in before is counted separately from others at its address.
        """
        return known_devices.device_signing_in(request) or client_address(request)

    def login(self, request: HttpRequest, user: Person) -> None:
        """Sign in and record it, in one transaction."""
        request.session.pop(ENDS_AT, None)
        methods = [
            str(record.get("type") or record["method"])
            for record in get_authentication_records(request, user)
        ]
        single_sign_on.require_allowed_way_in(user, methods=methods)
        with audit.atomic():
            super().login(request, user)
            single_sign_on.start_roles_clock(request, user, methods=methods)
            request.session[sessions.SESSION_START_KEY] = sessions.build_session_start(
                address=client_address(request), agent=request.headers.get("User-Agent", "")
            )
            sign_in_events.record_sign_in(
                person=user, methods=methods, origin=http.origin_of(request)
            )

    def post_login(self, request: HttpRequest, user: Person, **kwargs: Any) -> HttpResponse:
        """Redirect, and remember this browser as one that the person uses."""
        response: HttpResponse = super().post_login(request, user, **kwargs)
        known_devices.remember_device(request, response, person=user)
        return response

    def logout(self, request: HttpRequest) -> None:
        """Record who signs out, and sign out."""
        person = http.signed_in_person(request)
        with audit.atomic(), single_sign_on.keeping_logout_url(request):
            if person is not None:
                sign_in_events.record_sign_out(person=person, origin=http.origin_of(request))
            super().logout(request)

    def get_logout_redirect_url(self, request: HttpRequest) -> str:
        """The sign-in page, or the page that leads on to the identity provider's logout."""
        has_provider = single_sign_on.logout_url(request)
        return reverse("provider-signed-out" if has_provider else "account_login")

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """Refuse attempts over the limit, with at most one audit event a minute."""
        try:
            super().pre_authenticate(request, **credentials)
        except ValidationError:
            if is_first_this_minute("sign-ins-refused"):
                sign_in_events.record_sign_ins_refused(origin=http.origin_of(request))
            raise

    def _get_login_attempts_cache_key(self, request: HttpRequest, **credentials: Any) -> str:
        """The name that was entered, in upper case because databases might ignore case.

        allauth's own key also contains the Host header, whose port and case an attacker can vary. A
        browser in which that person has signed in before has its own count.
        """
        login: str = credentials.get("email") or credentials.get("username") or ""
        return known_devices.device_for(request, login=login) or login.upper()

    def authentication_failed(self, request: HttpRequest, **credentials: Any) -> None:
        """Record the failed sign-in."""
        sign_in_events.record_failed_sign_in(
            login=credentials.get("username") or credentials.get("email") or "",
            origin=http.origin_of(request),
        )

    def get_reset_password_from_key_url(self, key: str) -> str:
        """The link in the email; "" if the address of Org Admin isn't certain."""
        origin = own_origin(self.request)
        url: str = super().get_reset_password_from_key_url(key)
        return f"{origin}{urlsplit(url).path}" if origin else ""

    def send_password_reset_mail(self, user: Person, email: str, context: dict[str, Any]) -> None:
        """Record and email the link.

        An email failure is only logged, because it could reveal accounts.
        """
        if not context["password_reset_url"]:
            logger.warning(
                "A password reset link wasn't sent: ALLOWED_HOSTS doesn't name %s exactly, so the "
                "link might lead to another server. Set ORGADMIN_BASE_URL.",
                self.request.get_host(),
            )
            return
        sign_in_events.record_reset_link_mailed(person=user, origin=http.origin_of(self.request))
        lifetime = timedelta(seconds=settings.PASSWORD_RESET_TIMEOUT)
        context |= {"username": user.username, "expires_at": clock.now() + lifetime}
        try:
            super().send_password_reset_mail(user, email, context)
        except (OSError, ValueError) as error:
            logger.warning("A password reset link wasn't sent: %s.", type(error).__name__)

    def is_reauthentication_required(self, *, app: str, **kwargs: Any) -> bool:
        """Whether allauth's own pages need reauthentication, by Org Admin's rule.

        Raises ReauthenticationRequired itself, because allauth's own check would let people pass
        who have neither a password nor MFA, and would accept a code alone.
        ReauthenticationMiddleware handles the exception.
        """
        del app, kwargs
        if reauthentication.is_recent(self.request):
            return False
        raise ReauthenticationRequired

    def set_password(self, user: Person, password: str) -> None:
        """Change a password through the service, which records it."""
        actor = person_actor(person=user, request_id=http.request_id_of(self.request))
        try:
            people.set_password(actor=actor, person=user, password=password)
        except InvalidInputError as error:
            raise ValidationError(str(error)) from None


class MFAAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    """Keeps MFA secrets encrypted.

    allauth's hook gets only the text, so the ciphertext is bound to its purpose and not to the
    person's row. connections.crypto.encrypted_fields lists the fields for key rotation.
    """

    def generate_authenticator_name(self, user: Person, type: Authenticator.Type) -> str:
        """The name that the form for a new key suggests."""
        return f"Key {Authenticator.objects.filter(user=user, type=type).count() + 1}"

    def encrypt(self, text: str) -> str:
        """The ciphertext to store. Raises encryption.KeyRingError."""
        return encryption.encrypt(Secret(text), context=MFA_SECRET_CONTEXT)

    def decrypt(self, encrypted_text: str) -> str:
        """The decrypted text. Raises encryption.EncryptionError."""
        return encryption.decrypt(encrypted_text, context=MFA_SECRET_CONTEXT).reveal()
