"""The rate limits of Datadog orgs that were low."""

from django.db import models


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
