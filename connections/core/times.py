"""Times inside a sentence: exact, in UTC."""

from datetime import UTC, datetime


def format_time(at: datetime | None) -> str:
    """A time inside a sentence: "14:03:22 UTC on 24 Nov 2026"; "?" when there is none."""
    if at is None:
        return "?"
    utc = at.astimezone(UTC)
    return f"{utc:%H:%M:%S} UTC on {utc.day} {utc:%b %Y}"
