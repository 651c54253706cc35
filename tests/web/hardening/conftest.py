"""What the tests of hardening share."""

from tests.flows.conftest import desk

__all__ = ["desk"]
