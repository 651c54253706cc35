"""One installation in real processes, with a simulated Datadog in this process."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import requests
from django.http import HttpResponse
from django.test import override_settings

from connections.core.datadog_keys import KeyPair
from connections.core.secret import Secret
from sandbox.server import SandboxServer
from sandbox.world import World
from tests.faults.crashes import crash_scenario
from tests.faults.crashes.crash_scenario import Until
from tests.faults.crashes.plan import VARIABLE, Plan
from tests.flows.support import REASON, Form, Page, read
from tests.support.databases import SharedDatabase
from tests.support.people import PASSWORD
from tests.support.processes import PATIENCE, ROOT, Running, run

SITE = "sandbox-us1"
DELETE = "DELETE"
MANAGE = [sys.executable, str(ROOT / "manage.py")]


def make_world(connections: int) -> World:
    """One org with this many connections, each to a different org, and one key pair."""
    world = World(sites=(SITE,))
    payments = world.add_org(name="Payments", site=SITE)
    world.add_key_pair(org=payments)
    for number in range(connections):
        sink = world.add_org(name=f"Sink {number + 1}", site=SITE)
        world.add_connection(source_org=payments, sink_org=sink)
    return world


@dataclass
class Stack:
    """An installation: its database, its data directory, its Datadog, its plan."""

    database: SharedDatabase
    datadog: SandboxServer
    plan: Plan
    more: dict[str, str] = field(default_factory=dict)
    credential: str = ""

    @property
    def world(self) -> World:
        return self.datadog.world

    @property
    def database_name(self) -> str:
        return "SQLite" if self.database.is_sqlite else "PostgreSQL"

    @property
    def connection_ids(self) -> list[str]:
        """All connections, in a fixed order."""
        return [connection.id for connection in self.world.connections()]

    def environment(self) -> dict[str, str]:
        """The environment of its processes; writes the current plan to its file."""
        path = self.database.data_dir / "plan.json"
        self.plan.write(path)
        return self.database.environment(
            DJANGO_SETTINGS_MODULE="tests.faults.settings",
            ORGADMIN_EXTRA_SITES=self.datadog.extra_sites_setting(),
            PORT="0",
            **{VARIABLE: str(path)},
            **self.more,
        )

    def start(self, *command: str) -> Running:
        """Start `serve`, `worker` or another command, as ./run does."""
        return Running([*MANAGE, *command], env=self.environment())

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one command to its end."""
        return run([*MANAGE, *arguments], env=self.environment(), seconds=2 * PATIENCE)

    def prepare(
        self,
        *,
        waiting: Sequence[str] = (),
        batch: Sequence[str] = (),
        until: Until = "confirmed",
    ) -> None:
        """Store the operator, the credential, and deletions of these connections, all due.

        Those of `batch` are one bulk deletion, taken as far as `until` says.
        """
        pair = self.world.key_pairs()[0]
        keys = KeyPair(api_key=Secret(pair.api_key), application_key=Secret(pair.application_key))
        with self.opened():
            self.credential = crash_scenario.prepare(
                site=SITE, keys=keys, waiting=waiting, batch=batch, until=until
            )

    def prepare_waiting(self, *, methods: Sequence[str]) -> list[str]:
        """Store a due request for each connection, with these methods.

        Return what they are about: the connections' IDs or, for a POST, those of the destination
        orgs.
        """
        connections = self.connection_ids
        waiting = [
            each for each, method in zip(connections, methods, strict=True) if method == DELETE
        ]
        self.prepare(waiting=waiting)
        targets = self._make_room(methods)
        wanted = {
            target: method
            for target, method in zip(targets, methods, strict=True)
            if method != DELETE
        }
        if wanted:
            with self.opened():
                crash_scenario.wait_for_access(credential_id=self.credential, methods=wanted)
        return targets

    def prepare_pages(self, *, methods: Sequence[str]) -> list[str]:
        """Store the credential, so that pages can request all of this.

        Return what they are about, as `prepare_waiting` does.
        """
        self.prepare()
        targets = self._make_room(methods)
        with self.opened():
            crash_scenario.sync(credential_id=self.credential)
        return targets

    def _make_room(self, methods: Sequence[str]) -> list[str]:
        """Remove the connections that POSTs create. Return what each request is about."""
        targets = []
        for connection, method in zip(self.world.connections(), methods, strict=True):
            targets.append(connection.sink_org.id if method.startswith("POST") else connection.id)
            if method == "POST":
                self.world.remove_connection(connection_id=connection.id)
        return targets

    def pause(self) -> None:
        """Pause the bulk deletion."""
        with self.opened():
            crash_scenario.pause()

    def resume(self) -> None:
        """Resume the bulk deletion, unless it has just ended."""
        with self.opened():
            crash_scenario.resume()

    def run_workers(self, number: int) -> list[int]:
        """Run this many workers in turn; return how each ended, as Popen reports it."""
        program = [sys.executable, "-m", f"{__package__}.restarting", str(number)]
        done = run(program, env=self.environment(), seconds=5 * PATIENCE)
        assert done.returncode == 0, done.stderr
        codes: list[int] = json.loads(done.stdout)
        return codes

    def settled(self, *, seconds: float = PATIENCE) -> dict[str, dict[str, Any]]:
        """Every deletion by connection ID, once nothing changes; needs a process that works."""
        with self.opened():
            rows = crash_scenario.settle(seconds=seconds, after=datetime.now(UTC))
        return {target: row for row in rows for target in row["targets"]}

    def stored(self) -> dict[str, dict[str, Any]]:
        """Every deletion by connection ID, as currently stored."""
        return self.settled(seconds=0)

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Let this process use the installation's database."""
        sites = override_settings(EXTRA_SITES=self.datadog.base_urls)
        with sites, self.database.opened():
            yield


