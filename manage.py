#!/usr/bin/env python
"""Run one of Django's or Org Admin's commands: `python manage.py help`."""

import os
import secrets
import signal
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line
from environs import EnvError

from connections.core.signals import STOP_SIGNALS


def main() -> None:
    """Run the command; settings that cannot be used are one line instead of a traceback."""
    # The database, its copies and all that a command writes are for this account alone.
    os.umask(0o077)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orgadmin.settings")
    if sys.argv[1:2] == ["make_keys"]:
        # It makes the secret key that all others need, and needs none that lasts.
        os.environ.setdefault("SECRET_KEY", secrets.token_urlsafe(50))
    if sys.argv[1:2] == ["delete_org_connection"]:
        # They wait until the command handles them (connections/deletions/stopping.py).
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        execute_from_command_line(sys.argv)
    except (ImproperlyConfigured, EnvError) as error:
        if "--traceback" in sys.argv:
            raise
        sys.exit(f"Settings: {error}")


if __name__ == "__main__":
    main()
