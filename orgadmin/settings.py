"""Settings, all from environment variables. docs/CONFIGURATION.md lists them."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.utils.csp import CSP

from connections.core import logs
from connections.core.own_address import is_loopback
from connections.core.role_map import parse_role_map
from connections.core.sites import parse_extra_sites
from connections.core.tickets import check_ticket_pattern
from connections.core.urls import check_base_url, check_webhook_url
from connections.net.http import Route, check_no_proxy, check_proxy_url
from orgadmin import environment
from orgadmin.environment import read_checked, read_flag, read_integer, read_list, read_secret

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = Path(os.environ.get("ORGADMIN_DATA_DIR", str(BASE_DIR / "data"))).absolute()
DEBUG = read_flag("DEBUG", default=False)

# --- Hosts and proxies --------------------------------------------------------------------------

ALLOWED_HOSTS = read_list("ALLOWED_HOSTS", default="127.0.0.1,localhost,[::1]")
CSRF_TRUSTED_ORIGINS = read_list("CSRF_TRUSTED_ORIGINS")
IS_LOCAL = all(is_loopback(host) for host in ALLOWED_HOSTS)
TRUSTED_PROXIES = read_list("ORGADMIN_TRUSTED_PROXIES")
BASE_URL = read_checked("ORGADMIN_BASE_URL", check_base_url)

# --- Data -------------------------------------------------------------------------------------

DATABASES: dict[str, dict[str, Any]] = {
    "default": environment.parse_database_url(
        read_secret("DATABASE_URL", default=f"sqlite:///{DATA_DIR / 'orgadmin.sqlite3'}")
    )
}
if DATABASES["default"]["ENGINE"].rpartition(".")[2] not in {"sqlite3", "postgresql"}:
    raise ImproperlyConfigured("DATABASE_URL must name SQLite or PostgreSQL: postgres://…")
DATABASE_IS_SQLITE = DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3"
try:
    if DATABASE_IS_SQLITE:
        environment.require_database_for_checks(Path(DATABASES["default"]["NAME"]))
    DATA_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
    if DATABASE_IS_SQLITE:
        Path(DATABASES["default"]["NAME"]).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
except OSError as error:
    raise ImproperlyConfigured(
        f"The data directory can't be used: {error}. Set ORGADMIN_DATA_DIR to a directory that "
        "this user can write to, or ORGADMIN_ENV_FILE to the file with the settings of the service."
    ) from None
# Opening one takes milliseconds, and the last one to SQLite also writes the WAL when it closes.
DATABASES["default"]["CONN_MAX_AGE"] = 60
if DATABASE_IS_SQLITE:
    # IMMEDIATE takes the write lock when a transaction begins, so that it waits up to `timeout`
    # instead of failing immediately. With `synchronous` FULL, the last commit survives a power
    # failure; with NORMAL and WAL it does not.
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;",
    }
else:
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
    # Outside a transaction, a server-side cursor lives as long as the connection to the server.
    # PgBouncer can pool transactions, and then the next FETCH goes to another connection, which
    # doesn't know the cursor. Django opens such cursors itself, for the choices of a form for
    # example, so they are always off. `read_in_chunks` reads what is too large for memory.
    DATABASES["default"]["DISABLE_SERVER_SIDE_CURSORS"] = True
    # Keeps the options of DATABASE_URL, such as `?sslmode=verify-full`.
    DATABASES["default"].setdefault("OPTIONS", {}).setdefault("connect_timeout", 5)
    # With PostgreSQL's default of 4, for rotating disks, it reads tables instead of indexes.
    DATABASES["default"]["OPTIONS"].setdefault("options", "-c random_page_cost=1.1")
# The role to which `migrate` grants what the service needs.
DB_APP_ROLE = "" if DATABASE_IS_SQLITE else os.environ.get("ORGADMIN_DB_APP_ROLE", "")
AUTH_USER_MODEL = "connections.Person"

# Shared by all processes, so that rate limits on sign-in apply across them.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "orgadmin_cache",
        # With Django's default of 300, many made-up names would evict the counts of real ones.
        "OPTIONS": {"MAX_ENTRIES": 100_000},
    }
}
SESSION_ENGINE = "connections.models.sessions"
SESSION_COOKIE_AGE = 12 * 60 * 60
SESSION_IDLE = timedelta(
    minutes=read_integer("ORGADMIN_SESSION_IDLE_MINUTES", default=60, minimum=5)
)
# The cookie storage has a fixed cookie name, which can't have the prefix `__Host-`.
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"

# --- Keys -------------------------------------------------------------------------------------

KEYRING_FILE = Path(os.environ.get("ORGADMIN_KEYRING_FILE", str(DATA_DIR / "keyring.json")))
# The longest time between two syncs of an org. Above a day, no org would count as synced.
SYNC_INTERVAL = timedelta(
    minutes=read_integer("ORGADMIN_REFRESH_MINUTES", default=15, minimum=5, maximum=1440)
)
# The longest time for which access can be requested. None for no limit.
ACCESS_MAX_DAYS = (
    read_integer("ORGADMIN_ACCESS_MAX_DAYS", default=1, minimum=1)
    if os.environ.get("ORGADMIN_ACCESS_MAX_DAYS")
    else None
)
# Credentials whose Datadog keys were stored longer ago are flagged.
KEY_MAX_AGE = timedelta(days=read_integer("ORGADMIN_KEY_MAX_AGE_DAYS", default=90, minimum=1))
SIGNING_KEY_FILE = Path(
    os.environ.get("ORGADMIN_SIGNING_KEY_FILE", str(DATA_DIR / "signing_key.json"))
)
# Where workers keep the newest checkpoint, to notice an older database.
KEPT_CHECKPOINT_FILE = DATA_DIR / "newest_checkpoint.json"
# Datadog's responses that the database couldn't record yet.
SAVED_RESPONSES_DIRECTORY = DATA_DIR / "saved_responses"
SECRET_KEY_FILE = os.environ.get("SECRET_KEY_FILE", "")
SECRET_KEY = read_secret("SECRET_KEY") or environment.create_secret_key(
    DATA_DIR / "secret_key" if DATABASE_IS_SQLITE else None
)

# --- Datadog ----------------------------------------------------------------------------------

EXTRA_SITES = read_checked("ORGADMIN_EXTRA_SITES", parse_extra_sites)

# --- Requests to Datadog, the webhook and the identity provider ---------------------------------

OUTBOUND_ROUTE = Route(
    proxy_url=read_checked(
        "ORGADMIN_HTTP_PROXY", check_proxy_url, text=read_secret("ORGADMIN_HTTP_PROXY")
    ),
    no_proxy=read_checked("ORGADMIN_NO_PROXY", check_no_proxy),
    ca_bundle=os.environ.get("ORGADMIN_CA_BUNDLE", ""),
    extra_ca_file=os.environ.get("ORGADMIN_EXTRA_CA_FILE", ""),
)

# --- Deletion requests --------------------------------------------------------------------------

FOUR_EYES = os.environ.get("ORGADMIN_FOUR_EYES", "none")
if FOUR_EYES not in {"none", "one", "two"}:
    raise ImproperlyConfigured("ORGADMIN_FOUR_EYES must be none, one or two.")
TICKET_PATTERN = read_checked("ORGADMIN_TICKET_PATTERN", check_ticket_pattern)
TICKET_URL = os.environ.get("ORGADMIN_TICKET_URL", "")
if TICKET_URL and "{ticket}" not in TICKET_URL:
    raise ImproperlyConfigured("ORGADMIN_TICKET_URL must contain {ticket} where the ticket goes.")
IS_DEMO = read_flag("ORGADMIN_DEMO", default=False)
# Only for the demo, which listens on the loopback address and deletes its data at the end.
DEMO_PASSWORD = "just-having-a-look"  # noqa: S105

# --- The application ----------------------------------------------------------------------------

INSTALLED_APPS = [
    "connections",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_htmx",
    "allauth",
    "allauth.account",
    "allauth.mfa",
]
MIDDLEWARE = [
    "connections.web.framework.middleware.RequestIdMiddleware",
    "connections.web.framework.middleware.HealthMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    # After WhiteNoise, whose files are already compressed.
    "connections.web.framework.middleware.CompressionMiddleware",
    "connections.web.framework.middleware.HeadersMiddleware",
    "connections.web.framework.middleware.BidiControlMiddleware",
    "django.middleware.csp.ContentSecurityPolicyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    # Before CSRF protection, which reads the body. It acts once the view is known, after the others
    # have found the session and the person.
    "connections.web.framework.middleware.AccessMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "connections.web.framework.middleware.SessionUseMiddleware",
    "connections.web.overview.navigation.CountsMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "connections.web.framework.middleware.CharsetMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "connections.web.framework.middleware.ResponseNotRecordedMiddleware",
    "connections.web.framework.middleware.ReauthenticationMiddleware",
]
ROOT_URLCONF = "orgadmin.urls"
WSGI_APPLICATION = "orgadmin.wsgi.application"
TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "connections.web.template_builtins.page_context",
            ],
            "builtins": ["django.templatetags.static", "connections.web.template_builtins"],
        },
    }
]
STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
# `serve` and `web` set this for their web servers; runserver serves files from the source tree.
STATIC_ROOT = os.environ.get("ORGADMIN_STATIC_ROOT")
WHITENOISE_USE_FINDERS = not STATIC_ROOT
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if STATIC_ROOT
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}

TIME_ZONE = "UTC"
USE_I18N = False
DATA_UPLOAD_MAX_MEMORY_SIZE = 256 * 1024
# The highest limit of any URL: owners accept up to 1,000 pairs, each with its version.
# AccessMiddleware refuses more than 100 fields on other URLs.
DATA_UPLOAD_MAX_NUMBER_FIELDS = 2100
# A URL that accepts a file declares it, and every other URL refuses files. Files are only read in
# memory.
DATA_UPLOAD_MAX_NUMBER_FILES = 1
FILE_UPLOAD_HANDLERS = ["connections.web.framework.middleware.RefusingHandler"]
FILE_UPLOAD_MAX_MEMORY_SIZE = DATA_UPLOAD_MAX_MEMORY_SIZE
# For the web server. Higher than the limit above, so that Django can show an error page.
WEB_MAX_BODY_SIZE = 4 * DATA_UPLOAD_MAX_MEMORY_SIZE
WEB_REQUEST_SECONDS = 30  # for a request to arrive, and between two reads by a slow client
WEB_CONNECTIONS = 1000  # per process
DRAIN_SECONDS = read_integer("ORGADMIN_DRAIN_SECONDS", default=5, minimum=0)

# --- Signing in ---------------------------------------------------------------------------------

AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "overview"
AUTH_PASSWORD_VALIDATORS = [{"NAME": "connections.people.passwords.PasswordRules"}]
ACCOUNT_PASSWORD_RESET_TOKEN_GENERATOR = "connections.people.passwords.ResetTokenGenerator"  # noqa: S105 - a class
ACCOUNT_FORMS = {"login": "connections.web.people.forms.LoginForm"}
ACCOUNT_ADAPTER = "connections.web.people.accounts.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "email*", "password1*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
# Send no email to addresses without an account.
ACCOUNT_EMAIL_UNKNOWN_ACCOUNTS = False
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""
ACCOUNT_LOGOUT_ON_GET = False
ACCOUNT_SESSION_REMEMBER = False
# Added to allauth's defaults, such as five password reset emails a minute. "login_failed" limits
# wrong passwords and codes, and "reauthenticate" failed identity checks: see
# connections/web/framework/reauthentication.py.
FAILED_SIGN_IN_WINDOW = timedelta(minutes=5)
_FIVE_IN_THE_WINDOW = f"5/{FAILED_SIGN_IN_WINDOW // timedelta(minutes=1)}m"
ACCOUNT_RATE_LIMITS = {
    "login_failed": f"10/m/ip,{_FIVE_IN_THE_WINDOW}/key",
    "use_of_provider": "30/m/ip",
    "provider_renewal": "30/m/user",
    "use_of_links": "20/m/ip",
    "reauthenticate": f"{_FIVE_IN_THE_WINDOW}/user",
}
MFA_ADAPTER = "connections.web.people.accounts.MFAAdapter"
MFA_FORMS = {
    "authenticate": "connections.web.people.mfa.AuthenticateForm",
    "authenticate_webauthn": "connections.web.people.mfa.AuthenticateKeyForm",
    "login_webauthn": "connections.web.people.mfa.LoginKeyForm",
    "add_webauthn": "connections.web.people.mfa.AddKeyForm",
    "activate_totp": "connections.web.people.mfa.SetUpAppForm",
}
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_ALLOW_UNVERIFIED_EMAIL = True
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = IS_LOCAL
MFA_TOTP_ISSUER = "Org Admin"
REQUIRE_MFA = read_flag("ORGADMIN_REQUIRE_MFA", default=not IS_LOCAL)

# An OpenID Connect identity provider, which is optional. operations/checks.py reports missing
# settings.
OIDC_ISSUER = os.environ.get("ORGADMIN_OIDC_ISSUER", "")
OIDC_CLIENT_ID = os.environ.get("ORGADMIN_OIDC_CLIENT_ID", "")
OIDC_SECRET_FILE = os.environ.get("ORGADMIN_OIDC_CLIENT_SECRET_FILE", "")
OIDC_NAME = os.environ.get("ORGADMIN_OIDC_NAME", "single sign-on")
OIDC_MFA_VALUES = read_list("ORGADMIN_OIDC_MFA_VALUES")
OIDC_ROLES_CLAIM = os.environ.get("ORGADMIN_OIDC_ROLES_CLAIM") or "groups"
OIDC_ROLE_MAP = read_checked("ORGADMIN_OIDC_ROLE_MAP", parse_role_map)
OIDC_CREATE_PEOPLE = read_flag("ORGADMIN_OIDC_CREATE_PEOPLE", default=False)
_MORE_SCOPES = ["profile", "email"] if OIDC_ROLE_MAP or OIDC_CREATE_PEOPLE else []
# Separated by spaces, each once. `openid` is what makes it OpenID Connect.
OIDC_SCOPES = " ".join(
    dict.fromkeys(["openid", *os.environ.get("ORGADMIN_OIDC_SCOPES", "").split(), *_MORE_SCOPES])
)
# Whether people can sign in with SSO alone, except administrators with a sign-in link.
SSO_ONLY = read_flag("ORGADMIN_SSO_ONLY", default=False)

# --- Email ----------------------------------------------------------------------------------------

_email_url = read_secret("EMAIL_URL")
HAS_MAIL = bool(_email_url)
MAILERS = {"default": environment.parse_email_url(_email_url or "dummy:")}
DEFAULT_FROM_EMAIL = os.environ.get("DEFAULT_FROM_EMAIL", "orgadmin@localhost")

# --- Notifications and metrics ------------------------------------------------------------------

WEBHOOK_URL = read_checked(
    "ORGADMIN_WEBHOOK_URL", check_webhook_url, text=read_secret("ORGADMIN_WEBHOOK_URL")
)
SLACK_URL = read_checked(
    "ORGADMIN_SLACK_URL", check_webhook_url, text=read_secret("ORGADMIN_SLACK_URL")
)
WEBHOOK_SECRET_FILE = os.environ.get("ORGADMIN_WEBHOOK_SECRET_FILE", f"{DATA_DIR}/webhook_secret")
CHECKPOINT_EMAILS = read_list("ORGADMIN_CHECKPOINT_EMAILS")
CHECKPOINT_FILE = os.environ.get("ORGADMIN_CHECKPOINT_FILE", "")
METRICS_TOKEN_FILE = os.environ.get("ORGADMIN_METRICS_TOKEN_FILE", "")

# --- Headers and cookies --------------------------------------------------------------------------

SECURE_CSP = {
    "default-src": [CSP.NONE],
    "script-src": [CSP.SELF],
    "style-src": [CSP.SELF],
    "img-src": [CSP.SELF],
    "connect-src": [CSP.SELF],
    "form-action": [CSP.SELF],
    "base-uri": [CSP.NONE],
    "frame-ancestors": [CSP.NONE],
}
X_FRAME_OPTIONS = "DENY"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_HTTPONLY = True
CSRF_COOKIE_SAMESITE = "Lax"
CSRF_FAILURE_VIEW = "connections.web.framework.errors.csrf_failure"
if not IS_LOCAL:
    SECURE_SSL_REDIRECT = True
    SECURE_HSTS_SECONDS = 365 * 24 * 60 * 60
    SESSION_COOKIE_SECURE = True
    SESSION_COOKIE_NAME = "__Host-sessionid"
    CSRF_COOKIE_SECURE = True
    CSRF_COOKIE_NAME = "__Host-csrftoken"
    # No SECURE_PROXY_SSL_HEADER, because it would trust X-Forwarded-Proto from any client.
    # orgadmin/web_server.py sets the scheme for requests from TRUSTED_PROXIES.
DEFAULT_EXCEPTION_REPORTER_FILTER = "connections.web.framework.errors.HideKeysFilter"
# Preload and includeSubDomains affect a whole domain, so they are the domain owner's decision.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
if not HAS_MAIL:
    # Email is optional, because administrators and commands can make sign-in links instead.
    SILENCED_SYSTEM_CHECKS.append("mail.E001")

if os.environ.get("ORGADMIN_LOG_FORMAT", "text") not in logs.FORMATS:
    raise ImproperlyConfigured("ORGADMIN_LOG_FORMAT must be text or json.")
LOGGING = environment.build_logging(level=os.environ.get("ORGADMIN_LOG_LEVEL", ""))
