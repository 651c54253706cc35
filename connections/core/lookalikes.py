"""Which characters nobody sees, and which names look the same or are made to look like others."""

import re
import unicodedata

# Shown as white space, though Unicode says letter or symbol.
_BLANK = re.compile("[\u115f\u1160\u3164\uffa0\u2800\U0001d159]")
# Unicode's property Default_Ignorable_Code_Point, and those above.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff\u2800\U0001d159]"
)
# Scripts are taken from the names of letters, which begin with them, but for these.
_SCRIPTS = {"CJK": "HAN", "IDEOGRAPHIC": "HAN", "HENTAIGANA": "HIRAGANA"}
# Letters that every script uses, such as U+02BC, an apostrophe.
_OF_EVERY_SCRIPT = {"MODIFIER", ""}
# What Unicode's level "Highly Restrictive" (UTS 39) allows together: Chinese, Japanese, Korean.
_ALLOWED_TOGETHER = (
    frozenset({"LATIN", "HAN", "HIRAGANA", "KATAKANA"}),
    frozenset({"LATIN", "HAN", "BOPOMOFO"}),
    frozenset({"LATIN", "HAN", "HANGUL"}),
)


def has_invisible(text: str) -> bool:
    """Whether `text` has a character that is never shown."""
    return _INVISIBLE.search(text) is not None


def without_invisible(text: str) -> str:
    """The text without characters that are never shown, or with a space for one that is wide."""
    return _INVISIBLE.sub("", _BLANK.sub(" ", text))


def fold_lookalikes(name: str) -> str:
    """The same text for names that look the same.

    Ignores case, white space, Unicode's compatible forms, marks and invisible characters.
    """
    folded = unicodedata.normalize("NFKC", without_invisible(name)).casefold()
    decomposed = unicodedata.normalize("NFKD", folded)
    letters = (each for each in decomposed if unicodedata.category(each) not in {"Mn", "Me", "Cf"})
    return " ".join(without_invisible("".join(letters)).split())


def find_mixed_scripts(name: str) -> list[str]:
    """The scripts whose letters `name` mixes, by name, or none if they belong together."""
    letters = (
        letter
        for letter in unicodedata.normalize("NFKC", without_invisible(name))
        if unicodedata.category(letter).startswith("L")
    )
    scripts = {_script_of(letter) for letter in letters} - _OF_EVERY_SCRIPT
    if len(scripts) < 2 or any(scripts <= allowed for allowed in _ALLOWED_TOGETHER):
        return []
    return sorted(script.capitalize() for script in scripts)


def _script_of(letter: str) -> str:
    first_word = re.split("[ -]", unicodedata.name(letter, ""))[0]
    return _SCRIPTS.get(first_word, first_word)
