"""One look at Datadog's list for one deletion, with whichever credential can tell."""

import time
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from django.db.models import Q

from connections import audit
from connections.access.actor import Actor
from connections.core import clock
from connections.core.causes import Cause
from connections.core.errors import UnavailableError
from connections.deletions.states import EventDraft
from connections.inventory import sync
from connections.inventory.sync import SyncResult
from connections.models import Credential, Deletion, SnapshotFields, snapshot_digest


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


# A person waits for the page meanwhile.
PAGE_SECONDS = 4.0


class Found(StrEnum):
    """What one look found."""

    SAME = "same"
    CHANGED = "changed"
    ABSENT = "absent"  # a complete listing lacks it
    UNREADABLE = "unreadable"  # nothing can be said; the stored view is all there is


@dataclass(frozen=True, kw_only=True)
class FieldChange:
    """One field that is no longer what it was. `binds`: the approval is about it."""

    field: str
    was: str
    now: str
    binds: bool = True


@dataclass(frozen=True, kw_only=True)
class RecheckPreview:
    """What was found, when the look began, and what stood in its way."""

    found: Found
    at: datetime
    changes: tuple[FieldChange, ...] = ()
    cause: str = ""

    @property
    def may_be_approved(self) -> bool:
        """Whether what was asked for is still what would be deleted, as far as is known."""
        return self.found in {Found.SAME, Found.UNREADABLE}


def preview_recheck(*, deletion: Deletion) -> RecheckPreview:
    """Ask Datadog for the page of somebody who decides; bounded, and writes nothing."""
    at = clock.now()
    try:
        client = sync.open_client(credential=deletion.credential)
    except UnavailableError as error:
        return compare(deletion=deletion, reading=SyncResult(cause=error.cause), at=at)
    reading = sync.fetch_connections(
        client=client,
        org_id=deletion.credential.org_id,
        deadline_seconds=PAGE_SECONDS,
        find=deletion.connection_id,
    )
    return compare(deletion=deletion, reading=reading, at=at)


def preview_and_store(*, deletion: Deletion, actor: Actor) -> tuple[RecheckPreview, SyncResult]:
    """Ask Datadog for the decision itself and keep what it said, so that a review shows it too."""
    at = clock.now()
    try:
        reading = sync.sync_org(credential=deletion.credential, actor=actor)
    except UnavailableError as error:
        reading = SyncResult(cause=error.cause)
    return compare(deletion=deletion, reading=reading, at=at), reading


def compare(*, deletion: Deletion, reading: SyncResult, at: datetime) -> RecheckPreview:
    """What one reading, begun at `at`, says beside what was asked for."""
    item = reading.find(deletion.connection_id)
    if item is None:
        found = Found.ABSENT if reading.is_complete else Found.UNREADABLE
        return RecheckPreview(found=found, at=at, cause=reading.cause)
    fields = sync.fields_from(item)
    digest = snapshot_digest(
        site=deletion.site, connection_id=str(deletion.connection_id), fields=fields
    )
    found = Found.SAME if digest == deletion.digest else Found.CHANGED
    return RecheckPreview(found=found, at=at, changes=changes_of(deletion, now=fields))


def changes_of(deletion: Deletion, *, now: SnapshotFields) -> tuple[FieldChange, ...]:
    """Field by field, what is no longer as it was when it was asked for."""
    told = [
        FieldChange(field=field, was=was, now=is_now, binds=binds)
        for (field, was, binds), (_, is_now, _) in zip(
            _compared_fields(deletion), _compared_fields(now), strict=True
        )
        if was != is_now
    ]
    return tuple(told)


def _compared_fields(fields: SnapshotFields) -> list[tuple[str, str, bool]]:
    """Each field in words; the creator changes nothing of what a deletion does."""
    disabled = {True: "disabled", False: "active", None: ""}[fields.creator_is_disabled]
    return [
        ("Source org", fields.source_org_name, True),
        ("Source org id", fields.source_org_id, True),
        ("Destination org", fields.sink_org_name, True),
        ("Destination org id", fields.sink_org_id, True),
        ("Types", ", ".join(sorted(fields.connection_types)), True),
        ("Created by", fields.creator_name, False),
        ("Its creator is", disabled, False),
    ]
