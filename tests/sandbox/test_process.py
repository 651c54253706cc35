"""The sandbox as a process of its own, steered over its control addresses."""

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
from tests.sandbox.client import LIST, ask, to_payments
from tests.support.sandbox import US, key_headers

START_IT = """
import os, subprocess, sys
subprocess.Popen([sys.executable, *sys.argv[1:], "--exit-with-parent", str(os.getpid())])
"""


@contextmanager
def running(*command: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def control(
    sandbox: SandboxServer, method: str, name: str, body: dict[str, Any] | None = None
) -> requests.Response:
    url = f"{sandbox.base_urls[US]}/__sandbox__/{name}"
    return requests.request(method, url, json=body, timeout=5)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_answers_and_ends_when_told(number: signal.Signals) -> None:
    with running("-m", "sandbox") as process:
        assert process.stdout is not None
        document = json.loads(process.stdout.readline())
        pair = demo_key_pairs()[0]
        url = document["sites"][EU1] + LIST
        assert requests.get(url, headers=key_headers(pair), timeout=5).status_code == 200
        process.send_signal(number)
        output, errors = process.communicate(timeout=5)
    assert process.returncode == 0
    assert output == ""
    assert [line.split()[1] for line in errors.splitlines()] == list(SITES)


def test_it_ends_when_its_parent_ends() -> None:
    command = ("-c", START_IT, "-m", "sandbox")
    with running(*command) as parent:
        # Standard output reaches its end only when the orphan is gone, too.
        output, _ = parent.communicate(timeout=10)
    assert parent.returncode == 0
    assert output == "" or "sites" in json.loads(output)


def test_a_taken_port_is_told_in_one_line(sandbox: SandboxServer) -> None:
    port = sandbox.base_urls[US].rpartition(":")[2]
    with running("-m", "sandbox", "--port", port) as process:
        output, errors = process.communicate(timeout=5)
    assert (process.returncode, output) == (1, "")
    assert errors == "sandbox: cannot listen: Address already in use\n"


def test_a_fault_is_set_and_cleared_from_outside(sandbox: SandboxServer) -> None:
    pair, connection_id = to_payments(sandbox)
    path = f"{LIST}/{connection_id}"
    binding = {"fault": "answers_403", "connection_id": connection_id}
    assert control(sandbox, "POST", "faults", binding).status_code == 200
    assert ask(sandbox, "DELETE", path, pair=pair).status_code == 403
    assert control(sandbox, "POST", "faults", {"clear": True}).status_code == 200
    assert ask(sandbox, "DELETE", path, pair=pair).status_code == 200


def test_a_redirect_may_be_given_its_place(sandbox: SandboxServer) -> None:
    pair, connection_id = to_payments(sandbox)
    binding = {"fault": "redirects_302", "site": US, "location": "http://127.0.0.1:9/x"}
    control(sandbox, "POST", "faults", binding)
    answer = ask(sandbox, "DELETE", f"{LIST}/{connection_id}", pair=pair)
    assert answer.headers["Location"] == "http://127.0.0.1:9/x"


@pytest.mark.parametrize(
    "body",
    [
        {"fault": "no_such_fault"},
        {"fault": "answers_403", "colour": "red"},
        {"fault": "answers_403", "operation": "explode"},
        {"connection_id": connection_id_between(source="Labs", sink="Search")},
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(
    sandbox: SandboxServer, body: dict[str, Any]
) -> None:
    assert control(sandbox, "POST", "faults", body).status_code == 400


def test_what_was_received_can_be_asked_for(sandbox: SandboxServer) -> None:
    pair, connection_id = to_payments(sandbox)
    ask(sandbox, "DELETE", f"{LIST}/{connection_id}", pair=pair)
    [received] = control(sandbox, "GET", "requests").json()["requests"]
    assert (received["method"], received["connection_id"]) == ("DELETE", connection_id)
    assert received["executed"] is True
    assert pair.api_key not in json.dumps(received)


def test_a_reset_from_outside_brings_the_connection_back(sandbox: SandboxServer) -> None:
    pair, connection_id = to_payments(sandbox)
    ask(sandbox, "DELETE", f"{LIST}/{connection_id}", pair=pair)
    assert control(sandbox, "POST", "reset").status_code == 200
    assert sandbox.world.connection(connection_id=connection_id) is not None
    assert control(sandbox, "GET", "requests").json() == {"requests": []}


def test_an_unknown_control_address_is_not_found(sandbox: SandboxServer) -> None:
    assert control(sandbox, "GET", "faults").status_code == 404
