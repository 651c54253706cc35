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
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
    {"NAME": "connections.passwords.ContextWordsValidator"},
]
ACCOUNT_ADAPTER = "connections.accounts.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "email*", "password1*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
# No mail to an address that somebody merely typed.
ACCOUNT_EMAIL_UNKNOWN_ACCOUNTS = False
ACCOUNT_LOGOUT_ON_GET = False
ACCOUNT_SESSION_REMEMBER = False
# Beside allauth's own: five wrong passwords or codes of one person in five minutes, ten of one
# address in a minute, five mails to reset a password a minute. Whoever is signed in may fail five
# times in five minutes to prove again who they are: see connections/step_up.py.
ACCOUNT_RATE_LIMITS = {
    "use_of_provider": "30/m/ip",
    "use_of_links": "20/m/ip",
    "reauthenticate": "5/5m/user",
}
MFA_ADAPTER = "connections.accounts.MFAAdapter"
MFA_FORMS = {
    "authenticate": "connections.second_factors.AuthenticateForm",
    "authenticate_webauthn": "connections.second_factors.AuthenticateKeyForm",
    "login_webauthn": "connections.second_factors.LoginKeyForm",
    "add_webauthn": "connections.second_factors.AddKeyForm",
    "activate_totp": "connections.second_factors.SetUpAppForm",
}
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_ALLOW_UNVERIFIED_EMAIL = True
MFA_TOTP_ISSUER = "Org Admin"
