"""What the list and the matrix of connections have at their top."""

from dataclasses import dataclass
from datetime import datetime

from django.urls import reverse

from connections.access import permissions
from connections.access.actor import Actor
from connections.core.text import format_age, format_relative
from connections.inventory.inventory import Coverage
from connections.inventory.matching import InventoryFilter
from connections.inventory.rate_limits import OrgKey


@dataclass(frozen=True, kw_only=True)
class Head:
    """When the orgs were synced, and what a person can do with all that match."""

    # The filters, as a query string.
    query: str
    # "Synced 3 min ago", by the oldest of the newest complete syncs.
    synced: str
    # "Next sync due in 9 min"; "" if none is.
    next_sync: str
    # How many orgs are known only from an older sync, and how many credentials were never accepted.
    failing: int
    unverified: int
    can_refresh: bool
    refreshes_automatically: bool
    # "" if the person can't start an access review of these connections.
    review_url: str


def head_of(
    coverage: Coverage, *, filters: InventoryFilter, query: str, actor: Actor, at: datetime
) -> Head:
    """The head of the page that shows what matches `filters`."""
    listed, failed = (
        {OrgKey.of(sync.credential) for sync in syncs}
        for syncs in (coverage.listed, coverage.failed)
    )
    synced_at = min((sync.started_at for sync in coverage.listed), default=None)
    due_at, can_sync = coverage.next_sync_at, permissions.can_sync(actor)
    # `start_review` refuses a filter by time.
    can_start_review = permissions.can_manage_access_reviews(actor) and not filters.is_relative
    scope = {"scope": query} if query else None
    return Head(
        query=query,
        synced=f"Synced {format_age(synced_at, now=at)}" if synced_at else "Not synced yet",
        next_sync=f"Next sync due {format_relative(due_at, now=at)}" if due_at else "",
        failing=len(failed - listed),
        unverified=sum(not credential.org_id for credential in coverage.never_listed),
        can_refresh=can_sync,
        refreshes_automatically=coverage.is_stale and can_sync,
        review_url=reverse("access-review-new", query=scope) if can_start_review else "",
    )
