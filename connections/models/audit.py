"""The record of every act. It imports no sibling: nothing can cascade into it.

Triggers of the database (migration 0004) refuse to change or remove anything here, whoever asks;
docs/EVIDENCE.md says what the texts and hashes are.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any

from django.db import models

_REFERENCE = re.compile(r"\{\{|\}\}|\{(name|address|agent):([0-9]+)\}")


class AuditEvent(models.Model):
    """One act that happened, appended in the same transaction as its effect.

    `text` is the event; the other columns are copies of parts of it, to filter by. Who acted and
    what it was about are plain values, never foreign keys, so that no deletion elsewhere can
    change or remove an event. Names are references into ErasableValue.
    """

    seq = models.BigIntegerField(primary_key=True)
    text = models.TextField()
    # 64 hex digits each: the hash that it was chained to, and its own.
    previous = models.CharField(max_length=64)
    hash = models.CharField(max_length=64)

    at = models.DateTimeField()
    code = models.CharField(max_length=60)
    actor_kind = models.CharField(max_length=10)
    actor_id = models.UUIDField(null=True)
    stored_actor = models.CharField(max_length=200, db_column="actor")
    request_id = models.CharField(max_length=64, blank=True)
    subject_type = models.CharField(max_length=20, blank=True)
    subject_id = models.CharField(max_length=64, blank=True)
    stored_sentence = models.TextField(db_column="sentence")

    class Meta:
        ordering = ("-seq",)
        indexes = [
            # Each ends in the order of the record, so that a filtered page is read off the index.
            models.Index(fields=["subject_id", "seq"], name="event_of_subject"),
            models.Index(fields=["actor_id", "seq"], name="event_of_actor"),
            models.Index(
                fields=["stored_actor", "seq"],
                condition=models.Q(actor_id__isnull=True),
                name="event_of_other_actor",
            ),
            models.Index(fields=["code", "seq"], name="event_of_code"),
            models.Index(fields=["request_id", "seq"], name="event_of_request"),
            models.Index(fields=["at", "seq"], name="event_by_time"),
        ]

    def __str__(self) -> str:
        return f"{self.seq} {self.code}"

    @property
    def actor_name(self) -> str:
        """Who acted, as long as the name is kept."""
        return render_references(self.stored_actor, self.shown_values)

    @property
    def sentence(self) -> str:
        """What happened, with the names that are kept."""
        return render_references(self.stored_sentence, self.shown_values)

    @property
    def details(self) -> dict[str, Any]:
        """What the code says more; never a name of a person."""
        details: dict[str, Any] = self._document["details"]
        return details

    @cached_property
    def _document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.text)
        return document

    @cached_property
    def shown_values(self) -> Mapping[int, str]:
        """What each reference stands for; `with_values` reads them for many events at once."""
        return get_displayed_values(self.references)

    @property
    def references(self) -> set[int]:
        """The numbers of the erasable values that it refers to."""
        return references_in(self.stored_actor, self.stored_sentence)


class PersonalValue(models.Model):
    """A name, a network address or a browser, written once for each person and value.

    The one update that the triggers allow empties value and salt. Events hold the commitment,
    so they verify all the same.
    """

    class Kind(models.TextChoices):
        NAME = "name"
        ADDRESS = "address"
        AGENT = "agent"  # what a browser says of itself

    number = models.BigIntegerField(primary_key=True)
    # The number of the first row about the same person.
    person_number = models.BigIntegerField()
    # Empty for the address of somebody who is nobody here.
    person_id = models.UUIDField(null=True)
    kind = models.CharField(max_length=16, choices=Kind)
    value = models.CharField(max_length=400, blank=True)
    salt = models.CharField(max_length=64, blank=True)
    commitment = models.CharField(max_length=64)
    erased_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["value", "kind"], name="erasable_by_value"),
            models.Index(fields=["person_id", "kind"], name="erasable_by_person"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.number}"

    @property
    def shown(self) -> str:
        """The value, or what is said in its place."""
        if self.erased_at is None:
            return self.value
        if self.kind == self.Kind.NAME:
            return f"erased person no. {self.person_number}"
        what = "browser" if self.kind == self.Kind.AGENT else "address"
        return f"erased {what} no. {self.number}"


class AuditHead(models.Model):
    """The end of the chain, in the only row: its lock puts the events in order."""

    ROW = 1

    id = models.PositiveSmallIntegerField(primary_key=True, default=ROW)
    # Names this database in every checkpoint.
    origin = models.CharField(max_length=40)
    size = models.BigIntegerField(default=0)
    hash = models.CharField(max_length=64)
    # The roots of the tree's full subtrees: connections.audit.chain.
    frontier = models.TextField(blank=True)

    def __str__(self) -> str:
        return f"{self.origin} at {self.size}"


class Checkpoint(models.Model):
    """A signed note on the whole record as it was at one size."""

    size = models.BigIntegerField()
    root = models.CharField(max_length=64)
    # The fingerprint of the public key that signed it.
    fingerprint = models.CharField(max_length=64)
    note = models.TextField()
    made_at = models.DateTimeField()

    class Meta:
        ordering = ("-size", "-id")
        constraints = [
            models.UniqueConstraint(fields=["size", "fingerprint"], name="one_checkpoint_by_key")
        ]

    def __str__(self) -> str:
        return f"checkpoint at {self.size}"


class AuditVerification(models.Model):
    """What a scheduled verification of the record found."""

    checked_at = models.DateTimeField()
    size = models.BigIntegerField()
    # "" when the record is whole; else what is wrong, as `verify_audit` tells it.
    fault = models.CharField(max_length=20, blank=True)
    first_bad_seq = models.BigIntegerField(null=True)
    message = models.TextField()

    class Meta:
        ordering = ("-checked_at", "-id")

    def __str__(self) -> str:
        return f"verification of {self.checked_at:%Y-%m-%d %H:%M}"


def references_in(*texts: str) -> set[int]:
    """The numbers of the erasable values that stored texts refer to."""
    return {int(number) for text in texts for _, number in _REFERENCE.findall(text) if number}


def render_references(
    text: str, values: Mapping[int, str], *, agents: Callable[[str], str] = str
) -> str:
    """A text with references, read out; `agents` is how what a browser says is put."""

    def read(match: re.Match[str]) -> str:
        if not match[1]:
            return match[0][0]
        value = values.get(int(match[2]), f"missing value no. {match[2]}")
        return agents(value) if match[1] == "agent" else value

    return _REFERENCE.sub(read, text)


def get_displayed_values(numbers: Iterable[int]) -> dict[int, str]:
    """What erasable values of these numbers are shown as."""
    wanted = set(numbers)
    if not wanted:
        return {}
    return {one.number: one.shown for one in PersonalValue.objects.filter(number__in=wanted)}


def with_values(events: Iterable[AuditEvent]) -> list[AuditEvent]:
    """The events, with all that they refer to read in one query."""
    events = list(events)
    values = get_displayed_values(number for event in events for number in event.references)
    for event in events:
        event.shown_values = values
    return events
