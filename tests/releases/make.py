"""Makes the folder of a release, once, when its migrations are final.

    ORGADMIN_TEST_DATABASE_URL=postgres://… python -m tests.releases.make 1.0.0

Everything in it comes from one database, which was used on SQLite and moved to PostgreSQL.
"""

import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

from tests.releases.stored import KEYS
from tests.releases.used_database import checked, checkpoint, fill, running_simulator
from tests.support.database_copies import administer
from tests.support.databases import url_of
from tests.support.postgres import find_programs
from tests.support.processes import ROOT


def main(version: str) -> None:
    """Write the folder. Refuses an existing one, because it never changes."""
    folder = ROOT / "tests/releases" / version
    folder.mkdir()
    with tempfile.TemporaryDirectory() as directory, running_simulator(Path(directory)) as env:
        fill(env)
        (folder / "checkpoint.txt").write_text(checkpoint(env))
        backup = Path(directory) / "backup"
        checked("backup", "--output", str(backup), env=env)
        _pack((backup / "orgadmin.sqlite3").read_bytes(), folder / "orgadmin.sqlite3.gz")
        _pack(_dump_on_postgresql(env), folder / "postgresql.sql.gz")
        for name in KEYS:
            shutil.copyfile(Path(directory) / name, folder / name)
    files = sorted((ROOT / "connections/migrations").glob("0*.py"))
    code = (
        "import json; from connections.operations.schema import known_hashes;"
        "print(json.dumps(known_hashes(), indent=2, sort_keys=True))"
    )
    hashes = checked("shell", "--no-imports", "--command", code, env=env)
    assert list(json.loads(hashes)) == [file.stem for file in files]
    (folder / "migrations.json").write_text(hashes)


def _pack(content: bytes, path: Path) -> None:
    # Without a time, so that the same content gives the same file.
    path.write_bytes(gzip.compress(content, mtime=0))


def _dump_on_postgresql(env: dict[str, str]) -> bytes:
    server, name = os.environ["ORGADMIN_TEST_DATABASE_URL"], f"release_{uuid.uuid4().hex[:12]}"
    programs = find_programs()
    assert programs
    administer(server, "CREATE DATABASE {n}", n=name)
    try:
        url = url_of(server, name)
        checked("move_database", "--to", url, env=env)
        command = [str(programs / "pg_dump"), "--no-owner", "--no-privileges", url]
        return subprocess.check_output(command)
    finally:
        administer(server, "DROP DATABASE {n} WITH (FORCE)", n=name)


if __name__ == "__main__":
    main(sys.argv[1])
