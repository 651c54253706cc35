"""Starts processes that first prepare and then all begin at once."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sandbox.server import SandboxServer
from sandbox.world import World
from tests.support.databases import SharedDatabase
from tests.support.sandbox import US
from tests.support.template_process import start

PATIENCE = 120.0  # seconds until hanging processes fail their test
PEOPLE = tuple(f"operator-{number}" for number in range(6))
PROGRAM = (sys.executable, "-m", "tests.faults.concurrency.concurrent_requests")


class ConcurrentProcesses:
    """Processes that each have a plan and begin together."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def wait_until_ready(self) -> None:
        """Wait until every process has prepared."""
        assert self.process.stdout
        assert self.process.stdout.readline() == "ready\n", self.process.communicate()[1]

    def start(self) -> None:
        """Let every process begin."""
        assert self.process.stdin
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def results(self) -> list[list[dict[str, str]]]:
        """The results of each process; fails when one of them failed."""
        output, errors = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 0, errors
        results_by_process: list[list[dict[str, str]]] = json.loads(output)
        return results_by_process


@contextmanager
def started_processes(
    plans: Sequence[Mapping[str, Any]],
    *,
    database: SharedDatabase,
    sandbox: SandboxServer,
    before: Sequence[Mapping[str, Any]] = (),
) -> Iterator[ConcurrentProcesses]:
    """Start the processes on a seeded database that uses this simulator; end them on exit.

    Each plan of `before` is run by one process alone, before the others prepare.
    """
    env = database.environment(
        ORGADMIN_EXTRA_SITES=sandbox.extra_sites_setting(),
        ORGADMIN_KEYRING_FILE=str(database.data_dir / "keyring.json"),
        DJANGO_SETTINGS_MODULE="tests.faults.concurrency.settings",
    )
    # WhiteNoise warns of a directory that is not there, and a warning would count as a failure.
    (database.data_dir / "static").mkdir(exist_ok=True)
    process = start(
        [*PROGRAM, json.dumps({"before": [_seed(sandbox.world), *before], "plans": plans})],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # The processes that it forks are ended with it.
        start_new_session=True,
    )
    try:
        yield ConcurrentProcesses(process)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        for end in (process.stdin, process.stdout, process.stderr):
            if end:
                end.close()
        process.wait(PATIENCE)


def run_concurrently(
    plans: Sequence[Mapping[str, Any]],
    *,
    database: SharedDatabase,
    sandbox: SandboxServer,
    before: Sequence[Mapping[str, Any]] = (),
) -> list[list[dict[str, str]]]:
    """Run all processes to their end; returns the results of each."""
    with started_processes(plans, database=database, sandbox=sandbox, before=before) as started:
        started.wait_until_ready()
        started.start()
        return started.results()


def add_connections(world: World, *, orgs: int, each: int) -> list[tuple[str, str]]:
    """Add orgs that each share data with partners; return pairs of org name and connection ID.

    Each shares data with one more org, so that the confirmation text never changes.
    """
    wanted = []
    for number in range(orgs):
        org = world.add_org(name=f"Team {number}", site=US)
        world.add_key_pair(org=org)
        for partner in range(each):
            sink = world.add_org(name=f"Partner {number}-{partner}", site=US)
            connection = world.add_connection(source_org=org, sink_org=sink)
            wanted.append((org.name, connection.id))
        stays = world.add_org(name=f"Partner {number} for good", site=US)
        world.add_connection(source_org=org, sink_org=stays)
    return wanted


def _seed(world: World) -> dict[str, Any]:
    """The plan that stores six operators and a credential of each org with keys on the US site."""
    pairs = [
        {
            "name": pair.org.name,
            "site": US,
            "api_key": pair.api_key,
            "application_key": pair.application_key,
        }
        for pair in world.key_pairs()
        if pair.org.site.name == US
    ]
    return {"kind": "seed", "people": PEOPLE, "pairs": pairs}
