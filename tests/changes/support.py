"""Stores syncs of made-up orgs without any request, and reads what changed."""

import uuid
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from connections.access.actor import WORKER
from connections.core import clock
from connections.datadog.payloads import Creator, KeyOwner, ListedOrg, OrgConnection
from connections.inventory import storing
from connections.inventory.fetching import SyncResult
from connections.models import (
    Attempt,
    Change,
    Credential,
    Deletion,
    Outcome,
    State,
    approval_digest_of,
)

SITE = "US1"
CREATED_AT = datetime.fromisoformat("2026-01-05T10:00:00Z")
ADA = Creator(id="user-ada", name="Ada", disabled=False, service_account=False)
NAMES = {"prod": "Acme Prod", "dev": "Acme Dev"}


def make_connection(
    number: int = 1, *, types: Iterable[str] = ("logs",), source: str = "prod", sink: str = "dev"
) -> OrgConnection:
    """A connection whose ID ends with this number."""
    return OrgConnection(
        id=str(uuid.UUID(int=number)),
        source_org=ListedOrg(id=source, name=NAMES.get(source, source.title())),
        sink_org=ListedOrg(id=sink, name=NAMES.get(sink, sink.title())),
        connection_types=tuple(types),
        created_at=CREATED_AT,
        created_by=ADA,
    )


def with_creator(item: OrgConnection, **values: Any) -> OrgConnection:
    """The connection with other values of its creator."""
    return replace(item, created_by=replace(item.created_by, **values))


def make_credential(name: str, *, org_id: str = "prod", site: str = SITE) -> Credential:
    """A stored credential in use. It has no keys, because nothing is requested."""
    now = clock.now()
    return Credential.objects.create(
        name=name,
        site=site,
        org_id=org_id,
        org_name=NAMES.get(org_id, org_id),
        fingerprint=uuid.uuid4().hex[:12],
        keys_set_at=now,
        created_at=now,
    )


def owner_of(org: ListedOrg) -> KeyOwner:
    """The owner of a credential's keys."""
    return KeyOwner(
        org=org,
        user_id="svc-1",
        user_name="svc",
        is_service_account=True,
        permissions=frozenset(),
    )


def sync(
    credential: Credential,
    *listed: OrgConnection,
    is_complete: bool = True,
    started_at: datetime | None = None,
    own_name: str = "",
) -> list[Change]:
    """Store one sync that listed these connections. Return the new changes, oldest first."""
    last = Change.objects.order_by("-number").values_list("number", flat=True).first() or 0
    name = own_name or NAMES.get(credential.org_id, credential.org_id.title())
    result = SyncResult(
        credential=credential,
        started_at=started_at or clock.now(),
        org_connections=listed,
        is_complete=is_complete,
        cause="" if is_complete else "forbidden",
        http_status=200 if is_complete else 403,
        identity=owner_of(ListedOrg(id=credential.org_id, name=name)) if is_complete else None,
    )
    storing.store(result, actor=WORKER)
    return list(Change.objects.filter(number__gt=last).order_by("number"))


def kinds(changes: Iterable[Change]) -> list[str]:
    """The kinds of these changes."""
    return [change.kind for change in changes]


def all_kinds() -> list[str]:
    """The kinds of all changes, oldest first."""
    return kinds(Change.objects.order_by("number"))


def make_deletion(
    credential: Credential,
    item: OrgConnection,
    *,
    verdict: str = "deleted",
    outcome: Outcome = Outcome.DELETED,
    **fields: Any,
) -> Deletion:
    """A settled deletion with one attempt; without a verdict "none", with no attempt."""
    now = clock.now()
    deletion = Deletion.objects.create(
        request_id=uuid.uuid4(),
        site=credential.site,
        connection_id=item.id,
        credential=credential,
        credential_name=credential.name,
        credential_fingerprint=credential.fingerprint,
        is_reviewed=True,
        digest="0" * 64,
        reason="Not needed.",
        policy="none",
        approval_digest=approval_digest_of(digest="0" * 64, reason="Not needed.", ticket=""),
        requested_at=now,
        requested_by_name="ada",
        search_text="",
        source_org_id=item.source_org.id,
        source_org_name=item.source_org.name,
        sink_org_id=item.sink_org.id,
        sink_org_name=item.sink_org.name,
        connection_types=list(item.connection_types),
        **fields,
    )
    if verdict != "none":
        Attempt.objects.create(
            deletion=deletion,
            number=1,
            epoch=1,
            credential_name=credential.name,
            credential_fingerprint=credential.fingerprint,
            was_rechecked=True,
            claimed_at=now,
            verdict=verdict,
            answered_at=now,
        )
    Deletion.objects.filter(pk=deletion.pk).update(
        state=State.SETTLED, outcome=outcome, settled_at=now
    )
    deletion.refresh_from_db()
    return deletion


def minutes(count: float) -> timedelta:
    """This many minutes."""
    return timedelta(minutes=count)
