"""The ZIP format of bundles and of the verifier itself.

Files are stored uncompressed, and all other bytes follow from the files' names, sizes and
checksums. So there is exactly one valid archive for these files, and it is compared byte by byte.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO

from connections.verifier.folding import Rows
from connections.verifier.messages import UncheckedError, VerificationFailed, require
from connections.verifier.strict_json import get, load_json

FORMAT = "orgadmin evidence bundle 2"
# Every file of a bundle, in the archive's order.
FILE_NAMES = (
    "README.txt",
    "verify.pyz",
    "keys.json",
    "checkpoint.txt",
    "checkpoints.ndjson",
    "values.ndjson",
    "population.json",
    "records.ndjson",
    "events.ndjson",
    "manifest.json",
    "manifest.sig",
)
MANIFEST_FILES = FILE_NAMES[:-2]
CHUNK_SIZE = 1 << 20
# Limits memory use: longer lines, and longer files that are read as a whole, are refused.
MAX_LINE_BYTES = 8 << 20
MAX_ROWS = 100_000
# The second file of a bundle of format 1: its name, and its first character.
_START_OF_FORMAT_1 = b"verify.py#"
FORMAT_1 = (
    "This bundle was made before Org Admin 1.0: use the verify.py of the version that made it."
)


def open_regular(path: str) -> BinaryIO:
    """Open a regular file for reading. Reading a pipe or a device might never end."""
    handle = open(path, "rb", opener=_open_without_waiting)  # noqa: SIM115 - the caller closes it
    if not stat.S_ISREG(os.fstat(handle.fileno()).st_mode):
        handle.close()
        raise UncheckedError("{} is not a regular file. Save it as one first.", path)
    return handle


def _open_without_waiting(path: str, flags: int) -> int:
    # Windows has no O_NONBLOCK and no pipes in its file system.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def local_header(name: str, crc: int, size: int) -> bytes:
    """The local header before a file."""
    head = struct.pack("<4s5H3L2H", b"PK\3\4", 10, 0, 0, 0, 0x21, crc, size, size, len(name), 0)
    return head + name.encode("ascii")


def central_header(name: str, crc: int, size: int, offset: int) -> bytes:
    """A file's entry in the central directory."""
    fields = (b"PK\1\2", 3 << 8 | 10, 10, 0, 0, 0, 0x21, crc, size, size, len(name))
    mode = 0o100644 << 16
    return struct.pack("<4s6H3L5H2L", *fields, 0, 0, 0, 0, mode, offset) + name.encode("ascii")


def end_record(count: int, size: int, offset: int) -> bytes:
    """The end record, for a central directory of this size in bytes at this offset."""
    return struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, size, offset, 0)


def archive_pieces(
    files: Iterable[tuple[str, int, int, Iterable[bytes]]],
) -> Iterator[bytes]:
    """The bytes of an archive of files, each with its name, CRC, size and content in pieces."""
    count, offset, directory = 0, 0, b""
    for name, crc, size, pieces in files:
        head = local_header(name, crc, size)
        yield head
        yield from pieces
        directory += central_header(name, crc, size, offset)
        count, offset = count + 1, offset + len(head) + size
    yield directory + end_record(count, len(directory), offset)


def pack(files: Mapping[str, bytes]) -> bytes:
    """The archive of these files, in their order."""
    return b"".join(
        archive_pieces((name, zlib.crc32(data), len(data), [data]) for name, data in files.items())
    )


class Archive:
    """A bundle with a valid ZIP structure. Reads its files in pieces of limited size."""

    def __init__(self, path: str) -> None:
        self.path = path
        # Offset, size and SHA-256 of each file, by name.
        self.files: dict[str, tuple[int, int, str]] = {}
        with open_regular(path) as handle:
            self.length = handle.seek(0, 2)
            self._walk(handle)

    def _walk(self, handle: BinaryIO) -> None:
        offset, directory = 0, b""
        for name in FILE_NAMES:
            handle.seek(offset)
            head = handle.read(30 + len(name))
            if len(head) < 30 or head[:4] != b"PK\3\4":
                raise VerificationFailed(
                    "The bundle is incomplete: {} should begin at byte {}. Use the file exactly as "
                    "it was downloaded, not truncated and not repacked.",
                    name,
                    offset,
                )
            if head[30:] == _START_OF_FORMAT_1:
                raise UncheckedError(FORMAT_1)
            size = struct.unpack_from("<L", head, 22)[0]
            start = offset + 30 + len(name)
            require(start + size <= self.length, "The archive ends inside {}.", name)
            crc, digest = _checksums(handle, size)
            if head != local_header(name, crc, size):
                raise VerificationFailed(
                    "The header of {} at byte {} is not as expected: a file was added, removed, "
                    "replaced or changed, or the bundle was repacked.",
                    name,
                    offset,
                )
            self.files[name] = (start, size, digest)
            directory += central_header(name, crc, size, offset)
            offset = start + size
        handle.seek(offset)
        end = directory + end_record(len(self.files), len(directory), offset)
        rest = handle.read(len(end) + 1)
        require(rest == end, "The directory at the end of the archive does not match its files.")

    def read(self, name: str) -> bytes:
        """The content of a small file."""
        start, size, _ = self.files[name]
        require(size <= MAX_LINE_BYTES, "{} is too large.", name)
        with open_regular(self.path) as handle:
            handle.seek(start)
            return handle.read(size)

    def lines(self, name: str) -> Iterator[bytes]:
        """The lines of a file without line ends. Every line must end with U+000A."""
        start, left, _ = self.files[name]
        with open_regular(self.path) as handle:
            handle.seek(start)
            while left:
                line = handle.readline(min(left, MAX_LINE_BYTES))
                left -= len(line)
                is_whole = line.endswith(b"\n")
                require(is_whole, "A line of {} is too long or has no line end.", name)
                yield line[:-1]


def rows_after(lines: Iterator[bytes], rows: Rows) -> tuple[list[dict[str, Any]], bytes | None]:
    """What follows a record on lines of its own, and the line after it.

    Adds more rows to `rows`, and returns those that events have only a digest of.
    """
    many: list[dict[str, Any]] = []
    for line in lines:
        if line.startswith(b'{"rows":'):
            more = get(load_json(line, "A line of records.ndjson"), "rows", dict, "A record")
            require(not more.keys() & rows.keys(), "A row of a record is duplicated.")
            rows.update(more)
        elif line.startswith((b'{"row":', b'{"is_gone":')):
            row = load_json(line, "A line of records.ndjson")
            get(row, "row", dict, "A line of records.ndjson")
            many.append(row)
        else:
            return many, line
        require(len(rows) + len(many) < MAX_ROWS, "One record has too many rows.")
    return many, None


def _checksums(handle: BinaryIO, size: int) -> tuple[int, str]:
    crc, digest = 0, hashlib.sha256()
    while size:
        piece = handle.read(min(size, CHUNK_SIZE))
        if not piece:
            raise VerificationFailed("The file became shorter during the check.")
        crc = zlib.crc32(piece, crc)
        digest.update(piece)
        size -= len(piece)
    return crc, digest.hexdigest()
