"""The files of an evidence bundle on their way into its archive, at flat memory.

The archive is the one that connections/verifier/verify.py compares with, bit by bit: every file
stored as it is, and nothing around them that does not follow from the files.
"""

import hashlib
import mmap
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import BinaryIO, Self

from django.db import connection

from connections.audit import chain
from connections.core.errors import DomainError
from connections.models import AuditHead
from connections.verifier import verify

_IN_MEMORY = 1 << 20
# What the sizes and places in a plain ZIP can say.
_MAX_ZIP_BYTES = 2**32 - 1


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


def write_zip(*, files: Mapping[str, BundleFile], output: BinaryIO) -> tuple[int, str]:
    """Write the archive; gives its size and SHA-256 (hex). Raises BundleError when too large."""
    heads = {
        name: verify.local_header(name, files[name].crc, files[name].size)
        for name in verify.NAMES
        if files[name].size <= _MAX_ZIP_BYTES
    }
    total = sum(files[name].size + len(head) for name, head in heads.items())
    if len(heads) < len(verify.NAMES) or total > _MAX_ZIP_BYTES:
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


_HASH_BYTES = 32
_BATCH_SIZE = 5000


class MerkleTree:
    """The Merkle tree of RFC 6962 over so many leaves, which are appended one after the other."""

    def __init__(self, *, size: int, store: mmap.mmap) -> None:
        self.size, self._store, self._count = size, store, 0
        # Where the nodes of each level begin; the lowest level holds the leaves.
        self._starts = [0]
        while size >> len(self._starts):
            self._starts.append(self._starts[-1] + (self.size >> len(self._starts) - 1))
        # Roots at the tree's right edge, which no level holds: where such a part begins → its root.
        self._edges: dict[int, bytes] = {}

    def append(self, leaf: bytes) -> None:
        """Add the next leaf, and every node that is complete with it."""
        index, level, node = self._count, 0, leaf
        self._put(level, index, node)
        while index & 1:
            node = chain.node_hash(self._get(level, index - 1), node)
            index, level = index >> 1, level + 1
            self._put(level, index, node)
        self._count += 1

    def root(self, *, size: int | None = None) -> bytes:
        """The root of the first `size` leaves; of all of them by default."""
        frontier, start, left = [], 0, self.size if size is None else size
        while left:
            level = left.bit_length() - 1
            frontier.append(self._get(level, start >> level))
            start, left = start + (1 << level), left - (1 << level)
        return chain.root_of(frontier)

    def path(self, *, index: int) -> list[bytes]:
        """The audit path of a leaf (from 0): RFC 6962 § 2.1.1."""
        start, end, path = 0, self.size, []
        while end - start > 1:
            middle = _split_point(start, end)
            if index < middle:
                path.append(self._part(middle, end))
                end = middle
            else:
                path.append(self._part(start, middle))
                start = middle
        return path[::-1]

    def consistency(self, *, size: int) -> list[bytes]:
        """The proof that the tree begins with that of its first `size` leaves: § 2.1.2."""
        start, end, proof = 0, self.size, []
        while end != size:
            middle = _split_point(start, end)
            if size <= middle:
                proof.append(self._part(middle, end))
                end = middle
            else:
                proof.append(self._part(start, middle))
                start = middle
        if start:
            proof.append(self._part(start, end))
        return proof[::-1]

    def _part(self, start: int, end: int) -> bytes:
        """The root over the leaves from `start` up to `end`, a part as the recursion cuts them."""
        count = end - start
        if count & (count - 1) == 0:
            level = count.bit_length() - 1
            return self._get(level, start >> level)
        if end == self.size and start in self._edges:
            return self._edges[start]
        middle = _split_point(start, end)
        node = chain.node_hash(self._part(start, middle), self._part(middle, end))
        if end == self.size:
            self._edges[start] = node
        return node

    def _put(self, level: int, index: int, node: bytes) -> None:
        place = (self._starts[level] + index) * _HASH_BYTES
        self._store[place : place + _HASH_BYTES] = node

    def _get(self, level: int, index: int) -> bytes:
        place = (self._starts[level] + index) * _HASH_BYTES
        return self._store[place : place + _HASH_BYTES]


def _split_point(start: int, end: int) -> int:
    """Where the recursion cuts: the largest power of two that is smaller than the whole."""
    return start + (1 << (end - start - 1).bit_length() - 1)


@contextmanager
def audit_log_tree(*, head: AuditHead) -> Iterator[MerkleTree]:
    """The tree over all events up to this head. Raises BundleError when its root is another."""
    with tempfile.TemporaryFile() as file:
        # Every level together has less than twice as many nodes as there are leaves.
        file.truncate(2 * _HASH_BYTES * head.size)
        with mmap.mmap(file.fileno(), 0) as store:
            tree = MerkleTree(size=head.size, store=store)
            count = 0
            for text in _event_texts(upto=head.size):
                tree.append(chain.leaf_hash(text.encode()))
                count += 1
            frontier = chain.parse_frontier(head.frontier)
            if count != head.size or tree.root() != chain.root_of(frontier):
                raise BundleError(
                    "The record of acts is broken, so no bundle was made of it. Run "
                    "`./run manage verify_audit`: it names the first event that was changed."
                )
            yield tree


def _event_texts(*, upto: int) -> Iterator[str]:
    """The texts of all events, oldest first, some thousand at a time."""
    query = (
        "SELECT seq, text FROM connections_auditevent "
        "WHERE seq > %s AND seq <= %s ORDER BY seq LIMIT %s"
    )
    seq = 0
    while True:
        with connection.cursor() as cursor:
            cursor.execute(query, [seq, upto, _BATCH_SIZE])
            rows = cursor.fetchall()
        if not rows:
            return
        for _, text in rows:
            yield text
        seq = rows[-1][0]
