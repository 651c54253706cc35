"""Requests access as a person does: after the confirmation page."""

from uuid import uuid4

from connections.access.actor import Actor
from connections.access_requests.requesting import WantedTerms, request_access
from connections.access_requests.targets import find_target
from connections.models import (
    AccessRequest,
    Credential,
    Deletion,
    OrgPair,
    Person,
    RequestKind,
)


def request_for(
    *,
    actor: Actor,
    pair: OrgPair,
    wanted: WantedTerms,
    kind: RequestKind = RequestKind.CREATE,
    credential: Credential | None = None,
    restored_from: Deletion | None = None,
    requester: Person | None = None,
    reason: str = "quarterly report",
) -> AccessRequest:
    """Request access, which sends it if no approval is needed and the actor can confirm."""
    target = find_target(
        actor=actor, kind=kind, pair=pair, credential=credential, restored_from=restored_from
    )
    return request_access(
        actor=actor,
        kind=kind,
        pair=pair,
        wanted=wanted,
        reason=reason,
        ticket="",
        request_id=uuid4(),
        digest=target.form_digest,
        confirmation=target.text_to_type if target.is_sent_at_once else None,
        credential=credential,
        restored_from=restored_from,
        requester=requester,
    )
