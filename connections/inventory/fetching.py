"""Asks Datadog which connections an org has. Stores nothing."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from contextvars import copy_context
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Self
from uuid import UUID

from django.conf import settings

from connections.core import clock
from connections.core.causes import Cause
from connections.core.errors import UnavailableError
from connections.core.sites import UnknownSiteError, get_site
from connections.core.threads import RequestThreads
from connections.crypto.encryption import EncryptionError, KeyRingError
from connections.datadog.client import DatadogClient
from connections.datadog.payloads import KeyOwner, OrgConnection
from connections.datadog.responses import DatadogError, RateLimit
from connections.inventory import rate_limits
from connections.models import Credential
from connections.net.http import pool

# The deadline of one sync, in seconds.
SYNC_SECONDS = 10.0

# The argument is how long to wait for the slot, in seconds.
type _RequestSlot = Callable[[float], AbstractContextManager[object]]


def open_client(*, credential: Credential, write_by: float | None = None) -> DatadogClient:
    """A client with the credential's keys. This is the only place where keys are decrypted for use.

    `write_by` is as for a DatadogClient.
    Raises UnavailableError, before anything is sent, when the keys can't be decrypted or the site
    or proxy is misconfigured.
    """
    try:
        return DatadogClient(
            base_url=get_site(credential.site).base_url,
            keys=credential.open_keys(),
            route=settings.OUTBOUND_ROUTE,
            write_by=write_by,
        )
    except KeyRingError as error:
        problem = UnavailableError(str(error), cause=Cause.KEY_RING_UNUSABLE)
    except EncryptionError as error:
        problem = UnavailableError(str(error), cause=Cause.KEYS_NOT_OPENED)
    except (UnknownSiteError, ValueError) as error:
        problem = UnavailableError(str(error), cause=Cause.CANNOT_BE_ASKED)
    # Raised here so that its context contains no exception from the key code.
    raise problem


def open_client_or_failure(*, credential: Credential) -> DatadogClient | UnavailableError:
    """A client, or why this credential has none.

    Raises UnavailableError when no credential's keys can be decrypted.
    """
    try:
        return open_client(credential=credential)
    except UnavailableError as error:
        if error.cause == Cause.KEY_RING_UNUSABLE:
            raise
        return error


@dataclass(frozen=True, kw_only=True)
class SyncResult:
    """The result of one sync. Only a complete one proves that a connection is absent."""

    org_connections: tuple[OrgConnection, ...] = ()
    is_complete: bool = False
    cause: str = ""
    http_status: int | None = None
    errors: tuple[str, ...] = ()
    identity: KeyOwner | None = None
    # What the responses said about the org's rate limits.
    rate_limits: tuple[RateLimit, ...] = ()
    # The credential that was used, and the time before anything was requested. None if nothing was.
    credential: Credential | None = None
    started_at: datetime | None = None
    # False if the one connection that was searched for is listed: then the org of the keys wasn't
    # checked, and the list says nothing about other connections.
    is_checked: bool = True

    @classmethod
    def from_error(cls, error: DatadogError) -> Self:
        """The result of a sync that failed with this error."""
        return cls(cause=error.cause, http_status=error.http_status, errors=error.errors)

    @property
    def failure(self) -> dict[str, object]:
        """Why it is not complete, in the form that columns and events store."""
        return {
            "cause": self.cause,
            "http_status": self.http_status,
            "errors": list(self.errors),
        }

    @property
    def listed_by(self) -> str:
        """The name of the credential that was used."""
        return self.credential.name if self.credential else ""

    def find(self, connection_id: UUID) -> OrgConnection | None:
        """The connection with this ID, if it was listed."""
        wanted = str(connection_id)
        return next((item for item in self.org_connections if item.id == wanted), None)


@pool()
def fetch(
    *,
    credential: Credential,
    client: DatadogClient | None = None,
    find: UUID | None = None,
    now: datetime | None = None,
    deadline_seconds: float = SYNC_SECONDS,
    takes_turns: bool = False,
) -> SyncResult:
    """List the org's connections and check the keys' org. Raises UnavailableError.

    Never raises for a failure at Datadog. Keys of another org than the credential's make the result
    incomplete. Both requests are sent at the same time. With `find`, the org is checked after the
    list, and only if that connection is not listed, because only absence needs that proof.

    Callers that already have them can pass `client` and `now`, the database time; then the database
    isn't used. With `takes_turns`, each request waits, within the deadline, until this process has
    fewer than 2 in progress to the org.
    """
    client = client or open_client(credential=credential)
    started_at = now or clock.now()
    deadline = time.monotonic() + deadline_seconds
    slot: _RequestSlot = nullcontext
    if takes_turns:
        slot = partial(rate_limits.request_slot, site=credential.site, org_id=credential.org_id)
    fetch_owner = partial(_fetch_owner, client, deadline=deadline, slot=slot)
    if find is None:
        with RequestThreads(max_workers=1) as thread:
            owner = thread.submit(copy_context().run, fetch_owner)
            result = list_connections(client, deadline=deadline, slot=slot)
        result = _with_checked_owner(result, owner=owner.result(), org_id=credential.org_id)
        is_found = False
    else:
        result = list_connections(client, deadline=deadline, slot=slot)
        is_found = result.find(find) is not None
        if result.is_complete and not is_found:
            result = _with_checked_owner(result, owner=fetch_owner(), org_id=credential.org_id)
    return replace(
        result,
        credential=credential,
        started_at=started_at,
        is_checked=not is_found,
        rate_limits=client.rate_limits,
    )


def list_connections(
    client: DatadogClient, *, deadline: float, slot: _RequestSlot = nullcontext
) -> SyncResult:
    """List the connections without checking the keys' org. `deadline` is a monotonic time."""
    try:
        with slot(_seconds_until(deadline)):
            listing = client.list_org_connections(deadline_seconds=_seconds_until(deadline))
    except DatadogError as error:
        return SyncResult.from_error(error)
    return SyncResult(
        org_connections=listing.org_connections,
        is_complete=listing.is_complete,
        cause=listing.cause or "",
        http_status=listing.http_status,
        errors=listing.errors,
    )


def _fetch_owner(
    client: DatadogClient, *, deadline: float, slot: _RequestSlot
) -> KeyOwner | DatadogError:
    try:
        with slot(_seconds_until(deadline)):
            return client.whoami(deadline_seconds=_seconds_until(deadline))
    except DatadogError as error:
        return error


def _seconds_until(deadline: float) -> float:
    return max(0.1, deadline - time.monotonic())


def _with_checked_owner(
    result: SyncResult, *, owner: KeyOwner | DatadogError, org_id: str
) -> SyncResult:
    """The list, complete only if the keys are known to belong to the org."""
    if isinstance(owner, DatadogError):
        return SyncResult.from_error(owner) if result.is_complete else result
    if owner.org.id != org_id:
        return SyncResult(cause=Cause.ANOTHER_ORG, http_status=200, identity=owner)
    return replace(result, identity=owner) if result.is_complete else result
