"""Static files are collected once for each version, and again when they are damaged."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_django import Settings

from connections.operations.static_files import collect_static_files
from tests.support.processes import ROOT, clean_environment, run_at_once

STYLES = "connections/app.css"


@pytest.fixture(scope="module")
def collected_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with collected files, for tests to copy."""
    directory = tmp_path_factory.mktemp("collected")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("django.conf.settings.BASE_DIR", directory)
        collect_static_files()
    return directory


@pytest.fixture
def collected(collected_once: Path, tmp_path: Path, settings: Settings) -> Path:
    """The directory with the collected files in this test's directory."""
    settings.BASE_DIR = tmp_path
    shutil.copytree(collected_once, tmp_path, dirs_exist_ok=True)
    [directory] = directories(tmp_path)
    return directory


def directories(base_dir: Path) -> list[Path]:
    return [path for path in (base_dir / ".static").iterdir() if path.is_dir()]


def contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_files_that_did_not_change_are_not_written_again(collected: Path):
    before = {path: path.stat().st_ino for path in collected.rglob("*")}
    assert collect_static_files() == collected
    assert {path: path.stat().st_ino for path in collected.rglob("*")} == before


def test_usable_files_need_no_write_access(collected: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "mkdir", refuse)
    monkeypatch.setattr("fcntl.flock", refuse)
    assert collect_static_files() == collected


def empty(path: Path) -> None:
    os.truncate(path, 0)


def remove_every_file(directory: Path) -> None:
    shutil.rmtree(directory)
    directory.mkdir()


def empty_a_file_and_take_its_name(directory: Path) -> None:
    empty(directory / STYLES)
    directory.rename(directory.with_name("unfinished"))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "empty file": lambda directory: empty(directory / STYLES),
    "missing file": lambda directory: (directory / STYLES).unlink(),
    "changed file": lambda directory: (directory / STYLES).write_bytes(b"x"),
    "another file": lambda directory: (directory / "more.js").write_text("x"),
    "empty directory": remove_every_file,
    "not renamed and damaged": empty_a_file_and_take_its_name,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_files_are_collected_again(collected: Path, damage: Callable[[Path], object]):
    before = contents(collected)
    damage(collected)
    assert collect_static_files() == collected
    assert contents(collected) == before
    assert directories(collected.parents[1]) == [collected]


def test_a_directory_is_on_the_disk_before_it_gets_its_name(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    settings.BASE_DIR = tmp_path
    synced: list[Path] = []

    def sync(descriptor: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")))

    monkeypatch.setattr(os, "fsync", sync)
    directory = collect_static_files()
    unfinished = directory.with_name("unfinished")
    paths = {unfinished / path.relative_to(directory) for path in directory.rglob("*")}
    assert set(synced) == paths | {unfinished, tmp_path / ".static"}


def test_changed_sources_are_collected_into_another_directory(
    collected: Path, settings: Settings, tmp_path: Path
):
    sources = tmp_path / "sources"
    shutil.copytree(ROOT / "static", sources)
    settings.STATICFILES_DIRS = [sources]
    assert collect_static_files() == collected
    status = (sources / STYLES).stat()
    (sources / STYLES).write_bytes(b"x" * status.st_size)
    os.utime(sources / STYLES, ns=(status.st_atime_ns, status.st_mtime_ns))
    changed = collect_static_files()
    assert changed != collected
    assert (changed / STYLES).read_bytes() == b"x" * status.st_size
    # A service of the earlier version might still be running.
    assert collected.exists()


def test_another_version_collects_again_and_those_of_two_earlier_ones_are_kept(
    collected: Path, monkeypatch: pytest.MonkeyPatch
):
    collections = [collected]
    for version in ("9.1", "9.2", "9.3"):
        monkeypatch.setattr("connections.__version__", version)
        for number, path in enumerate(collections):
            os.utime(path, (number, number))
        collections.append(collect_static_files())
    assert len(set(collections)) == 4
    assert set(directories(collected.parents[1])) == set(collections[1:])


RACER = """
import django, pathlib, sys
from django.conf import settings
django.setup()
settings.BASE_DIR = pathlib.Path(sys.argv[1])
from connections.operations.static_files import collect_static_files
print("ready", flush=True)
sys.stdin.read()
directory = collect_static_files()
files = [path for path in directory.rglob("*") if path.is_file()]
print(directory, len(files), min(path.stat().st_size for path in files) > 0)
"""


@pytest.mark.slow
def test_concurrent_processes_use_the_same_complete_directory(collected: Path):
    expected = f"{collected} {len(contents(collected))} True\n"
    empty(collected / "staticfiles.json")
    env = clean_environment(
        data_dir=collected.parents[1] / "data",
        DJANGO_SETTINGS_MODULE="orgadmin.settings",
        PYTHONPATH=str(ROOT),
    )
    printed = run_at_once(RACER, collected.parents[1], count=4, env=env)
    assert printed == [expected] * 4
