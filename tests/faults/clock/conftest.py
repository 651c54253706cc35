"""Ada, about to delete, under a clock that somebody sets back."""

from tests.deletions.conftest import credential, make_deletion

__all__ = ["credential", "make_deletion"]
