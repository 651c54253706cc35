"""Deletions for events to be about."""

from tests.history.conftest import credential, make

__all__ = ["credential", "make"]
