"""Notices to people and systems outside: the outbox, which is its own delivery log."""

import uuid

from django.db import models

from connections.models.people import Person


class Notification(models.Model):
    """One piece of news for one destination, written in the transaction of the act it tells of.

    It holds no address, no key and no text of its own: what is said is read from the record when
    it is sent. It is not the record either, and is removed some time after its end.
    """

    class Channel(models.TextChoices):
        MAIL = "mail"  # to a person, or to an address that is to keep checkpoints
        WEBHOOK = "webhook"  # to the one address that is set
        FILE = "file"  # a line of checkpoints, appended to

    class State(models.TextChoices):
        WAITING = "waiting"  # not delivered so far; tried when due
        DELIVERED = "delivered"  # the far end said that it has it
        GIVEN_UP = "given_up"  # tried often enough, or refused for good
        DROPPED = "dropped"  # nobody to tell any more: disabled, or not set any more

    # Made from what it is about and where it goes, so that no news is there twice; the far end
    # tells a repeated delivery by it.
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    # The event's code, or `checkpoint.made`, `record.broken`.
    code = models.CharField(max_length=60)
    # Plain values, as in the record.
    event_seq = models.BigIntegerField(null=True)
    subject_type = models.CharField(max_length=20, blank=True)
    subject_id = models.CharField(max_length=64, blank=True)

    channel = models.CharField(max_length=8, choices=Channel)
    person = models.ForeignKey(Person, on_delete=models.PROTECT, null=True, related_name="+")
    # Which of the addresses that are to keep checkpoints, without naming it.
    address_key = models.CharField(max_length=16, blank=True)

    state = models.CharField(max_length=10, choices=State, default=State.WAITING)
    created_at = models.DateTimeField()
    # Empty once it came to its end; while it is being sent, when that counts as failed.
    due_at = models.DateTimeField(null=True)
    # Counted before each sending, so that a process that dies in it has tried.
    attempts = models.PositiveSmallIntegerField(default=0)
    answered_at = models.DateTimeField(null=True)
    # Of the last try: the far end's status, if it spoke, and a few words of ours.
    status = models.PositiveSmallIntegerField(null=True)
    result = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ("-created_at", "-id")
        indexes = [
            models.Index(fields=["-created_at", "-id"], name="notices"),
            models.Index(fields=["state", "-created_at", "-id"], name="notices_by_state"),
            models.Index(
                fields=["channel", "due_at"],
                condition=models.Q(due_at__isnull=False),
                name="notices_due",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.code} by {self.channel}"
