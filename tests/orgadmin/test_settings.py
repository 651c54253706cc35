"""Invalid settings end every command with one line that says what to do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("ORGADMIN_TICKET_PATTERN", "(", "ORGADMIN_TICKET_PATTERN isn't a valid RE2"),
        ("ORGADMIN_TICKET_PATTERN", r"([A-Z])\1-\d+", "back-references"),
        ("ORGADMIN_TICKET_URL", "https://tickets.example.com/", "must contain {ticket}"),
        ("ORGADMIN_SESSION_IDLE_MINUTES", "4", "must be 5 or more"),
        ("ORGADMIN_FOUR_EYES", "three", "must be none, one or two"),
        ("ORGADMIN_EXTRA_SITES", "mine=http://example.com", "ORGADMIN_EXTRA_SITES"),
        ("DATABASE_URL", "mysql://localhost/x", "must name SQLite or PostgreSQL"),
        ("ORGADMIN_DATA_DIR", "/dev/null", "The data directory can't be used"),
    ],
)
def test_an_invalid_setting_is_reported_in_one_line(
    tmp_path: Path, name: str, value: str, message: str
) -> None:
    kept = {
        key: text
        for key, text in os.environ.items()
        if not key.startswith("ORGADMIN_") and key not in {"DATABASE_URL", "SECRET_KEY"}
    }
    environment = kept | {
        "ORGADMIN_DATA_DIR": str(tmp_path),
        "DJANGO_SETTINGS_MODULE": "orgadmin.settings",
        name: value,
    }
    done = subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), "doctor"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
