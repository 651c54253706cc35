"""The files of an evidence bundle on their way into its archive, at flat memory.

The archive is the one that connections/verifier/verify.py compares with, bit by bit: every file
stored as it is, and nothing around them that does not follow from the files.
"""

import hashlib
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import BinaryIO, Self

from connections.core.errors import DomainError
from connections.verifier import verify

_IN_MEMORY = 1 << 20
# What the sizes and places in a plain ZIP can say.
_MOST_BYTES = 2**32 - 1


class BundleError(DomainError):
    """No bundle was made; the text says why and what to do."""


class BundleFile:
    """One file of a bundle, kept in a temporary file that has no name."""

    def __init__(self) -> None:
        # Closed by `close`, which `parts` calls.
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115
        self._digest = hashlib.sha256()
        self.size = self.crc = 0

    @property
    def sha256(self) -> str:
        """Of all that was written, in hex."""
        return self._digest.hexdigest()

    def write(self, text: str) -> None:
        """Add a text."""
        self.write_bytes(text.encode())

    def write_bytes(self, data: bytes) -> None:
        """Add bytes."""
        self._file.write(data)
        self._digest.update(data)
        self.crc = zlib.crc32(data, self.crc)
        self.size += len(data)

    def pieces(self) -> Iterator[bytes]:
        """All that was written, from its beginning."""
        self._file.seek(0)
        while piece := self._file.read(verify.PIECE):
            yield piece

    def add(self, other: Self) -> None:
        """Add all of another one."""
        for piece in other.pieces():
            self.write_bytes(piece)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


@contextmanager
def bundle_files() -> Iterator[dict[str, BundleFile]]:
    """A part for each file of a bundle, by name, and one for the page's body; gone afterwards."""
    made = {name: BundleFile() for name in (*verify.NAMES, "body")}
    try:
        yield made
    finally:
        for part in made.values():
            part.close()


def pack(*, files: Mapping[str, BundleFile], output: BinaryIO) -> tuple[int, str]:
    """Write the archive; gives its size and SHA-256 (hex). Raises BundleError when too large."""
    heads = {
        name: verify.local_header(name, files[name].crc, files[name].size)
        for name in verify.NAMES
        if files[name].size <= _MOST_BYTES
    }
    total = sum(files[name].size + len(head) for name, head in heads.items())
    if len(heads) < len(verify.NAMES) or total > _MOST_BYTES:
        raise BundleError(
            "The bundle would be larger than the 4 GiB of a plain ZIP. Choose a shorter period, or "
            "narrower filters."
        )
    digest, offset, directory = hashlib.sha256(), 0, b""

    def put(data: bytes) -> None:
        output.write(data)
        digest.update(data)

    for name, head in heads.items():
        part = files[name]
        put(head)
        for piece in part.pieces():
            put(piece)
        directory += verify.central_header(name, part.crc, part.size, offset)
        offset += len(head) + part.size
    end = directory + verify.end_record(len(heads), len(directory), offset)
    put(end)
    return offset + len(end), digest.hexdigest()
