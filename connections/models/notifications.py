"""Notifications: the outbox, which is also the delivery log."""

import uuid

from django.db import models

from connections.models.people import Person


class Notification(models.Model):
    """One message to one destination, stored in the transaction of the event that it reports.

    It contains no address, key or text: the text is built from the audit log when it is sent. It is
    not part of the audit log, and is removed some time after its delivery ended.
    """

    class Channel(models.TextChoices):
        MAIL = "mail"  # to a person or to a checkpoint recipient
        WEBHOOK = "webhook"  # to the configured URL
        FILE = "file", "Checkpoint file"  # a line appended to it
        SLACK = "slack"  # to the configured URL, only text

    class State(models.TextChoices):
        WAITING = "waiting"  # not delivered yet; attempted when due
        DELIVERED = "delivered"  # the recipient confirmed it
        GIVEN_UP = "given_up"  # too many attempts, or refused permanently
        DROPPED = "dropped"  # the recipient was disabled or is no longer configured

    # Derived from the event and the destination, so that there are no duplicates. Recipients use it
    # to detect repeated deliveries.
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    # The event's code, or `checkpoint.made` or `record.broken`.
    code = models.CharField(max_length=60)
    # Plain values, as in the audit log.
    event_seq = models.BigIntegerField(null=True)
    subject_type = models.CharField(max_length=20, blank=True)
    subject_id = models.CharField(max_length=64, blank=True)

    channel = models.CharField(max_length=16, choices=Channel)
    person = models.ForeignKey(Person, on_delete=models.PROTECT, null=True, related_name="+")
    # Identifies a checkpoint recipient without storing its address.
    address_key = models.CharField(max_length=16, blank=True)

    state = models.CharField(max_length=10, choices=State, default=State.WAITING)
    created_at = models.DateTimeField()
    # Empty once delivery has ended. While it is being sent, when the attempt counts as failed.
    due_at = models.DateTimeField(null=True)
    # Incremented before each attempt, so that an attempt counts even if its process dies.
    attempts = models.PositiveSmallIntegerField(default=0)
    answered_at = models.DateTimeField(null=True)
    # From the last attempt: the recipient's status code, if there was one, and a short result text.
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
