"""Texts about the service: audit log verification, worker, clock."""

from datetime import datetime, timedelta

from connections.core import clock
from connections.core.text import format_time, pluralize
from connections.models import AuditVerification
from connections.wording.badges import Badge

# It is verified daily; a restart may skip one day.
STALE_AFTER = timedelta(hours=48)


def audit_log_badge(last: AuditVerification | None, *, now: datetime) -> Badge:
    """The badge of the newest verification."""
    if last is None:
        return Badge(label="Not verified yet", tone="muted", icon="clock")
    if last.fault:
        return Badge(label="Broken", tone="danger", icon="warning")
    if clock.elapsed_since(last.checked_at, now=now) > STALE_AFTER:
        day = f"{last.checked_at.day} {last.checked_at:%b %Y}"
        return Badge(label=f"Not verified since {day}", tone="warn", icon="clock")
    return Badge(label="Whole", tone="ok", icon="check")


def audit_log_text(last: AuditVerification | None) -> str:
    """The result of the newest verification."""
    if last is None:
        return "A worker verifies it once a day."
    if last.fault and last.first_bad_seq is None:
        return last.message
    if last.fault:
        return f"First event that cannot be relied on: {last.first_bad_seq}. {last.message}"
    return f"The first {pluralize(last.size, 'event')} and every checkpoint were found whole."


def no_worker_text(seen_at: datetime | None) -> str:
    """What a missing worker means and what to do; `seen_at`: the last heartbeat."""
    last = f"The last was seen at {format_time(seen_at)}. " if seen_at else ""
    return (
        f"{last}Until one runs, nothing that waits is sent and nothing unknown is looked at; what "
        "you confirm yourself is still sent at once. Start one: ./run worker."
    )


def clock_ahead_text(ahead: datetime, *, now: datetime) -> str:
    """What it means that `ahead`, the newest recorded time, is in the future."""
    return (
        f"The newest recorded time is {format_time(ahead)}; the database server's clock says "
        f"{format_time(now)}. Check that clock. "
        "Recorded times in the future count as past: sessions, "
        "links, approvals and identity checks from then no longer hold, and a deletion that was "
        "being sent becomes unknown."
    )
