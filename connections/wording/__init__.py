"""Texts, icons and tones for states, outcomes, causes and events.

Pages, emails and commands take them from here. `badge` makes no database query; `describe` reads
the attempts and approvals of its deletion.
"""

from connections.wording.causes import cause_text, unavailable_text
from connections.wording.deletion_texts import (
    break_glass_text,
    describe,
    unrecorded_response_text,
)
from connections.wording.deletions import (
    FLAGS,
    NextStep,
    badge,
    label_of_outcome,
    label_of_state,
)
from connections.wording.event_labels import event_label
from connections.wording.events import brief_sentence, event_text, next_text
from connections.wording.legends import LEGENDS
from connections.wording.notifications import (
    SHOWN_NAME_LENGTH,
    notification_title,
    one_line,
    some_lines,
)
from connections.wording.service import audit_log_text, clock_ahead_text, no_worker_text
from connections.wording.statuses import (
    Badge,
    CredentialStatus,
    NotificationStatus,
    SyncStatus,
    audit_log_badge,
    credential_badge,
    label_of_notification,
    notification_badge,
    person_badge,
    sync_badge,
)
