"""Events, and the names in them."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from connections.verifier.messages import require
from connections.verifier.strict_json import get

# The types of an event's subject.
DELETION, ACCESS_REQUEST = "deletion", "access_request"
ACCESS_REVIEW, BATCH = "access_review", "batch"
ORG_CONNECTION, AGREEMENT, HOLD = "org_connection", "agreement", "hold"
_REFERENCE = re.compile(r"\{\{|\}\}|\{(?:name|address|agent):([0-9]+)\}", re.ASCII)


class Event:
    """One event, with references replaced by the values in the bundle."""

    def __init__(self, document: Any, texts: dict[str, str], what: str = "An event") -> None:
        actor = get(document, "actor", dict, what)
        self.seq: int = get(document, "seq", int, what)
        self.at: str = get(document, "at", str, what)
        self.code: str = get(document, "code", str, what)
        self.details: dict[str, Any] = get(document, "details", dict, what)
        self.refs: dict[str, Any] = get(document, "refs", dict, what)
        self.subject: Any = document.get("subject")
        # The code without the type of its subject: "sending" for `deletion.sending`.
        self.step: str = self.code.removeprefix(f"{self.about[0]}.")
        self._texts = texts
        self.actor_kind: str = get(actor, "kind", str, what)
        self.actor_id: Any = actor.get("id")
        name: str = get(actor, "name", str, what)
        self.actor: str = fill_in_values(name, texts)
        self.sentence: str = fill_in_values(get(document, "sentence", str, what), texts)

    @property
    def about(self) -> tuple[str, str]:
        """Type and ID of what it is about; empty without a subject."""
        subject = self.subject if type(self.subject) is dict else {}
        return (str(subject.get("type", "")), str(subject.get("id", "")))

    @property
    def rows(self) -> dict[str, dict[str, Any] | None]:
        """The columns that it set, by row, with people's names. None for a row that it removed."""
        rows: dict[str, dict[str, Any] | None] = dict(self.details.get("rows", {}))
        for key, names in self.details.get("names", {}).items():
            filled_in = {name: fill_in_values(text, self._texts) for name, text in names.items()}
            rows[key] = {**(rows.get(key) or {}), **filled_in}
        return rows


def fill_in_values(text: str, texts: dict[str, str]) -> str:
    """A text with its references replaced."""

    def read(match: re.Match[str]) -> str:
        if not match[1]:
            return match[0][0]
        require(match[1] in texts, "Erasable value {} is missing.", match[1])
        return texts[match[1]]

    return _REFERENCE.sub(read, text)


def commitment_of(salt: bytes, kind: str, value: str) -> str:
    """The commitment to an erasable value, in the form that events contain."""
    data = b"orgadmin erasable value 1\n" + salt
    for part in (kind.encode(), value.encode()):
        data += len(part).to_bytes(8, "big") + part
    return hashlib.sha256(data).hexdigest()


def display_value(row: dict[str, Any]) -> str:
    """The value of a row of values.ndjson, or its placeholder if it was erased."""
    if row["value"] is not None:
        return str(row["value"])
    return erased_placeholder(row["kind"], row["number"], row["person_number"])


def erased_placeholder(kind: str, number: int, person_number: int) -> str:
    """The placeholder of an erased value."""
    if kind == "name":
        return f"erased person no. {person_number}"
    return f"erased {'browser' if kind == 'agent' else 'address'} no. {number}"
