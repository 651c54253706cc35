"""Who signed in at the identity provider, or why a sign-in failed."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

MAX_SUBJECT = 255


class Failure(StrEnum):
    """Why a sign-in failed. connections/web/people/single_sign_on.py has the texts for people."""

    UNREACHABLE = "unreachable"  # no response, or not one that OpenID Connect allows
    BUSY = "busy"  # no request was sent: too many sign-ins are waiting for it
    UNKNOWN_ADDRESS = "unknown_address"  # no request was sent: this service's address isn't certain
    CANCELLED = "cancelled"  # the person canceled it
    REFUSED = "refused"  # the provider refused it
    STALE = "stale"  # no sign-in is in progress in this browser
    BAD_TOKEN = "bad_token"  # not signed by the provider, or malformed  # noqa: S105 - a word
    WRONG_ISSUER = "wrong_issuer"  # from another provider
    WRONG_AUDIENCE = "wrong_audience"  # meant for another application
    EXPIRED = "expired"  # too old, or from the future
    WRONG_NONCE = "wrong_nonce"  # the response to another sign-in
    NOT_REAUTHENTICATED = "not_anew"  # the person had to sign in again at the provider but did not
    NO_ROLES_CLAIM = "no_roles_claim"  # the claim for roles is absent or malformed
    ROLES_CLAIM_TOO_LARGE = "roles_claim_too_large"  # or was left out for its size


class ProviderError(Exception):
    """The sign-in failed. The text is for the log and contains no token and no code."""

    def __init__(self, reason: Failure, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True, kw_only=True)
class PersonClaims:
    """Claims about a person. A text is printable and short, or "" if it is absent or unusable.

    `groups` are the values of the claim for roles.
    """

    username: str = ""
    email: str = ""
    name: str = ""
    groups: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class ProviderIdentity:
    """Who signed in, and how.

    `methods` are the values of `amr` and `acr` (RFC 8176). `authenticated_at` is when the person
    last proved who they are there, if the provider says so.
    """

    issuer: str
    subject: str
    methods: frozenset[str]
    authenticated_at: datetime | None
    claims: PersonClaims = PersonClaims()


def is_valid_subject(text: str) -> bool:
    """Whether the text can be a subject: 1 to 255 printable ASCII characters."""
    return 0 < len(text) <= MAX_SUBJECT and text.isascii() and text.isprintable()
