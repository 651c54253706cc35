"""A temporary PostgreSQL server on a Unix socket in its own directory."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

# Django 6.1 needs this version or newer.
OLDEST = 15
_PATIENCE = 60.0


def find_programs() -> Path | None:
    """The directory with the programs of the newest server that Django can use, if there is one."""
    found = {
        int(directory.parent.name): directory
        for directory in Path("/usr/lib/postgresql").glob("*/bin")
        if directory.parent.name.isdecimal() and (directory / "initdb").exists()
    }
    newest = max(found, default=0)
    return found[newest] if newest >= OLDEST else None


@contextmanager
def throw_away_postgresql() -> Iterator[str]:
    """Run a server; yields the URL of one of its databases.

    The server refuses to run as root, so root runs it as `postgres`. Raises RuntimeError when
    no server is installed.
    """
    programs = _programs()
    place = Path(tempfile.mkdtemp(prefix="orgadmin-postgres-"))
    try:
        if os.geteuid() == 0:
            owner = pwd.getpwnam("postgres")
            os.chown(place, owner.pw_uid, owner.pw_gid)
        data = str(place / "data")
        _run(programs, "initdb", "-D", data, "-A", "trust", "-U", "orgadmin", "--no-sync", at=place)
        _start(programs, place)
        try:
            yield f"postgres://orgadmin@/postgres?host={place}"
        finally:
            _stop(programs, place)
    finally:
        shutil.rmtree(place)


@contextmanager
def stopped(url: str) -> Iterator[None]:
    """Stop a temporary server and its connections, and start it again afterwards."""
    [place] = parse_qs(urlsplit(url).query)["host"]
    _stop(_programs(), Path(place))
    try:
        yield
    finally:
        _start(_programs(), Path(place))


def _programs() -> Path:
    programs = find_programs()
    if programs is None:
        raise RuntimeError(f"PostgreSQL {OLDEST} or newer is not installed.")
    return programs


def _start(programs: Path, place: Path) -> None:
    # The data doesn't have to survive a power failure, so don't wait for the disk.
    options = f"-c listen_addresses='' -c unix_socket_directories='{place}' -c fsync=off"
    data, log = str(place / "data"), str(place / "log")
    _run(programs, "pg_ctl", "-D", data, "-w", "-l", log, "-o", options, "start", at=place)


def _stop(programs: Path, place: Path) -> None:
    data = str(place / "data")
    _run(programs, "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop", at=place)


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
