"""What an access request changes: before it is made, while it is decided, and in its record."""

from dataclasses import replace

from connections.access.actor import Actor
from connections.access.permissions import visibility_of
from connections.access_requests.status import new_creator
from connections.access_requests.targets import AccessTarget, AccessTerms
from connections.agreements.what_changes import (
    Access,
    WhatChanges,
    access_of,
    access_when_requested,
    compare_access,
)
from connections.models import AccessRequest, Credential, RequestKind

# Their creator stays.
_KEEPING_CREATOR = (RequestKind.CHANGE, RequestKind.EXTEND)
# The connection is created again after it was deleted.
_RECREATING = (RequestKind.RESTORE, RequestKind.MOVE)


def changes_of_terms(target: AccessTarget, terms: AccessTerms, *, actor: Actor) -> WhatChanges:
    """What requesting this would change."""
    now = access_of(target.snapshot, target.agreement, automatic_end=target.approved_end)
    after = Access(
        types=terms.types,
        creator=now.creator,
        creator_note=now.creator_note,
        owner=terms.owner_text or str(terms.owner or ""),
        owner_id=terms.owner.pk if terms.owner and not terms.owner_text else None,
        purpose=terms.purpose,
        ends_on=now.ends_on if "ends_on" in terms.as_agreed else terms.ends_on,
    )
    # An earlier end that was set by hand is kept, but deletes nothing by itself.
    is_deleted_then = terms.ends_on is not None and after.ends_on == terms.ends_on
    after = replace(after, is_deleted_then=is_deleted_then)
    if target.credential and target.kind not in _KEEPING_CREATOR:
        after = _with_owner_of_keys(after, target.credential)
    return compare_access(
        source=target.source_name or target.pair.source_org_id,
        sink=target.sink_name or target.pair.sink_org_id,
        now=now,
        after=after,
        is_recreated=target.kind in _RECREATING,
        sees_everything=not visibility_of(actor).hidden,
        reader=actor.person.pk if actor.person else None,
    )


def changes_of_request(access_request: AccessRequest, *, actor: Actor) -> WhatChanges:
    """What it changes, compared with what its requester saw."""
    now = access_when_requested(access_request, actor=actor)
    ends_on = access_request.ends_on
    if "ends_on" in access_request.as_agreed:
        ends_on = now.ends_on or ends_on
    after = Access(
        types=tuple(access_request.types_after),
        creator=now.creator,
        creator_note=now.creator_note,
        owner=access_request.owner_text or str(access_request.owner or ""),
        owner_id=None if access_request.owner_text else access_request.owner_id,
        purpose=access_request.purpose,
        ends_on=ends_on,
        is_deleted_then=ends_on is not None and ends_on == access_request.ends_on,
    )
    if access_request.kind not in _KEEPING_CREATOR:
        after = _with_owner_of_keys(after, access_request.credential)
        if access_request.is_settled:
            after = replace(after, creator=new_creator(access_request), creator_note="")
    return compare_access(
        source=access_request.source_org_name or access_request.source_org_id,
        sink=access_request.sink_org_name or access_request.sink_org_id,
        now=now,
        after=after,
        is_recreated=access_request.kind in _RECREATING,
        is_over=access_request.is_settled,
        sees_everything=not visibility_of(actor).hidden,
        reader=actor.person.pk if actor.person else None,
    )


def _with_owner_of_keys(access: Access, credential: Credential) -> Access:
    is_service_account = credential.key_owner_is_service_account
    note = {True: "service account", False: "person", None: ""}[is_service_account]
    return replace(access, creator=credential.key_owner_name, creator_note=note)
