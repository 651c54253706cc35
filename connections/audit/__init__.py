"""The audit log: appending, reading, signing and verifying it."""

from connections.audit.events import Code, Subject, act, events_of, newest_at, record, reference

__all__ = ["Code", "Subject", "act", "events_of", "newest_at", "record", "reference"]
