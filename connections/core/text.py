"""Times, ages and counts as text."""

from datetime import UTC, datetime, timedelta


def format_time(at: datetime | None) -> str:
    """The time as "14:03:22 UTC on 24 Nov 2026"; "?" for None."""
    if at is None:
        return "?"
    utc = at.astimezone(UTC)
    return f"{utc:%H:%M:%S} UTC on {utc.day} {utc:%b %Y}"


def format_age(at: datetime, *, now: datetime) -> str:
    """ "just now", "40 s ago", "3 min ago", "5 h ago", "12 days ago"; both times are aware."""
    age = now - at
    seconds = int(age.total_seconds())
    if seconds < 5:
        return "just now"
    if seconds < 60:
        return f"{seconds} s ago"
    if age < timedelta(hours=1):
        return f"{seconds // 60} min ago"
    if age < timedelta(days=2):
        return f"{seconds // 3600} h ago"
    return f"{age.days} days ago"


def pluralize(number: int, noun: str) -> str:
    """“1 event”, “1,042 events”; for nouns with a regular plural."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
