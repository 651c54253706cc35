"""The environment variables that Org Admin and `./run` read, to notice misspelled ones."""

from collections.abc import Iterable
from difflib import get_close_matches

_PREFIX = "ORGADMIN_"
# Without the prefix. A test compares them with the code.
NAMES = """
    ACCESS_MAX_DAYS
    BASE_URL BIND CA_BUNDLE CHECKPOINT_EMAILS CHECKPOINT_FILE DATA_DIR DB_APP_ROLE DEMO
    DRAIN_SECONDS ENV_FILE EXTRA_CA_FILE EXTRA_SITES FOUR_EYES HTTP_PROXY HTTP_PROXY_FILE
    KEYRING_FILE KEY_MAX_AGE_DAYS LOG_FORMAT LOG_LEVEL METRICS_TOKEN_FILE NO_PROXY
    OIDC_CLIENT_ID OIDC_CLIENT_SECRET_FILE OIDC_CREATE_PEOPLE OIDC_ISSUER OIDC_MFA_VALUES
    OIDC_NAME OIDC_ROLES_CLAIM OIDC_ROLE_MAP OIDC_SCOPES REFRESH_MINUTES REQUIRE_MFA
    SESSION_IDLE_MINUTES SIGNING_KEY_FILE SLACK_URL SLACK_URL_FILE SSO_ONLY START_COMMAND
    STATIC_ROOT STOP_COMMAND SUPERVISOR TEST_DATABASE_URL TEST_DATA_DIR TICKET_PATTERN
    TICKET_URL TRUSTED_PROXIES
    WEBHOOK_SECRET_FILE WEBHOOK_URL WEBHOOK_URL_FILE
"""


def find_unknown_variables(names: Iterable[str]) -> dict[str, str]:
    """Those of `names` that look like Org Admin's and that nothing reads, each with a known one.

    "" if no known one is similar.
    """
    known = {_PREFIX + name for name in NAMES.split()}
    unknown = sorted(name for name in names if name.startswith(_PREFIX) and name not in known)
    return {
        name: next(iter(get_close_matches(name, known, n=1, cutoff=0.8)), "") for name in unknown
    }
