"""Fill the demo's empty database; `./run demo` runs it."""

from typing import Any

from django.conf import settings

from connections.core.errors import ConflictError
from connections.management.base import OrgAdminCommand


class Command(OrgAdminCommand):
    """Makes the demo's people, credentials and history, in an empty database of the demo alone."""

    help = "Used by ./run demo. Refuses any database that holds a person or a credential."

    def act(self, **options: Any) -> None:
        # The history needs the sandbox, which no installation that is served has to load.
        from orgadmin.demo import history

        if not settings.IS_DEMO:
            raise ConflictError("This is only for ./run demo, which starts it by itself.")
        seeded = history.seed()
        names = ", ".join(one["username"] for one in seeded["people"])
        self.emit(seeded, f"Seeded. People: {names}. Password: {seeded['password']}")
