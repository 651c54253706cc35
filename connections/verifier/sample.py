"""The random sample that `--sample` draws."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable


class Sample:
    """A random sample: the deletions with the lowest scores, which a seed determines."""

    def __init__(self, *, size: int, seed: str) -> None:
        self.size, self.seed = size, seed

    def draw(self, ids: Iterable[str]) -> list[str]:
        """The sample, lowest score first. Reads all IDs, and keeps only the sample."""
        scored = ((self._score(deletion_id), deletion_id) for deletion_id in ids)
        # At least one, because `nsmallest` reads nothing for an empty sample.
        lowest = heapq.nsmallest(max(self.size, 1), scored)
        return [deletion_id for _, deletion_id in lowest[: self.size]]

    def _score(self, deletion_id: str) -> str:
        text = f"orgadmin sample 1\n{self.seed}\n{deletion_id}\n"
        return hashlib.sha256(text.encode()).hexdigest()
