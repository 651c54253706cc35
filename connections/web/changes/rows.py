"""The rows of changes/table.html, which several pages show."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from django.urls import reverse

from connections.access import permissions
from connections.access.actor import Actor
from connections.batches.texts import batch_origin_text
from connections.changes.changes import ChangeRow
from connections.changes.texts import (
    access_request_name,
    change_subject,
    deletion_name,
    types_of,
)
from connections.core.text import pluralize
from connections.models import Change
from connections.web.badges import Badge, change_badge
from connections.web.framework.addresses import connection_url


@dataclass(frozen=True, kw_only=True)
class ChangeRowView:
    """One row of the table."""

    row: ChangeRow
    badge: Badge
    # What it is about if that isn't one connection: an org, or the connections of a bulk deletion.
    name: str
    # The cause: the text before the related request, its name (which is a link), and the text
    # after it.
    cause: tuple[str, str, str]
    # The page of the related request.
    cause_url: str
    # The page of the connection or of the bulk deletion; "" for a renamed org.
    url: str
    types: list[str]
    # The types in `types` that were not there before.
    added_types: list[str]
    # Those that aren't there any more.
    removed_types: list[str]
    # "between 14:35 and 14:38 UTC": when it happened.
    window: str
    can_acknowledge: bool

    @property
    def label(self) -> str:
        """The row in a few words: "Widened to audit: Labs to Data Lake"."""
        subject = self.name or change_subject(self.row.change).replace("→", "to")
        return f"{self.badge.label}: {subject}"


def change_row_views(rows: Sequence[ChangeRow], *, actor: Actor) -> list[ChangeRowView]:
    """The rows as the table shows them."""
    can_acknowledge = permissions.can_acknowledge(actor)
    return [
        _change_row_view(row, can_acknowledge=can_acknowledge and row.change.awaits_acknowledgement)
        for row in rows
    ]


def _change_row_view(row: ChangeRow, *, can_acknowledge: bool) -> ChangeRowView:
    change = row.change
    before, after = types_of(row.before), types_of(change.after)
    is_compared = change.widened is not None and row.before is not None
    name = change.org_name or change.org_id
    url = connection_url(change.key) if change.key else ""
    added = [kind for kind in after if kind not in before] if is_compared else []
    cause, cause_url = _cause_parts(row)
    if row.removals > 1 and row.deletion and row.deletion.batch:
        batch = row.deletion.batch
        name, url = pluralize(row.removals, "connection"), reverse("batch-detail", args=[batch.pk])
        cause = (f"{batch_origin_text(batch)}: bulk deletion by {batch.requested_by_name}", "", "")
    elif added and not cause_url and set(before) <= set(after):
        # The outlined tags say which ones.
        cause = ("", "", "")
    return ChangeRowView(
        row=row,
        badge=change_badge(change, deletion=row.deletion, access_request=row.access_request),
        name=name,
        cause=cause,
        cause_url=cause_url,
        url=url,
        types=[] if name else after or before,
        added_types=added,
        removed_types=[kind for kind in before if kind not in after] if is_compared else [],
        window=_window_text(change.earliest_at, change.detected_at),
        can_acknowledge=can_acknowledge,
    )


def _cause_parts(row: ChangeRow) -> tuple[tuple[str, str, str], str]:
    """The parts of the cause, and the page of the request that it names."""
    if row.change.kind == Change.Kind.ORG_RENAMED:
        return (f"Was: {(row.before or {}).get('name')}.", "", ""), ""
    if row.access_request:
        name = access_request_name(row.access_request)
        url = reverse("access-request-detail", args=[row.access_request.pk])
    elif row.deletion:
        name = deletion_name(row.change, deletion=row.deletion)
        url = reverse("deletion-detail", args=[row.deletion.pk])
    else:
        return (row.cause, "", ""), ""
    # A ticket can be a word that also occurs before it.
    return row.cause.rpartition(name), url


def _window_text(earliest_at: datetime, detected_at: datetime) -> str:
    """ "between 14:35 and 14:38 UTC", with dates if they are on different days."""
    first, last = earliest_at.astimezone(UTC), detected_at.astimezone(UTC)
    if first.date() != last.date():
        return f"between {first.day} {first:%b %H:%M} and {last.day} {last:%b %H:%M} UTC"
    if f"{first:%H:%M}" == f"{last:%H:%M}":
        return f"at {last:%H:%M} UTC"
    return f"between {first:%H:%M} and {last:%H:%M} UTC"
