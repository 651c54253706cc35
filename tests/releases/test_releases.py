"""What was released never changes, and its databases can be upgraded to this version."""

import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from connections.models.released_migrations import ReleasedMigration
from connections.operations.schema import APP, known_hashes, known_migrations
from tests.releases.stored import StoredRelease, stored_releases
from tests.releases.used_database import checked, delete, running_simulator, schema_finding
from tests.support.database_copies import administer
from tests.support.databases import url_of
from tests.support.processes import run

RELEASES = stored_releases()
SIGN_IN = """
from django.test import Client
form = {"login": "operator", "password": "just-having-a-look"}
client = Client(SERVER_NAME="127.0.0.1")
print(client.post("/accounts/login/", form).status_code, client.get("/").status_code)
"""


def test_the_migrations_of_a_release_never_change():
    """Those who run it have them: a change needs a new migration."""
    for release in RELEASES:
        known = known_hashes()
        assert {name: known.get(name) for name in release.hashes} == release.hashes, release


def test_a_migration_names_the_release_that_introduces_it():
    """From that name, an older version tells how much newer a database is."""
    released = {name for release in RELEASES for name in release.hashes}
    newest = max((release.version for release in RELEASES), default=(0,))
    for (app, name), migration in known_migrations().items():
        if app == APP:
            assert issubclass(migration, ReleasedMigration), name
            version = tuple(map(int, migration.release.split(".")))
            assert name in released or version > newest, f"{name}: {migration.release}"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.database)])
def installation(
    request: pytest.FixtureRequest, tmp_path: Path, release: StoredRelease
) -> Iterator[dict[str, str]]:
    """The environment of an installation of a release, with a simulator of Datadog."""
    data = tmp_path / "data"
    release.unpack(data)
    with running_simulator(data) as env:
        if request.param == "sqlite":
            yield env
            return
        server, name = request.getfixturevalue("postgresql_url"), f"old_{uuid.uuid4().hex[:12]}"
        (data / "orgadmin.sqlite3").unlink()
        administer(server, "CREATE DATABASE {n}", n=name)
        try:
            release.load(url_of(server, name))
            keys = {"SECRET_KEY_FILE": str(data / "secret_key")}
            yield env | keys | {"DATABASE_URL": url_of(server, name)}
        finally:
            administer(server, "DROP DATABASE {n} WITH (FORCE)", n=name)


@pytest.mark.slow
@pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.folder.name)
def test_a_stored_release_upgrades_and_is_used(
    release: StoredRelease, installation: dict[str, str], tmp_path: Path
):
    env = installation
    checked("migrate", "--verbosity=0", env=env)
    assert schema_finding(env)["level"] == "ok"
    checked("verify_audit", "--checkpoint", str(release.checkpoint), env=env)
    assert checked("shell", "--no-imports", "--command", SIGN_IN, env=env) == "302 200\n"
    delete(env, first=-1, last=1000)
    bundle, verifier = tmp_path / "bundle.zip", tmp_path / "verify.pyz"
    checked("make_evidence_bundle", "--output", str(bundle), env=env)
    checked("make_evidence_bundle", "--verifier", str(verifier), env=env)
    command = [os.path.realpath(sys.executable), "-I", str(verifier), str(bundle)]
    verified = run([*command, "--checkpoint", str(release.checkpoint)], env={})
    assert verified.returncode == 0, verified.stdout
