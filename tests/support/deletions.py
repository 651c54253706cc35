"""Requests deletions as a person does: after the confirmation page."""

from uuid import UUID, uuid4

from connections.access.actor import Actor
from connections.deletions import confirmations, requesting
from connections.models import Credential, Deletion, Person


def request_deletion(
    *,
    actor: Actor,
    credential: Credential,
    connection_id: UUID | str,
    reason: str = "contract ended",
    ticket: str = "",
    requester: Person | None = None,
) -> Deletion:
    """Request the deletion of a connection, which sends it if no approval is needed."""
    connection_id = UUID(str(connection_id))
    shown = confirmations.find_target(
        actor=actor, credential=credential, connection_id=connection_id
    )
    return requesting.request_deletion(
        actor=actor,
        credential=credential,
        connection_id=connection_id,
        reason=reason,
        ticket=ticket,
        request_id=uuid4(),
        digest=shown.digest,
        confirmation=None if shown.needs_approval else shown.text_to_type,
        requester=requester,
    )
