"""Workers, as far as the others can know of them."""

from django.db import models


class WorkerHeartbeat(models.Model):
    """One running worker. Its row is renewed while it works and removed when it ends in order.

    A row that is no longer renewed is what a killed or frozen worker leaves behind.
    """

    # Unique among all workers on all machines, however often a process id is used again.
    name = models.CharField(max_length=200, unique=True)
    host = models.CharField(max_length=100)
    process_id = models.PositiveIntegerField()
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField(db_index=True)

    class Meta:
        ordering = ("-seen_at", "name")

    def __str__(self) -> str:
        return f"worker {self.process_id} on {self.host}"
