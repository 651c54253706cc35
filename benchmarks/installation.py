"""Temporary installations of Org Admin, their servers, and clients for them. Uses no Django.

Everything started here listens on 127.0.0.1 and ends with the block that started it, or with the
process that runs the benchmarks.
"""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict

from benchmarks import world

ROOT = Path(__file__).resolve().parent.parent
LOOPBACK = "127.0.0.1"
OFFICIAL_CLIENT = "datadog-api-client==2.62.0"
_FOREIGN = ("ORGADMIN_", "SECRET_KEY", "DATABASE_URL", "EMAIL_URL", "DEBUG", "ALLOWED_HOSTS")
_PROGRAM = "import django; django.setup(); from benchmarks.inside import main; main()"


def environment(**more: str) -> dict[str, str]:
    """The environment without Org Admin's settings, so that no real data is used."""
    left_out = (*_FOREIGN, "PYTHONDONTWRITEBYTECODE")
    env = {name: text for name, text in os.environ.items() if not name.startswith(left_out)}
    return env | {"PYTHONPATH": str(ROOT)} | more


# --- Datadog ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Simulator:
    """A running Datadog simulator with TLS, and the file with the certificate to trust."""

    url: str
    bundle: str

    @property
    def settings(self) -> dict[str, str]:
        """The settings that make Org Admin use it."""
        return {
            "ORGADMIN_EXTRA_SITES": f"{world.SITE}={self.url}",
            "ORGADMIN_CA_BUNDLE": self.bundle,
        }


@contextlib.contextmanager
def run_simulator(*, delay: float = 0.0, to_delete: int = 0) -> Iterator[Simulator]:
    """Run the simulator, whose responses take `delay` seconds."""
    with tempfile.TemporaryDirectory(prefix="orgadmin-benchmark-") as directory:
        arguments = [directory, "--to-delete", str(to_delete), "--delay", str(delay)]
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.world", *arguments],
            cwd=ROOT,
            env=environment(),
            stdout=subprocess.PIPE,
        )
        with _stopped_after(process):
            yield Simulator(**json.loads(_first_line(process)))


def _first_line(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout  # noqa: S101 - a pipe
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"{process.args!r} did not start.")
    return line


@contextlib.contextmanager
def _stopped_after(process: subprocess.Popen[bytes]) -> Iterator[None]:
    with process:
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)


