"""The files of an evidence bundle, its ZIP archive and its Merkle tree.

The ZIP is deterministic: files are stored uncompressed, and all headers follow from the files.
connections/verifier/archive.py compares it byte by byte.
"""

import hashlib
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from typing import BinaryIO

from connections.audit import chain
from connections.core.errors import DomainError
from connections.evidence.stored_events import batches_of
from connections.models import AuditHead
from connections.verifier.archive import CHUNK_SIZE, FILE_NAMES, archive_pieces, local_header
from connections.verifier.merkle import leaf_hash, node_hash

_IN_MEMORY = 1 << 20
# The limit of sizes and offsets in a ZIP without the ZIP64 extension.
_MAX_ZIP_BYTES = 2**32 - 1


class BundleError(DomainError):
    """No bundle was made. The message says why and what to do."""


class BundleFile:
    """One file of a bundle, in an anonymous temporary file."""

    def __init__(self) -> None:
        # `close` closes it, and `bundle_files` calls that.
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115
        self._digest = hashlib.sha256()
        self.size = self.crc = 0

    @property
    def sha256(self) -> str:
        """The SHA-256 of the content, in hex."""
        return self._digest.hexdigest()

    def write(self, text: str) -> None:
        """Append text."""
        self.write_bytes(text.encode())

    def write_bytes(self, data: bytes) -> None:
        """Append bytes."""
        self._file.write(data)
        self._digest.update(data)
        self.crc = zlib.crc32(data, self.crc)
        self.size += len(data)

    def chunks(self) -> Iterator[bytes]:
        """The content in chunks."""
        self._file.seek(0)
        while chunk := self._file.read(CHUNK_SIZE):
            yield chunk

    def close(self) -> None:
        """Close the temporary file, which deletes it."""
        self._file.close()


@contextmanager
def bundle_files() -> Iterator[dict[str, BundleFile]]:
    """The files of a bundle by name. Deleted after the block."""
    files = {name: BundleFile() for name in FILE_NAMES}
    try:
        yield files
    finally:
        for file in files.values():
            file.close()


def write_zip(*, files: Mapping[str, BundleFile], output: BinaryIO) -> tuple[int, str]:
    """Write the ZIP. Return its size and SHA-256 in hex. Raises BundleError if it is too large."""
    total = sum(len(local_header(name, 0, 0)) + files[name].size for name in FILE_NAMES)
    if total > _MAX_ZIP_BYTES:
        raise BundleError(
            "The bundle would be larger than the 4 GiB of a plain ZIP. Choose a shorter period, or "
            "narrower filters."
        )
    size, digest = 0, hashlib.sha256()
    for piece in archive_pieces(
        (name, files[name].crc, files[name].size, files[name].chunks()) for name in FILE_NAMES
    ):
        output.write(piece)
        digest.update(piece)
        size += len(piece)
    return size, digest.hexdigest()


_HASH_BYTES = 32


class MerkleTree:
    """The Merkle tree of RFC 6962, with all its nodes: 64 bytes for each event."""

    def __init__(self) -> None:
        # The nodes of each level, one after the other. Level 0 has the leaves.
        self._levels = [bytearray()]
        # Roots of incomplete subtrees at the right edge, by the index of their first leaf.
        self._edges: dict[int, bytes] = {}

    @property
    def size(self) -> int:
        """The number of leaves."""
        return len(self._levels[0]) // _HASH_BYTES

    def append(self, leaf: bytes) -> None:
        """Append the next leaf, and every node that it completes."""
        node = leaf
        for level in count():
            if level == len(self._levels):
                self._levels.append(bytearray())
            nodes = self._levels[level]
            nodes += node
            if len(nodes) // _HASH_BYTES % 2:
                return
            node = node_hash(bytes(nodes[-2 * _HASH_BYTES : -_HASH_BYTES]), node)

    def root(self, *, size: int | None = None) -> bytes:
        """The root of the first `size` leaves, by default of all leaves."""
        frontier, start, left = [], 0, self.size if size is None else size
        while left:
            level = left.bit_length() - 1
            frontier.append(self._get(level, start >> level))
            start, left = start + (1 << level), left - (1 << level)
        return chain.root_of(frontier)

    def audit_path(self, *, index: int) -> list[bytes]:
        """The audit path of a leaf (counted from 0): RFC 6962 § 2.1.1."""
        start, end, path = 0, self.size, []
        while end - start > 1:
            middle = _split_point(start, end)
            if index < middle:
                path.append(self._subtree_root(middle, end))
                end = middle
            else:
                path.append(self._subtree_root(start, middle))
                start = middle
        return path[::-1]

    def consistency_proof(self, *, size: int) -> list[bytes]:
        """The consistency proof for the tree of the first `size` leaves: RFC 6962 § 2.1.2."""
        start, end, proof = 0, self.size, []
        while end != size:
            middle = _split_point(start, end)
            if size <= middle:
                proof.append(self._subtree_root(middle, end))
                end = middle
            else:
                proof.append(self._subtree_root(start, middle))
                start = middle
        if start:
            proof.append(self._subtree_root(start, end))
        return proof[::-1]

    def _subtree_root(self, start: int, end: int) -> bytes:
        """The root of the leaves from `start` up to `end`, a subtree of the recursion."""
        count = end - start
        if count & (count - 1) == 0:
            level = count.bit_length() - 1
            return self._get(level, start >> level)
        if end == self.size and start in self._edges:
            return self._edges[start]
        middle = _split_point(start, end)
        node = node_hash(self._subtree_root(start, middle), self._subtree_root(middle, end))
        if end == self.size:
            self._edges[start] = node
        return node

    def _get(self, level: int, index: int) -> bytes:
        return bytes(self._levels[level][index * _HASH_BYTES : (index + 1) * _HASH_BYTES])


def _split_point(start: int, end: int) -> int:
    """Where the recursion splits: after the largest power of two smaller than the number."""
    return start + (1 << (end - start - 1).bit_length() - 1)


def audit_log_tree(*, head: AuditHead) -> MerkleTree:
    """The tree of all events up to this head. Raises BundleError when its root differs."""
    tree = MerkleTree()
    for rows in batches_of("seq, text", upto=head.size):
        for _, text in rows:
            tree.append(leaf_hash(text.encode()))
    if tree.size != head.size or tree.root() != chain.root_of(chain.parse_frontier(head.frontier)):
        raise BundleError(
            "The audit log failed verification, so no bundle was made. Run "
            "`./run manage verify_audit`: it names the first event that was changed."
        )
    return tree
