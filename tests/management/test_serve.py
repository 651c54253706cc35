"""`./run serve` as a real process: what it creates, what it refuses, how it stops."""

import json
import os
import re
import signal
import socket
import stat
import sys
from pathlib import Path

import pytest
from django.core.management import CommandError
from pytest_django import Settings

from connections.management.commands import serve
from connections.operations import schema
from connections.operations.static_files import collect_static_files
from tests.support.no_writes import (
    modes_apply,
    no_space,
    read_only_directory,
)
from tests.support.processes import (
    ROOT,
    Running,
    clean_environment,
    get,
    is_alive,
    manage,
    until,
)

pytestmark = pytest.mark.slow

MANAGE = [sys.executable, str(ROOT / "manage.py")]
SERVE = [*MANAGE, "serve"]
STORE_A_CREDENTIAL = """
from django.utils import timezone
from connections.core.datadog_keys import KeyPair
from connections.models import Credential
from connections.core.secret import Secret
row = Credential(
    name="Payments EU", site="datadoghq.eu", keys_set_at=timezone.now(), created_at=timezone.now()
)
row.seal_keys(KeyPair(api_key=Secret("a" * 32), application_key=Secret("b" * 40)))
row.save()
"""


def serving_process(data_dir: Path, **more: str) -> Running:
    return Running(SERVE, env=clean_environment(data_dir=data_dir, PORT="0", **more))


def port_of(process: Running) -> int:
    line = process.wait_for_line("Org Admin is running at")
    if "127.0.0.1" not in line and "[::1]" not in line:
        line = process.wait_for_line("Listening on")
    return int(line.rstrip("/").rpartition(":")[2])


@pytest.mark.smoke
def test_the_first_start_creates_private_keys_and_prints_a_setup_link(tmp_path: Path):
    with serving_process(tmp_path / "data") as process:
        port = port_of(process)
        link = process.wait_for_line("/setup/#")
        assert link.startswith(f"http://127.0.0.1:{port}/setup/#")
        assert get(port, "/readyz") == (200, "ok\n")
    for name in ("keyring.json", "secret_key"):
        assert stat.S_IMODE((tmp_path / "data" / name).stat().st_mode) == 0o600


def test_its_pages_use_stylesheets_with_hashed_names_and_ctrl_c_stops_all_its_processes(
    migrated_directory: Path,
):
    with serving_process(migrated_directory) as process:
        port = port_of(process)
        status, page = get(port, "/accounts/login/")
        assert status == 200
        [sheet] = re.findall(r'href="(/static/[^"]+\.css)"', page)
        assert re.search(r"\.[0-9a-f]{12}\.css$", sheet)
        assert get(port, sheet)[0] == 200
        children = process.children()
        assert len(children) == 2
        assert process.end(signal.SIGINT) == 0
        assert not any(is_alive(child) for child in children)


def test_its_child_processes_stop_when_it_is_killed(migrated_directory: Path):
    with serving_process(migrated_directory) as process:
        port = port_of(process)
        get(port, "/healthz")
        process.wait_for_line("Worker started")
        children = process.children()
        process.end(signal.SIGKILL)
        assert any(not any(is_alive(child) for child in children) for _ in until(20))


def test_it_exits_with_an_error_when_one_of_its_processes_dies(migrated_directory: Path):
    with serving_process(migrated_directory) as process:
        process.wait_for_line("Worker started")
        worker = process.children()[1]
        os.kill(worker, signal.SIGKILL)
        assert process.process.wait(30) == 1
        assert process.wait_for_line("The worker ended unexpectedly (SIGKILL)")


def test_the_web_server_alone_outlives_a_killed_worker(migrated_directory: Path):
    env = clean_environment(data_dir=migrated_directory, PORT="0")
    with Running([*MANAGE, "web"], env=env) as web, Running([*MANAGE, "worker"], env=env) as worker:
        web.wait_for_line("It runs no worker. Start one too, here or elsewhere: ./run worker")
        port = port_of(web)
        worker.wait_for_line("Worker started")
        worker.end(signal.SIGKILL)
        assert get(port, "/readyz") == (200, "ok\n")
        [web_server] = web.children()
        assert web.end() == 0
        assert not is_alive(web_server)
        assert "Worker" not in web.output


def test_a_killed_web_server_is_restarted_and_a_signal_stops_all_processes(
    migrated_directory: Path,
):
    with serving_process(migrated_directory) as process:
        port = port_of(process)
        get(port, "/healthz")
        web_server = process.children()[0]
        os.kill(web_server, signal.SIGKILL)
        assert process.wait_for_line("The web server was killed (SIGKILL). Restarting it.")
        assert get(port, "/healthz") == (200, "ok\n")
        children = process.children()
        assert len(children) == 2
        assert process.end(signal.SIGTERM) == 0
        assert not any(is_alive(child) for child in children)


