"""Connections that must not be deleted: who said so, why, and who took it back."""

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from connections.models.org_connections import OrgConnectionKey


class Protection(models.Model):
    """Somebody's word that one connection must stay, by site and id: stored here or not.

    It holds until its lifting. Triggers (migration 0004) refuse to change or remove a row, so
    there is no copy of a name in it that erasing a person would have to change.
    """

    site = models.CharField(max_length=100)
    connection_id = models.UUIDField()
    # Counts the protections of one connection, so that of two at once one is refused.
    number = models.PositiveIntegerField()
    reason = models.TextField()
    protected_at = models.DateTimeField()
    protected_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        ordering = ("-protected_at", "-id")
        constraints = [
            models.UniqueConstraint(
                fields=["site", "connection_id", "number"], name="one_protection_at_a_time"
            )
        ]

    def __str__(self) -> str:
        return f"protection {self.number} of {self.connection_id} on {self.site}"

    @property
    def key(self) -> OrgConnectionKey:
        """Which connection it is about."""
        return OrgConnectionKey(site=self.site, connection_id=self.connection_id)


class ProtectionRemoval(models.Model):
    """Another person's word that the connection may be deleted again."""

    protection = models.OneToOneField(Protection, on_delete=models.PROTECT, related_name="lifting")
    reason = models.TextField()
    lifted_at = models.DateTimeField()
    lifted_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+"
    )
    # A copy, so that the database itself can refuse to let somebody lift their own; a trigger
    # refuses one that is not the protection's.
    protector = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=~Q(lifted_by=F("protector")), name="nobody_lifts_their_own"
            )
        ]

    def __str__(self) -> str:
        return f"lifting of {self.protection_id}"
