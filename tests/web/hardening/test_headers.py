"""What every answer of a deployed service says to the browser, pages and static files alike."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGES = ("login", "page", "guarded", "missing")
EVERYTHING = (*PAGES, "static")


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a service under a public name answers, by what was asked."""
    environment = {
        "PATH": os.environ["PATH"],
        "DJANGO_SETTINGS_MODULE": "orgadmin.settings",
        "ORGADMIN_DATA_DIR": str(tmp_path_factory.mktemp("deployed")),
        "ALLOWED_HOSTS": "orgadmin.example.com",
        "SECRET_KEY": "only-for-tests-" + "x" * 50,
    }
    command = [sys.executable, "-m", "tests.web.hardening.deployed"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_plain_http_is_led_to_https(answers: dict[str, Any]) -> None:
    answer = answers["plain HTTP"]
    assert answer["status"] == 301
    assert answer["headers"]["Location"].startswith("https://orgadmin.example.com/")


@pytest.mark.parametrize("name", EVERYTHING)
def test_the_browser_is_told_to_come_by_https_alone(answers: dict[str, Any], name: str) -> None:
    assert answers[name]["headers"]["Strict-Transport-Security"] == "max-age=31536000"


@pytest.mark.parametrize("name", EVERYTHING)
def test_no_type_is_guessed(answers: dict[str, Any], name: str) -> None:
    assert answers[name]["headers"]["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("name", EVERYTHING)
def test_no_other_window_holds_on_to_ours(answers: dict[str, Any], name: str) -> None:
    headers = answers[name]["headers"]
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Referrer-Policy"] == "same-origin"


@pytest.mark.parametrize("name", PAGES)
def test_a_page_runs_only_our_files_and_cannot_be_framed(
    answers: dict[str, Any], name: str
) -> None:
    headers = answers[name]["headers"]
    policy = {
        directive: set(sources)
        for directive, *sources in (
            part.split() for part in headers["Content-Security-Policy"].split(";") if part.strip()
        )
    }
    assert policy == {
        "default-src": {"'none'"},
        "script-src": {"'self'"},
        "style-src": {"'self'"},
        "img-src": {"'self'"},
        "connect-src": {"'self'"},
        "form-action": {"'self'"},
        "base-uri": {"'none'"},
        "frame-ancestors": {"'none'"},
    }
    assert "camera=()" in headers["Permissions-Policy"]


@pytest.mark.parametrize("name", EVERYTHING)
def test_no_page_can_be_framed_in_an_older_browser(answers: dict[str, Any], name: str) -> None:
    assert answers[name]["headers"]["X-Frame-Options"] == "DENY"


@pytest.mark.parametrize("name", [*PAGES, "health"])
def test_no_cache_keeps_a_page(answers: dict[str, Any], name: str) -> None:
    assert answers[name]["headers"]["Cache-Control"] == "no-store"


@pytest.mark.parametrize("name", ["page", "guarded", "signing in"])
def test_every_cookie_belongs_to_this_host_under_https_alone(
    answers: dict[str, Any], name: str
) -> None:
    cookies = answers[name]["cookies"]
    assert cookies
    for key, cookie in cookies.items():
        assert key.startswith("__Host-")
        assert cookie["secure"] is True
        assert cookie["path"] == "/"
        assert cookie["domain"] == ""
        assert cookie["samesite"] == "Lax"
        assert cookie["httponly"] is True


def test_a_person_without_mfa_is_redirected_to_set_it_up(answers: dict[str, Any]) -> None:
    assert answers["guarded"]["status"] == 302
    assert answers["guarded"]["headers"]["Location"] == "/accounts/2fa/"


@pytest.mark.parametrize("name", EVERYTHING)
def test_no_header_names_the_server_software(answers: dict[str, Any], name: str) -> None:
    assert not {"Server", "X-Powered-By"} & set(answers[name]["headers"])
