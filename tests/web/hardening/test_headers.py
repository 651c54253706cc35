"""The headers of every response of a deployed service, for pages and static files."""

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
def responses(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The responses of a service with a public name, by name."""
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
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_plain_http_is_redirected_to_https(responses: dict[str, Any]):
    response = responses["plain HTTP"]
    assert response["status"] == 301
    assert response["headers"]["Location"].startswith("https://orgadmin.example.com/")


@pytest.mark.parametrize("name", EVERYTHING)
def test_hsts_tells_the_browser_to_use_only_https(responses: dict[str, Any], name: str):
    assert responses[name]["headers"]["Strict-Transport-Security"] == "max-age=31536000"


@pytest.mark.parametrize("name", EVERYTHING)
def test_browsers_must_not_guess_content_types(responses: dict[str, Any], name: str):
    assert responses[name]["headers"]["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("name", EVERYTHING)
def test_no_other_window_keeps_a_reference_to_ours(responses: dict[str, Any], name: str):
    headers = responses[name]["headers"]
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Referrer-Policy"] == "same-origin"


@pytest.mark.parametrize("name", PAGES)
def test_a_page_loads_only_our_files_and_cannot_be_framed(responses: dict[str, Any], name: str):
    headers = responses[name]["headers"]
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
def test_no_page_can_be_framed_in_an_older_browser(responses: dict[str, Any], name: str):
    assert responses[name]["headers"]["X-Frame-Options"] == "DENY"


@pytest.mark.parametrize("name", [*PAGES, "health"])
def test_no_page_is_cached(responses: dict[str, Any], name: str):
    assert responses[name]["headers"]["Cache-Control"] == "no-store"


@pytest.mark.parametrize("name", ["page", "guarded", "signing in"])
def test_every_cookie_is_secure_and_limited_to_this_host(responses: dict[str, Any], name: str):
    cookies = responses[name]["cookies"]
    assert cookies
    for key, cookie in cookies.items():
        assert key.startswith("__Host-")
        assert cookie["secure"] is True
        assert cookie["path"] == "/"
        assert cookie["domain"] == ""
        assert cookie["samesite"] == "Lax"
        assert cookie["httponly"] is True


def test_a_person_without_mfa_is_redirected_to_set_it_up(responses: dict[str, Any]):
    assert responses["guarded"]["status"] == 302
    assert responses["guarded"]["headers"]["Location"] == "/accounts/2fa/"


@pytest.mark.parametrize("name", EVERYTHING)
def test_no_header_names_the_server_software(responses: dict[str, Any], name: str):
    assert not {"Server", "X-Powered-By"} & set(responses[name]["headers"])
