"""The folders of releases: a used database of each, its keys, and the hashes of its migrations."""

import gzip
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from connections.core.private_files import create_private_text
from connections.core.secret import Secret
from tests.support.postgres import find_programs
from tests.support.processes import ROOT

KEYS = ("keyring.json", "signing_key.json", "secret_key")


@dataclass(frozen=True, kw_only=True)
class StoredRelease:
    """`tests/releases/1.0.0`, for example. It never changes."""

    folder: Path

    @property
    def version(self) -> tuple[int, ...]:
        return tuple(map(int, self.folder.name.split(".")))

    @property
    def hashes(self) -> dict[str, str]:
        """The SHA-256 of each migration file by name."""
        hashes: dict[str, str] = json.loads((self.folder / "migrations.json").read_text())
        return hashes

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.txt"

    def unpack(self, data: Path) -> None:
        """Make a data directory with its keys and SQLite database."""
        data.mkdir(parents=True)
        for name in KEYS:
            create_private_text(data / name, Secret((self.folder / name).read_text()))
        database = gzip.decompress((self.folder / "orgadmin.sqlite3.gz").read_bytes())
        (data / "orgadmin.sqlite3").write_bytes(database)

    def load(self, url: str) -> None:
        """Fill an empty PostgreSQL database."""
        text = gzip.decompress((self.folder / "postgresql.sql.gz").read_bytes())
        programs = find_programs()
        assert programs
        command = [str(programs / "psql"), "--quiet", "--set=ON_ERROR_STOP=1", f"--dbname={url}"]
        subprocess.run(command, input=text, check=True, stdout=subprocess.DEVNULL)


def stored_releases() -> list[StoredRelease]:
    """Every release with a folder, oldest first."""
    folders = (ROOT / "tests/releases").glob("[0-9]*")
    return sorted(map(_at, folders), key=lambda release: release.version)


def _at(folder: Path) -> StoredRelease:
    return StoredRelease(folder=folder)
