"""django-allauth's MFA forms and views, with audit events and encrypted secrets."""

from collections.abc import Callable
from typing import Any

from allauth.core import context
from allauth.mfa.base import forms as codes
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.views import GenerateRecoveryCodesView
from allauth.mfa.totp.forms import ActivateTOTPForm
from allauth.mfa.totp.views import ActivateTOTPView, DeactivateTOTPView
from allauth.mfa.webauthn import forms as keys
from allauth.mfa.webauthn.views import AddWebAuthnView, RemoveWebAuthnView
from django import forms
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from fido2.cose import UnsupportedKey
from fido2.webauthn import AttestedCredentialData, RegistrationResponse

from connections import audit
from connections.audit import EventCode
from connections.core.secret import Secret
from connections.crypto import encryption
from connections.crypto.encrypted_fields import NEW_MFA_SECRET_CONTEXT
from connections.models import Person
from connections.people import sign_in_events
from connections.web.framework.http import actor_of, origin_of
from connections.web.framework.person_limits import is_first_this_minute
from connections.web.people import passkeys
from connections.web.people.allauth_internals import SECRET_SESSION_KEY, generate_totp_secret
from connections.web.people.forms import MAX_LOGIN_LENGTH

_OVER_LIMIT = "too_many_login_attempts"


class _RefusalRecorder:
    """Records every code or key of a known person that is refused."""

    user: Person

    def record_refusal_of(self, check: Callable[[], Any]) -> Any:
        """The result of `check`. Records its ValidationError and raises it."""
        try:
            return check()
        except ValidationError as error:
            is_over_limit = error.code == _OVER_LIMIT
            if not is_over_limit or is_first_this_minute(f"mfa-refused:{self.user.pk}"):
                sign_in_events.record_mfa_refused(
                    person=self.user,
                    origin=origin_of(context.request),
                    is_over_limit=is_over_limit,
                )
            raise


class AuthenticateForm(_RefusalRecorder, codes.AuthenticateForm):  # type: ignore[misc]
    """A code while signing in."""

    code = forms.CharField(
        label="Code",
        max_length=MAX_LOGIN_LENGTH,
        widget=forms.TextInput(attrs={"placeholder": "Code", "autocomplete": "one-time-code"}),
    )

    def clean_code(self) -> Any:
        """Check the code, within the limits."""
        return self.record_refusal_of(super().clean_code)


class AuthenticateKeyForm(_RefusalRecorder, keys.AuthenticateWebAuthnForm):  # type: ignore[misc]
    """A security key while signing in."""

    credential = passkeys.PasskeyField(widget=forms.HiddenInput)

    def clean_credential(self) -> Any:
        """Check the key's response, within the limits."""
        return self.record_refusal_of(self._checked)

    def _checked(self) -> Any:
        passkeys.parse_passkey_response(self.cleaned_data["credential"], request=context.request)
        with passkeys.refusing_malformed():
            return super().clean_credential()


class LoginKeyForm(keys.LoginWebAuthnForm):  # type: ignore[misc]
    """A passkey instead of a password. It must have verified its user."""

    credential = passkeys.PasskeyField(widget=forms.HiddenInput)

    def clean_credential(self) -> Any:
        """Check the key's response. Record a refused one."""
        try:
            passkeys.require_user_verification(
                self.cleaned_data["credential"], request=context.request
            )
            with passkeys.refusing_malformed():
                return super().clean_credential()
        except ValidationError:
            sign_in_events.record_failed_passkey(origin=origin_of(context.request))
            raise


class AddKeyForm(keys.AddWebAuthnForm):  # type: ignore[misc]
    """Adding a passkey or security key."""

    passwordless = forms.BooleanField(
        label="Sign in with this key alone, without a password",
        required=False,
        help_text="The key then asks for a PIN, fingerprint or face.",
    )
    credential = passkeys.PasskeyField(widget=forms.HiddenInput)

    def clean(self) -> Any:
        """Check the key's response, and that the key can be used later."""
        with passkeys.refusing_malformed():
            if credential := self.cleaned_data.get("credential"):
                parsed = RegistrationResponse.from_dict(credential).response
                passkeys.require_own_origin(parsed.client_data, context.request)
                _require_usable(credential, parsed.attestation_object.auth_data.credential_data)
            return super().clean()


def _require_usable(credential: dict[str, Any], data: AttestedCredentialData | None) -> None:
    """Raise ValidationError for an unsupported key type or malformed extensions."""
    extensions = credential.get("clientExtensionResults", {})
    is_readable = isinstance(extensions, dict) and isinstance(extensions.get("credProps", {}), dict)
    if data is None or isinstance(data.public_key, UnsupportedKey) or not is_readable:
        raise ValidationError(passkeys.WRONG_PASSKEY)


class SetUpAppForm(ActivateTOTPForm):  # type: ignore[misc]
    """Setting up an authenticator app. The new secret is stored encrypted in the session."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.user = kwargs.pop("user")
        # Skips allauth's __init__, which stores the secret unencrypted.
        super(ActivateTOTPForm, self).__init__(*args, **kwargs)
        self.secret = _pending_secret(context.request) if self.is_bound else ""
        if not self.secret:
            self.secret = generate_totp_secret()
            context.request.session[SECRET_SESSION_KEY] = encryption.encrypt(
                Secret(self.secret), context=NEW_MFA_SECRET_CONTEXT
            )


def _pending_secret(request: HttpRequest) -> str:
    """The secret that the page showed. Empty if none can be decrypted."""
    stored = request.session.get(SECRET_SESSION_KEY) or ""
    try:
        return encryption.decrypt(stored, context=NEW_MFA_SECRET_CONTEXT).reveal()
    except encryption.EncryptionError:
        # Its encryption key is gone, or it comes from another session.
        return ""


class _RecordedView:
    """A view of django-allauth that sets up or turns off MFA, with its audit event."""

    event: EventCode
    mfa_type: Authenticator.Type
    request: HttpRequest

    def form_valid(self, form: Any) -> HttpResponse:
        """Make the change and record it, in one transaction."""
        with audit.atomic():
            response: HttpResponse = super().form_valid(form)  # type: ignore[misc]
            sign_in_events.record_mfa_change(
                actor=actor_of(self.request), code=self.event, mfa_type=self.mfa_type
            )
        return response


class SetUpAppView(_RecordedView, ActivateTOTPView):  # type: ignore[misc]
    """Set up an authenticator app."""

    event, mfa_type = EventCode.SECOND_FACTOR_ADDED, Authenticator.Type.TOTP


class TurnOffAppView(_RecordedView, DeactivateTOTPView):  # type: ignore[misc]
    """Turn the authenticator app off."""

    event, mfa_type = EventCode.SECOND_FACTOR_TURNED_OFF, Authenticator.Type.TOTP


class AddKeyView(_RecordedView, AddWebAuthnView):  # type: ignore[misc]
    """Add a passkey or security key."""

    event, mfa_type = EventCode.SECOND_FACTOR_ADDED, Authenticator.Type.WEBAUTHN


class RemoveKeyView(_RecordedView, RemoveWebAuthnView):  # type: ignore[misc]
    """Remove a passkey or security key."""

    event, mfa_type = EventCode.SECOND_FACTOR_TURNED_OFF, Authenticator.Type.WEBAUTHN


class MakeRecoveryCodesView(_RecordedView, GenerateRecoveryCodesView):  # type: ignore[misc]
    """Make new recovery codes."""

    event, mfa_type = EventCode.SECOND_FACTOR_ADDED, Authenticator.Type.RECOVERY_CODES
