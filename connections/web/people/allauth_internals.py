"""Everything that Org Admin uses of django-allauth's `internal` modules.

Only this module imports them.

allauth can rename or change these in any minor version, so requirements.in pins one.
tests/web/people/test_allauth_internals.py names each of them and the arguments that Org Admin
passes.
"""

from allauth.account.internal.flows.login import record_authentication
from allauth.core.internal.ratelimit import consume as consume_rate_limit
from allauth.mfa.totp.internal.auth import SECRET_SESSION_KEY, generate_totp_secret
from allauth.mfa.webauthn.internal.auth import (
    clear_state,
    complete_authentication,
    get_credentials,
    get_server,
    parse_authentication_response,
    set_state,
)

__all__ = [
    "SECRET_SESSION_KEY",
    "clear_state",
    "complete_authentication",
    "consume_rate_limit",
    "generate_totp_secret",
    "get_credentials",
    "get_server",
    "parse_authentication_response",
    "record_authentication",
    "set_state",
]
