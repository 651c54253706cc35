"""What pages show of a connection's protections."""

from dataclasses import asdict, astuple, dataclass

from django.urls import reverse

from connections.access import permissions
from connections.access.actor import Actor
from connections.inventory import protections
from connections.models import OrgConnectionKey, Protection


@dataclass(frozen=True, kw_only=True)
class ProtectionPage:
    """The protections of one connection."""

    # The protection that is active now.
    active: Protection | None
    # Empty for people who can't take that step.
    protect_url: str
    unprotect_url: str
    # Who can remove the active protection.
    who_can_unprotect: list[str]
    # Whether it was ever protected.
    is_known: bool


def protection_page(*, key: OrgConnectionKey, actor: Actor) -> ProtectionPage:
    """The protections of one connection."""
    every = protections.list_protections(key)
    active = next((protection for protection in every if not hasattr(protection, "removal")), None)
    can_unprotect = active is not None and permissions.can_unprotect(actor, protection=active)
    can_protect = active is None and permissions.can_protect(actor)
    return ProtectionPage(
        active=active,
        protect_url=reverse("org-connection-protect", query=asdict(key)) if can_protect else "",
        unprotect_url=reverse("org-connection-unprotect", args=astuple(key))
        if can_unprotect
        else "",
        who_can_unprotect=protections.names_of_possible_removers(active) if active else [],
        is_known=bool(every),
    )
