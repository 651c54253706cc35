"""One look at Datadog's list for one deletion, with whichever credential can tell."""

import time

from django.db.models import Q

from connections import audit
from connections.access.actor import Actor
from connections.core import clock
from connections.core.causes import Cause
from connections.core.errors import UnavailableError
from connections.deletions.states import EventDraft
from connections.inventory import sync
from connections.inventory.sync import SyncResult
from connections.models import Credential, Deletion


def list_with_any_credential(*, deletion: Deletion, actor: Actor) -> SyncResult:
    """Read with the deletion's credential, else with another of either org; the first that tells.

    Only credentials pinned to the source or destination org may speak of absence. All of them
    together take no longer than one listing may: a person waits for it, and so does a proxy.
    """
    deadline = time.monotonic() + sync.LISTING_SECONDS
    readers = credentials_of_either_org(deletion=deletion)
    if not readers:
        return SyncResult(cause=Cause.CREDENTIAL_RETIRED)
    reading = SyncResult()
    for credential in readers:
        try:
            reading = sync.sync_org(
                credential=credential,
                actor=actor,
                find=deletion.connection_id,
                deadline_seconds=max(deadline - time.monotonic(), 0.1),
            )
        except UnavailableError as error:
            reading = SyncResult(cause=error.cause)
        is_over = time.monotonic() >= deadline
        if is_over or is_listed(deletion=deletion, reading=reading) is not None:
            break
    return reading


def credentials_of_either_org(*, deletion: Deletion) -> list[Credential]:
    """Credentials in use that can speak about the connection, the deletion's own one first."""
    orgs = {deletion.source_org_id, deletion.sink_org_id} - {""}
    in_use = Credential.objects.filter(site=deletion.site, retired_at=None)
    found = in_use.filter(Q(pk=deletion.credential_id) | Q(org_id__in=orgs)).order_by("name")
    return sorted(found, key=lambda each: each.pk != deletion.credential_id)


def is_listed(*, deletion: Deletion, reading: SyncResult) -> bool | None:
    """True: listed. False: a complete listing lacks it. None: the reading proves nothing."""
    if reading.find(deletion.connection_id) is not None:
        return True
    return False if reading.is_complete else None


def check_event(*, deletion: Deletion, reading: SyncResult) -> EventDraft:
    """The event that a look leaves, whatever it found."""
    present = is_listed(deletion=deletion, reading=reading)
    found = {True: "listed", False: "not listed", None: "cannot tell"}[present]
    return EventDraft(
        code=audit.EventCode.DELETION_CHECKED,
        sentence=f"Looked at Datadog's list for {deletion.description}: {found}.",
        details={
            "found": found,
            "cause": reading.cause,
            "http_status": reading.http_status,
            "errors": list(reading.errors),
            "at": (reading.started_at or clock.now()).isoformat(),
        },
    )
