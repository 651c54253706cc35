"""Without the script: `python manage.py migrate && python manage.py runserver`."""

import os
import re
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT, Running, clean_environment, free_port, get, manage

pytestmark = pytest.mark.slow


def test_runserver_shows_styled_pages_with_debug_off(migrated_directory: Path):
    env = clean_environment(data_dir=migrated_directory)
    port = free_port()
    command = [sys.executable, str(ROOT / "manage.py"), "runserver", "--noreload", str(port)]
    with Running(command, env=env):
        status, page = get(port, "/accounts/login/")
        assert status == 200
        assets = re.findall(r'(?:href|src)="(/static/[^"]+\.(?:css|js))"', page)
        assert any(asset.endswith(".css") for asset in assets)
        assert {get(port, asset)[0] for asset in assets} == {200}
        status, page = get(port, "/there-is-no-such-page/")
        assert "DEBUG" not in page
        assert status in {302, 404}


def test_files_created_by_the_first_command_are_private(tmp_path: Path):
    data_dir = tmp_path / "srv" / "data"
    old = os.umask(0o022)
    try:
        assert manage("migrate", env=clean_environment(data_dir=data_dir)).returncode == 0
    finally:
        os.umask(old)
    made = [data_dir.parent, data_dir, *data_dir.rglob("*")]
    assert data_dir / "orgadmin.sqlite3" in made
    assert [path.name for path in made if path.stat().st_mode & 0o077] == []
