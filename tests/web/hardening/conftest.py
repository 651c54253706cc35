"""Shared fixtures of the hardening tests."""

from tests.deletions.history.conftest import credential, make
from tests.flows.conftest import requester

__all__ = ["credential", "make", "requester"]
