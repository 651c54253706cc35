"""Why a sign-in at the provider counts for nothing."""

from enum import StrEnum


class Reason(StrEnum):
    """One reason each; connections/web/people/provider_wording.py says them to people."""

    UNREACHABLE = "unreachable"  # it did not answer, or not as OpenID Connect says
    BUSY = "busy"  # it was not asked: as many sign-ins as allowed wait for it already
    CANCELLED = "cancelled"  # the person did not go through with it
    REFUSED = "refused"  # the provider itself refused
    STALE = "stale"  # no sign-in was begun in this browser, or it is over
    BAD_TOKEN = "bad_token"  # not signed by the provider, or malformed  # noqa: S105 - a word
    WRONG_ISSUER = "wrong_issuer"  # from another provider
    WRONG_AUDIENCE = "wrong_audience"  # meant for another application
    EXPIRED = "expired"  # too old, or from the future
    WRONG_NONCE = "wrong_nonce"  # the answer to another sign-in
    NOT_ANEW = "not_anew"  # the person was to sign in anew there and did not


class ProviderError(Exception):
    """The sign-in counts for nothing. The text is for the log and holds no token and no code."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason
