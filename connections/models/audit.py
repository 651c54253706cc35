"""The record of every act. It imports no sibling: nothing can cascade into it."""

from django.db import models


class AuditEvent(models.Model):
    """One act that happened, appended in the same transaction as its effect.

    Rows are only ever inserted. Who acted and what it was about are kept as plain values, never
    as foreign keys, so that no later deletion elsewhere can change or remove an event.
    """

    seq = models.BigAutoField(primary_key=True)
    at = models.DateTimeField()
    code = models.CharField(max_length=60)
    actor_kind = models.CharField(max_length=10)
    actor_id = models.UUIDField(null=True)
    actor_name = models.CharField(max_length=200)
    request_id = models.CharField(max_length=64, blank=True)
    subject_type = models.CharField(max_length=20, blank=True)
    subject_id = models.CharField(max_length=64, blank=True)
    sentence = models.TextField()
    details = models.JSONField(default=dict)

    class Meta:
        ordering = ("-seq",)
        indexes = [
            models.Index(fields=["subject_type", "subject_id", "seq"], name="event_of_subject"),
            models.Index(fields=["actor_id", "seq"], name="event_of_actor"),
            models.Index(fields=["code", "seq"], name="event_of_code"),
        ]

    def __str__(self) -> str:
        return f"{self.seq} {self.code}"
