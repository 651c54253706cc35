"""Check deletions whose outcome is unknown or not verified."""

from datetime import datetime
from typing import Any

from connections.access.actor import command_actor
from connections.change_requests import recording
from connections.core import clock
from connections.deletions.export import deletion_row
from connections.deletions.status import status_at
from connections.deletions.texts import describe
from connections.management.base import UNKNOWN, OrgAdminCommand, Result
from connections.models import Deletion, State
from connections.operations import due


class Command(OrgAdminCommand):
    """Checks each once. Sends no DELETE and never sleeps."""

    help = (
        "Sync once for every deletion that is unknown, still present or not verified, and record "
        "what that shows. Sends no DELETE. Exit code 6 while an outcome is unknown."
    )
    needs_keys = True

    def run(self, **options: Any) -> Result:
        recording.record_saved_responses()
        deletions = due.reconcile_all(actor=command_actor())
        rows = Deletion.objects.filter(pk__in=[deletion.pk for deletion in deletions])
        rows = rows.prefetch_related("attempts", "approvals")
        unknown = Deletion.objects.filter(state__in=[State.UNKNOWN, State.SENDING]).count()
        document = {
            "deletions": [
                deletion_row(deletion) | {"url": f"/deletions/{deletion.pk}/"} for deletion in rows
            ],
            "unknown": unknown,
        }
        now = clock.now()
        lines = [_line(deletion, now=now) for deletion in rows]
        exit_code = UNKNOWN if unknown else 0
        return Result(document, *lines, f"Unknown: {unknown}.", exit_code=exit_code)


def _line(deletion: Deletion, *, now: datetime) -> str:
    status = status_at(deletion, now=now)
    text = describe(deletion, status=status)
    return f"{deletion.pk}  {text.label}  {text.sentences}"
