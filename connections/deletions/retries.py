"""What is said about the retry of a deletion that waits for one."""

from connections.core.text import format_time
from connections.models import Deletion


def retry_text(deletion: Deletion) -> str:
    """When a waiting deletion is sent, or closed if the retry would come too late.

    Makes no query, so its bulk deletion might be paused.
    """
    if is_retry_too_late(deletion):
        return f"Closes at {format_time(deletion.expires_at)} without a retry"
    if deletion.is_run_by_batch:
        return "A worker retries it while its bulk deletion runs"
    return f"Retries at {format_time(deletion.due_at)}"


def is_retry_too_late(deletion: Deletion) -> bool:
    """Whether a waiting deletion's time for retries ends before its next retry."""
    return deletion.expires_at is not None and deletion.due_at == deletion.expires_at


def retried_since(deletion: Deletion) -> str:
    """When the time for retries began."""
    if deletion.is_run_by_batch:
        return "its first attempt or last rate limit reset"
    return "confirmation"
