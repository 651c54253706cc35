"""What the overview says about a missing worker and a wrong clock."""

from datetime import datetime

from connections.core.text import format_time


def no_worker_text(seen_at: datetime | None) -> str:
    """What a missing worker means and what to do. `seen_at` is the last heartbeat."""
    last = f"Last seen at {format_time(seen_at)}. " if seen_at else ""
    return (
        f"{last}Retries and outcome checks are paused. Deletions you confirm are still sent. Run "
        "./run worker."
    )


def clock_ahead_text(ahead: datetime, *, now: datetime) -> str:
    """What it means that `ahead`, the newest recorded time, is in the future."""
    return (
        f"The newest recorded time is {format_time(ahead)}, but the database server's clock shows "
        f"{format_time(now)}. Check that clock. Until it is right, sessions, links, "
        "approvals and identity checks with a time in the future are invalid, and a deletion that "
        "was being sent becomes unknown."
    )
