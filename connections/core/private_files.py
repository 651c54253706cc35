"""Files with keys: readable only by their owner, and written completely or not at all.

Text to write is a Secret, because a traceback keeps the local variables of its functions.
"""

import contextlib
import fcntl
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from connections.core.secret import Secret

MAX_BYTES = 1024 * 1024
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class PrivateFileError(Exception):
    """A private file can't be used. The message names the path and what to do."""


def read_private_text(path: str | os.PathLike[str]) -> str:
    """The UTF-8 text of the private file at `path`.

    Refuses a file that this user owns and that its group or others can access. Accepts a file that
    someone else owns, such as a secret that an orchestrator mounts with a mode we can't set:
    `is_open_to_everyone` finds those to warn about.

    Raises PrivateFileError, whose message never contains any of the file's text.
    """
    path = Path(path)
    data = _read_checked(path)
    # A UnicodeDecodeError contains the bytes, so it must not become our error's context.
    with contextlib.suppress(UnicodeDecodeError):
        return data.decode()
    del data
    raise PrivateFileError(f"{path} isn't UTF-8 text. Put the file back from its backup.")


def is_open_to_everyone(path: Path) -> bool:
    """Whether every user of this machine can access the file, and its mode can be changed.

    False for a missing file, and for one on a read-only file system, such as a mounted secret.
    """
    try:
        is_read_only = os.statvfs(path).f_flag & os.ST_RDONLY
        return bool(path.stat().st_mode & stat.S_IRWXO) and not is_read_only
    except OSError:
        return False


def create_private_text_once(path: str | os.PathLike[str], make: Callable[[], str]) -> str:
    """The text of the file at `path`. Creates it from `make()` with mode 0600 if it's missing.

    When several processes call this at the same time, all return the same text. Creates a missing
    parent directory with mode 0700.

    Raises PrivateFileError.
    """
    path = Path(path)
    if not path.exists():
        _create(path, Secret(make()))
    return read_private_text(path)


def create_private_text(path: str | os.PathLike[str], text: Secret) -> None:
    """Write `text` to a new file at `path` with mode 0600; see `create_private_text_once`.

    Raises PrivateFileError, also when `path` exists.
    """
    path = Path(path)
    if not _create(path, text):
        raise PrivateFileError(
            f"{path} already exists and isn't overwritten. Choose a directory without it."
        )


def update_private_text(path: str | os.PathLike[str], change: Callable[[Secret], Secret]) -> None:
    """Replace the text of the file at `path` with `change(text)`, atomically and with mode 0600.

    Only one process at a time can change it. The lock is a file next to it, `<name>.lock`, which is
    kept. A symbolic link stays a link.

    Raises PrivateFileError, also when another process holds the lock, and whatever `change` raises.
    The old text stays then.
    """
    path = Path(os.path.realpath(path))
    with _locked(path):
        text = change(Secret(read_private_text(path)))
        try:
            with _temporary_copy(path, text) as temporary:
                temporary.replace(path)
            _sync_directory(path.parent)
        except OSError as error:
            raise PrivateFileError(
                f"Can't replace {path} ({error.strerror}). Run this as the user that owns the "
                "file, where its directory is writable."
            ) from None


def _create(path: Path, text: Secret) -> bool:
    """Create the file completely or not at all. Return False if `path` already existed."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _temporary_copy(path, text) as temporary:
            os.link(temporary, path)
        _sync_directory(path.parent)
    except FileExistsError:
        return False
    except OSError as error:
        raise PrivateFileError(
            f"Can't make {path} ({error.strerror}). Make its directory writable for the "
            "user that runs Org Admin, on a file system with hard links."
        ) from None
    return True


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    name = path.with_name(f"{path.name}.lock")
    try:
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise PrivateFileError(
            f"Can't lock {path} with {name} ({error.strerror}). Run this as the user that owns "
            "the file, where its directory is writable."
        ) from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PrivateFileError(
                f"Another process is changing {path}. Wait until it has ended, then run this again."
            ) from None
        yield
    finally:
        os.close(descriptor)


def _read_checked(path: Path) -> bytes:
    try:
        # O_NONBLOCK: opening a named pipe would otherwise wait; with it, the pipe is refused.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise PrivateFileError(
            f"Can't read {path} ({error.strerror}). Check that it exists and that the user that "
            "runs Org Admin can read it."
        ) from None
    try:
        # First, because `os.fdopen` would raise a different error for a directory.
        _require_private(path, os.fstat(descriptor))
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(MAX_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(data) > MAX_BYTES:
        del data
        raise PrivateFileError(f"{path} is larger than {MAX_BYTES} bytes: it isn't a key file.")
    return data


def _require_private(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise PrivateFileError(
            f"{path} isn't a regular file. Give the path of the key file itself."
        )
    if status.st_mode & _OTHERS and status.st_uid == os.geteuid():
        mode = stat.S_IMODE(status.st_mode)
        raise PrivateFileError(
            f"{path} is open to other users of this machine (mode {mode:04o}). "
            f"Run: chmod 600 {path}"
        )


@contextlib.contextmanager
def _temporary_copy(path: Path, text: Secret) -> Iterator[Path]:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.reveal().encode())
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
