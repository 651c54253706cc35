"""The content of one notification, and its formats for email, webhook and Slack."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.urls import reverse

from connections.core.own_address import own_origin
from connections.core.text import limited_lines, one_line
from connections.notifications.titles import SHOWN_NAME_LENGTH

# How much of a longer text a message shows.
_REASON_LIMIT = 1000
_SENTENCE_LIMIT = 500
MAX_ROWS = 50


@dataclass(frozen=True, kw_only=True)
class Message:
    """The content of one notification. Text in it that comes from outside is not sanitized yet."""

    code: str
    title: str
    # What it is about, for the subject of an email.
    about: str = ""
    # When it happened, in UTC.
    at: datetime
    sentence: str
    # The path of the page that shows it.
    path: str
    seq: int | None = None
    # Who acted. Empty for a test, a checkpoint and a verification.
    by: str = ""
    reason: str = ""
    # One line for each of several things, up to MAX_ROWS.
    rows: tuple[str, ...] = ()
    # More fields for the webhook.
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """The page that shows it. Only a path if this service's address isn't certain."""
        return f"{own_origin()}{self.path}"

    @property
    def subject(self) -> str:
        """The subject of the email: one line, whatever characters the names contain."""
        parts = ("Org Admin", self.title, one_line(self.about, limit=140))
        return ": ".join(part for part in parts if part)

    def as_text(self) -> str:
        """The body of an email. Only the quoted reason keeps its line breaks."""
        lines = [_one_line(self.sentence)]
        if self.rows:
            lines += ["", *(f"- {_one_line(row)}" for row in self.rows)]
        if self.reason:
            reason = limited_lines(self.reason, limit=_REASON_LIMIT)
            lines += ["", "Reason given:", *(f"> {line}" for line in reason.splitlines())]
        if ticket := self.data.get("ticket"):
            lines += ["", f"Ticket: {_one_line(str(ticket))}"]
        lines += ["", f"View: {self.url}", f"Time: {self.at:%Y-%m-%d %H:%M:%S} UTC"]
        if self.by:
            lines.append(f"By: {short_name(self.by)}")
        if self.seq is not None:
            lines.append(f"Audit event: {self.seq}")
        if "note" in self.data:
            # Between empty lines so that it is easy to copy.
            lines += ["", _KEEP_CHECKPOINT, "", self.data["note"]]
        return "\n".join(lines) + "\n"

    def as_json(self) -> bytes:
        """The body of a webhook's message."""
        document = {
            "type": self.code,
            "timestamp": f"{self.at:%Y-%m-%dT%H:%M:%SZ}",
            "text": self._as_slack_text(),
            "data": {"sentence": self._whole_sentence(), "url": self.url} | self.data,
        }
        return json.dumps(document, ensure_ascii=True, separators=(",", ":")).encode()

    def as_slack_json(self) -> bytes:
        """The body of a message to Slack."""
        return json.dumps({"text": self._as_slack_text()}).encode()

    def _whole_sentence(self) -> str:
        return one_line(self.sentence, limit=len(self.sentence))

    def _as_slack_text(self) -> str:
        """The text that Slack shows. Names from outside can't create links or mention people."""
        rows = (f"• {_one_line(row)}" for row in self.rows)
        text = "\n".join((self._whole_sentence(), *rows, self.url))
        return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _one_line(text: str) -> str:
    return one_line(text, limit=_SENTENCE_LIMIT)


_KEEP_CHECKPOINT = (
    "Keep this email: the four lines below prove the state of the audit log at this time. "
    "docs/EVIDENCE.md explains how to compare them."
)


def join_messages(messages: Sequence[Message]) -> Message:
    """One email with a line for each of these messages of one kind; a single one as it is."""
    first, *others = messages
    if not others:
        return first
    return Message(
        code=first.code,
        title=first.title,
        about=f"{len(messages)} times",
        at=max(message.at for message in messages),
        sentence=f"{len(messages)} notifications in one email:",
        path=reverse("overview"),
        rows=tuple(f"{message.sentence} {message.url}" for message in messages),
    )


def short_name(name: str) -> str:
    """A name from outside on one line."""
    return one_line(name, limit=SHOWN_NAME_LENGTH)
