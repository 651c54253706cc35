"""What the history's tests store is what is taken away here."""

from tests.history.conftest import credential, make

__all__ = ["credential", "make"]
