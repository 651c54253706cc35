"""Texts, icons and tones for states, outcomes, causes and events.

Pages, emails and commands take them from here. `badge` makes no database query; `describe` reads
the attempts and approvals of its deletion.
"""

from connections.core.text import format_time, pluralize
from connections.wording.badges import Badge, badge, label_of_outcome, label_of_state
from connections.wording.causes import cause_text, unavailable_text
from connections.wording.connections import effect_of_type, effect_text, join_names, sentence_text
from connections.wording.deletions import (
    BreakGlassText,
    DeletionText,
    UnrecordedResponseText,
    break_glass_text,
    describe,
    unrecorded_response_text,
)
from connections.wording.events import (
    EVENT_TITLES,
    EventText,
    brief_sentence,
    event_text,
    next_text,
)
from connections.wording.next_steps import NextStep
from connections.wording.notifications import (
    LONGEST_NAME,
    label_of_notification,
    notification_badge,
    notification_title,
    one_line,
    some_lines,
)
from connections.wording.service import (
    audit_log_badge,
    audit_log_text,
    clock_ahead_text,
    no_worker_text,
)

__all__ = [
    "EVENT_TITLES",
    "LONGEST_NAME",
    "Badge",
    "BreakGlassText",
    "DeletionText",
    "EventText",
    "NextStep",
    "UnrecordedResponseText",
    "audit_log_badge",
    "audit_log_text",
    "badge",
    "break_glass_text",
    "brief_sentence",
    "cause_text",
    "clock_ahead_text",
    "describe",
    "effect_of_type",
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
    "pluralize",
    "sentence_text",
    "some_lines",
    "unavailable_text",
    "unrecorded_response_text",
]
