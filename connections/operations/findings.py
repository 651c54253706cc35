"""What `doctor` says: one finding for each thing that was looked at."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad a finding is; only an error makes the command fail."""

    OK = "ok"
    WARNING = "warning"  # it works, and somebody should know
    ERROR = "error"  # it does not work, or not safely


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One answer: what was looked at, how it is, and what to do about it ("" when in order)."""

    check: str
    level: Level
    message: str
    hint: str = ""


def ok(check: str, message: str) -> Finding:
    """In order."""
    return Finding(check=check, level=Level.OK, message=message)


def warning(check: str, message: str, hint: str) -> Finding:
    """It works, and somebody should know."""
    return Finding(check=check, level=Level.WARNING, message=message, hint=hint)


def error(check: str, message: str, hint: str) -> Finding:
    """It does not work, or not safely."""
    return Finding(check=check, level=Level.ERROR, message=message, hint=hint)
