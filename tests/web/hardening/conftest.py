"""Shared fixtures of the hardening tests."""

from tests.deletions.history.conftest import credential, make
from tests.flows.conftest import desk

__all__ = ["credential", "desk", "make"]
