"""Why a sign-in at the provider came to nothing, and what to do."""

from dataclasses import dataclass
from enum import StrEnum

from connections.people.oidc.errors import Reason


class Refusal(StrEnum):
    """Why an identity that the provider vouches for is not let in here."""

    UNKNOWN_ACCOUNT = "unknown_account"  # nobody's here
    DISABLED = "disabled"  # of somebody who is disabled
    OTHER_ACCOUNT = "other_account"  # not that of whoever is signed in


@dataclass(frozen=True, kw_only=True)
class RefusalWords:
    """`told` stands in the record after "was refused: "."""

    told: str
    headline: str
    body: str


_AGAIN = "Sign in once more. If it stays so, tell an administrator."
_FAULT = "The answer was refused. Tell an administrator: the provider may be set up wrongly."

_WORDS: dict[str, RefusalWords] = {
    Reason.UNREACHABLE: RefusalWords(
        told="the provider did not answer as it should",
        headline="The provider does not answer",
        body="Try again in a minute, or sign in with a password.",
    ),
    Reason.BUSY: RefusalWords(
        told="too many sign-ins were waiting for the identity provider",
        headline="Try again in a minute",
        body="The identity provider is slow, and other sign-ins are waiting for it. Nothing was "
        "lost: reload this page in a minute, or sign in with a password.",
    ),
    Reason.CANCELLED: RefusalWords(
        told="it was cancelled there",
        headline="You did not sign in there",
        body="Nothing was done. Sign in once more, or with a password.",
    ),
    Reason.REFUSED: RefusalWords(
        told="the provider refused it", headline="The provider refused to sign you in", body=_AGAIN
    ),
    Reason.STALE: RefusalWords(
        told="none was begun in this browser",
        headline="This sign-in is over",
        body="It took longer than ten minutes, was used already, or was begun in another browser. "
        "Sign in once more.",
    ),
    Reason.BAD_TOKEN: RefusalWords(
        told="the ID token is not one of this provider", headline="That was not valid", body=_FAULT
    ),
    Reason.WRONG_ISSUER: RefusalWords(
        told="the answer is from another issuer", headline="That was not valid", body=_FAULT
    ),
    Reason.WRONG_AUDIENCE: RefusalWords(
        told="the ID token is for another application", headline="That was not valid", body=_FAULT
    ),
    Reason.EXPIRED: RefusalWords(
        told="the ID token is too old or too new",
        headline="That was not valid any more",
        body="The clocks of this server and the provider differ, or the answer took too long. "
        "Sign in once more.",
    ),
    Reason.WRONG_NONCE: RefusalWords(
        told="the ID token answers another sign-in", headline="That was not valid", body=_FAULT
    ),
    Reason.NOT_ANEW: RefusalWords(
        told="the person did not sign in anew there",
        headline="You were to sign in once more",
        body="The provider did not say that you just gave your password or key there. Try again.",
    ),
    Refusal.UNKNOWN_ACCOUNT: RefusalWords(
        told="the account there is nobody's here",
        headline="This account is not connected to anybody here",
        body="An administrator can connect it to you: on your page under People, with the subject "
        "below. A name or an e-mail address connects nothing.",
    ),
    Refusal.DISABLED: RefusalWords(
        told="they are disabled",
        headline="This account is disabled",
        body="You are not signed in. An administrator can enable it again.",
    ),
    Refusal.OTHER_ACCOUNT: RefusalWords(
        told="it was another account than theirs",
        headline="That is another account",
        body="Sign in there with the account that is connected to you here.",
    ),
}


def refusal_words(reason: Reason | Refusal) -> RefusalWords:
    """The words for one reason; every reason has some."""
    return _WORDS[reason]
