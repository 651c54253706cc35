"""After restoring a backup of PostgreSQL: put Org Admin on hold, and end sessions."""

from typing import Any

from connections.access.actor import command_actor
from connections.management.base import OrgAdminCommand, Result
from connections.operations import schema
from connections.operations.restored import follow_restore


class Command(OrgAdminCommand):
    """With SQLite, `restore` does the same."""

    help = (
        "Run this after pg_restore, before the workers start. Puts Org Admin on hold, ends every "
        "session and one-time link, and closes requests that might have been sent since the backup."
    )

    def run(self, **options: Any) -> Result:
        schema.require_usable_schema()
        closed = follow_restore(actor=command_actor(), source="a backup", details={})
        return Result(
            {"unresolved": closed},
            "Org Admin is on hold: it changes nothing by itself. release_hold lists what waits.",
            f"Open requests closed as unresolved: {closed}. They might have been sent after the "
            "backup.",
            "Everyone must sign in again.",
        )
