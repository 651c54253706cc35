"""Run the service: the web server and a worker process."""

import logging
import os
import signal
import sqlite3
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection

from connections.access.actor import command_actor
from connections.core import clock
from connections.core.errors import STOP_SIGNALS
from connections.core.own_address import own_origin
from connections.core.text import format_limit
from connections.core.trusted_proxies import get_trusted_networks
from connections.crypto.encryption import check_key_ring, load_key_ring
from connections.management.base import OrgAdminCommand, reason_of
from connections.models import Person
from connections.operations import backup, schema, serving
from connections.operations.secret_files import log_exposed_files
from connections.operations.startup import wait_for_database
from connections.operations.static_files import collect_static_files
from connections.operations.supervisor import become_service, end_with_parent
from connections.people import sign_in_links

logger = logging.getLogger(__name__)


class Command(OrgAdminCommand):
    """Checks keys, takes the port, finds the static files, migrates (SQLite only), serves."""

    help = "Run the web server and a worker on ORGADMIN_BIND and PORT until SIGTERM or SIGINT."
    takes_json = False
    workers = 1

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--end-with-parent", type=int, metavar="PID", help="Exit when this process ends."
        )
        parser.add_argument(
            "--new",
            action="store_true",
            help="Start a new audit log even though keys of an earlier one exist.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Check first that the database exists, because connecting would create its file."""
        _require_expected_database(starts_new=options["new"])
        super().handle(*args, **options)

    def run(self, **options: Any) -> None:
        if options["end_with_parent"]:
            end_with_parent(options["end_with_parent"])
        try:
            get_trusted_networks()
        except ValueError as error:
            raise CommandError(f"ORGADMIN_TRUSTED_PROXIES: {error}.") from None
        # Instead of `needs_keys`, because this waits for PostgreSQL.
        if settings.DATABASE_IS_SQLITE:
            check_key_ring()
        else:
            wait_for_database(_check_database)
        host = os.environ.get("ORGADMIN_BIND", "127.0.0.1")
        listener = serving.open_listener(host=host, port=_port())
        try:
            self._prepare()
        except (OSError, sqlite3.Error) as error:
            raise CommandError(
                f"Org Admin can't write to {settings.DATA_DIR}: {reason_of(error)}. Make it "
                "writable for this user, or free space, then start again."
            ) from None
        own_address = serving.local_address(listener, host=host)
        # Someone who reads the announcement might send a signal before the supervisor handles it.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        self._announce(own_address)
        # It must not stay open in the process that replaces this one.
        connection.close()
        # With SQLite only one process serves, so that its writers wait in one queue.
        become_service(
            listener,
            web_servers=1 if settings.DATABASE_IS_SQLITE else 2,
            workers=self.workers,
            drain_seconds=settings.DRAIN_SECONDS,
        )

    def _prepare(self) -> None:
        """Find the static files, migrate (SQLite) and create missing keys."""
        try:
            # For the web servers, which are its child processes.
            os.environ["ORGADMIN_STATIC_ROOT"] = str(collect_static_files())
        except OSError as error:
            raise CommandError(
                "The static files of this version are missing or damaged and can't be collected: "
                f"{reason_of(error)}. Run ./run install as the user that owns "
                f"{settings.BASE_DIR}, then start again."
            ) from None
        if settings.DATABASE_IS_SQLITE and schema.read_schema().fit is schema.Fit.OLDER:
            copy = backup.copy_before_migrating(now=clock.now())
            if copy:
                logger.info("Copied the database to %s.", copy)
            call_command("migrate", interactive=False, verbosity=0)
        schema.require_usable_schema()
        load_key_ring()
        log_exposed_files()

    def _announce(self, local_address: str) -> None:
        # Only where the service is for this machine alone, people open the address that it
        # listens on.
        address = own_origin() or (local_address if settings.IS_LOCAL else "")
        lines = [f"Org Admin is running at {address or local_address}/"]
        if address not in {"", local_address}:
            lines.append(f"Listening on {local_address}/")
        lines += serving.list_access_problems()
        if not self.workers:
            lines.append("It runs no worker. Start one too, here or elsewhere: ./run worker")
        if not Person.objects.exists():
            link = sign_in_links.make_set_up_link(actor=command_actor(), now=clock.now())
            lines += [
                "Create your administrator account (valid "
                f"{format_limit(sign_in_links.SET_UP_LINK_LIFETIME)}):",
                f"{address}{link}",
            ]
        for line in lines:
            self.stdout.write(line)
        self.stdout.flush()


def _check_database() -> None:
    schema.require_usable_schema()
    check_key_ring()


def _require_expected_database(*, starts_new: bool) -> None:
    """Raise CommandError if the database was lost, or if `--new` is given but not needed.

    The signing key is created when there is something to sign, so if it and the key ring exist,
    there was a database. Only an SQLite database can go missing this way.
    """
    has_database = not settings.DATABASE_IS_SQLITE or _has_tables(backup.get_database_path())
    if starts_new and has_database:
        raise CommandError(
            "--new starts a new audit log, but a database already exists. Start without --new."
        )
    keys = [Path(settings.KEYRING_FILE), Path(settings.SIGNING_KEY_FILE)]
    if has_database or starts_new or not all(key.exists() for key in keys):
        return
    raise CommandError(
        f"No database at {backup.get_database_path()}, although its key ring and signing key "
        "exist: it was probably lost. Restore a backup with ./run manage restore --from DIR, or "
        f"put back a copy from {settings.DATA_DIR / 'backups'}. To start a new audit log on "
        "purpose, run ./run serve --new."
    )


def _has_tables(database: Path) -> bool:
    # Another command might have created an empty file.
    return database.exists() and bool(connection.introspection.table_names())


def _port() -> int:
    text = os.environ.get("PORT", "8000")
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise CommandError(f"PORT must be a number from 0 to 65535, not {text!r}.")
    return int(text)
