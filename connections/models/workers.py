"""The heartbeats of workers."""

from django.db import models


class WorkerHeartbeat(models.Model):
    """One running worker, which updates its row regularly and removes it when it stops.

    A row that is no longer updated belongs to a killed or frozen worker.
    """

    # Unique among all workers on all machines, even when a process id is reused.
    name = models.CharField(max_length=200, unique=True)
    host = models.CharField(max_length=100)
    process_id = models.PositiveIntegerField()
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField(db_index=True)

    class Meta:
        ordering = ("-seen_at", "name")

    def __str__(self) -> str:
        return f"worker {self.process_id} on {self.host}"
