"""A requester whose clock is set back."""

from tests.deletions.conftest import credential, make_deletion

__all__ = ["credential", "make_deletion"]
