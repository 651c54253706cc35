"""Text that people type and the audit log keeps: reasons, notes, comments and names."""

import unicodedata

from connections.core.errors import InvalidInputError
from connections.core.lookalikes import without_invisible

# For a reason, a note or a comment.
MAX_REASON_LENGTH = 4000
NO_REASON = "Enter a reason."


def has_visible_text(text: str) -> bool:
    """Whether `text` has a visible character: a letter, digit, punctuation mark or symbol.

    An auditor couldn't read a reason that has only white space and invisible characters.
    """
    shown = without_invisible(text)
    return any(unicodedata.category(character)[0] in "LNPS" for character in shown)


def find_text_problem(
    text: str,
    *,
    missing: str = NO_REASON,
    noun: str = "reason",
    max_length: int = MAX_REASON_LENGTH,
) -> str | None:
    """What is wrong with a required text, as a sentence. None if nothing is wrong.

    `missing` is the sentence for a text that no one could read or no database could store.
    """
    if not has_visible_text(text) or "\0" in text:
        return missing
    if len(text.strip()) > max_length:
        return too_long_text(noun, max_length=max_length)
    return None


def too_long_text(noun: str, *, max_length: int = MAX_REASON_LENGTH) -> str:
    """The sentence for a text that is too long."""
    return f"A {noun} can have at most {max_length:,} characters."


def clean_text(
    text: str, *, missing: str = NO_REASON, field: str = "reason", noun: str = "reason"
) -> str:
    """The text without surrounding white space. Raises InvalidInputError for `field`."""
    if problem := find_text_problem(text, missing=missing, noun=noun):
        raise InvalidInputError({field: problem})
    return text.strip()


def confirmation_matches(*, typed: str, expected: str) -> bool:
    """Whether the typed text matches the expected one, ignoring case and extra white space."""
    return fold(typed) == fold(expected)


def fold(text: str) -> str:
    """The text without differences in case, white space and Unicode's compatible forms."""
    return " ".join(unicodedata.normalize("NFKC", text).split()).casefold()
