"""Ada, about to delete, under a clock that somebody sets back."""

from tests.deletions.conftest import ask, credential

__all__ = ["ask", "credential"]