@contextlib.contextmanager
def environment_with_official_client() -> Iterator[str | None]:
    """The Python of a new environment with the official client. None if it can't be installed."""
    with tempfile.TemporaryDirectory(prefix="orgadmin-benchmark-") as directory:
        python = str(Path(directory) / "bin" / "python")
        subprocess.run([sys.executable, "-m", "venv", directory], check=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run([*pip, OFFICIAL_CLIENT], check=False)
        yield None if done.returncode else python


# --- Databases ----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Database:
    """SQLite, or the PostgreSQL server of a URL, with the one-way network delay in seconds."""

    url: str = ""
    delay: float = 0.0

    @property
    def name(self) -> str:
        """The name that tables show."""
        return "PostgreSQL" if self.url else "SQLite"

    @contextlib.contextmanager
    def create(self) -> Iterator[dict[str, str]]:
        """Create a new database for the block. Yield the setting that names it."""
        if not self.url:
            yield {}
            return
        name = f"orgadmin_benchmark_{os.getpid()}_{time.monotonic_ns()}"
        with psycopg.connect(self.url, autocommit=True) as server:
            server.execute(f"CREATE DATABASE {name}")
            try:
                yield {"DATABASE_URL": urlunsplit(urlsplit(self.url)._replace(path=f"/{name}"))}
            finally:
                server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextlib.contextmanager
def delayed(url: str, *, seconds: float) -> Iterator[str]:
    """A URL that reaches the PostgreSQL server of `url` with this much more delay each way."""
    target = conninfo_to_dict(url)
    host, port = str(target.get("host") or "localhost"), int(target.get("port") or 5432)
    with socket.create_server((LOOPBACK, 0), backlog=16) as listener:

        def connect() -> socket.socket:
            if host.startswith("/"):
                server = socket.socket(socket.AF_UNIX)
                server.connect(f"{host}/.s.PGSQL.{port}")
                return server
            return socket.create_connection((host, port))

        def accept() -> None:
            with contextlib.suppress(OSError):  # the listener was closed
                while True:
                    client, server = listener.accept()[0], connect()
                    for one, other in ((client, server), (server, client)):
                        threading.Thread(
                            target=_forward, args=(one, other, seconds), daemon=True
                        ).start()

        threading.Thread(target=accept, daemon=True).start()
        parts = urlsplit(url)
        user = parts.netloc.rpartition("@")[0]
        query = dict(parse_qsl(parts.query)) | {"sslmode": "disable"}
        query.pop("host", None)
        place = f"{user}@{LOOPBACK}:{listener.getsockname()[1]}"
        yield urlunsplit(parts._replace(netloc=place, query=urlencode(query)))


def _forward(one: socket.socket, other: socket.socket, seconds: float) -> None:
    with contextlib.suppress(OSError):
        other.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        while data := one.recv(1 << 16):
            time.sleep(seconds)
            other.sendall(data)
    for each in (one, other):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


# --- Org Admin ----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Installation:
    """A data directory with keys and a migrated database, and its settings."""

    directory: Path
    env: dict[str, str]
    database: Database

    def run(self, *arguments: str) -> dict[str, Any]:
        """Run a program of `benchmarks/inside.py`. Return the JSON document that it prints."""
        document: dict[str, Any] = json.loads(self.python("-c", _PROGRAM, *arguments))
        return document

    def python(self, *arguments: str) -> bytes:
        """Run Python in this installation. Return its standard output."""
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=self.env,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        ).stdout

    @contextlib.contextmanager
    def serve(self) -> Iterator["Server"]:
        """Run the web server and the worker until the block ends."""
        # `./run` would need `./run install` to install the driver's package first.
        command = [sys.executable, "manage.py"] if self.database.url else ["./run"]
        process = subprocess.Popen(
            [*command, "serve", "--end-with-parent", str(os.getpid())],
            cwd=ROOT,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        with _stopped_after(process):
            yield Server(process=process, address=_address_in(process))


@contextlib.contextmanager
def install(database: Database, *, simulator: Simulator) -> Iterator[Installation]:
    """An empty installation for the block."""
    with (
        tempfile.TemporaryDirectory(prefix="orgadmin-benchmark-") as name,
        database.create() as settings,
    ):
        env = environment(
            ORGADMIN_DATA_DIR=name,
            ORGADMIN_LOG_LEVEL="ERROR",
            SECRET_KEY="only-for-benchmarks-" + "x" * 50,
            DJANGO_SETTINGS_MODULE="orgadmin.settings",
            PORT="0",
            **simulator.settings,
            **settings,
        )
        installation = Installation(directory=Path(name), env=env, database=database)
        installation.python("manage.py", "make_keys", "--output", name)
        installation.python("manage.py", "migrate", "--no-input", "--verbosity", "0")
        if database.delay:
            near = env["DATABASE_URL"]
            with delayed(near, seconds=database.delay / 2) as far:
                yield Installation(
                    directory=Path(name), env=env | {"DATABASE_URL": far}, database=database
                )
        else:
            yield installation


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running server and its worker."""

    process: subprocess.Popen[bytes]
    address: str

    @property
    def processes(self) -> list[int]:
        """The IDs of all its processes."""
        found, todo = [], [self.process.pid]
        while todo:
            found.append(todo.pop())
            children = Path(f"/proc/{found[-1]}/task/{found[-1]}/children").read_text()
            todo += map(int, children.split())
        return found

    def memory(self, name: str = "VmRSS") -> float:
        """The resident memory of all its processes together (MiB)."""
        return sum(_kib(Path(f"/proc/{process}/status"), name) for process in self.processes) / 1024

    def shared_memory(self) -> float:
        """The memory of all its processes together, with shared pages counted once (MiB)."""
        return (
            sum(_kib(Path(f"/proc/{process}/smaps_rollup"), "Pss") for process in self.processes)
            / 1024
        )


def _kib(path: Path, name: str) -> int:
    match = re.search(rf"^{name}:\s+([0-9]+) kB", path.read_text(), re.MULTILINE)
    return int(match[1]) if match else 0


def _address_in(process: subprocess.Popen[bytes]) -> str:
    """The address in the first line that `serve` prints."""
    return urlsplit(_first_line(process).decode().split()[-1]).netloc


@dataclass(kw_only=True)
class Browser:
    """A signed-in person's browser, with one persistent connection."""

    address: str
    cookies: dict[str, str]
    _connection: http.client.HTTPConnection = field(init=False)

    def __post_init__(self) -> None:
        self._connection = http.client.HTTPConnection(self.address, timeout=120)

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def request(
        self,
        path: str,
        *,
        form: dict[str, str] | None = None,
        compressed: bool = False,
        with_htmx: bool = False,
    ) -> http.client.HTTPResponse:
        """Send a GET, or a POST with a form. Return the response before its body is read."""
        headers = {"Cookie": "; ".join(f"{name}={text}" for name, text in self.cookies.items())}
        if with_htmx:
            headers["HX-Request"] = "true"
        if compressed:
            headers["Accept-Encoding"] = "gzip"
        if form is None:
            self._connection.request("GET", path, headers=headers)
        else:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            self._connection.request("POST", path, body=urlencode(form), headers=headers)
        response = self._connection.getresponse()
        for cookie in response.headers.get_all("Set-Cookie") or ():
            name, _, rest = cookie.partition("=")
            self.cookies[name] = rest.partition(";")[0]
        return response

    def get(self, path: str, *, compressed: bool = False) -> bytes:
        """The body of a page, as it was sent."""
        response = self.request(path, compressed=compressed)
        body = response.read()
        if response.status != http.client.OK:
            raise RuntimeError(f"GET {path} returned {response.status}.")
        return body

    def post_with_htmx(self, path: str, form: dict[str, str]) -> tuple[str, bytes]:
        """Post a form as htmx does. Return the address that it shows then, and the fragment."""
        response = self.request(path, form=form, with_htmx=True)
        fragment = response.read()
        if response.status != http.client.OK:
            raise RuntimeError(f"POST {path} returned {response.status}.")
        return response.headers["HX-Push-Url"], fragment

    def post(self, path: str, form: dict[str, str]) -> str:
        """Post a form. Return the address that it redirects to."""
        response = self.request(path, form=form)
        response.read()
        if response.status != http.client.SEE_OTHER:
            raise RuntimeError(f"POST {path} returned {response.status}.")
        return response.headers["Location"]
