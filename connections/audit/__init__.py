"""The audit log: appending, reading, signing and verifying it."""

from connections.audit.events import (
    Columns,
    EventDraft,
    Rows,
    Subject,
    atomic,
    changed,
    changes_of,
    columns_of,
    digest_of_rows,
    events_of,
    newest_at,
    record,
    reference,
    row_of,
)
from connections.audit.personal_data import Sentence
from connections.models import EventCode
