"""Files that hold keys: readable by their owner alone, and whole or not there at all."""

import contextlib
import logging
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

logger = logging.getLogger(__name__)

MAX_BYTES = 1024 * 1024
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class PrivateFileError(Exception):
    """A private file cannot be used as it is; the text names the path and what to do."""


def read_private_text(path: str | os.PathLike[str]) -> str:
    """The UTF-8 text of the private file at `path`.

    A file that we own and that its group or others can touch is refused. One that somebody
    else owns (a secret mounted by an orchestrator, whose mode we cannot set) is only warned
    of, through the log.

    Raises PrivateFileError; its text never holds anything of the file.
    """
    path = Path(path)
    data = _read_checked(path)
    # The error of a failed decoding holds the bytes, so it must not become our error's context.
    with contextlib.suppress(UnicodeDecodeError):
        return data.decode()
    del data
    raise PrivateFileError(f"{path} is not UTF-8 text. Put the file back from its backup.")


def create_private_text_once(path: str | os.PathLike[str], make: Callable[[], str]) -> str:
    """The text of the file at `path`, made with `make()` (mode 0600) when there is none yet.

    However many processes call this at once, one text is kept and all of them return it: the
    text is written and synced beside the path and linked to it, which fails where the path
    exists already. A missing parent directory is made with mode 0700.

    Raises PrivateFileError.
    """
    path = Path(path)
    if not path.exists():
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _written_beside(path, make()) as temporary, contextlib.suppress(FileExistsError):
                os.link(temporary, path)
            _sync_directory(path.parent)
        except OSError as error:
            raise PrivateFileError(
                f"Cannot make {path} ({error.strerror}). Make its directory writable for the "
                "user that runs Org Admin, on a file system with hard links."
            ) from None
    return read_private_text(path)


def replace_private_text(path: str | os.PathLike[str], text: str) -> None:
    """Replace what the file at `path` holds, in one step and with mode 0600.

    A reader sees the old text or the new one, never a part. A symbolic link stays one.

    Raises PrivateFileError, after which the old text still stands.
    """
    path = Path(os.path.realpath(path))
    try:
        with _written_beside(path, text) as temporary:
            temporary.replace(path)
        _sync_directory(path.parent)
    except OSError as error:
        raise PrivateFileError(
            f"Cannot replace {path} ({error.strerror}). Run this as the user that owns the file, "
            "where its directory is writable."
        ) from None


def _read_checked(path: Path) -> bytes:
    try:
        # Not blocking, so that a named pipe in the place of the file is refused, not waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise PrivateFileError(
            f"Cannot read {path} ({error.strerror}). Check that it exists and that the user that "
            "runs Org Admin may read it."
        ) from None
    with os.fdopen(descriptor, "rb") as file:
        _refuse_what_others_can_read(path, os.fstat(file.fileno()))
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        del data
        raise PrivateFileError(f"{path} is larger than {MAX_BYTES} bytes: it is no key file.")
    return data


def _refuse_what_others_can_read(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise PrivateFileError(f"{path} is not a regular file. Name the key file itself.")
    if not status.st_mode & _OTHERS:
        return
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid == os.geteuid():
        raise PrivateFileError(
            f"{path} is open to other users of this machine (mode {mode:04o}). "
            f"Run: chmod 600 {path}"
        )
    logger.warning(
        "%s belongs to user %d and is open to others (mode %04o).", path, status.st_uid, mode
    )


@contextlib.contextmanager
def _written_beside(path: Path, text: str) -> Iterator[Path]:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode())
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
