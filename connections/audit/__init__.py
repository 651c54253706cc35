"""The audit log: appending, reading, signing and verifying it."""

from connections.audit.events import (
    EventDraft,
    Subject,
    atomic,
    events_of,
    newest_at,
    record,
    reference,
)
from connections.audit.personal_data import Sentence
from connections.audit.recorded_columns import (
    Rows,
    changed,
    changes_of,
    columns_of,
    digest_of_rows,
    row_of,
)
from connections.models import EventCode
