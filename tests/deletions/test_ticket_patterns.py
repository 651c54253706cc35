"""Ticket patterns: usual ones are taken, those that could hold the server up are refused."""

import random
import subprocess
import sys
from itertools import product

import pytest

from connections.deletions.tickets import LONGEST_TICKET, check_ticket_pattern

USUAL = (
    "",
    r"[A-Z]{2,10}-\d+",
    r"[A-Z][A-Z0-9]+-\d+",
    r"(?i)[a-z]+-\d+",
    r"(OPS|SEC)-\d+",
    r"(?:OPS|SEC|SYS|SYSTEM)-\d+(\.\d+)?",
    r"(?P<kind>INC|CHG|RITM|PRB)\d{7,10}",
    r"CHG\d{7}",
    r"#\d+",
    r"^#?\d+$",
    r"\bOPS-\d+\b",
    r"\S+",
    r".*",
    r".+-\d+",
    r"\d+(\.\d+)*",
    r"[\w.-]+/[\w.-]+#\d+",
    r"(OPS-\d+)(, ?OPS-\d+)*",
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    r"https://jira\.example\.com/browse/[A-Z]+-\d+",
    r"https?://[^/]+/browse/[A-Z]+-\d+",
)
SLOW = (
    r"([A-Z]+)+-\d+",
    r"([A-Z]*)*-\d+",
    r"([A-Z]+?)+-\d+",
    r"((OPS|SEC)+)*-\d+",
    r"([A-Z]+[0-9]*)*-",
    r"(\w+\s?)*#",
    r"(\w+-?)+#",
    r"(?i)(ab|AB)*-",
    r"(\w-|\d-)*#",
    r"(A|AB|B)*-",
    r"([A-Z]B|[A-F]B)+-",
    r"([A-Z]{1,50}){1,50}-",
    r"(?:A?){30}A{30}",
    r".*.*.*.*-",
    r"\w+\d*\w+\d*-",
    r"(){65535}",
    r"((A|B)?)*-",
)
NOT_PLAIN = (
    r"(A)(?(1)A|A)*-",
    r"((?=A)A|A)*-",
    r"(A++A|A)*-",
    r"(A+)\1+-",
    r"([A-Z])\1-\d+",
    r"(?P<first>[A-Z])(?P=first)",
    r"(?=[A-Z])\w+-\d+",
    r"(?!OPS)[A-Z]+-\d+",
    r"[A-Z]+(?<!X)-\d+",
    r"(#)?(?(1)\d+|[A-Z]+)",
    r"(?>[A-Z]+)-\d+",
    r"[A-Z]++-\d+",
    r"(?i:[a-z]+)-\d+",
)
MATCH = """
import re, sys, time
for line in sys.stdin.read().splitlines():
    pattern, ticket = line.split("\\t")
    started = time.process_time()
    re.fullmatch(pattern, ticket)
    took = time.process_time() - started
    if took > 1:
        sys.exit(f"{pattern} took {took} s for {ticket}")
"""


@pytest.mark.parametrize("pattern", USUAL)
def test_a_usual_pattern_is_taken(pattern: str) -> None:
    check_ticket_pattern(pattern)


@pytest.mark.parametrize("pattern", SLOW)
def test_a_pattern_that_could_take_very_long_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="could take very long to match: don't repeat"):
        check_ticket_pattern(pattern)


@pytest.mark.parametrize("pattern", NOT_PLAIN)
def test_a_pattern_that_is_not_plain_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="no back-references, no lookahead"):
        check_ticket_pattern(pattern)


@pytest.mark.parametrize(
    "pattern", ["(", "[A", "A{99999999999}", "(" * 1_000 + "A" + ")" * 1_000], ids=len
)
def test_what_python_cannot_compile_is_refused_in_words(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"is no regular expression: .|is nested too deeply"):
        check_ticket_pattern(pattern)


def is_taken(pattern: str) -> bool:
    try:
        check_ticket_pattern(pattern)
    except ValueError:
        return False
    return True


def random_patterns(count: int) -> list[str]:
    """Small patterns of few letters, in which repeats and alternatives often overlap."""
    chance = random.Random(count)  # noqa: S311 - any will do

    def pattern(depth: int) -> str:
        return "".join(item(depth) for _ in range(chance.randint(1, 4)))

    def item(depth: int) -> str:
        one = chance.choice(["A", "B", "[AB]", ".", "[^B]", "\\w"])
        if depth and chance.random() < 0.5:
            one = f"(?:{pattern(depth - 1)})"
        elif depth and chance.random() < 0.3:
            one = f"(?:{pattern(depth - 1)}|{pattern(depth - 1)})"
        return one + chance.choice(["", "", "*", "+", "?", "{1,20}", "{3}", "*?"])

    return [pattern(3) for _ in range(count)]


def test_what_is_taken_refuses_the_worst_tickets_fast() -> None:
    """In a process of its own, which ends in any case: this one could not be interrupted."""
    starts = ["A", "AB", "AAB", "BA", "A-"]
    tickets = [(start * LONGEST_TICKET)[: LONGEST_TICKET - 1] + "!" for start in starts]
    taken = [each for each in (*USUAL, *random_patterns(1_000)) if is_taken(each)]
    assert len(taken) > 100
    lines = "\n".join(f"{each}\t{ticket}" for each, ticket in product(taken, tickets))
    done = subprocess.run(
        [sys.executable, "-c", MATCH],
        input=lines,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
