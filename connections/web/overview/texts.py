"""What the overview says about a missing worker."""

from datetime import datetime

from connections.core.text import format_time


def no_worker_text(seen_at: datetime | None) -> str:
    """What a missing worker means and what to do. `seen_at` is the last heartbeat."""
    last = f"Last seen at {format_time(seen_at)}. " if seen_at else ""
    return (
        f"{last}Retries and outcome checks are paused. Deletions you confirm are still sent. Run "
        "./run worker."
    )
