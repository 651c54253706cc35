"""Checks keys as people paste them: what is wrong with them, and which kind they are.

Texts about a problem never repeat a key. The functions that see plain text return the problem
instead of raising it, so that no traceback contains the key.
"""

import re
from collections.abc import Iterable

from connections.core.datadog_keys import AccessToken, DatadogKeys, KeyPair
from connections.core.errors import InvalidInputError
from connections.core.secret import Secret

# Datadog's keys have 32 to 80 characters today, and Datadog promises no fixed length.
MIN_KEY_LENGTH = 20
MAX_KEY_LENGTH = 200

NAME_IS_A_KEY = "The name looks like a key. Use another name."

_KEY = re.compile(r"[!-~]+")
# Hex digits, or at least as many letters and digits as in the shortest key that Datadog makes.
_LIKE_A_KEY = re.compile(r"[0-9a-fA-F]{20,}|[0-9A-Za-z]{32,}")
_ACCESS_TOKEN_PREFIXES = ("ddpat_", "ddsat_")
_APPLICATION_KEY_PREFIX = "ddapp_"


def choose_keys(*, api_key: Secret, application_key: Secret, access_token: Secret) -> DatadogKeys:
    """The key pair or the access token. An empty secret was not given.

    Raises InvalidInputError if both or neither were given.
    """
    if not access_token:
        return KeyPair(api_key=api_key, application_key=application_key)
    if api_key or application_key:
        raise InvalidInputError(
            {"access_token": "Paste either an access token or the two keys, not both."}
        )
    return AccessToken(access_token=access_token)


def clean_keys(keys: DatadogKeys) -> DatadogKeys:
    """The keys without surrounding white space.

    Raises InvalidInputError for a text that can't be a key, without repeating it.
    """
    secrets = {name: Secret(key.reveal().strip()) for name, key in keys.by_field.items()}
    if isinstance(keys, KeyPair) and not any(secrets.values()):
        raise InvalidInputError(
            {"api_key": "Paste an API key and an application key, or an access token."}
        )
    problems = {
        name: _kind_problem(secret, field=name) or _text_problem(secret)
        for name, secret in secrets.items()
    }
    fields = {name: problem for name, problem in problems.items() if problem}
    if fields:
        raise InvalidInputError(fields)
    return type(keys)(**secrets)


def contains_a_key(name: str, *, keys: Iterable[Secret]) -> bool:
    """Whether a name contains one of these keys, or looks like another key."""
    pasted = name.strip()
    if pasted.startswith((*_ACCESS_TOKEN_PREFIXES, _APPLICATION_KEY_PREFIX)):
        return True
    texts = (key.reveal().strip() for key in keys)
    has_one = any(len(text) >= 16 and text in name for text in texts)
    return has_one or _LIKE_A_KEY.fullmatch(pasted) is not None


def require_no_key(name: str, *, keys: Iterable[Secret] = ()) -> None:
    """Raise InvalidInputError for a name that `contains_a_key`: names are shown in plain text."""
    if contains_a_key(name, keys=keys):
        raise InvalidInputError({"name": NAME_IS_A_KEY})


def _kind_problem(secret: Secret, *, field: str) -> str | None:
    text = secret.reveal()
    if field == "access_token":
        if text.startswith(_ACCESS_TOKEN_PREFIXES):
            return None
        return "This isn't an access token, which starts with ddpat_ or ddsat_."
    if text.startswith(_ACCESS_TOKEN_PREFIXES):
        return "This is an access token. Paste it as the access token, without the two keys."
    if field == "api_key" and text.startswith(_APPLICATION_KEY_PREFIX):
        return "This is an application key. Check that the two keys aren't swapped."
    return None


def _text_problem(secret: Secret) -> str | None:
    text = secret.reveal()
    if not text:
        return "Paste the key."
    if "\n" in text or "\r" in text:
        return "The key contains a line break. Paste one key."
    if any(character.isspace() for character in text):
        return "The key contains a space. Copy it again."
    if not _KEY.fullmatch(text):
        return "The key contains a character that no Datadog key has. Copy it again."
    if len(text) < MIN_KEY_LENGTH:
        return f"The key is too short: at least {MIN_KEY_LENGTH} characters. Paste the whole key."
    if len(text) > MAX_KEY_LENGTH:
        return f"The key is too long: at most {MAX_KEY_LENGTH} characters."
    return None
