"""Holds: while one is on, Org Admin changes nothing at Datadog by itself."""

import uuid

from django.db import models
from django.db.models import Q

from connections.models.references import optional_person_reference


class Hold(models.Model):
    """One hold, which is on until it is released.

    Triggers let it be released once, and refuse every other change. It has no copy of a person's
    name, because erasing the person would then have to change it.
    """

    class Kind(models.TextChoices):
        RESTORED = "restored"  # a backup was restored
        OLDER_DATABASE = "older_database"  # it lacks the newest checkpoint that a worker keeps
        BY_HAND = "by_hand"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=20, choices=Kind)
    reason = models.TextField()
    # The signed note of the checkpoint that an older database lacks.
    checkpoint = models.TextField(blank=True)
    put_on_at = models.DateTimeField()
    # Null if a command or a worker did it.
    put_on_by = optional_person_reference()
    released_at = models.DateTimeField(null=True)
    released_by = optional_person_reference()

    class Meta:
        ordering = ("-put_on_at", "-id")
        constraints = [
            models.UniqueConstraint(
                fields=["kind"], condition=Q(released_at=None), name="one_hold_of_a_kind_is_on"
            ),
            models.CheckConstraint(condition=~Q(reason=""), name="a_hold_has_a_reason"),
        ]

    def __str__(self) -> str:
        return f"hold {self.kind} of {self.put_on_at:%Y-%m-%d %H:%M}"
