"""Acknowledgements of what failed."""

import uuid

from django.db import models

from connections.models.references import person_reference


class ProblemAcknowledgement(models.Model):
    """A person has seen a problem, so that nobody's overview lists it any longer.

    Triggers only let rows be added. It has no copy of the person's name, because erasing the person
    would then have to change it.
    """

    class Kind(models.TextChoices):
        # A DELETE that Datadog refused.
        REFUSED = "refused", "was refused by Datadog"
        # A deletion that couldn't be sent, or an access request that changed nothing.
        FAILED = "failed", "failed"
        # A move that deleted a connection and created no other.
        INTERRUPTED = "interrupted", "interrupted access"
        # A list shows something else than an access request did.
        CONTRADICTED = "contradicted", "is contradicted by a list"
        # Org Admin couldn't delete a connection at the end of its access.
        NOT_ENDED = "not_ended", "did not end access"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=20, choices=Kind)
    # Of the deletion or access request.
    subject_id = models.UUIDField()
    note = models.TextField(blank=True)
    acknowledged_at = models.DateTimeField()
    acknowledged_by = person_reference()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["subject_id", "kind"], name="one_acknowledgement_of_a_problem"
            )
        ]

    def __str__(self) -> str:
        return f"acknowledgement of {self.kind} {self.subject_id}"
