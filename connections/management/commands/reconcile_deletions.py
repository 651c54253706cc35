"""Find out what became of deletions whose outcome is not known."""

from typing import Any

from connections import wording
from connections.access.actor import command_actor
from connections.audit.export import deletion_row
from connections.deletions import spool
from connections.management.base import OrgAdminCommand
from connections.models import Deletion, State
from connections.operations import due

UNKNOWN = 6


class Command(OrgAdminCommand):
    """One pass over what is unknown or not proved yet. Sends no DELETE and never sleeps."""

    help = (
        "List once for every deletion that is unknown, still present or not yet proved, and "
        "settle what that proves. Exits 6 while something is unknown."
    )
    needs_keys = True

    def act(self, **options: Any) -> None:
        spool.replay()
        last_checked_at = due.reconcile_all(actor=command_actor())
        rows = Deletion.objects.filter(pk__in=[deletion.pk for deletion in last_checked_at])
        rows = rows.prefetch_related("attempts", "approvals")
        unknown = Deletion.objects.filter(state__in=[State.UNKNOWN, State.SENDING]).count()
        document = {
            "deletions": [
                deletion_row(deletion) | {"url": f"/deletions/{deletion.pk}/"} for deletion in rows
            ],
            "unknown": unknown,
        }
        lines = [f"{_line(deletion)}" for deletion in rows]
        self.emit(document, "\n".join([*lines, f"{unknown} unknown."]))
        if unknown:
            raise SystemExit(UNKNOWN)


def _line(deletion: Deletion) -> str:
    badge = wording.badge(deletion)
    return f"{deletion.pk}  {badge.label}  {wording.describe(deletion).headline}"
