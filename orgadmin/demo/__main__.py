"""`./run demo`: runs the whole demo in a temporary directory. Doesn't import Django."""

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from connections.operations.supervisor import Supervisor, run_until_first_exit

ROOT = Path(__file__).resolve().parents[2]
USUAL_PORT = 8000
READY_SECONDS = 60.0


class DemoError(Exception):
    """The demo can't be started. The message says why."""


def main() -> int:
    """Run the demo until Ctrl-C. Return the exit code."""
    with tempfile.TemporaryDirectory(prefix="orgadmin-demo-") as directory:
        try:
            with Supervisor(grace_seconds=20) as supervisor:
                return _run(supervisor=supervisor, directory=Path(directory))
        except DemoError as error:
            _say(f"demo: {error}")
            return 1
    return 0


def _run(*, supervisor: Supervisor, directory: Path) -> int:
    port = _choose_port()
    env = clean_environment(directory=directory, port=port)
    _say("demo: starting the Datadog simulator …")
    simulator = _start_simulator(supervisor=supervisor, env=env)
    env["ORGADMIN_EXTRA_SITES"] = simulator["extra_sites"]
    _say("demo: adding 50 orgs, and a month of deletions, changes and access reviews …")
    seeded = json.loads(_seed(env))
    _say("demo: starting the service …")
    supervisor.start(
        "Org Admin",
        [sys.executable, "manage.py", "serve", "--end-with-parent", str(os.getpid())],
        env=env,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
    )
    _wait_until_ready(port)
    print(_welcome(port=port, seeded=seeded), flush=True)  # noqa: T201 - the command's output
    return run_until_first_exit(supervisor)


def clean_environment(*, directory: Path, port: int) -> dict[str, str]:
    """The environment without anything that could lead to real data or keys."""
    ours = ("ORGADMIN_", "SECRET_KEY", "DATABASE_URL", "EMAIL_URL", "DEBUG", "DEFAULT_FROM_EMAIL")
    hosts = ("ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS")
    env = {name: text for name, text in os.environ.items() if not name.startswith(ours + hosts)}
    return env | {
        "ORGADMIN_DATA_DIR": str(directory),
        "ORGADMIN_DEMO": "1",
        "ORGADMIN_DRAIN_SECONDS": "0",
        "PORT": str(port),
        "PYTHONPATH": str(ROOT),
    }


def _choose_port() -> int:
    """PORT if it is set, otherwise the usual port or the next free one."""
    wanted = os.environ.get("PORT", "")
    if wanted:
        if not (wanted.isascii() and wanted.isdigit() and 0 < int(wanted) < 65536):
            raise DemoError(f"PORT must be a number from 1 to 65535, not {wanted!r}.")
        if not _is_free(int(wanted)):
            raise DemoError(f"Port {wanted} is in use. Choose another with PORT.")
        return int(wanted)
    # Not one that the kernel chooses: it might give the same to the simulator, which starts first.
    port = next(filter(_is_free, range(USUAL_PORT, USUAL_PORT + 100)), None)
    if port is None:
        raise DemoError(f"No port from {USUAL_PORT} on is free. Choose another with PORT.")
    if port != USUAL_PORT:
        _say(f"demo: port {USUAL_PORT} is in use, so the demo uses {port}.")
    return port


def _is_free(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
        return True
    return False


def _start_simulator(*, supervisor: Supervisor, env: dict[str, str]) -> dict[str, Any]:
    process = supervisor.start(
        "The Datadog simulator",
        [sys.executable, "-m", "sandbox", "--exit-with-parent", str(os.getpid())],
        env=env,
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    line = process.stdout.readline() if process.stdout else b""
    if not line:
        raise DemoError("The Datadog simulator did not start.")
    document: dict[str, Any] = json.loads(line)
    return document


def _seed(env: dict[str, str]) -> bytes:
    result = subprocess.run(
        [sys.executable, "-m", "orgadmin.demo.seed"],
        env=env,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=False,
    )
    if result.returncode:
        raise DemoError("The data couldn't be created; the lines above say why.")
    return result.stdout


def _wait_until_ready(port: int) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", "/readyz")
            if connection.getresponse().status == http.HTTPStatus.OK:
                return
        except OSError:  # not listening yet
            pass
        finally:
            connection.close()
        time.sleep(0.1)
    raise DemoError("The service did not become ready.")


def _welcome(*, port: int, seeded: dict[str, Any]) -> str:
    address = f"http://127.0.0.1:{port}"
    people = [f"  {person['username']:<20}{person['roles']}" for person in seeded["people"]]
    return "\n".join(
        [
            "",
            f"Org Admin demo: {address}/demo/",
            "Its start page lists what to try; each button signs you in as the right person.",
            f"You can also sign in at {address}/ with the password {seeded['password']} as:",
            *people,
            "Datadog is simulated. Press Ctrl-C to stop; all data is deleted.",
        ]
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - before there is any logging


if __name__ == "__main__":
    sys.exit(main())
