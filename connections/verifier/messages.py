"""Messages that no value can forge: every value in one is escaped and shortened.

A bundle's values are what its maker chose, also before its signature is checked. So a message is a
template, which is a literal, and its values.
"""

from __future__ import annotations

import re

# Characters of one value in a message.
MAX_VALUE_LENGTH = 200


class VerificationFailed(Exception):
    """A check failed. The message says which one."""

    def __init__(self, template: str, *values: object) -> None:
        super().__init__(fill(template, *values))


class UncheckedError(Exception):
    """The bundle could not be checked. The message says why."""

    def __init__(self, template: str, *values: object) -> None:
        super().__init__(fill(template, *values))


def fill(template: str, *values: object) -> str:
    """The template with these values in the places of its `{}`, each as one short line."""
    return template.format(*(quote(value) for value in values))


def quote(value: object) -> str:
    """A value as one short line: nothing in it can end the line, hide text or change its order.

    Control characters, line breaks and direction marks are written as their numbers. Repeated
    spaces become one, because a long gap looks like a line break.
    """
    text = re.sub(" +", " ", escape(str(value)))
    return text if len(text) <= MAX_VALUE_LENGTH else text[:MAX_VALUE_LENGTH] + "…"


def escape(text: str) -> str:
    """The text with every character that is not printable written as its number."""
    return "".join(c if c.isprintable() else _number_of(c) for c in text)


def _number_of(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def require(condition: object, template: str, *values: object) -> None:
    """Raise VerificationFailed with this message unless the condition is true."""
    if not condition:
        raise VerificationFailed(template, *values)


def pluralize(number: int, noun: str) -> str:
    """The number with its noun."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
