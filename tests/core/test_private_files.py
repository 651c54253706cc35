import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from connections.core import private_files
from connections.core.private_files import (
    PrivateFileError,
    create_private_text,
    create_private_text_once,
    is_open_to_everyone,
    read_private_text,
    update_private_text,
)
from connections.core.secret import Secret
from tests.support.key_rings import exposed_by
from tests.support.processes import ROOT, run_at_once

KEY = "the-plain-text-of-a-key"

RACER = """
import secrets, sys
from connections.core.private_files import create_private_text_once
print("ready", flush=True)
sys.stdin.read()
print(create_private_text_once(sys.argv[1], lambda: secrets.token_hex(5000)), end="")
"""


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture
def private_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    create_private_text(path, Secret(KEY))
    return path


def test_a_private_file_and_its_directory_are_created_for_the_owner_only(tmp_path: Path):
    path = tmp_path / "data" / "key"
    assert create_private_text_once(path, lambda: KEY) == KEY
    assert (mode_of(path), mode_of(path.parent)) == (0o600, 0o700)
    assert os.listdir(path.parent) == ["key"]


def test_an_existing_private_file_is_read_and_not_created(private_file: Path):
    assert create_private_text_once(private_file, lambda: "another") == KEY


def test_eight_concurrent_processes_create_one_file_and_read_the_same_text(tmp_path: Path):
    path = tmp_path / "data" / "key"
    texts = set(run_at_once(RACER, path, count=8, env=os.environ))
    assert texts == {path.read_text()}
    assert len(path.read_text()) == 10000
    assert os.listdir(path.parent) == ["key"]


def test_an_existing_file_is_not_overwritten(private_file: Path):
    with pytest.raises(PrivateFileError, match="already exists"):
        create_private_text(private_file, Secret("another"))
    assert read_private_text(private_file) == KEY


def test_a_dangling_link_is_not_written_through(tmp_path: Path):
    path = tmp_path / "key"
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PrivateFileError, match="Can't read"):
        create_private_text_once(path, lambda: KEY)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o777])
def test_our_own_file_that_others_can_access_is_refused(private_file: Path, mode: int):
    private_file.chmod(mode)
    with pytest.raises(PrivateFileError) as caught:
        read_private_text(private_file)
    assert f"Run: chmod 600 {private_file}" in str(caught.value)


AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")


@AS_ROOT
@pytest.mark.parametrize(("mode", "is_open"), [(0o644, True), (0o640, False), (0o444, True)])
def test_a_file_of_another_user_is_accepted_and_noticed_if_everyone_can_read_it(
    private_file: Path, caplog: pytest.LogCaptureFixture, mode: int, is_open: bool
):
    os.chown(private_file, 12345, -1)
    private_file.chmod(mode)
    assert read_private_text(private_file) == KEY
    assert caplog.messages == []
    assert is_open_to_everyone(private_file) is is_open


def test_a_missing_file_is_not_open_to_everyone(tmp_path: Path):
    assert not is_open_to_everyone(tmp_path / "key")


CAN_MOUNT = (
    shutil.which("unshare") is not None
    and subprocess.run(["unshare", "--mount", "true"], check=False).returncode == 0
)
MOUNT_READ_ONLY = """
mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" || exit 9
exec "$2" -c '
import sys
from pathlib import Path
from connections.core.private_files import is_open_to_everyone
print(is_open_to_everyone(Path(sys.argv[1])))
' "$1/key"
"""


@pytest.mark.skipif(not CAN_MOUNT, reason="this user can't mount file systems")
def test_a_file_on_a_read_only_file_system_causes_no_warning(private_file: Path):
    private_file.chmod(0o444)
    assert is_open_to_everyone(private_file)
    done = subprocess.run(
        [
            "unshare",
            "--mount",
            "sh",
            "-c",
            MOUNT_READ_ONLY,
            "sh",
            private_file.parent,
            sys.executable,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "False\n", "")


def test_a_missing_file_is_named_in_the_error(tmp_path: Path):
    with pytest.raises(PrivateFileError, match=f"Can't read {tmp_path}/key"):
        read_private_text(tmp_path / "key")


def test_a_named_pipe_is_refused_without_waiting(tmp_path: Path):
    os.mkfifo(tmp_path / "key", 0o600)
    with pytest.raises(PrivateFileError, match="isn't a regular file"):
        read_private_text(tmp_path / "key")


def test_a_binary_file_is_refused_without_revealing_its_content(tmp_path: Path):
    path = tmp_path / "key"
    path.write_bytes(KEY.encode() + b"\xff")
    path.chmod(0o600)
    with pytest.raises(PrivateFileError, match="isn't UTF-8 text") as caught:
        read_private_text(path)
    assert KEY not in exposed_by(caught.value, leave_out=__file__)


def test_a_huge_file_is_refused_without_revealing_its_content(
    private_file: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(private_files, "MAX_BYTES", len(KEY) - 1)
    with pytest.raises(PrivateFileError, match="isn't a key file") as caught:
        read_private_text(private_file)
    assert KEY[:-1] not in exposed_by(caught.value, leave_out=__file__)


def test_an_update_replaces_the_text_behind_a_link_and_keeps_it_private(
    private_file: Path, tmp_path: Path
):
    link = tmp_path / "link"
    link.symlink_to(private_file)
    update_private_text(link, lambda text: Secret(text.reveal() + "!"))
    assert link.is_symlink()
    assert read_private_text(private_file) == KEY + "!"
    assert mode_of(private_file) == 0o600


def test_a_concurrent_second_update_is_refused(private_file: Path):
    def change(text: Secret) -> Secret:
        update_private_text(private_file, lambda text: Secret("inner"))
        return Secret("outer")

    with pytest.raises(PrivateFileError, match="Another process is changing"):
        update_private_text(private_file, change)
    assert read_private_text(private_file) == KEY


def test_a_failed_update_keeps_the_old_text_and_reveals_no_key(
    private_file: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PrivateFileError, match="No space left") as caught:
        update_private_text(private_file, lambda text: Secret(text.reveal() + "!"))
    assert KEY not in exposed_by(caught.value, leave_out=__file__)
    assert read_private_text(private_file) == KEY
    assert sorted(os.listdir(private_file.parent)) == ["key", "key.lock"]
