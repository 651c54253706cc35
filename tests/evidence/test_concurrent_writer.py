"""Making a bundle blocks no writer, and the bundle still shows one consistent state."""

import json
import subprocess
import sys
from pathlib import Path

from tests.support.databases import SharedDatabase
from tests.support.processes import PATIENCE, ROOT


def test_writers_do_not_wait_and_concurrent_events_are_not_in_the_bundle(
    shared_database: SharedDatabase, tmp_path: Path
):
    done = subprocess.run(
        [sys.executable, "-m", "tests.evidence.concurrent_writer", str(tmp_path)],
        cwd=ROOT,
        env=shared_database.environment(DJANGO_SETTINGS_MODULE="orgadmin.settings"),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    # The event before it is the start of the bundle.
    assert found["seq"] == found["size"] + 1
    assert found["deletions"] == 0
    assert found["waited"] < 3
