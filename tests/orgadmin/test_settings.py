"""Invalid settings end every command with one line that says what to do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from orgadmin.environment import (
    parse_database_url,
    parse_email_url,
    read_flag,
    read_integer,
    read_list,
)

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("ORGADMIN_TICKET_PATTERN", "(", "ORGADMIN_TICKET_PATTERN: it isn't a valid"),
        ("ORGADMIN_TICKET_PATTERN", r"([A-Z])\1-\d+", "back-references"),
        ("ORGADMIN_TICKET_URL", "https://tickets.example.com/", "must contain {ticket}"),
        ("ORGADMIN_SESSION_IDLE_MINUTES", "4", "must be 5 or more"),
        ("ORGADMIN_KEY_MAX_AGE_DAYS", "0", "must be 1 or more"),
        ("EMAIL_URL", "smtp+tls://mail.example.com", "EMAIL_URL isn't a valid email URL"),
        ("ORGADMIN_FOUR_EYES", "three", "must be none, one or two"),
        ("ORGADMIN_EXTRA_SITES", "mine=http://example.com", "ORGADMIN_EXTRA_SITES"),
        ("DATABASE_URL", "mysql://localhost/x", "must name SQLite or PostgreSQL"),
        ("ORGADMIN_BASE_URL", "orgadmin.example.org", "ORGADMIN_BASE_URL: write it as https://"),
        ("ORGADMIN_BASE_URL", "https://example.org/orgs", "without a path"),
        ("ORGADMIN_BASE_URL", "https://example.org:99999", "BASE_URL: it isn't a valid URL"),
        ("ORGADMIN_DATA_DIR", "/dev/null", "The data directory can't be used"),
    ],
)
def test_an_invalid_setting_is_reported_in_one_line(
    tmp_path: Path, name: str, value: str, message: str
) -> None:
    kept = {
        key: text
        for key, text in os.environ.items()
        if not key.startswith("ORGADMIN_") and key not in {"DATABASE_URL", "SECRET_KEY"}
    }
    environment = kept | {
        "ORGADMIN_DATA_DIR": str(tmp_path),
        "DJANGO_SETTINGS_MODULE": "orgadmin.settings",
        name: value,
    }
    done = subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), "doctor"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_flag_is_true_or_false_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_flag("DEBUG", default=True)
    for text, value in [("1", True), ("Yes", True), ("false", False), ("OFF", False)]:
        monkeypatch.setenv("DEBUG", text)
        assert read_flag("DEBUG", default=not value) is value
    monkeypatch.setenv("DEBUG", "perhaps")
    with pytest.raises(ImproperlyConfigured, match="DEBUG must be true or false"):
        read_flag("DEBUG", default=False)


def test_a_number_must_be_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORGADMIN_SESSION_IDLE_MINUTES", "5.5")
    with pytest.raises(ImproperlyConfigured, match="must be a whole number"):
        read_integer("ORGADMIN_SESSION_IDLE_MINUTES", default=60, minimum=5)


def test_a_list_has_no_blanks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_list("ALLOWED_HOSTS", default="a,b") == ["a", "b"]
    monkeypatch.setenv("ALLOWED_HOSTS", " a.example.com, ,b.example.com")
    assert read_list("ALLOWED_HOSTS", default="c") == ["a.example.com", "b.example.com"]
    monkeypatch.setenv("ALLOWED_HOSTS", "")
    assert read_list("ALLOWED_HOSTS", default="c") == []


def test_an_invalid_url_is_refused_without_its_password() -> None:
    for parse in (parse_database_url, parse_email_url):
        for url in ("nonsense://secret@host", "submission://user:secret@host:port"):
            with pytest.raises(ImproperlyConfigured) as refused:
                parse(url)
            assert "secret" not in str(refused.value)
    assert parse_email_url("dummy:") == {"BACKEND": "django.core.mail.backends.dummy.EmailBackend"}
    options = parse_email_url("submission://user:secret@host:587")["OPTIONS"]
    assert (options["use_tls"], options["port"], options["username"]) == (True, 587, "user")
