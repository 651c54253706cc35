"""What a sentence can claim about a deletion, based on its recorded attempts.

“Nothing was sent” only if no attempt left this server, “Nothing was deleted” only if Datadog
refused every attempt that did.
"""

from enum import Enum

from connections.verifier.rules import Sent

_NOTHING_DELETED = {Sent.NOTHING, Sent.REFUSED}


class Claim(Enum):
    """What a text says about the attempts: the sentence, which results make it true, what to say
    otherwise.
    """

    NOTHING_SENT = "Nothing was sent.", {Sent.NOTHING}, "No new DELETE was sent."
    NOTHING_SENT_YET = "Nothing has been sent.", {Sent.NOTHING}, "No new DELETE has been sent."
    DELETE_NOT_SENT_YET = (
        "The DELETE hasn't been sent yet.",
        {Sent.NOTHING},
        "No new DELETE has been sent.",
    )
    NOTHING_DELETED = "Nothing was deleted.", _NOTHING_DELETED, ""
    DELETED_NOTHING = "This request deleted nothing.", _NOTHING_DELETED, ""
    MIGHT_HAVE_WORKED = "The DELETE was sent and might have worked.", {Sent.UNCERTAIN}, ""
    RESPONSE_LOST = "The response was lost or unusable.", {Sent.UNCERTAIN}, ""


def claim_text(claim: Claim, *, sent: Sent | None) -> str:
    """The claim if it is true, or else what is true instead. Can be empty.

    `sent` is None if attempts were recorded but not read, so that no claim can be made.
    """
    sentence, true_of, otherwise = claim.value
    return sentence if sent in true_of else otherwise
