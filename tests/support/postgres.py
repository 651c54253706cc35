"""A throw-away PostgreSQL: on a Unix socket in a directory of its own, gone afterwards."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Django 6.1 needs this one or newer.
OLDEST = 15
_PATIENCE = 60.0


def find_programs() -> Path | None:
    """The directory of the newest server's programs that Django can use, if there is one."""
    found = {
        int(directory.parent.name): directory
        for directory in Path("/usr/lib/postgresql").glob("*/bin")
        if directory.parent.name.isdecimal() and (directory / "initdb").exists()
    }
    newest = max(found, default=0)
    return found[newest] if newest >= OLDEST else None


@contextmanager
def throw_away_postgresql() -> Iterator[str]:
    """Run a server; gives the URL of a database in it, to be asked for others too.

    The server refuses to run as root, so root runs it as `postgres`. Raises RuntimeError when
    no server is installed.
    """
    programs = find_programs()
    if programs is None:
        raise RuntimeError(f"PostgreSQL {OLDEST} or newer is not installed.")
    place = Path(tempfile.mkdtemp(prefix="orgadmin-postgres-"))
    try:
        if os.geteuid() == 0:
            owner = pwd.getpwnam("postgres")
            os.chown(place, owner.pw_uid, owner.pw_gid)
        data = str(place / "data")
        _run(programs, "initdb", "-D", data, "-A", "trust", "-U", "orgadmin", "--no-sync", at=place)
        # Nothing here survives a power cut, so nothing need wait for the disk.
        options = f"-c listen_addresses='' -c unix_socket_directories='{place}' -c fsync=off"
        log = str(place / "log")
        _run(programs, "pg_ctl", "-D", data, "-w", "-l", log, "-o", options, "start", at=place)
        try:
            yield f"postgres://orgadmin@/postgres?host={place}"
        finally:
            _run(programs, "pg_ctl", "-D", data, "-m", "immediate", "stop", at=place)
    finally:
        shutil.rmtree(place)


def _run(programs: Path, name: str, *arguments: str, at: Path) -> None:
    become = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    command = [*(become if os.geteuid() == 0 else []), str(programs / name), *arguments]
    subprocess.run(
        command,
        cwd=at,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        timeout=_PATIENCE,
        check=True,
    )
