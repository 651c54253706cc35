"""Invalid settings end every command with one line that says what to do."""

import json
import os
import runpy
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from connections.core.private_files import create_private_text
from connections.core.secret import Secret
from orgadmin.environment import (
    parse_database_url,
    parse_email_url,
    read_flag,
    read_integer,
    read_list,
    read_secret,
)
from tests.support.processes import ROOT, clean_environment, manage


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("ORGADMIN_TICKET_PATTERN", "(", "ORGADMIN_TICKET_PATTERN: it isn't a valid"),
        ("ORGADMIN_TICKET_PATTERN", r"([A-Z])\1-\d+", "back-references"),
        ("ORGADMIN_TICKET_URL", "https://tickets.example.com/", "must contain {ticket}"),
        ("ORGADMIN_HTTP_PROXY", "proxy.example.org:3128", "ORGADMIN_HTTP_PROXY: A proxy's address"),
        ("ORGADMIN_NO_PROXY", "10.0.0.0/8", "ORGADMIN_NO_PROXY: 10.0.0.0/8 is no host name"),
        ("ORGADMIN_SESSION_IDLE_MINUTES", "4", "must be 5 or more"),
        ("ORGADMIN_REFRESH_MINUTES", "4", "must be 5 or more"),
        ("ORGADMIN_REFRESH_MINUTES", "1441", "must be 1440 or less"),
        ("ORGADMIN_KEY_MAX_AGE_DAYS", "0", "must be 1 or more"),
        ("ORGADMIN_ACCESS_MAX_DAYS", "0", "must be 1 or more"),
        ("EMAIL_URL", "smtp+tls://mail.example.com", "EMAIL_URL isn't a valid email URL"),
        ("ORGADMIN_FOUR_EYES", "three", "must be none, one or two"),
        ("ORGADMIN_EXTRA_SITES", "mine=http://example.com", "ORGADMIN_EXTRA_SITES"),
        ("DATABASE_URL", "mysql://localhost/x", "must name SQLite or PostgreSQL"),
        ("ORGADMIN_BASE_URL", "orgadmin.example.org", "ORGADMIN_BASE_URL: write it as https://"),
        ("ORGADMIN_BASE_URL", "https://example.org/orgs", "without a path"),
        ("ORGADMIN_BASE_URL", "https://example.org:99999", "BASE_URL: it isn't a valid URL"),
        ("ORGADMIN_OIDC_ROLE_MAP", "a=Boss", "ORGADMIN_OIDC_ROLE_MAP: There is no role 'Boss'"),
        ("ORGADMIN_SSO_ONLY", "sometimes", "must be true or false"),
        ("ORGADMIN_DATA_DIR", "/dev/null", "The data directory can't be used"),
        ("DATABASE_URL_FILE", "/nowhere/url", "DATABASE_URL_FILE: Can't read /nowhere/url"),
        ("EMAIL_URL_FILE", "/dev/null", "EMAIL_URL_FILE: /dev/null isn't a regular file"),
        ("ORGADMIN_DRAIN_SECONDS", "-1", "must be 0 or more"),
    ],
)
def test_an_invalid_setting_is_reported_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
):
    env = clean_environment(data_dir=tmp_path) | {name: value}
    for key in os.environ:
        monkeypatch.delenv(key)
    for key, text in env.items():
        monkeypatch.setenv(key, text)
    with pytest.raises(ImproperlyConfigured) as refused:
        runpy.run_path(str(ROOT / "orgadmin/settings.py"))
    assert message in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_a_command_ends_with_the_line_about_an_invalid_setting(tmp_path: Path):
    env = clean_environment(data_dir=tmp_path) | {"ORGADMIN_FOUR_EYES": "three"}
    done = manage("check", env=env)
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (1, 1)
    assert "must be none, one or two" in done.stderr


def test_a_flag_is_true_or_false_in_any_case(monkeypatch: pytest.MonkeyPatch):
    assert read_flag("DEBUG", default=True)
    for text, value in [("1", True), ("Yes", True), ("false", False), ("OFF", False)]:
        monkeypatch.setenv("DEBUG", text)
        assert read_flag("DEBUG", default=not value) is value
    monkeypatch.setenv("DEBUG", "perhaps")
    with pytest.raises(ImproperlyConfigured, match="DEBUG must be true or false"):
        read_flag("DEBUG", default=False)


