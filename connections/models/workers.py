"""What workers share: heartbeats, periodic tasks, and the low rate limits of Datadog orgs."""

from django.db import models

from connections.models.batches import Batch


class WorkerHeartbeat(models.Model):
    """One running process, which updates its row regularly and removes it when it stops.

    A row that is no longer updated belongs to a process that was killed or is frozen.
    """

    # Unique among all processes on all machines, even if a process ID is reused.
    name = models.CharField(max_length=200, unique=True)
    host = models.CharField(max_length=100)
    process_id = models.PositiveIntegerField()
    # The only bulk deletion that a command sends. None for a worker.
    batch = models.ForeignKey(Batch, models.CASCADE, null=True, related_name="+")
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField(db_index=True)

    class Meta:
        ordering = ("-seen_at", "name")

    def __str__(self) -> str:
        kind = "command" if self.batch_id else "worker"
        return f"{kind} {self.process_id} on {self.host}"


# The periodic task that a person's request makes due.
AUDIT_VERIFICATION = "audit_verification"


class PeriodicTask(models.Model):
    """Work that one worker at a time does regularly. Moving the due time claims it."""

    name = models.CharField(max_length=40, primary_key=True)
    due_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.name} due at {self.due_at:%Y-%m-%d %H:%M:%S}"


class OrgRateLimit(models.Model):
    """A rate limit of an org, as last reported with less than a tenth remaining.

    All processes share it. Until `resets_at`, none starts work on that org that can wait.
    """

    site = models.CharField(max_length=100)
    org_id = models.CharField(max_length=64)
    # Datadog's name for it. Empty if it gave none.
    name = models.CharField(max_length=100, blank=True)
    # In requests.
    limit = models.PositiveIntegerField()
    remaining = models.PositiveIntegerField()
    observed_at = models.DateTimeField()
    resets_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["site", "org_id", "name"], name="one_row_per_rate_limit"
            )
        ]

    def __str__(self) -> str:
        return f"{self.remaining} of {self.limit} until {self.resets_at:%Y-%m-%d %H:%M:%S}"
