"""The audit log: appending, reading, signing and verifying it."""

from connections.audit.events import (
    EventCode,
    Subject,
    atomic,
    events_of,
    newest_at,
    record,
    reference,
)

__all__ = ["EventCode", "Subject", "atomic", "events_of", "newest_at", "record", "reference"]
