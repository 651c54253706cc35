"""Django's `migrate`, which first checks the database and then grants what the service needs."""

from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.core.management.commands import migrate
from django.db import Error as DatabaseError

from connections.core.database import is_unwritable_error
from connections.management.base import OrgAdminCommand
from connections.models.released_migrations import LOCK_TIMEOUT
from connections.operations import database_guards, schema


class Command(OrgAdminCommand, migrate.Command):
    """Exit code 1 and one sentence for a database that this version can't migrate."""

    takes_json = False
    # With --skip-checks.
    requires_system_checks = migrate.Command.requires_system_checks

    def handle(self, *args: Any, **options: Any) -> None:
        database_schema = schema.read_schema()
        if database_schema.fit in {schema.Fit.FOREIGN, schema.Fit.TOO_NEW}:
            raise CommandError(f"{database_schema.text} Nothing was changed.")
        if settings.DB_APP_ROLE:
            database_guards.require_owner()
        try:
            migrate.Command.handle(self, *args, **options)
        except DatabaseError as error:
            if is_unwritable_error(error):
                raise
            raise CommandError(_failure(error)) from error
        if options["plan"] or options["check_unapplied"] or not settings.DB_APP_ROLE:
            return
        if database_schema.fit is schema.Fit.NEWER:
            # What is append-only in the next release would become writable.
            self.stdout.write(
                f"{database_schema.problem}. That release grants to {settings.DB_APP_ROLE}."
            )
        else:
            database_guards.grant_to_service()


def _failure(error: DatabaseError) -> str:
    reason = " ".join(str(error).split())
    if "lock timeout" in reason:
        seconds = LOCK_TIMEOUT.removesuffix("s")
        return (
            f"Another process held a lock for {seconds} s, so a migration was undone. Run migrate "
            "again, with the service stopped if this repeats."
        )
    return f"A migration failed and was undone; those before it are applied: {reason}."
