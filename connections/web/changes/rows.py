"""The rows of changes/table.html, which several pages show."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from connections.access import permissions
from connections.access.actor import Actor
from connections.changes.changes import ChangeRow
from connections.changes.texts import deletion_name, types_of
from connections.models import Change
from connections.web.badges import Badge, change_badge
from connections.web.changes.forms import AcknowledgementForm
from connections.web.framework.support import connection_url


@dataclass(frozen=True, kw_only=True)
class ChangeRowView:
    """One row of the table."""

    row: ChangeRow
    badge: Badge
    # The cause: the text before the related deletion, its name (which is a link), and the text
    # after it.
    cause: tuple[str, str, str]
    # The page of the connection; "" for a renamed org.
    url: str
    types: list[str]
    # The types in `types` that were not there before.
    added_types: list[str]
    # "14:35 to 14:38 UTC": when it happened.
    window: str
    can_acknowledge: bool
    is_selected: bool
    # The form in the row. None while it is closed.
    form: AcknowledgementForm | None


def change_row_views(
    rows: Sequence[ChangeRow],
    *,
    actor: Actor,
    selected: Collection[UUID] = (),
    opened: tuple[UUID, AcknowledgementForm] | None = None,
) -> list[ChangeRowView]:
    """The rows as the table shows them. `opened` is the row whose note needs to be corrected."""
    can_acknowledge = permissions.can_acknowledge(actor)
    return [
        _change_row_view(
            row,
            can_acknowledge=can_acknowledge and row.change.awaits_acknowledgement,
            is_selected=row.change.pk in selected,
            form=opened[1] if opened and opened[0] == row.change.pk else None,
        )
        for row in rows
    ]


def _change_row_view(
    row: ChangeRow, *, can_acknowledge: bool, is_selected: bool, form: AcknowledgementForm | None
) -> ChangeRowView:
    change = row.change
    before, after = types_of(row.before), types_of(change.after)
    is_compared = change.widened is not None and row.before is not None
    return ChangeRowView(
        row=row,
        badge=change_badge(change, deletion=row.deletion),
        cause=_cause_parts(row),
        url=connection_url(change.key) if change.key else "",
        types=after or before,
        added_types=[kind for kind in after if kind not in before] if is_compared else [],
        window=_window_text(change.earliest_at, change.detected_at),
        can_acknowledge=can_acknowledge,
        is_selected=is_selected,
        form=form,
    )


def _cause_parts(row: ChangeRow) -> tuple[str, str, str]:
    if row.change.kind == Change.Kind.ORG_RENAMED:
        return f"Was: {(row.before or {}).get('name')}.", "", ""
    return row.cause.partition(deletion_name(row.deletion)) if row.deletion else (row.cause, "", "")


def _window_text(earliest_at: datetime, detected_at: datetime) -> str:
    """ "14:35 to 14:38 UTC", with dates if they are on different days."""
    first, last = earliest_at.astimezone(UTC), detected_at.astimezone(UTC)
    if first.date() == last.date():
        times = dict.fromkeys((f"{first:%H:%M}", f"{last:%H:%M}"))
        return f"{' to '.join(times)} UTC"
    return f"{first.day} {first:%b %H:%M} to {last.day} {last:%b %H:%M} UTC"
