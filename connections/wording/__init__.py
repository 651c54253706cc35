"""Texts, icons and tones for states, outcomes, causes and events.

Pages, emails and commands take them from here. `badge` makes no database query; `describe` reads
the attempts and approvals of its deletion.
"""

from connections.wording.causes import cause_text, unavailable_text
from connections.wording.deletion_statuses import (
    FLAGS,
    DeletionStatus,
    NextStep,
    badge,
    label_of_outcome,
    label_of_state,
    status_of,
    steps_of,
)
from connections.wording.deletion_texts import (
    approvals_needed_text,
    break_glass_text,
    describe,
    unrecorded_response_text,
)
from connections.wording.events import (
    SHOWN_NAME_LENGTH,
    brief_sentence,
    event_label,
    event_text,
    limited_lines,
    next_badge,
    notification_title,
    one_line,
)
from connections.wording.statuses import (
    Badge,
    CredentialStatus,
    NotificationStatus,
    SyncStatus,
    audit_log_badge,
    audit_log_text,
    clock_ahead_text,
    credential_badge,
    label_of_notification,
    no_worker_text,
    notification_badge,
    person_badge,
    sync_badge,
)
