"""Django's `migrate`, which first checks the database and then grants what the service needs."""

from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.core.management.commands import migrate
from django.db import OperationalError

from connections.models.released_migrations import LOCK_TIMEOUT
from connections.operations import database_guards, schema


class Command(migrate.Command):
    """Exit code 1 and one sentence for a database that this version can't migrate."""

    def handle(self, *args: Any, **options: Any) -> None:
        found = schema.read_schema()
        if found.fit in {schema.Fit.FOREIGN, schema.Fit.TOO_NEW}:
            raise CommandError(f"{found.text} Nothing was changed.")
        try:
            if settings.DB_APP_ROLE:
                database_guards.require_owner()
            super().handle(*args, **options)
            if settings.DB_APP_ROLE and not (options["plan"] or options["check_unapplied"]):
                database_guards.grant_to_service()
        except database_guards.GrantError as error:
            raise CommandError(str(error)) from None
        except OperationalError as error:
            if "lock timeout" not in str(error):
                raise
            raise CommandError(
                f"Another process held a lock for {LOCK_TIMEOUT.removesuffix('s')} s, so this "
                "migration was undone. Run migrate again, with the service stopped if this repeats."
            ) from None
