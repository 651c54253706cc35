"""Creates the demo's database and fills it. Prints its people and their password as JSON."""

import json
import os
import sys

import django


def main() -> int:
    """Create and fill the database that the environment names; return the exit code."""
    os.umask(0o077)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orgadmin.settings")
    django.setup()
    # Models can be imported only after the setup above.
    from django.conf import settings
    from django.core.management import call_command

    from connections.core.errors import DomainError
    from orgadmin.demo import history

    if not settings.IS_DEMO:
        sys.stderr.write("This script is only for ./run demo, which starts it.\n")
        return 1
    call_command("migrate", interactive=False, verbosity=0)
    try:
        seeded = history.seed()
    except DomainError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(json.dumps(seeded))
    return 0


if __name__ == "__main__":
    sys.exit(main())
