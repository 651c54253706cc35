#!/usr/bin/env python
"""Runs a command of Org Admin or Django: `python manage.py help`."""

import gc
import io
import os
import secrets
import signal
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line

from connections import __version__
from connections.core import logs
from connections.core.errors import STOP_SIGNALS


def main() -> None:
    """Run the command. Invalid settings print one line instead of a traceback."""
    # By default, Python looks for garbage dozens of times among the modules that are being loaded.
    gc.set_threshold(20_000, 10, 10)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Names have characters that a locale's encoding can lack, and so has a checkpoint,
            # which is unusable if one of them is escaped.
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    # Only this account can read the database, its backups and other files that a command writes.
    os.umask(0o077)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orgadmin.settings")
    if sys.argv[1:2] == ["make_keys"]:
        # It creates the other commands' secret key, and needs only a temporary one itself.
        os.environ.pop("SECRET_KEY_FILE", None)
        os.environ.setdefault("SECRET_KEY", secrets.token_urlsafe(50))
    if sys.argv[1:2] in (["delete_org_connection"], ["delete_org_connections"], ["request_access"]):
        # Signals are delivered once the command handles them (connections/management/deleting.py).
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    if "--version" in sys.argv or sys.argv[1:] == ["version"]:
        # Django would print its own.
        sys.stdout.write(f"{__version__}\n")
        return
    logs.set_up(is_service=sys.argv[1:2] in (["serve"], ["web"], ["worker"]))
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        if "--traceback" in sys.argv:
            raise
        sys.stderr.write(f"Settings: {error}\n")
        # Its exit code 1 means that verification failed.
        sys.exit(2 if sys.argv[1:2] == ["verify_audit"] else 1)
    finally:
        # Python collects garbage when it exits. That takes a quarter of a short command's time,
        # although the process ends anyway.
        gc.freeze()


if __name__ == "__main__":
    main()
