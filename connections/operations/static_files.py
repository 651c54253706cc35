"""Collects the static files that the web servers serve, into `.static` beside the code.

`./run install` runs this module. `serve` and `web` only read what it made, so that they can run
where the code is read-only, and collect again what is missing or damaged.

They are collected into a new directory, which gets its name once all of it is on the disk and never
changes afterwards. The name contains a digest of the sources and one of the collected files: a
directory from other sources, or one that lost content in a power failure, isn't used.
"""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import django
from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.contrib.staticfiles.management.commands.collectstatic import Command
from django.core.management import call_command
from whitenoise.storage import CompressedManifestStaticFilesStorage

import connections

# Services of earlier versions might still use theirs.
_KEPT_EARLIER = 2


def collect_static_files() -> Path:
    """The directory with the collected files, which are collected if they changed or are damaged.

    Only one process at a time collects them. Raises OSError if they can't be written.
    """
    parent = settings.BASE_DIR / ".static"
    sources = _digest_of(_find_sources(), seed=_versions())
    usable = _find_usable(parent, sources=sources)
    if usable:
        return usable
    parent.mkdir(exist_ok=True)
    with (parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _find_usable(parent, sources=sources) or _collect(parent, sources=sources)


def _find_usable(parent: Path, *, sources: str) -> Path | None:
    for directory in parent.glob(f"{sources}-*"):
        if directory.name == _name_of(directory, sources=sources):
            return directory
    return None


def _collect(parent: Path, *, sources: str) -> Path:
    unfinished = parent / "unfinished"
    _remove(unfinished)
    try:
        command = Command()
        command.storage = CompressedManifestStaticFilesStorage(location=unfinished)
        call_command(command, interactive=False, verbosity=0)
        for path in (*unfinished.rglob("*"), unfinished):
            _sync(path)
        directory = parent / _name_of(unfinished, sources=sources)
        # A damaged one has the same name.
        _remove(directory)
        unfinished.rename(directory)
    finally:
        _remove(unfinished)
    _sync(parent)
    earlier = [path for path in parent.iterdir() if path.is_dir() and path != directory]
    earlier.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in earlier[_KEPT_EARLIER:]:
        _remove(path)
    return directory


def _find_sources() -> Mapping[str, Path]:
    """The source files by the names that they will have. The first of two with one name counts."""
    sources: dict[str, Path] = {}
    for finder in get_finders():
        for path, storage in finder.list(None):
            name = os.path.join(getattr(storage, "prefix", None) or "", path)
            sources.setdefault(name, Path(storage.path(path)))
    return sources


def _versions() -> str:
    """The versions of everything that decides what becomes of the sources."""
    return f"{connections.__version__} {version('django')} {version('whitenoise')}"


def _name_of(directory: Path, *, sources: str) -> str:
    """The name of a directory with these files."""
    files = {
        str(path.relative_to(directory)): path for path in directory.rglob("*") if path.is_file()
    }
    return f"{sources}-{_digest_of(files)}"


def _digest_of(files: Mapping[str, Path], *, seed: str = "") -> str:
    digest = hashlib.sha256(seed.encode())
    for name, path in sorted(files.items()):
        content = path.read_bytes()
        digest.update(f"\0{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def _remove(directory: Path) -> None:
    if directory.exists():
        shutil.rmtree(directory)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    django.setup(set_prefix=False)
    collect_static_files()
