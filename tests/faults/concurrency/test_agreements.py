"""Fifty people set the agreement of one pair of orgs at once, from ten processes."""

from collections import Counter

import pytest

from sandbox.server import SandboxServer
from tests.faults.concurrency.support import add_connections, run_concurrently
from tests.support.databases import SharedDatabase
from tests.support.rows import rows_of
from tests.support.sandbox import US

pytestmark = [pytest.mark.slow, pytest.mark.processes(sqlite=2)]
FIFTY = [f"owner-{number}" for number in range(50)]


@pytest.mark.parametrize("sends_version", [True, False])
def test_fifty_people_who_set_one_pair_at_once_never_replace_what_they_did_not_see(
    shared_database: SharedDatabase, bare_sandbox: SandboxServer, *, sends_version: bool
):
    [(_, connection)] = add_connections(bare_sandbox.world, orgs=1, each=1)
    plan = {
        "kind": "agree",
        "connection": f"{US}/{connection}",
        "sends_version": sends_version,
    }
    results = run_concurrently(
        [plan | {"people": FIFTY[number::10]} for number in range(10)],
        before=[{"kind": "seed", "people": FIFTY, "pairs": []}],
        database=shared_database,
        sandbox=bare_sandbox,
    )
    responses = {
        name: response
        for number, of_process in enumerate(results)
        for name, response in zip(FIFTY[number::10], of_process, strict=True)
    }
    saved = {name for name in FIFTY if responses[name]["response"] == "303"}
    statement = "SELECT version, purpose FROM connections_agreement ORDER BY version"
    rows = rows_of(shared_database, statement)
    assert [version for version, _ in rows] == [*range(1, len(saved) + 1)]
    assert {purpose for _, purpose in rows} == saved
    codes = rows_of(shared_database, "SELECT code FROM connections_auditevent")
    assert Counter(code for (code,) in codes)["agreement.set"] == len(saved)
    refused = [responses[name] for name in FIFTY if name not in saved]
    assert {each["response"] for each in refused} <= {"409"}
    assert {each["saw"] for each in refused} <= saved
    if sends_version:
        assert len(saved) == 1