@pytest.mark.parametrize("proxies", ["proxy.example.org", "10.0.0.1/8"])
def test_a_malformed_trusted_proxy_is_reported_in_one_line(tmp_path: Path, proxies: str):
    env = clean_environment(data_dir=tmp_path, PORT="0", ORGADMIN_TRUSTED_PROXIES=proxies)
    done = manage("serve", env=env)
    assert done.returncode == 1
    assert done.stderr.startswith("CommandError: ORGADMIN_TRUSTED_PROXIES: ")
    assert len(done.stderr.splitlines()) == 1


def test_a_port_in_use_is_reported_in_one_line_and_no_database_is_created(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        env = clean_environment(data_dir=tmp_path, PORT=port)
        done = manage("serve", env=env)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        f"CommandError: Can't listen on 127.0.0.1 port {port}: Address already in use. Choose "
        "another with PORT or ORGADMIN_BIND, or stop what uses it."
    ]


def test_a_port_that_is_not_a_number_is_refused(tmp_path: Path):
    done = manage("serve", env=clean_environment(data_dir=tmp_path, PORT="http"))
    assert done.returncode == 1
    assert "PORT must be a number" in done.stderr


def test_it_serves_on_an_ipv6_address(migrated_directory: Path):
    with serving_process(migrated_directory, ORGADMIN_BIND="::1") as process:
        line = process.wait_for_line("Org Admin is running at")
        assert line.startswith("Org Admin is running at http://[::1]:")
        assert get(port_of(process), "/healthz", host="::1") == (200, "ok\n")


def test_a_database_without_its_key_ring_is_neither_served_nor_changed(migrated_directory: Path):
    env = clean_environment(data_dir=migrated_directory, PORT="0")
    assert manage("shell", "--no-imports", "-c", STORE_A_CREDENTIAL, env=env).returncode == 0
    ring = (migrated_directory / "keyring.json").read_text()
    [key_id] = re.findall(r'"primary": "(\w+)"', ring)
    (migrated_directory / "keyring.json").unlink()
    before = (migrated_directory / "orgadmin.sqlite3").read_bytes()
    done = manage("serve", env=env)
    assert done.returncode == 1
    assert key_id in done.stderr
    assert not (migrated_directory / "keyring.json").exists()
    assert (migrated_directory / "orgadmin.sqlite3").read_bytes() == before


def test_an_older_database_is_copied_before_it_is_migrated(tmp_path: Path):
    env = clean_environment(data_dir=tmp_path, PORT="0")
    assert manage("migrate", "contenttypes", "--verbosity=0", env=env).returncode == 0
    with Running(SERVE, env=env) as process:
        port_of(process)
        [copy] = (tmp_path / "backups").iterdir()
        assert str(copy) in process.output
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600
        assert process.end() == 0
    with Running(SERVE, env=env) as process:
        port_of(process)
        assert len(list((tmp_path / "backups").iterdir())) == 1


def test_an_older_database_that_cannot_be_copied_is_not_migrated(tmp_path: Path):
    env = clean_environment(data_dir=tmp_path, PORT="0")
    assert manage("migrate", "contenttypes", "--verbosity=0", env=env).returncode == 0
    (tmp_path / "backups").touch()
    before = (tmp_path / "orgadmin.sqlite3").read_bytes()
    done = manage("serve", env=env)
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"CommandError: Org Admin can't write to {tmp_path}: ")
    assert (tmp_path / "orgadmin.sqlite3").read_bytes() == before


