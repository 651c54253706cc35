"""Ticket patterns: usual ones match, unsupported ones are refused, and none is slow."""

import subprocess
import sys

import pytest
from pytest_django import Settings

from connections.core.tickets import (
    MAX_TICKET_LENGTH,
    check_ticket_pattern,
    find_ticket_problem,
)

USUAL = (
    (r"[A-Z]{2,10}-\d+", "OPS-12"),
    (r"[A-Z][A-Z0-9]+-\d+", "A1-1"),
    (r"(?i)[a-z]+-\d+", "Ops-12"),
    (r"(?i:ops)-\d+", "OPS-12"),
    (r"(?:OPS|SEC|SYS|SYSTEM)-\d+(\.\d+)?", "SYSTEM-1.2"),
    (r"(?P<kind>INC|CHG|RITM|PRB)\d{7,10}", "CHG0001234"),
    (r"^#?\d+$", "#12"),
    (r"\bOPS-\d+\b", "OPS-1"),
    (r"\S+", "Änderung-1"),
    (r".+-\d+", "Änderung 7-1"),
    (r"[\w.-]+/[\w.-]+#\d+", "acme/org-admin#7"),
    (r"(OPS-\d+)(, ?OPS-\d+)*", "OPS-1, OPS-2"),
    (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "12345678-1234-1234-1234-123456789abc"),
    (r"https?://[^/]+/browse/[A-Z]+-\d+", "https://jira.example.com/browse/OPS-1"),
)
# Python's `re` takes very long to refuse a ticket with most of these.
SLOW = (
    r"([A-Z]+)+-\d+",
    r"([A-Z]*)*-\d+",
    r"((OPS|SEC|A)+)*-\d+",
    r"(\w+\s?)*#",
    r"(?i)(a|A|aa)*#",
    r"(A|AB|AA)*-#",
    r"([A-Z]{1,30}){1,30}#",
    r"(?:A?){300}A{300}",
    r".*.*.*.*.*.*#",
)
UNSUPPORTED = (
    "(",
    "[A",
    r"([A-Z])\1-\d+",
    r"(?P<first>[A-Z])(?P=first)",
    r"(?=[A-Z])\w+-\d+",
    r"[A-Z]+(?<!X)-\d+",
    r"(#)?(?(1)\d+|[A-Z]+)",
    r"(?>[A-Z]+)-\d+",
    r"[A-Z]++-\d+",
    "A{2000}",
)
MATCH = """
import sys
from django.conf import settings
settings.configure(TICKET_PATTERN=sys.argv[1])
from connections.core import tickets
for start in ("A", "AB", "A-"):
    tickets.find_ticket_problem((start * 200)[:199] + "!")
"""


@pytest.mark.parametrize(("pattern", "ticket"), USUAL)
def test_a_ticket_must_match_as_a_whole(settings: Settings, pattern: str, ticket: str):
    check_ticket_pattern(pattern)
    settings.TICKET_PATTERN = pattern
    assert find_ticket_problem(ticket) is None
    assert find_ticket_problem(f"{ticket} \n") == f"A ticket must match {pattern}."


@pytest.mark.parametrize("pattern", ["", r"\d+"])
def test_an_empty_ticket_is_always_accepted(settings: Settings, pattern: str):
    settings.TICKET_PATTERN = pattern
    assert find_ticket_problem("") is None


def test_a_ticket_has_a_maximum_length(settings: Settings):
    settings.TICKET_PATTERN = ""
    assert find_ticket_problem("A" * MAX_TICKET_LENGTH) is None
    assert (
        find_ticket_problem("A" * (MAX_TICKET_LENGTH + 1))
        == "A ticket can have at most 200 characters."
    )


@pytest.mark.parametrize("pattern", UNSUPPORTED)
def test_an_unsupported_pattern_is_refused(pattern: str):
    with pytest.raises(ValueError, match=r"isn't a valid RE2 regular expression \(.+\)"):
        check_ticket_pattern(pattern)


@pytest.mark.parametrize("pattern", SLOW)
def test_no_pattern_takes_long(pattern: str):
    """In its own process, because a match can't be interrupted."""
    check_ticket_pattern(pattern)
    subprocess.run([sys.executable, "-c", MATCH, pattern], check=True, timeout=10)
