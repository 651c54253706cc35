"""Which ticket patterns are safe to match: those that Python's `re` cannot spend long on.

`re` backtracks: to refuse a ticket it may try every way in which the pattern can read it, and
`([A-Z]+)+-[0-9]+` has more ways to read sixty letters than there is time for. So a pattern is
refused when starting, unless an upper bound on the number of ways is small for every ticket.

The bound is a product over what stands in sequence, a sum over alternatives, and for a repeat the
sum over the possible numbers of repetitions. Two things keep it realistic, because then only one
of them leads on: alternatives that begin with different characters, and a repeat whose characters
differ from those that can follow it, as in `[A-Z]+-`.
"""

import importlib
import re
from typing import Any

from django.conf import settings
from django.utils.http import urlencode

LONGEST_TICKET = 200
# Ways to read one ticket. Two repeats that may take the same characters have 200 × 200.
MOST_WAYS = 200_000
# Classes of more characters are taken for any character.
MOST_CHARACTERS = 500

# The parser that `re.compile` uses; type checkers don't know it.
_parser: Any = importlib.import_module("re._parser")
_compiler: Any = importlib.import_module("re._compiler")

_CHARACTER = {"LITERAL", "NOT_LITERAL", "ANY", "IN"}
_REPEAT = {"MAX_REPEAT", "MIN_REPEAT"}
_ANCHOR = "AT"

# The characters that can come next; None when that isn't known. At the end there is none.
_Characters = frozenset[str] | None

_TOO_SLOW = (
    "could take very long to match: don't repeat a group that holds a repeat or alternatives of "
    "several lengths, and put a fixed character between repeats of the same characters, as in "
    "[A-Z]+-[0-9]+"
)
_TOO_RICH = (
    "may hold characters, classes, groups, alternatives, repeats and anchors only: no "
    "back-references, no lookahead or lookbehind, no conditions, no atomic groups or possessive "
    "repeats, and flags only at its beginning"
)


def check_ticket_pattern(pattern: str) -> None:
    """Raise ValueError, saying what to change, unless every ticket is matched fast."""
    try:
        re.compile(pattern)
        tree = _parser.parse(pattern)
        _require_plain(tree)
        if _ways(tree, following=frozenset()) > MOST_WAYS:
            raise ValueError(_TOO_SLOW)
    except (re.error, OverflowError) as error:
        raise ValueError(f"is no regular expression: {error}") from None
    except RecursionError:
        raise ValueError("is nested too deeply") from None


def _require_plain(tree: Any) -> None:
    """Raise ValueError for anything whose ways of reading a ticket aren't counted below."""
    for operation, argument in tree:
        name = str(operation)
        if name in _REPEAT:
            _require_plain(argument[2])
        elif name == "BRANCH":
            for branch in argument[1]:
                _require_plain(branch)
        elif name == "SUBPATTERN" and argument[1:3] == (0, 0):
            _require_plain(argument[3])
        elif name not in _CHARACTER and name != _ANCHOR:
            raise ValueError(_TOO_RICH)


def _ways(tree: Any, *, following: _Characters) -> int:
    """In how many ways at most a sequence reads a ticket from one place on."""
    ways = 1
    for operation, argument in reversed(list(tree)):
        item = _ways_of_item(str(operation), argument, following=following)
        ways = min(ways * item, MOST_WAYS + 1)
        following = _firsts_of_item(tree, str(operation), argument, following=following)
    return ways


def _ways_of_item(name: str, argument: Any, *, following: _Characters) -> int:
    if name in _CHARACTER or name == _ANCHOR:
        return 1
    if name in _REPEAT:
        return _ways_of_repeat(*argument, following=following)
    if name == "BRANCH":
        return _ways_of_branch(argument[1], following=following)
    return _ways(argument[3], following=following)


def _ways_of_repeat(least: int, most: int, body: Any, *, following: _Characters) -> int:
    if body.getwidth()[0] == 0:
        raise ValueError(_TOO_SLOW)
    after_body = following if most == 1 else _either(_firsts(body, following=None), following)
    ways = _ways(body, following=after_body)
    # Each repetition takes a character at least.
    counts = range(min(least, LONGEST_TICKET), min(most, LONGEST_TICKET) + 1)
    if _differs(body, following):
        counts = counts[-1:]
    total = 0
    for count in counts:
        total += ways**count
        if total > MOST_WAYS:
            break
    return total


def _ways_of_branch(branches: list[Any], *, following: _Characters) -> int:
    ways = [_ways(branch, following=following) for branch in branches]
    begun: set[str] = set()
    for branch in branches:
        firsts = _firsts(branch, following=following)
        if firsts is None or firsts & begun:
            return sum(ways)
        begun |= firsts
    return max(ways)


def _firsts(tree: Any, *, following: _Characters) -> _Characters:
    """The characters that a sequence can begin with, or what follows it where it can be empty."""
    for operation, argument in reversed(list(tree)):
        following = _firsts_of_item(tree, str(operation), argument, following=following)
    return following


def _firsts_of_item(tree: Any, name: str, argument: Any, *, following: _Characters) -> _Characters:
    if name == _ANCHOR:
        return following
    if name in _CHARACTER:
        return None if tree.state.flags & re.IGNORECASE else _characters(name, argument)
    if name in _REPEAT:
        firsts = _firsts(argument[2], following=following)
        return firsts if argument[0] else _either(firsts, following)
    if name == "BRANCH":
        every: _Characters = frozenset()
        for branch in argument[1]:
            every = _either(every, _firsts(branch, following=following))
        return every
    return _firsts(argument[3], following=following)


def _characters(name: str, argument: Any) -> _Characters:
    """What a literal or a class of few characters takes; None for any other."""
    if name == "LITERAL":
        return frozenset(chr(argument))
    if name != "IN":
        return None
    found: set[str] = set()
    for operation, value in argument:
        kind = str(operation)
        first, last = value if kind == "RANGE" else (value, value)
        if kind not in {"LITERAL", "RANGE"} or last - first > MOST_CHARACTERS:
            return None
        found |= {chr(each) for each in range(first, last + 1)}
    return frozenset(found)


def _either(some: _Characters, others: _Characters) -> _Characters:
    return None if some is None or others is None else some | others


def _differs(body: Any, following: _Characters) -> bool:
    """Whether what is repeated can never begin with a character that can follow the repeat."""
    if following is None:
        return False
    if len(body) == 1 and str(body[0][0]) in _CHARACTER:
        matches = _compiler.compile(body).fullmatch
        return not any(matches(each) for each in following)
    firsts = _firsts(body, following=None)
    return firsts is not None and not firsts & following


def find_ticket_problem(ticket: str) -> str:
    """The problem of a ticket as a sentence; empty when there is none.

    The length comes first: settings.py checked that the pattern is fast up to that length.
    """
    if len(ticket) > LONGEST_TICKET:
        return f"A ticket has at most {LONGEST_TICKET} characters."
    if ticket and settings.TICKET_PATTERN and not re.fullmatch(settings.TICKET_PATTERN, ticket):
        return f"A ticket here looks like {settings.TICKET_PATTERN}."
    return ""


def ticket_url(ticket: str) -> str:
    """Where a ticket can be read; empty when no address is configured.

    ORGADMIN_TICKET_URL holds `{ticket}`, which is replaced by the quoted ticket.
    """
    if not ticket or "{ticket}" not in settings.TICKET_URL:
        return ""
    quoted = urlencode({"": ticket})[1:].replace("+", "%20")
    return str(settings.TICKET_URL).replace("{ticket}", quoted)
