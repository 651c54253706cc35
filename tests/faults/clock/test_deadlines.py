"""Deadlines within a process never use the time of day, which may be set back."""

import ast

from tests.support.processes import ROOT

# Functions that return the time of day; recorded times come from `connections.core.clock`.
TIME_OF_DAY = {("time", "time"), ("datetime", "now"), ("datetime", "utcnow"), ("timezone", "now")}
# Not deadlines: when this machine wrote a file, ages on pages, and times that Django and allauth
# took from this machine's clock.
NO_DEADLINE = {
    ("connections/audit/signing.py", "datetime.now"),
    ("connections/crypto/encryption.py", "datetime.now"),
    ("connections/change_requests/saved_responses.py", "datetime.now"),
    ("connections/operations/backup.py", "datetime.now"),
    ("connections/web/template_builtins.py", "timezone.now"),
    ("connections/web/credentials/texts.py", "timezone.now"),
    ("connections/models/sessions.py", "timezone.now"),
    ("connections/web/framework/reauthentication.py", "time.time"),
}


def calls_in(source: str) -> set[str]:
    """Every call of a function that returns the time of day, as `module.function`."""
    return {
        f"{module}.{node.attr}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute)
        # The last name, so that `datetime.datetime.now` counts too.
        and (module := ast.unparse(node.value).rpartition(".")[2], node.attr) in TIME_OF_DAY
    }


def test_no_deadline_uses_the_time_of_day():
    found = {
        (str(path.relative_to(ROOT)), call)
        for path in (ROOT / "connections").rglob("*.py")
        if path.parent.name != "migrations"
        for call in calls_in(path.read_text())
    }
    assert found == NO_DEADLINE


def test_the_search_finds_calls():
    source = "time.time(); datetime.now(UTC); timezone.now(); time.monotonic(); clock.now()"
    assert calls_in("datetime.datetime.now()") == {"datetime.now"}
    assert calls_in(source) == {"time.time", "datetime.now", "timezone.now"}
