"""What the inventory shows of a connection and of an org's part, ready for a template."""

from dataclasses import dataclass
from datetime import datetime

from django.urls import reverse

from connections.access.actor import Actor
from connections.core.text import format_age
from connections.inventory.inventory import Coverage, Inventory, InventoryRow
from connections.models import Credential, Deletion, Sync
from connections.web.deletions.review import review_url
from connections.wording import Badge, badge, join_names
from connections.wording.causes import failure_text
from connections.wording.connections import creator_kind, site_name

# So many orgs that failed for one reason are named after a refresh.
MOST_NAMES = 5


@dataclass(frozen=True, kw_only=True)
class RowView:
    """One row of the table."""

    row: InventoryRow
    site_name: str
    url: str
    delete_url: str
    creator_kind: str
    seen_by: str
    deletion: Deletion | None
    badge: Badge | None


def row_view(
    row: InventoryRow, *, deletion: Deletion | None, actor: Actor, site_names: dict[str, str]
) -> RowView:
    """A row with its links. One with an open deletion leads there; a protected one stays."""
    snapshot = row.snapshot
    delete_url = ""
    sender = row.default_credential(actor=actor)
    if sender and deletion is None and row.protection is None:
        delete_url = review_url(credential=sender.pk, connection_id=snapshot.connection_id)
    return RowView(
        row=row,
        site_name=site_names[snapshot.site],
        url=reverse("org-connection-detail", args=[snapshot.site, snapshot.connection_id]),
        delete_url=delete_url,
        creator_kind=creator_kind(snapshot.creator_is_service_account),
        seen_by=", ".join(sorted(credential.name for credential in row.seen_by)),
        deletion=deletion,
        badge=badge(deletion) if deletion else None,
    )


def sync_text(listings: list[Sync]) -> str:
    """What became of reading these orgs again: how many came whole, which did not, and why."""
    complete = sum(listing.is_complete for listing in listings)
    failed = sorted((each for each in listings if not each.is_complete), key=_by_name)
    if not listings:
        return "Nothing was read: no credential is verified."
    said = ["Nothing was read from Datadog." if not complete else _count_words(complete, failed)]
    names: dict[str, list[str]] = {}
    for listing in failed:
        why = failure_text(cause=listing.cause, http_status=listing.http_status)
        names.setdefault(why, []).append(listing.credential.name)
    said += [f"{_some_names(those)}: {why}" for why, those in names.items()]
    if failed:
        said.append(f"What is shown of {'it' if len(failed) == 1 else 'them'} is older.")
    return " ".join(said)


def _count_words(complete: int, failed: list[Sync]) -> str:
    orgs = f"{complete} org{'' if complete == 1 else 's'} listed"
    short = f", {len(failed)} could not be listed" if failed else ""
    return f"Read again from Datadog: {orgs}{short}."


def _some_names(names: list[str]) -> str:
    # Each has a line of its own on the page.
    if len(names) <= MOST_NAMES:
        return join_names(names)
    return f"{', '.join(names[:MOST_NAMES])} and {len(names) - MOST_NAMES} more"


@dataclass(frozen=True, kw_only=True)
class FailedSync:
    """An org that could not be listed the last time, and what is shown of it all the same."""

    credential: Credential
    at: datetime
    age: str
    why: str
    errors: list[str]
    as_of: datetime | None


def failed_syncs(coverage: Coverage, *, now: datetime) -> list[FailedSync]:
    """Every org whose newest listing is not complete, by name of its credential."""
    return [
        FailedSync(
            credential=listing.credential,
            at=listing.started_at,
            age=format_age(listing.started_at, now=now),
            why=failure_text(cause=listing.cause, http_status=listing.http_status),
            errors=listing.errors,
            as_of=_as_of(coverage, listing),
        )
        for listing in sorted(coverage.failed, key=_by_name)
    ]


def _as_of(coverage: Coverage, listing: Sync) -> datetime | None:
    complete = coverage.last_complete.get(listing.credential_id)
    return complete.started_at if complete else None


def _by_name(listing: Sync) -> str:
    return listing.credential.name.casefold()


@dataclass(frozen=True, kw_only=True)
class OrgSync:
    """One org's part of the inventory: how many connections, and how old."""

    # The newest one, complete or not.
    listing: Sync
    site_name: str
    # Of the newest listing; whether that one can be counted is its `is_complete`.
    age: str
    # When it was last listed completely; None for never.
    as_of: datetime | None


def org_syncs(inventory: Inventory) -> list[OrgSync]:
    """The newest listing of every org, oldest first."""
    listings = [*inventory.coverage.listed, *inventory.coverage.failed]
    return [
        OrgSync(
            listing=listing,
            site_name=site_name(listing.credential.site),
            age=format_age(listing.started_at, now=inventory.at),
            as_of=listing.started_at
            if listing.is_complete
            else _as_of(inventory.coverage, listing),
        )
        for listing in sorted(listings, key=lambda listing: listing.started_at)
    ]
