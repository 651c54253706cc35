"""Fills the demo's empty database. Prints its people and their password as JSON."""

import json
import os
import sys

import django


def main() -> int:
    """Seed the database that the environment names; return the exit code."""
    os.umask(0o077)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orgadmin.settings")
    django.setup()
    # Models can be imported only after the setup above.
    from django.conf import settings

    from connections.core.errors import DomainError
    from orgadmin.demo import history

    if not settings.IS_DEMO:
        sys.stderr.write("This script is only for ./run demo, which starts it.\n")
        return 1
    try:
        seeded = history.seed()
    except DomainError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(json.dumps(seeded))
    return 0


if __name__ == "__main__":
    sys.exit(main())
