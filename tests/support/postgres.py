"""A temporary PostgreSQL server or pool of connections, on a Unix socket in its own directory."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tests.support.processes import until

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
    with _directory() as place:
        data = str(place / "data")
        _run(programs, "initdb", "-D", data, "-A", "trust", "-U", "orgadmin", "--no-sync", at=place)
        _start(programs, place)
        try:
            yield f"postgres://orgadmin@/postgres?host={place}"
        finally:
            _stop(programs, place)


@contextmanager
def _directory() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="orgadmin-postgres-"))
    try:
        if os.geteuid() == 0:
            owner = pwd.getpwnam("postgres")
            os.chown(place, owner.pw_uid, owner.pw_gid)
        yield place
    finally:
        shutil.rmtree(place)


# Each transaction goes to another connection than the one before, whenever there are two.
_POOLED = """
[databases]
* = host={host} user=orgadmin
[pgbouncer]
pool_mode = transaction
server_round_robin = 1
min_pool_size = 2
max_client_conn = 1000
max_prepared_statements = 0
ignore_startup_parameters = options
auth_type = any
unix_socket_dir = {place}
logfile = {place}/log
"""


@contextmanager
def pooled_by_transaction(url: str) -> Iterator[str]:
    """Run PgBouncer, which pools transactions, for this server; yields a URL like the server's."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        raise RuntimeError("PgBouncer is not installed.")
    [host] = parse_qs(urlsplit(url).query)["host"]
    with _directory() as place:
        (place / "ini").write_text(_POOLED.format(host=host, place=place))
        command = [*_as_owner(), program, "--quiet", str(place / "ini")]
        process = subprocess.Popen(command, cwd=place, stdin=subprocess.DEVNULL)
        try:
            for _ in until(_PATIENCE):
                if (place / ".s.PGSQL.6432").exists():
                    break
            yield f"{url.partition('?')[0]}?host={place}&port=6432"
        finally:
            process.kill()
            process.wait()


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


def _as_owner() -> list[str]:
    """The start of a command that root runs as `postgres`."""
    become = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    return become if os.geteuid() == 0 else []


def _run(programs: Path, name: str, *arguments: str, at: Path) -> None:
    command = [*_as_owner(), str(programs / name), *arguments]
    subprocess.run(
        command,
        cwd=at,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        timeout=_PATIENCE,
        check=True,
    )
