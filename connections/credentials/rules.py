"""What the acts on credentials share: names and the form of keys."""

import re

from connections.access import permissions
from connections.access.actor import Actor
from connections.core.errors import InvalidInputError
from connections.core.secret import Secret
from connections.models import Credential, KeyPair

LONGEST_NAME = 100
# Datadog's keys have 32 to 80 characters today and no promised length.
LONGEST_KEY = 200

_KEY = re.compile(r"[!-~]+")
_ACCESS_TOKEN_PREFIXES = ("ddpat_", "ddsat_")
_APPLICATION_KEY_PREFIX = "ddapp_"


def clean_keys(keys: KeyPair) -> KeyPair:
    """The pair without white space around it, checked for what no key can hold.

    Raises InvalidInputError, whose words never repeat a key.
    """
    cleaned = KeyPair(
        api_key=_stripped(keys.api_key), application_key=_stripped(keys.application_key)
    )
    problems = {
        "api_key": _problem_of(cleaned.api_key) or _api_key_problem_of(cleaned.api_key),
        "application_key": _problem_of(cleaned.application_key),
    }
    fields = {name: problem for name, problem in problems.items() if problem}
    if fields:
        raise InvalidInputError(fields)
    return cleaned


def _stripped(secret: Secret) -> Secret:
    return Secret(secret.reveal().strip())


# These two return their finding instead of raising it, so that no frame of an exception holds
# the plain text.
def _problem_of(secret: Secret) -> str:
    text = secret.reveal()
    if not text:
        return "Paste the key."
    if len(text) > LONGEST_KEY:
        return f"This is longer than any key: at most {LONGEST_KEY} characters."
    if text.startswith(_ACCESS_TOKEN_PREFIXES):
        return "This is an access token. Paste an API key and an application key instead."
    if _KEY.fullmatch(text):
        return ""
    if "\n" in text or "\r" in text:
        return "It holds a line end: perhaps two things were pasted at once. Paste one key."
    if "\0" in text:
        return "It holds a NUL character, which no key does. Copy the key again."
    if any(character.isspace() for character in text):
        return "It holds a space inside, which no key does. Copy the key again."
    return "It holds a character that is not plain ASCII, which no key does. Copy the key again."


def _api_key_problem_of(secret: Secret) -> str:
    if secret.reveal().startswith(_APPLICATION_KEY_PREFIX):
        return "This is an application key. Are the two fields swapped?"
    return ""


def require_unused_keys(
    *, actor: Actor, site: str, fingerprint: str, besides: Credential | None = None
) -> None:
    """Raise InvalidInputError when this pair is stored already; names the other if they see it.

    Two credentials with one pair would each be a way to send, and only one would be rotated.
    """
    stored = Credential.objects.filter(site=site, fingerprint=fingerprint, retired_at=None)
    if besides and besides.fingerprint == fingerprint:
        raise InvalidInputError({"api_key": "This is the key pair that is stored now."})
    other = stored.first()
    if other:
        is_unseen = other.pk in permissions.visibility_of(actor).hidden
        where = "out of your reach" if is_unseen else f"as “{other.name}”"
        raise InvalidInputError({"api_key": f"This key pair is stored already, {where}."})


def clean_name(name: str) -> str:
    """The name with its white space folded; "" stays "".

    Raises InvalidInputError when it is too long or cannot be read on screen.
    """
    folded = " ".join(name.split())
    if len(folded) > LONGEST_NAME:
        raise InvalidInputError({"name": f"Take at most {LONGEST_NAME} characters."})
    if not folded.isprintable():
        raise InvalidInputError({"name": "It holds a character that cannot be seen."})
    return folded


def check_name_is_free(name: str, *, actor: Actor, besides: Credential | None = None) -> None:
    """Raise InvalidInputError when another credential bears the name, whatever its case.

    That one out of reach does cannot be kept from who typed its name, but its spelling is.
    """
    for pk, other in Credential.objects.values_list("pk", "name"):
        # Compared here: SQLite folds the case of ASCII letters only.
        if other.casefold() == name.casefold() and not (besides and pk == besides.pk):
            shown = name if pk in permissions.visibility_of(actor).hidden else other
            raise InvalidInputError({"name": f"Another credential is called “{shown}”."})


def unused_name(wanted: str, *, mark: str = "") -> str:
    """`wanted` and `mark`, or the same with a number where another credential bears that."""
    taken = {name.casefold() for name in Credential.objects.values_list("name", flat=True)}
    number = 1
    while True:
        end = mark + (f" {number}" if number > 1 else "")
        name = wanted[: LONGEST_NAME - len(end)].rstrip() + end
        if name.casefold() not in taken:
            return name
        number += 1


def name_from_org(org_name: str) -> str:
    """Datadog's name of an org as a credential may bear it; "" when nothing of it can be read."""
    seen = "".join(
        character for character in org_name if character.isprintable() or character == " "
    )
    return " ".join(seen.split())[:LONGEST_NAME].rstrip()


def is_same_name(typed: str, name: str) -> bool:
    """Whether a person typed this name: white space folded, case forgiven."""
    return " ".join(typed.split()).casefold() == " ".join(name.split()).casefold()
