"""The heartbeats of workers, and of commands that send one bulk deletion."""

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
