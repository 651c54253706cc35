"""The simulator as a separate process, and its control API."""

import csv
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests

from sandbox.demo_world import EU1, SITES, connection_id_between, demo_key_pairs
from sandbox.server import SandboxServer
from tests.sandbox.client import LIST, payments_connection, send
from tests.support.processes import PATIENCE
from tests.support.sandbox import US, key_headers

START_AND_EXIT = """
import os, subprocess, sys
subprocess.Popen([sys.executable, *sys.argv[1:], "--exit-with-parent", str(os.getpid())])
"""


@contextmanager
def run_process(*command: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def send_control(
    sandbox: SandboxServer, method: str, name: str, body: dict[str, Any] | None = None
) -> requests.Response:
    url = f"{sandbox.base_urls[US]}/__sandbox__/{name}"
    return requests.request(method, url, json=body, timeout=PATIENCE)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_prints_its_addresses_and_stops_on_a_signal(number: signal.Signals):
    with run_process("-m", "sandbox") as process:
        assert process.stdout is not None
        document = json.loads(process.stdout.readline())
        pair = demo_key_pairs()[0]
        url = document["sites"][EU1] + LIST
        assert requests.get(url, headers=key_headers(pair), timeout=PATIENCE).status_code == 200
        process.send_signal(number)
        output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert output == ""
    assert [line.split()[1] for line in errors.splitlines()] == list(SITES)


def test_it_stops_when_its_parent_process_ends():
    command = ("-c", START_AND_EXIT, "-m", "sandbox")
    with run_process(*command) as parent:
        # Standard output ends only when the simulator has stopped too.
        output, _ = parent.communicate(timeout=PATIENCE)
    assert parent.returncode == 0
    assert output == "" or "sites" in json.loads(output)


def test_a_port_in_use_is_reported_in_one_line(sandbox: SandboxServer):
    port = sandbox.base_urls[US].rpartition(":")[2]
    with run_process("-m", "sandbox", "--port", port) as process:
        output, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, output) == (1, "")
    assert errors == "sandbox: cannot listen: Address already in use\n"


def test_the_control_api_sets_and_clears_faults(sandbox: SandboxServer):
    pair, connection_id = payments_connection(sandbox)
    path = f"{LIST}/{connection_id}"
    values = {"fault": "returns_403", "connection_id": connection_id}
    assert send_control(sandbox, "POST", "faults", values).status_code == 200
    assert send(sandbox, "DELETE", path, pair=pair).status_code == 403
    assert send_control(sandbox, "POST", "faults", {"clear": True}).status_code == 200
    assert send(sandbox, "DELETE", path, pair=pair).status_code == 200


def test_the_control_api_changes_a_connection(sandbox: SandboxServer):
    connection = sandbox.world.connections()[0]
    values = {"connection_id": connection.id, "connection_types": ["audit"]}
    assert send_control(sandbox, "POST", "connections", values).status_code == 200
    changed = sandbox.world.connection(connection_id=connection.id)
    assert changed
    assert changed.connection_types == ("audit",)
    for wrong, status in (({"connection_types": []}, 400), (values | {"connection_id": "x"}, 404)):
        assert send_control(sandbox, "POST", "connections", wrong).status_code == status


@pytest.mark.parametrize(
    "body",
    [
        {"fault": "no_such_fault"},
        {"fault": "returns_403", "color": "red"},
        {"fault": "returns_403", "operation": "explode"},
        {"connection_id": connection_id_between(source="Labs", sink="Search")},
    ],
)
def test_the_control_api_refuses_an_invalid_fault(sandbox: SandboxServer, body: dict[str, Any]):
    assert send_control(sandbox, "POST", "faults", body).status_code == 400


def test_the_control_api_returns_received_requests(sandbox: SandboxServer):
    pair, connection_id = payments_connection(sandbox)
    send(sandbox, "DELETE", f"{LIST}/{connection_id}", pair=pair)
    [received] = send_control(sandbox, "GET", "requests").json()["requests"]
    assert (received["method"], received["connection_id"]) == ("DELETE", connection_id)
    assert received["executed"] is True
    assert pair.api_key not in json.dumps(received)


def test_the_control_api_resets_the_world(sandbox: SandboxServer):
    pair, connection_id = payments_connection(sandbox)
    send(sandbox, "DELETE", f"{LIST}/{connection_id}", pair=pair)
    assert send_control(sandbox, "POST", "reset").status_code == 200
    assert sandbox.world.connection(connection_id=connection_id) is not None
    assert send_control(sandbox, "GET", "requests").json() == {"requests": []}


def test_its_keys_are_printed_as_csv():
    done = subprocess.run(
        [sys.executable, "-m", "sandbox", "--keys"], capture_output=True, check=True
    )
    header, *rows = csv.reader(done.stdout.decode().splitlines())
    assert header == ["name", "site", "api_key", "application_key"]
    assert [row[2] for row in rows] == [pair.api_key for pair in demo_key_pairs()]