def test_it_never_migrates_on_postgresql(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    settings.DATABASE_IS_SQLITE = False
    older = schema.Schema(fit=schema.Fit.OLDER, hint=schema.MIGRATE)
    monkeypatch.setattr(schema, "read_schema", lambda: older)
    with pytest.raises(schema.SchemaError, match="manage migrate"):
        serve.Command()._prepare()


def test_make_keys_needs_no_keys_and_missing_settings_are_reported_in_one_line(tmp_path: Path):
    env = clean_environment(data_dir=tmp_path, DATABASE_URL="postgres:///orgadmin")
    done = manage("serve", env=env)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "manage make_keys --output DIR" in line
    assert manage("make_keys", "--output", str(tmp_path / "made"), env=env).returncode == 0


def test_a_signal_during_startup_stops_it_gracefully(migrated_directory: Path):
    with serving_process(migrated_directory) as process:
        assert any(process.children() for _ in until(30))
        assert process.end() == 0
        assert "Traceback" not in process.output


def test_a_trusted_proxy_can_declare_that_a_request_used_https(migrated_directory: Path):
    public = {"ALLOWED_HOSTS": "orgs.example.org", "ORGADMIN_TRUSTED_PROXIES": "127.0.0.1"}
    with serving_process(migrated_directory, **public) as process:
        headers = {"Host": "orgs.example.org", "X-Forwarded-Proto": "https"}
        assert get(port_of(process), "/accounts/login/", headers=headers)[0] == 200


def test_without_usable_static_files_it_starts_only_where_it_can_collect_them(
    tmp_path: Path, settings: Settings
):
    settings.BASE_DIR = tmp_path / "file"
    settings.BASE_DIR.touch()
    with pytest.raises(CommandError, match=r"\.static\)\. Run \./run install as the user that "):
        serve.Command()._prepare()


def test_a_read_only_data_directory_is_reported_in_one_line(migrated_directory: Path):
    env = clean_environment(data_dir=migrated_directory, PORT="0")
    with read_only_directory(migrated_directory):
        done = manage("serve", env=env, hindrance=modes_apply)
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert "can't" in line
    assert "writable" in line


def test_a_full_disk_is_reported_in_one_line(tmp_path: Path):
    collect_static_files()  # as `./run install` does, where there is space
    env = clean_environment(data_dir=tmp_path, PORT="0")
    done = manage("serve", env=env, hindrance=no_space)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        "CommandError: Org Admin can't write to the database: disk I/O error. Make the database "
        "and its directory writable for this user, or free space, then try again."
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_one_line_for_each_start_warns_of_secrets_that_everyone_can_read(migrated_directory: Path):
    env = clean_environment(data_dir=migrated_directory, PORT="0")
    secrets = migrated_directory / "secrets"
    assert manage("make_keys", "--output", str(secrets), env=env).returncode == 0
    for name in ("oidc_secret", "metrics_token"):
        (secrets / name).write_text("x" * 32)
    for path in secrets.iterdir():
        os.chown(path, 12345, -1)
        path.chmod(0o444)
    env |= {
        "SECRET_KEY_FILE": f"{secrets}/secret_key",
        "ORGADMIN_KEYRING_FILE": f"{secrets}/keyring.json",
        "ORGADMIN_SIGNING_KEY_FILE": f"{secrets}/signing_key.json",
        "ORGADMIN_WEBHOOK_SECRET_FILE": f"{secrets}/webhook_secret",
        "ORGADMIN_OIDC_CLIENT_SECRET_FILE": f"{secrets}/oidc_secret",
        "ORGADMIN_METRICS_TOKEN_FILE": f"{secrets}/metrics_token",
    }

    def warnings(lines: list[str]) -> list[str]:
        return [line for line in lines if str(secrets) in line]

    with Running(SERVE, env=env) as process:
        get(port_of(process), "/metrics", headers={"Authorization": f"Bearer {'x' * 32}"})
        process.wait_for_line("Worker started")
        process.end()
        [line] = warnings(process.lines)
    assert "WARNING" in line
    assert line.count(str(secrets)) == 6
    with Running([*MANAGE, "worker"], env=env) as process:
        process.wait_for_line("Worker started")
        process.end()
        assert len(warnings(process.lines)) == 1
    done = manage("verify_audit", env=env)
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(manage("doctor", "--json", env=env).stdout)
    findings = {finding["check"]: finding for finding in report["findings"]}
    assert findings["secrets"]["level"] == "warning"
    assert findings["secrets"]["message"].count(str(secrets)) == 6


def lose_database(data_dir: Path) -> Path:
    """Create keys without their database; the path where it would be."""
    env = clean_environment(data_dir=data_dir / "made")
    assert manage("make_keys", "--output", str(data_dir), env=env).returncode == 0
    return data_dir / "orgadmin.sqlite3"


@pytest.mark.parametrize("is_empty_file_left", [False, True])
def test_keys_without_their_database_are_not_a_first_start(
    tmp_path: Path, *, is_empty_file_left: bool
):
    database = lose_database(tmp_path)
    if is_empty_file_left:
        database.touch()
    done = manage("serve", env=clean_environment(data_dir=tmp_path, PORT="0"))
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    for text in (str(database), str(tmp_path / "backups"), "./run manage restore", "--new"):
        assert text in line
    assert database.exists() == is_empty_file_left


@pytest.mark.parametrize("missing", ["keyring.json", "signing_key.json"])
def test_only_one_of_the_two_keys_is_a_first_start(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, missing: str
):
    database = lose_database(tmp_path)
    (tmp_path / missing).unlink()
    settings.KEYRING_FILE = tmp_path / "keyring.json"
    settings.SIGNING_KEY_FILE = tmp_path / "signing_key.json"
    monkeypatch.setattr("connections.operations.backup.get_database_path", lambda: database)
    serve._require_expected_database(starts_new=False)


def test_new_starts_a_new_audit_log(tmp_path: Path):
    lose_database(tmp_path)
    arguments = [*SERVE, "--new"]
    env = clean_environment(data_dir=tmp_path, PORT="0")
    with Running(arguments, env=env) as process:
        assert process.wait_for_line("Create your administrator account")
        process.end()
    done = manage("serve", "--new", env=env)
    assert done.returncode == 1
    assert "Start without --new" in done.stderr
