"""The one place that puts states, outcomes, causes and events into words, icons and colours.

No template and no view decides on such a word by itself. `badge` asks the database nothing;
`word` looks at the attempts and approvals of the one deletion it is given.
"""

from connections.core.counts import counted
from connections.core.times import at_words
from connections.wording.badges import Badge, badge, label_of_outcome, label_of_state
from connections.wording.broken_glass import GlassWords, glass_words
from connections.wording.causes import cause_words, unavailable_words
from connections.wording.effects import (
    effect_of_type,
    effect_words,
    names_in_words,
    sentence_words,
)
from connections.wording.events import (
    EVENT_TITLES,
    EventWords,
    brief_sentence,
    event_words,
    next_words,
)
from connections.wording.notices import (
    LONGEST_NAME,
    label_of_notice,
    notice_badge,
    notice_title,
    one_line,
    some_lines,
)
from connections.wording.record import record_badge, record_words
from connections.wording.sent import SentWords, sent_words
from connections.wording.steps import Step
from connections.wording.words import Wording, word
from connections.wording.workers import clock_ahead_words, no_worker_words

__all__ = [
    "EVENT_TITLES",
    "LONGEST_NAME",
    "Badge",
    "EventWords",
    "GlassWords",
    "SentWords",
    "Step",
    "Wording",
    "at_words",
    "badge",
    "brief_sentence",
    "cause_words",
    "clock_ahead_words",
    "counted",
    "effect_of_type",
    "effect_words",
    "event_words",
    "glass_words",
    "label_of_notice",
    "label_of_outcome",
    "label_of_state",
    "names_in_words",
    "next_words",
    "no_worker_words",
    "notice_badge",
    "notice_title",
    "one_line",
    "record_badge",
    "record_words",
    "sent_words",
    "sentence_words",
    "some_lines",
    "unavailable_words",
    "word",
]
