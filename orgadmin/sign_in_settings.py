"""Settings of django-allauth that no environment changes; orgadmin/settings.py takes them all."""

AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "overview"
AUTH_PASSWORD_VALIDATORS = [
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    },
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
ACCOUNT_ADAPTER = "connections.accounts.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "email*", "password1*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
# No mail to an address that somebody merely typed.
ACCOUNT_EMAIL_UNKNOWN_ACCOUNTS = False
ACCOUNT_LOGOUT_ON_GET = False
ACCOUNT_SESSION_REMEMBER = False
ACCOUNT_REAUTHENTICATION_TIMEOUT = 5 * 60
# Beside allauth's own: five wrong passwords or codes of one person in five minutes, ten of one
# address in a minute, five mails to reset a password a minute.
ACCOUNT_RATE_LIMITS = {"use_of_links": "20/m/ip"}
MFA_ADAPTER = "connections.accounts.MFAAdapter"
MFA_FORMS = {
    "authenticate": "connections.second_factors.AuthenticateForm",
    "reauthenticate": "connections.second_factors.ReauthenticateForm",
    "authenticate_webauthn": "connections.second_factors.AuthenticateKeyForm",
    "reauthenticate_webauthn": "connections.second_factors.ReauthenticateKeyForm",
    "activate_totp": "connections.second_factors.SetUpAppForm",
}
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_ALLOW_UNVERIFIED_EMAIL = True
MFA_TOTP_ISSUER = "Org Admin"
