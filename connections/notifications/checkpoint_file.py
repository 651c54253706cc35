"""The file to which checkpoints are appended, for whoever keeps it out of our reach."""

import os
import stat
from pathlib import Path


class CheckpointFileError(Exception):
    """The file cannot be written; the text says why."""


def append(path: Path, note: str) -> None:
    """Add a checkpoint and an empty line, and wait until the disk has them.

    A file that is not there is made with mode 0600; a symbolic link is refused. Raises
    CheckpointFileError.
    """
    try:
        descriptor = _open(path)
        try:
            _write(descriptor, f"{note}\n".encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise CheckpointFileError(f"The file cannot be written ({error.strerror}).") from None


def check(path: Path) -> None:
    """Raise CheckpointFileError unless it could be appended to; makes nothing."""
    if not path.exists() and not path.is_symlink():
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise CheckpointFileError(f"{path.parent} cannot be written by this user.")
        return
    try:
        os.close(_open(path, make=False))
    except OSError as error:
        raise CheckpointFileError(f"The file cannot be written ({error.strerror}).") from None


def _open(path: Path, *, make: bool = True) -> int:
    # Not blocking, so that a named pipe in its place is refused, not waited for.
    flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    descriptor = os.open(path, flags | (os.O_CREAT if make else 0), 0o600)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise CheckpointFileError("It is no regular file.")
    return descriptor


def _write(descriptor: int, data: bytes) -> None:
    # One call, so that two processes do not mix; a full disk leaves a part, which is told.
    if os.write(descriptor, data) != len(data):
        raise OSError(0, "only a part fitted")
