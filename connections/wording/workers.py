"""What is said when no worker is alive."""

from datetime import datetime

from connections.wording.times import at_words


def no_worker_words(seen_at: datetime | None) -> str:
    """What that means and what to do; `seen_at`: when one was last heard of."""
    last = f"The last was seen at {at_words(seen_at)}. " if seen_at else ""
    return (
        f"{last}Until one runs, nothing that waits is sent and nothing unknown is looked at; what "
        "you confirm yourself is still sent at once. Start one: ./run worker."
    )
