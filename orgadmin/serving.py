"""What has to be right before the service answers: its port, its database, its static files."""

import os
import socket
import sqlite3
import sys
from contextlib import closing
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

KEPT_COPIES = 5


class CannotListenError(Exception):
    """The address to serve on cannot be used; the text says which and what to do."""


def listen(*, host: str, port: int) -> socket.socket:
    """Take the port now, so that nothing else is begun when it is in use.

    `host` is a name or an address, IPv6 with or without brackets; port 0 lets the system
    choose. Raises CannotListenError.
    """
    host = host.strip("[]")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        listener = socket.create_server(
            (str(address[0]), port),
            family=family,
            backlog=1024,
            dualstack_ipv6=host == "::" and socket.has_dualstack_ipv6(),
        )
    except OSError as error:
        is_name_error = isinstance(error, socket.gaierror)
        reason = error.strerror if is_name_error else os.strerror(error.errno or 0)
        raise CannotListenError(
            f"Cannot listen on {host} port {port}: {reason}. Choose another with PORT or "
            "ORGADMIN_BIND, or stop what uses it."
        ) from None
    listener.set_inheritable(True)
    return listener


def address_of(listener: socket.socket, *, host: str) -> str:
    """The address that a person on this machine can open, without a slash at its end."""
    host, port = host.strip("[]"), listener.getsockname()[1]
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"


def gunicorn_arguments(listener: socket.socket) -> list[str]:
    """The command line of the web server; orgadmin/gunicorn_conf.py holds the rest."""
    return [
        *(sys.executable, "-m", "gunicorn", "orgadmin.wsgi:application"),
        *("--config", "python:orgadmin.gunicorn_conf", "--bind", f"fd://{listener.fileno()}"),
    ]


def has_pending_migrations() -> bool:
    """Whether the database is older than the code. Raises what the database raises."""
    executor = MigrationExecutor(connection)
    return bool(executor.migration_plan(executor.loader.graph.leaf_nodes()))


def copy_sqlite_file(*, now: datetime) -> Path | None:
    """Copy the SQLite file beside the data before it is migrated; None while it is empty.

    A copy made by SQLite itself is whole even while others write. The last five are kept, in
    `backups` of the data directory, readable by their owner alone. Raises OSError and
    sqlite3.Error.
    """
    source = Path(settings.DATABASES["default"]["NAME"])
    if not connection.introspection.table_names():
        return None
    directory = settings.DATA_DIR / "backups"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    copy: Path = directory / f"orgadmin-{now:%Y%m%dT%H%M%S%f}Z.sqlite3"
    os.close(os.open(copy, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(copy)) as new:
        old.backup(new)
    for outdated in sorted(directory.glob("orgadmin-*.sqlite3"))[:-KEPT_COPIES]:
        outdated.unlink()
    return copy


def shown_address(own_address: str) -> str:
    """The address to tell people: the configured one, else the one it listens on."""
    configured: str = settings.BASE_URL
    return configured or own_address


def absolute_link(link: str, *, address: str) -> str:
    """A link that a service gave, with the address where it is only a path."""
    return link if urlsplit(link).scheme else f"{address}{link}"
