"""Leaves the last tenth of an org's rate limits at Datadog to others, such as Terraform.

Work that can wait, such as automatic syncs and the rows of bulk deletions, starts nothing for an
org that `held_back_until` names. Work that a person or a command waits for doesn't check it. All
processes share what is stored here. It costs a statement only when a limit is low.
"""

import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from connections.core.causes import Cause
from connections.datadog.responses import DatadogError, RateLimit
from connections.models import Credential, OrgRateLimit

REQUESTS_AT_ONCE = 2


@dataclass(frozen=True, kw_only=True)
class OrgKey:
    """An org on a site."""

    site: str
    org_id: str

    @classmethod
    def of(cls, credential: Credential) -> Self:
        """The org of a credential."""
        return cls(site=credential.site, org_id=credential.org_id)


def record(*, site: str, org_id: str, rate_limits: Iterable[RateLimit], now: datetime) -> None:
    """Store the rate limits among these that are low, in one statement, or none if no limit is low.

    Call it in the transaction that stores what the responses said, after locking the credential.
    """
    low = {limit.name: limit for limit in rate_limits if limit.is_low}
    if not low or not org_id:
        return
    OrgRateLimit.objects.bulk_create(
        (
            OrgRateLimit(
                site=site,
                org_id=org_id,
                name=name,
                limit=each.limit,
                remaining=each.remaining,
                observed_at=now,
                resets_at=now + timedelta(seconds=each.reset_seconds),
            )
            for name, each in sorted(low.items())
        ),
        update_conflicts=True,
        unique_fields=("site", "org_id", "name"),
        update_fields=("limit", "remaining", "observed_at", "resets_at"),
    )


def held_back_until(*, now: datetime) -> Mapping[OrgKey, datetime]:
    """The orgs for which work that can wait must not start, and until when."""
    latest: dict[OrgKey, datetime] = {}
    for limit in low_limits(reset_after=now):
        key = OrgKey(site=limit.site, org_id=limit.org_id)
        latest[key] = max(latest.get(key, limit.resets_at), limit.resets_at)
    return latest


def low_limits(*, reset_after: datetime) -> Iterable[OrgRateLimit]:
    """The low limits whose reset comes after this time, in the order of their responses."""
    return OrgRateLimit.objects.filter(resets_at__gt=reset_after).order_by("observed_at")


def wait_until(*, site: str, org_id: str, now: datetime) -> datetime | None:
    """When work that can wait can start for this org. None if it can start now."""
    return held_back_until(now=now).get(OrgKey(site=site, org_id=org_id))


_slots: dict[OrgKey, threading.BoundedSemaphore] = defaultdict(
    lambda: threading.BoundedSemaphore(REQUESTS_AT_ONCE)
)
_slots_lock = threading.Lock()


@contextmanager
def request_slot(timeout_seconds: float, *, site: str, org_id: str) -> Iterator[None]:
    """Wait until this process has fewer than 2 requests to the org in progress, then hold a slot.

    Raises DatadogError when that takes longer than the timeout.
    """
    with _slots_lock:
        slots = _slots[OrgKey(site=site, org_id=org_id)]
    if not slots.acquire(timeout=timeout_seconds):
        raise DatadogError(cause=Cause.NO_ANSWER_IN_TIME)
    try:
        yield
    finally:
        slots.release()
