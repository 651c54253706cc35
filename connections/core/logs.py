"""The log on standard error, as text or as JSON, and what its records are about.

It needs no Django and no settings, so that a supervisor, and errors before the settings are read,
are logged like everything else.
"""

import io
import json
import logging
import os
import re
import sys
import textwrap
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TextIO

from connections.core.text import printable, printable_lines

logger = logging.getLogger("orgadmin")

FORMATS = ("text", "json")
TEXT_FORMAT = "{asctime} {levelname} {name}{ids}: {message}"

# The key of a link that sets a new password, in the path of its page.
_RESET_KEY = re.compile(r"(?<=/reset/key/)[^/\s]+")

# The IDs of what this thread is doing: request_id, person, deletion, batch.
_ids: ContextVar[Mapping[str, str] | None] = ContextVar("log_ids", default=None)


def start_request(request_id: str) -> None:
    """Forget what the thread did before, and put this ID into its records."""
    _ids.set({"request_id": request_id})


def add_ids(**ids: object) -> None:
    """Put these IDs into the records of the rest of the request or command."""
    _ids.set({**(_ids.get() or {}), **{name: str(value) for name, value in ids.items() if value}})


@contextmanager
def about(**ids: object) -> Iterator[None]:
    """Put these IDs into the records of the block, and into that of an exception that leaves it."""
    token = _ids.set(_ids.get())
    add_ids(**ids)
    try:
        yield
    except BaseException as error:
        error.__dict__.setdefault("log_ids", _ids.get())
        raise
    finally:
        _ids.reset(token)


def _ids_of(record: logging.LogRecord) -> dict[str, str]:
    error = record.exc_info[1] if record.exc_info else None
    return {**(_ids.get() or {}), **getattr(error, "log_ids", {})}


class TextFormatter(logging.Formatter):
    """Formats a record as one line. No name in it, or in its traceback, can pass for a record."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line."""
        ids = " ".join(f"{name}={value}" for name, value in _ids_of(record).items())
        record.ids = f" [{ids}]" if ids else ""
        return printable(_RESET_KEY.sub("…", super().formatMessage(record)))

    def formatException(self, ei: Any) -> str:
        """The traceback, indented, because an exception's text can contain line breaks."""
        return printable_lines(textwrap.indent(super().formatException(ei), "  "))


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON object on one line, in ASCII."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        at = datetime.fromtimestamp(record.created, UTC)
        document = {
            "time": at.isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": _RESET_KEY.sub("…", record.getMessage()),
            **_ids_of(record),
        }
        if record.exc_info:
            document["traceback"] = self.formatException(record.exc_info)
        return json.dumps(document)


def is_json() -> bool:
    """Whether ORGADMIN_LOG_FORMAT asks for JSON."""
    return os.environ.get("ORGADMIN_LOG_FORMAT") == "json"


def make_handler() -> logging.Handler:
    """A handler that writes to standard error in the format of ORGADMIN_LOG_FORMAT."""
    stream = sys.stderr.stream if isinstance(sys.stderr, _LineRecords) else sys.stderr
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter() if is_json() else TextFormatter(TEXT_FORMAT, style="{"))
    return handler


class _LineRecords(io.TextIOBase):
    """Standard error of a service that logs JSON: each line written to it becomes a record."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self._unfinished = ""

    def write(self, text: str) -> int:
        """Log the lines that are complete."""
        *lines, self._unfinished = (self._unfinished + text).split("\n")
        for line in filter(str.strip, lines):
            logger.error("%s", line)
        return len(text)

    def fileno(self) -> int:
        """The descriptor, for child processes."""
        return self.stream.fileno()


def set_up(*, is_service: bool) -> None:
    """Log warnings and uncaught errors of this process, also before Django sets up its logging.

    With JSON, a service then writes nothing else to standard error. A command that a person runs
    still prints its own messages there as text.
    """
    logging.lastResort = make_handler()
    logging.lastResort.setLevel(logging.WARNING)
    sys.excepthook = lambda *error: logger.critical("An unexpected error ended it.", exc_info=error)
    threading.excepthook = _log_error_of_thread
    warnings.showwarning = _log_warning  # type: ignore[assignment]
    if is_service and is_json():
        # A record that can't be written, to a full disk for example, would be reported on standard
        # error: by another record.
        logging.raiseExceptions = False
        sys.stderr = _LineRecords(sys.stderr)


def _log_error_of_thread(error: threading.ExceptHookArgs) -> None:
    if error.exc_value is not None:
        exc_info = (error.exc_type, error.exc_value, error.exc_traceback)
        logger.critical("An unexpected error ended a thread.", exc_info=exc_info)


def _log_warning(message: Warning | str, category: type[Warning], *place: object) -> None:
    logger.warning("%s: %s", category.__name__, message)
