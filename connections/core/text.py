"""Times, ages and counts as text, IDs in text, and text from outside that is safe to print."""

import json
import math
import unicodedata
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

_QUOTES = frozenset('"“”„«»')


def fold_query(text: str) -> str:
    """The words to search for: without quotes, and without invisible marks such as U+202E.

    Both separate words, so that a pasted name finds itself, with the mark and without it.
    """
    return " ".join(
        "".join(
            " " if char in _QUOTES or unicodedata.category(char) == "Cf" else char for char in text
        ).split()
    )


def uuid_or_none(text: str) -> UUID | None:
    """The UUID in that text; None for any other text."""
    try:
        return UUID(text)
    except ValueError:
        return None


def format_time(at: datetime | None, *, today: datetime | None = None) -> str:
    """The time as "2026-11-24 14:03:22 UTC", or without the date of `today`; "?" for None."""
    if at is None:
        return "?"
    at = at.astimezone(UTC)
    is_today = today is not None and at.date() == today.astimezone(UTC).date()
    return f"{at:%H:%M:%S} UTC" if is_today else f"{at:%Y-%m-%d %H:%M:%S} UTC"


def format_date(at: datetime) -> str:
    """The day in UTC as "16 Nov 2026"."""
    return format_day(at.astimezone(UTC))


def format_day(day: date) -> str:
    """The day as "16 Nov 2026"."""
    return f"{day.day} {day:%b %Y}"


def possessive(name: str) -> str:
    """ "Labs'", "Mobile's"."""
    return f"{name}'" if name.endswith("s") else f"{name}'s"


def format_age(at: datetime, *, now: datetime) -> str:
    """ "just now", "40 s ago", "3 min ago", "5 h ago", "12 days ago". Both times are aware."""
    age = now - at
    return "just now" if age < timedelta(seconds=5) else f"{format_span(age)} ago"


def format_relative(at: datetime, *, now: datetime) -> str:
    """ "3 min ago", "in 24 min", or "16 Nov 2026" (in UTC) for more than seven days ago.

    A future time is rounded to the nearest unit, so that a day still reads as 24 h a moment later.
    Seconds are rounded up, so that a time to come is never "in 0 s".
    """
    if at > now:
        return f"in {format_span(_rounded(at - now))}"
    return format_date(at) if now - at > timedelta(days=7) else format_age(at, now=now)


def format_limit(limit: timedelta) -> str:
    """ "60 s", "15 minutes", "24 hours", "90 days": a time limit that a sentence names."""
    seconds = int(limit.total_seconds())
    if seconds < 120:
        return f"{seconds} s"
    if seconds < 60 * 60:
        return pluralize(seconds // 60, "minute")
    if limit < timedelta(days=3):
        return pluralize(seconds // 3600, "hour")
    return pluralize(limit.days, "day")


def format_span(span: timedelta) -> str:
    """ "40 s", "3 min", "5 h", "12 days"."""
    seconds = int(span.total_seconds())
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 60 * 60:
        return f"{seconds // 60} min"
    if span < timedelta(days=2):
        return f"{seconds // 3600} h"
    return f"{span.days} days"


def _rounded(span: timedelta) -> timedelta:
    """The span such that `format_span`, which rounds down, rounds as `format_relative` says."""
    if span < timedelta(minutes=1):
        return timedelta(seconds=math.ceil(span.total_seconds()))
    if span < timedelta(hours=1):
        return span + timedelta(seconds=30)
    return span + (timedelta(minutes=30) if span < timedelta(days=2) else timedelta(hours=12))


def pluralize(number: int, noun: str) -> str:
    """“1 event”, “1,042 events”; for nouns with a regular plural."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def printable(text: str) -> str:
    """The text for one line of output: a character that doesn't print becomes [U+001B].

    Line breaks are replaced too, so a name can neither add a line nor control a terminal.
    """
    return _escape(text, lambda character: f"[U+{ord(character):04X}]")


def printable_lines(text: str) -> str:
    """The text like `printable`, but with its line feeds."""
    return "\n".join(map(printable, text.split("\n")))


def printable_json(text: str) -> str:
    """JSON without line breaks, in which characters that don't print are escaped.

    It is read as the same value.
    """
    return _escape(text, lambda character: json.dumps(character)[1:-1])


def _escape(text: str, escape: Callable[[str], str]) -> str:
    # Almost every text is printable, and this check takes no loop in Python.
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else escape(character) for character in text
    )


def join_names(names: Sequence[str]) -> str:
    """ "logs", "logs and metrics", "logs, metrics and audit"."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def join_some_names(names: Sequence[str], *, limit: int) -> str:
    """The names, or the first `limit` of them: "Labs, Mobile and 3 more"."""
    if len(names) <= limit:
        return join_names(names)
    return f"{', '.join(names[:limit])} and {len(names) - limit} more"


def join_facts(*facts: str) -> str:
    """ "OPS-1 · Requested by Ada": those that aren't empty."""
    return " · ".join(fact for fact in facts if fact)


def one_line(text: str, *, limit: int) -> str:
    """External text without line breaks, control characters or bidirectional controls."""
    line = "".join(
        letter if letter.isprintable() else "\ufffd" for letter in " ".join(text.split())
    )
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def limited_lines(text: str, *, limit: int) -> str:
    """External text like `one_line`, but longer and with its line breaks."""
    lines = [one_line(line, limit=limit) for line in text[:limit].splitlines()]
    return "\n".join(lines)
