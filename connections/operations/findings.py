"""The findings of `doctor`: one for each check."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Self


class Level(StrEnum):
    """How bad a finding is; only an error makes the command fail."""

    OK = "ok"
    WARNING = "warning"  # it works but needs attention
    ERROR = "error"  # it does not work or is not safe


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One result: what was checked, its state, and what to do about it ("" when it is fine)."""

    check: str
    level: Level
    message: str
    hint: str = ""

    @classmethod
    def ok(cls, check: str, message: str) -> Self:
        """A finding that needs no action."""
        return cls(check=check, level=Level.OK, message=message)

    @classmethod
    def warning(cls, check: str, message: str, hint: str) -> Self:
        """A finding about something that works but needs attention."""
        return cls(check=check, level=Level.WARNING, message=message, hint=hint)

    @classmethod
    def error(cls, check: str, message: str, hint: str) -> Self:
        """A finding about something that does not work or is not safe."""
        return cls(check=check, level=Level.ERROR, message=message, hint=hint)
