"""Records of the log: as text, as JSON, and what they are about."""

import errno
import io
import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from connections.core import logs
from tests.management.test_hostile_texts import HOSTILE, unprintable_in


@pytest.fixture
def stderr(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """The standard error of a service that logs JSON and has not read its settings yet."""
    monkeypatch.setenv("ORGADMIN_LOG_FORMAT", "json")
    stream = io.StringIO()
    for place, name in (
        (sys, "excepthook"),
        (threading, "excepthook"),
        (warnings, "showwarning"),
        (logging, "lastResort"),
        (logging, "raiseExceptions"),
    ):
        monkeypatch.setattr(place, name, getattr(place, name))
    monkeypatch.setattr(sys, "stderr", stream)
    handler = logs.make_handler()
    logging.getLogger().addHandler(handler)
    logs.start_request("of-the-test")
    yield stream
    logging.getLogger().removeHandler(handler)
    logs.start_request("")


def documents(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_record_is_one_json_object_with_its_traceback_in_a_field(stderr: io.StringIO):
    try:
        raise ValueError(HOSTILE)  # noqa: TRY301 - what is tested
    except ValueError:
        logging.getLogger("x").exception("%s", HOSTILE)
    [document] = documents(stderr)
    assert unprintable_in(stderr.getvalue().removesuffix("\n")) == set()
    assert list(document) == ["time", "level", "logger", "message", "request_id", "traceback"]
    assert document["time"].endswith("+00:00")
    assert (document["level"], document["logger"]) == ("ERROR", "x")
    assert document["message"] == HOSTILE
    assert document["traceback"].startswith("Traceback (most recent call last)")


@pytest.mark.filterwarnings("always")
def test_nothing_else_reaches_the_standard_error_of_a_service(
    monkeypatch: pytest.MonkeyPatch, stderr: io.StringIO
):
    # pytest has replaced it since the fixture.
    monkeypatch.setattr(sys, "stderr", stderr)
    logs.set_up(is_service=True)
    sys.stderr.write("half a ")
    sys.stderr.write("line\n\nanother\n")
    warnings.showwarning("old", DeprecationWarning, "x.py", 1)
    sys.excepthook(ValueError, ValueError("wrong"), None)
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()
    assert [document["message"] for document in documents(stderr)] == [
        "half a line",
        "another",
        "DeprecationWarning: old",
        "An unexpected error ended it.",
        "An unexpected error ended a thread.",
    ]
    assert "ZeroDivisionError" in documents(stderr)[-1]["traceback"]


def test_a_log_on_a_full_disk_stops_nothing(monkeypatch: pytest.MonkeyPatch, stderr: io.StringIO):
    def write(_: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(stderr, "write", write)
    monkeypatch.setattr(sys, "stderr", stderr)
    logs.set_up(is_service=True)
    logging.getLogger("x").error("It failed.")
    assert stderr.getvalue() == ""


def test_a_command_prints_its_own_messages_as_text(
    monkeypatch: pytest.MonkeyPatch, stderr: io.StringIO
):
    monkeypatch.setattr(sys, "stderr", stderr)
    logs.set_up(is_service=False)
    sys.stderr.write("CommandError: wrong\n")
    assert stderr.getvalue() == "CommandError: wrong\n"
    # For what is logged before the settings are read.
    assert logging.lastResort
    assert isinstance(logging.lastResort.formatter, logs.JsonFormatter)


def test_an_error_that_leaves_a_block_keeps_its_ids(stderr: io.StringIO):
    try:
        with logs.about(deletion=1, batch=None), logs.about(deletion=2):
            raise ValueError  # noqa: TRY301 - what is tested
    except ValueError:
        logging.getLogger("x").exception("It failed.")
    logging.getLogger("x").error("Later.")
    first, second = documents(stderr)
    assert (first["request_id"], first["deletion"]) == ("of-the-test", "2")
    assert "deletion" not in second
    assert "batch" not in first


def test_a_line_of_text_has_the_ids_before_the_message(
    stderr: io.StringIO, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("ORGADMIN_LOG_FORMAT")
    logs.add_ids(person="p1")
    record = logging.LogRecord("x", logging.ERROR, "x", 1, "It [failed].", (), None)
    handler = logs.make_handler()
    assert handler.format(record).endswith(
        " ERROR x [request_id=of-the-test person=p1]: It [failed]."
    )


def test_no_record_contains_the_key_of_a_password_reset_link(stderr: io.StringIO):
    path = "/accounts/password/reset/key/2-canary/"
    record = logging.LogRecord("x", logging.ERROR, "x", 1, "%s: %s", ("Not Found", path), None)
    for formatter in (logs.JsonFormatter(), logs.TextFormatter(logs.TEXT_FORMAT, style="{")):
        line = formatter.format(record)
        assert "Not Found: /accounts/password/reset/key/" in line
        assert "canary" not in line
