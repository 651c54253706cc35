"""What workers share: their heartbeats, and the rate limits of Datadog orgs that were low."""

from django.db import models

from connections.models.batches import Batch


class WorkerHeartbeat(models.Model):
    """One running process, which updates its row regularly and removes it when it stops.

    A row that is no longer updated belongs to a killed or frozen process.
    """

    # Unique among all processes on all machines, even when a process id is reused.
    name = models.CharField(max_length=200, unique=True)
    host = models.CharField(max_length=100)
    process_id = models.PositiveIntegerField()
    # All that a command sends; None for a worker.
    batch = models.ForeignKey(Batch, models.CASCADE, null=True, related_name="+")
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField(db_index=True)

    class Meta:
        ordering = ("-seen_at", "name")

    def __str__(self) -> str:
        kind = "command" if self.batch_id else "worker"
        return f"{kind} {self.process_id} on {self.host}"


class OrgRateLimit(models.Model):
    """A rate limit of an org, as last reported with less than a tenth left.

    All processes share it: until `resets_at`, none starts deferrable work on that org.
    """

    site = models.CharField(max_length=100)
    org_id = models.CharField(max_length=64)
    # Datadog's name for it; empty when it gave none.
    name = models.CharField(max_length=100, blank=True)
    # Requests.
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
