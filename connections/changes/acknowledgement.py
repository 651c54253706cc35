"""Acknowledging changes: a person marks them as seen, with a note."""

from collections.abc import Collection
from uuid import UUID

from django.http import Http404

from connections import audit
from connections.access import permissions, visibility
from connections.access.actor import Actor
from connections.core import clock
from connections.core.errors import InvalidInputError
from connections.core.tabular import as_time
from connections.core.text import pluralize
from connections.core.typed_text import clean_text
from connections.lookups.objects import raise_not_visible
from connections.models import Change


def acknowledge_changes(*, actor: Actor, change_ids: Collection[UUID], note: str) -> list[Change]:
    """Acknowledge all of these changes with one note, or none of them. Return those that were new.

    The first acknowledgement of a change stays. Raises PermissionDenied, InvalidInputError for
    `change` and `note`, and Http404 when the actor can't see one of the changes.
    """
    permissions.require(permissions.can_acknowledge(actor), "acknowledge changes")
    # First, so that a hidden change gets the same response as a missing one, whatever the note is.
    _require_visible(change_ids, actor=actor)
    note = clean_text(note, field="note", noun="note", missing="Enter a note.")
    if not change_ids:
        raise InvalidInputError({"change": "Select at least 1 change."})
    with audit.atomic():
        # In a fixed order, so that two people with overlapping selections don't deadlock.
        rows = Change.objects.filter(pk__in=change_ids).order_by("number")
        changes = list(rows.select_for_update(no_key=True))
        new = [change for change in changes if change.acknowledged_at is None]
        if new:
            now = clock.now()
            Change.objects.filter(pk__in=[change.pk for change in new]).update(
                acknowledged_at=now, acknowledged_by=actor.person, note=note
            )
            audit.record(
                code=audit.EventCode.CHANGES_ACKNOWLEDGED,
                actor=actor,
                sentence=audit.Sentence(
                    "{actor} acknowledged {changes}.",
                    changes=pluralize(len(new), "change"),
                ),
                details={
                    "changes": [str(change.pk) for change in new],
                    "acknowledged_at": as_time(now),
                    "note": note,
                },
            )
    return new


def _require_visible(change_ids: Collection[UUID], *, actor: Actor) -> None:
    rows = Change.objects.filter(pk__in=change_ids)
    seen = set(visibility.visible_changes(rows, actor=actor).values_list("pk", flat=True))
    hidden = rows.exclude(pk__in=seen).first()
    if hidden:
        raise_not_visible(actor=actor, subject=hidden)
    if seen != set(change_ids):
        raise Http404("No change has this ID.")
