"""What is said when no worker is alive, or when a clock is wrong."""

from datetime import datetime

from connections.core.times import format_time


def no_worker_text(seen_at: datetime | None) -> str:
    """What that means and what to do; `seen_at`: when one was last heard of."""
    last = f"The last was seen at {format_time(seen_at)}. " if seen_at else ""
    return (
        f"{last}Until one runs, nothing that waits is sent and nothing unknown is looked at; what "
        "you confirm yourself is still sent at once. Start one: ./run worker."
    )


def clock_ahead_text(ahead: datetime, *, now: datetime) -> str:
    """What it means that the newest recorded time, `ahead`, lies in the future."""
    return (
        f"The newest recorded time is {format_time(ahead)}; the database server's clock says "
        f"{format_time(now)}. Check that clock. "
        "Recorded times in the future count as past: sessions, "
        "links, approvals and identity checks from then no longer hold, and a deletion that was "
        "being sent becomes unknown."
    )
