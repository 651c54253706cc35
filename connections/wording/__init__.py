"""Texts, icons and tones for states, outcomes, causes and events.

Pages, emails and commands take them from here. `badge` makes no database query; `describe` reads
the attempts and approvals of its deletion.
"""

from connections.core.text import format_time, pluralize
from connections.wording.causes import cause_text, unavailable_text
from connections.wording.connections import effect_text, join_names
from connections.wording.deletion_texts import (
    BannerText,
    DeletionText,
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
from connections.wording.events import (
    EVENT_TITLES,
    EventText,
    brief_sentence,
    event_text,
    next_text,
)
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
    ConnectionStatus,
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

__all__ = [
    "EVENT_TITLES",
    "FLAGS",
    "LEGENDS",
    "SHOWN_NAME_LENGTH",
    "Badge",
    "BannerText",
    "ConnectionStatus",
    "CredentialStatus",
    "DeletionText",
    "EventText",
    "NextStep",
    "NotificationStatus",
    "SyncStatus",
    "audit_log_badge",
    "audit_log_text",
    "badge",
    "break_glass_text",
    "brief_sentence",
    "cause_text",
    "clock_ahead_text",
    "credential_badge",
    "describe",
    "effect_text",
    "event_text",
    "format_time",
    "join_names",
    "label_of_notification",
    "label_of_outcome",
    "label_of_state",
    "next_text",
    "no_worker_text",
    "notification_badge",
    "notification_title",
    "one_line",
    "person_badge",
    "pluralize",
    "some_lines",
    "sync_badge",
    "unavailable_text",
    "unrecorded_response_text",
]