@contextlib.contextmanager
def stack_on(database: SharedDatabase, *, connections: int, **changes: Any) -> Iterator[Stack]:
    """An installation on this database; `changes` override its plan's values."""
    marks = database.data_dir / "marks"
    marks.mkdir()
    with SandboxServer(make_world(connections)) as datadog:
        plan = Plan(marks=str(marks), datadog=datadog.base_urls[SITE], **changes)
        yield Stack(database=database, datadog=datadog, plan=plan)


def kill_all(process: Running) -> None:
    """Send SIGKILL to a supervisor and to the process groups of all that it started."""
    groups = process.children()
    process.process.send_signal(signal.SIGKILL)
    for group in groups:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
    process.process.wait(PATIENCE)


def address_of(process: Running) -> str:
    """The base URL of a running `serve`."""
    line = process.wait_for_line("Org Admin is running at")
    return line.rpartition(" ")[2].rstrip("/")


class Browser:
    """Ada's browser: a session with cookies that opens pages and submits their forms."""

    def __init__(self, address: str, *, credential: str) -> None:
        self._address = address
        self._credential = credential
        self._session = requests.Session()
        self._session.trust_env = False
        signing_in = self.open("/accounts/login/").forms[0]
        self.press(signing_in, login="ada", password=PASSWORD)

    def open(self, path: str) -> Page:
        """Open a URL path."""
        return _page(self._session.get(f"{self._address}{path}", timeout=PATIENCE))

    def status_of(self, path: str) -> int:
        """The status of a URL path, whose page isn't read."""
        return self._session.get(f"{self._address}{path}", timeout=PATIENCE).status_code

    def press(self, form: Form, *, headers: Mapping[str, str] | None = None, **typed: str) -> Page:
        """Submit a form and follow redirects. Raises requests.ConnectionError when disconnected."""
        response = self._session.post(
            f"{self._address}{form.action}",
            data=form.fields | typed,
            headers={"Referer": f"{self._address}/"} | dict(headers or {}),
            timeout=PATIENCE,
        )
        return _page(response)

    def confirmation_page(self, connection_id: str) -> Form:
        """The form of the confirmation page, filled in correctly."""
        query = f"credential={self._credential}&connection_id={connection_id}"
        form = self.open(f"/deletions/new/?{query}").form_to("/deletions/new/")
        confirmation = form.attributes["data-confirm"]
        form.fields |= {"reason": REASON, "confirmation": confirmation}
        return form

    def page_of(self, target: str, *, method: str, world: World) -> Form:
        """The form of the page that requests this, filled in correctly."""
        if method == DELETE:
            return self.confirmation_page(target)
        connection = world.connection(connection_id=target)
        sink = connection.sink_org.id if connection else target
        is_move = method.endswith("move")
        address = "/access-requests/new/"
        [source] = [pair.org.id for pair in world.key_pairs()]
        query = {
            "kind": "move" if is_move else "change" if connection else "create",
            "source": f"{SITE}/{source}",
            "destination": f"{SITE}/{sink}",
        }
        form = self.open(f"{address}?{urlencode(query)}").form_to(address)
        types = {} if is_move else {"connection_types": "audit"}
        wanted = types | {
            "owner_text": "SOC team",
            "purpose": "audit",
            "reason": REASON,
            "confirmation": form.attributes["data-confirm"],
        }
        form.fields |= wanted
        return form


def _page(response: requests.Response) -> Page:
    return read(HttpResponse(response.content, status=response.status_code))
