"""Looking at stored credentials. Asks Datadog nothing and never decrypts."""

from uuid import UUID

from django.db.models import Count, Q

from connections.access import permissions, visibility
from connections.access.actor import Actor
from connections.audit import lookups
from connections.models import Credential


def list_credentials(*, actor: Actor) -> list[Credential]:
    """All within reach, by name, retired ones too; `connection_count` is how many it sees now.

    Raises PermissionDenied.
    """
    permissions.require(permissions.can_see(actor), "see credentials")
    seen = Count("snapshots", filter=Q(snapshots__is_current=True))
    within = visibility.visible(Credential.objects.all(), actor=actor, by="pk")
    return list(within.annotate(connection_count=seen).order_by("name"))


def find_credential(*, actor: Actor, pk: UUID) -> Credential:
    """The credential with this id. Raises PermissionDenied, and Http404 also out of reach."""
    permissions.require(permissions.can_see(actor), "see credentials")
    return lookups.find_credential(actor=actor, pk=pk)


def connection_count(credential: Credential) -> int:
    """How many org connections its newest listings show."""
    return credential.snapshots.filter(is_current=True).count()
