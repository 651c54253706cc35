"""Restoring a lost installation with real commands and a key ring that is stored separately."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sandbox.server import SandboxServer
from tests.support.processes import clean_environment, manage
from tests.support.sandbox import US, connection_between, key_pair_of

pytestmark = pytest.mark.slow


def run_json(*arguments: str, env: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
    """The exit code and the one JSON document of a command."""
    done = manage(*arguments, "--json", env=env)
    return done.returncode, json.loads(done.stdout)


@pytest.fixture
def lost_installation(
    tmp_path: Path, sqlite_template: Path, bare_sandbox: SandboxServer
) -> dict[str, str]:
    """A service with one credential, backed up to `backup`, its key ring copied to `safe`."""
    env = clean_environment(
        data_dir=tmp_path / "lost", ORGADMIN_EXTRA_SITES=bare_sandbox.extra_sites_setting()
    )
    (tmp_path / "lost").mkdir()
    shutil.copy(sqlite_template, tmp_path / "lost/orgadmin.sqlite3")
    pair = key_pair_of(bare_sandbox.world, "Payments US")
    for name, key in (("api", pair.api_key), ("application", pair.application_key)):
        (tmp_path / name).write_text(key)
    added = manage(
        *("add_credential", "--name", "Payments US", "--site", US),
        *("--api-key-file", str(tmp_path / "api")),
        *("--application-key-file", str(tmp_path / "application")),
        env=env,
    )
    assert (added.returncode, added.stderr) == (0, "")
    code, document = run_json("backup", "--output", str(tmp_path / "backup"), env=env)
    assert (code, document["counts"]["credentials"]) == (0, 1)
    assert document["keyring_file"] == str(tmp_path / "lost/keyring.json")
    shutil.copy(document["keyring_file"], tmp_path / "safe")
    shutil.rmtree(tmp_path / "lost")
    return env | {"ORGADMIN_DATA_DIR": str(tmp_path / "new")}


def test_a_restored_database_with_its_key_ring_verifies_and_deletes(
    lost_installation: dict[str, str], tmp_path: Path, bare_sandbox: SandboxServer
):
    code, document = run_json("restore", "--from", str(tmp_path / "backup"), env=lost_installation)
    assert code == 0
    assert len(document["missing_key_ids"]) == 1
    shutil.copy(tmp_path / "safe", tmp_path / "new/keyring.json")

    assert manage("verify_credentials", env=lost_installation).returncode == 0
    target = connection_between(bare_sandbox.world, "Payments US", "Group SOC").id
    code, document = run_json(
        *("delete_org_connection", "--credential", "Payments US", "--connection-id", target),
        *("--reason", "after the restore", "--yes"),
        env=lost_installation,
    )
    assert (code, document["outcome"]) == (0, "deleted")
    assert bare_sandbox.world.deletes_received(target) == 1
    code, document = run_json("restore", "--from", str(tmp_path / "backup"), env=lost_installation)
    assert (code, list(document)) == (1, ["error"])
    assert "--replace" in document["error"]


def test_a_restored_database_without_its_key_ring_does_not_start(
    lost_installation: dict[str, str], tmp_path: Path
):
    restored = manage("restore", "--from", str(tmp_path / "backup"), env=lost_installation)
    assert restored.returncode == 0
    manifest = json.loads((tmp_path / "backup/manifest.json").read_text())
    [key_id] = manifest["key_ids"]
    assert f"Org Admin can't start without key {key_id}" in restored.stdout
    before = (tmp_path / "new/orgadmin.sqlite3").read_bytes()

    for command in ("serve", "worker"):
        start = manage(command, env=lost_installation | {"PORT": "0"})
        assert start.returncode == 1
        assert key_id in start.stderr

    assert (tmp_path / "new/orgadmin.sqlite3").read_bytes() == before
    assert not (tmp_path / "new/keyring.json").exists()
