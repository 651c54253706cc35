"""Headline, lines and next steps of one deletion."""

from dataclasses import dataclass, field

from connections.models import Deletion
from connections.wording import open_words, settled_words
from connections.wording.alarms import late_answers
from connections.wording.badges import READING, badge
from connections.wording.steps import NextStep


@dataclass(frozen=True, kw_only=True)
class DeletionText:
    """What a page says about one deletion.

    `quotes` are Datadog's own texts, to be shown as quotations. `alarms` stand beside the state
    and must not be overlooked. `steps` are what may come next,
    whoever looks; the page leaves out what roles and state do not allow.
    """

    badge: str
    tone: str
    icon: str
    headline: str
    lines: tuple[str, ...] = ()
    quotes: tuple[str, ...] = ()
    alarms: tuple[str, ...] = ()
    steps: tuple[NextStep, ...] = field(default=())


def describe(
    deletion: Deletion,
    *,
    approvers: tuple[str, ...] | None = None,
    may_approve: bool = False,
    seen_by: str = "",
    is_being_read: bool = False,
) -> DeletionText:
    """All the words for one deletion.

    `approvers`: names of who could approve it, where the page knows them; None leaves the
    sentence out. `may_approve`: whether the reader is one of them. `seen_by`: who listed it after
    it was settled as gone. `is_being_read`: whether it was confirmed and is read again just now,
    which only the database's clock tells. Asks the database for the deletion's attempts, and for
    its approvals where it needed some; both may be prefetched.
    """
    short = READING if is_being_read else badge(deletion)
    attempts = list(deletion.attempts.all())
    if is_being_read:
        said = open_words.say_being_read(attempts)
    elif deletion.is_settled:
        said = settled_words.text_for(deletion=deletion, attempts=attempts, seen_by=seen_by)
    else:
        said = open_words.text_for(
            deletion=deletion, attempts=attempts, approvers=approvers, may_approve=may_approve
        )
    return DeletionText(
        badge=short.word,
        tone=short.tone,
        icon=short.icon,
        headline=said.headline,
        lines=tuple(line for line in said.lines if line),
        quotes=said.quotes,
        alarms=late_answers(attempts),
        steps=said.steps,
    )
