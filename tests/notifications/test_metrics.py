"""/metrics is open to programs with the token, and otherwise needs a sign-in."""

import logging
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from connections.models import Person
from tests.notifications.conftest import RecordEvent

pytestmark = pytest.mark.django_db

TOKEN = "canary-token-" + "x" * 40


@pytest.fixture(autouse=True)
def token_file(settings: Settings, tmp_path: Path) -> Path:
    path = tmp_path / "metrics_token"
    path.write_text(f"{TOKEN}\n")
    path.chmod(0o600)
    settings.METRICS_TOKEN_FILE = str(path)
    return path


def status(header: str | None, *, path: str = "/metrics", method: str = "GET") -> int:
    headers = {"Authorization": header} if header is not None else {}
    return Client().generic(method, path, headers=headers).status_code


def test_the_token_opens_the_metrics() -> None:
    response = Client().get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    assert response.status_code == 200
    assert b"orgadmin_deletions" in response.content


def test_closed_deletions_are_counted_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    def counts_closed_deletions() -> bool:
        with CaptureQueriesContext(connection) as queries:
            assert status(f"Bearer {TOKEN}") == 200
        return any('"outcome"' in query["sql"] for query in queries)

    assert counts_closed_deletions()
    assert not counts_closed_deletions()
    later = timezone.now() + timedelta(seconds=61)
    monkeypatch.setattr("django.core.cache.backends.db.tz_now", lambda: later)
    assert counts_closed_deletions()


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", f"Basic {TOKEN}", "Bearer wrong", f"Bearer {TOKEN}x", TOKEN]
)
def test_anything_else_is_refused(header: str) -> None:
    assert status(header) == 401


def test_without_a_token_the_page_requires_a_sign_in() -> None:
    assert status(None) == 302


def test_where_no_token_is_set_no_header_opens_it(settings: Settings) -> None:
    settings.METRICS_TOKEN_FILE = ""
    assert status("Bearer ") == 401
    assert status(f"Bearer {TOKEN}") == 401


@pytest.mark.parametrize("path", ["/", "/deletions/", "/audit/", "/notices/"])
def test_the_token_opens_nothing_else(path: str) -> None:
    assert status(f"Bearer {TOKEN}", path=path) == 302


def test_the_token_only_reads() -> None:
    assert status(f"Bearer {TOKEN}", method="POST") in {403, 405}


def test_a_wrong_token_is_refused_even_when_signed_in(
    victor: Person, client_of: Callable[[Person], Client]
) -> None:
    response = client_of(victor).get("/metrics", headers={"Authorization": "Bearer wrong"})
    assert response.status_code == 401


def test_a_second_factor_is_still_required_of_people(
    ada: Person, settings: Settings, client_of: Callable[[Person], Client]
) -> None:
    settings.REQUIRE_MFA = True
    assert client_of(ada).get("/metrics").status_code == 302


@pytest.mark.parametrize("fault", ["short", "open", "missing"])
def test_an_invalid_token_file_grants_nothing_and_is_logged_without_the_token(
    token_file: Path, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    given = TOKEN
    if fault == "short":
        given = "canary"
        token_file.write_text(given)
    elif fault == "open":
        os.chmod(token_file, 0o644)
    else:
        token_file.unlink()
    with caplog.at_level(logging.DEBUG, logger="connections"):
        assert status(f"Bearer {given}") == 401
    assert "/metrics isn't available with the token." in caplog.text
    assert "canary" not in caplog.text


def test_the_token_opens_the_metrics_by_address_and_over_http(settings: Settings) -> None:
    settings.ALLOWED_HOSTS, settings.SECURE_SSL_REDIRECT = ["orgadmin.example.org"], True
    for header, status in ((f"Bearer {TOKEN}", 200), ("Bearer wrong", 401), (None, 301)):
        headers = {"Host": "10.0.0.5:8000" if header else "orgadmin.example.org"}
        headers |= {"Authorization": header} if header else {}
        response = Client().get("/metrics", headers=headers)
        assert response.status_code == status
    assert Client().get("/metrics", headers={"Host": "10.0.0.5:8000"}).status_code == 400


def test_the_response_to_a_token_is_not_stored() -> None:
    response = Client().get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    assert response["Cache-Control"] == "no-store"


def test_it_counts_failed_deliveries(record_event: RecordEvent, settings: Settings) -> None:
    settings.WEBHOOK_URL = "https://hooks.example.org/in"
    record_event()
    text = Client().get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).content.decode()
    assert 'orgadmin_notices{channel="webhook",state="waiting"} 1' in text
    assert 'orgadmin_notices{channel="mail",state="given_up"} 0' in text
    assert "orgadmin_oldest_notice_age_seconds " in text
