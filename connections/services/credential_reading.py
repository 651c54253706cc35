"""Looking at stored credentials. Asks Datadog nothing and never decrypts."""

from django.db.models import Count, Q

from connections import policies
from connections.actors import Actor
from connections.models import Credential


def list_credentials(*, actor: Actor) -> list[Credential]:
    """All of them, by name, retired ones too; `connection_count` is how many it sees now.

    Raises PermissionDenied.
    """
    policies.require(policies.can_see(actor), "see credentials")
    seen = Count("snapshots", filter=Q(snapshots__is_current=True))
    return list(Credential.objects.annotate(connection_count=seen).order_by("name"))


def connection_count(credential: Credential) -> int:
    """How many org connections its newest listings show."""
    return credential.snapshots.filter(is_current=True).count()
