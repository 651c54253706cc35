"""Checks report an incomplete or unusable provider configuration before anyone signs in."""

from pathlib import Path

import pytest
from django.core.checks import ERROR, INFO, CheckMessage
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from connections.models import AuditEvent
from connections.operations import checks
from tests.support.provider import TestProvider


def finding() -> CheckMessage:
    """doctor's message about the identity provider."""
    [only] = checks.check_identity_provider()
    return only


@pytest.mark.parametrize("missing", ["OIDC_ISSUER", "OIDC_CLIENT_ID", "OIDC_SECRET_FILE"])
def test_an_incomplete_configuration_is_an_error(
    settings: Settings, provider: TestProvider, missing: str
):
    setattr(settings, missing, "")
    assert finding().level == ERROR
    assert finding().msg == f"not set: ORGADMIN_{missing.replace('SECRET', 'CLIENT_SECRET')}"


@pytest.mark.parametrize(
    "issuer",
    [
        "http://sso.example.com",
        "sso.example.com",
        "https://",
        "https://sso.example.com/?a=b",
        "https://sso.example.com:99999",
        "https://sso.example.com:port",
        "https://[::1",
    ],
)
def test_an_issuer_without_https_or_malformed_is_an_error(
    settings: Settings, provider: TestProvider, issuer: str
):
    settings.OIDC_ISSUER = issuer
    assert (finding().level, finding().msg) == (
        ERROR,
        "ORGADMIN_OIDC_ISSUER isn't a usable address",
    )


def test_a_secret_that_others_can_read_is_an_error(
    settings: Settings, provider: TestProvider, tmp_path: Path
):
    path = tmp_path / "open"
    path.write_text("secret")
    path.chmod(0o644)
    for unusable in (path, tmp_path / "nowhere", tmp_path):
        settings.OIDC_SECRET_FILE = str(unusable)
        assert finding().level == ERROR
        assert str(unusable) in finding().msg


def test_doctor_says_that_the_metadata_can_be_fetched_and_used(provider: TestProvider):
    assert finding().level == INFO
    assert provider.issuer in finding().msg


def test_doctor_says_nothing_without_a_configuration(settings: Settings):
    settings.OIDC_ISSUER = settings.OIDC_CLIENT_ID = settings.OIDC_SECRET_FILE = ""
    assert list(checks.check_identity_provider()) == []


def test_doctor_reports_an_issuer_that_does_not_answer(settings: Settings, provider: TestProvider):
    settings.OIDC_ISSUER = "http://127.0.0.1:9"
    assert finding().level == ERROR
    assert "connection refused" in finding().msg


def test_doctor_reports_metadata_that_cannot_be_used(provider: TestProvider):
    provider.change_metadata = lambda metadata: metadata | {"token_endpoint": "https://sso:99999/"}
    assert finding().level == ERROR
    assert "no usable token_endpoint" in finding().msg


@pytest.mark.django_db
def test_doctor_checks_the_identity_provider(provider: TestProvider):
    assert "identity provider" in {check.obj for check in checks.run_all_checks()}


def test_a_sign_in_starts_only_at_a_host_that_is_named_exactly(
    client: Client, db: None, settings: Settings, provider: TestProvider
):
    settings.ALLOWED_HOSTS = [".example.com", "127.0.0.1"]
    start = reverse("provider-start")
    response = client.get(start, headers={"host": "evil.example.com"})
    assert response.status_code == 403
    assert "set ORGADMIN_BASE_URL" in response.text
    assert AuditEvent.objects.get().details["reason"] == "unknown_address"
    assert "127.0.0.1" in client.get(start, headers={"host": "127.0.0.1"})["Location"]