@pytest.mark.parametrize("name", ["DATABASE_URL", "SECRET_KEY", "EMAIL_URL", "ORGADMIN_HTTP_PROXY"])
def test_a_secret_comes_from_its_variable_or_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    path = tmp_path / "secret"
    monkeypatch.delenv(name, raising=False)
    assert read_secret(name, default="nothing") == "nothing"
    create_private_text(path, Secret("from the file\n"))
    monkeypatch.setenv(f"{name}_FILE", str(path))
    assert read_secret(name) == "from the file"
    monkeypatch.setenv(name, "hunter2")
    with pytest.raises(ImproperlyConfigured) as caught:
        read_secret(name)
    assert str(caught.value) == f"{name} and {name}_FILE are both set. Unset one of them."
    monkeypatch.delenv(name)
    path.write_text(" \n")
    with pytest.raises(ImproperlyConfigured, match="is empty"):
        read_secret(name)


def test_the_settings_read_secrets_from_files(tmp_path: Path):
    values = {
        "DATABASE_URL": f"sqlite:///{tmp_path}/elsewhere.sqlite3",
        "SECRET_KEY": "k" * 50,
        "EMAIL_URL": "submission://user:hunter2@mail.example.org:587",
        "ORGADMIN_HTTP_PROXY": "http://user:hunter2@proxy.example.org:3128",
        "ORGADMIN_WEBHOOK_URL": "https://hooks.example.org/hunter2",
    }
    env = clean_environment(data_dir=tmp_path)
    for name, value in values.items():
        create_private_text(tmp_path / name, Secret(f"{value}\n"))
        env[f"{name}_FILE"] = str(tmp_path / name)
    code = (
        "import json; from django.conf import settings as s; print(json.dumps(["
        "s.DATABASES['default']['NAME'], s.SECRET_KEY, s.OUTBOUND_ROUTE.proxy_url, s.WEBHOOK_URL, "
        "s.MAILERS['default']['OPTIONS']['password']]))"
    )
    done = manage("shell", "--no-imports", "-c", code, env=env)
    names = ("SECRET_KEY", "ORGADMIN_HTTP_PROXY", "ORGADMIN_WEBHOOK_URL")
    expected = [f"{tmp_path}/elsewhere.sqlite3", *(values[name] for name in names), "hunter2"]
    assert json.loads(done.stdout) == expected


def test_a_number_must_be_whole(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ORGADMIN_SESSION_IDLE_MINUTES", "5.5")
    with pytest.raises(ImproperlyConfigured, match="must be a whole number"):
        read_integer("ORGADMIN_SESSION_IDLE_MINUTES", default=60, minimum=5)


def test_a_list_has_no_blanks(monkeypatch: pytest.MonkeyPatch):
    assert read_list("ALLOWED_HOSTS", default="a,b") == ["a", "b"]
    monkeypatch.setenv("ALLOWED_HOSTS", " a.example.com, ,b.example.com")
    assert read_list("ALLOWED_HOSTS", default="c") == ["a.example.com", "b.example.com"]
    monkeypatch.setenv("ALLOWED_HOSTS", "")
    assert read_list("ALLOWED_HOSTS", default="c") == []


def test_an_invalid_url_is_refused_without_its_password():
    for parse in (parse_database_url, parse_email_url):
        for url in ("nonsense://secret@host", "submission://user:secret@host:port"):
            with pytest.raises(ImproperlyConfigured) as refused:
                parse(url)
            assert "secret" not in str(refused.value)
    assert parse_email_url("dummy:") == {"BACKEND": "django.core.mail.backends.dummy.EmailBackend"}
    options = parse_email_url("submission://user:secret@host:587")["OPTIONS"]
    assert (options["use_tls"], options["port"], options["username"]) == (True, 587, "user")
    for url, port in (("smtps://host", 465), ("smtps://host:4650", 4650)):
        options = parse_email_url(url)["OPTIONS"]
        assert (options["use_ssl"], options["use_tls"], options["port"]) == (True, False, port)
