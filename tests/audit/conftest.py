"""Deletions for events to be about."""

from tests.deletions.history.conftest import credential, make

__all__ = ["credential", "make"]
