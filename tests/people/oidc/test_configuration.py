"""Checks report an incomplete or unusable provider configuration before anyone signs in."""

from pathlib import Path

import pytest
from django.core.checks import run_checks
from pytest_django import Settings

from connections.operations import doctor
from connections.operations.findings import Finding, Level
from tests.support.provider import TestProvider


def found() -> list[str]:
    problems = run_checks(include_deployment_checks=True, tags=["security"])
    return [str(problem.id) for problem in problems if str(problem.id).startswith("connections.E")]


def test_none_and_a_complete_configuration_pass(settings: Settings, provider: TestProvider) -> None:
    assert found() == []
    settings.OIDC_ISSUER = settings.OIDC_CLIENT_ID = settings.OIDC_SECRET_FILE = ""
    assert found() == []


@pytest.mark.parametrize("missing", ["OIDC_ISSUER", "OIDC_CLIENT_ID", "OIDC_SECRET_FILE"])
def test_an_incomplete_configuration_is_an_error(
    settings: Settings, provider: TestProvider, missing: str
) -> None:
    setattr(settings, missing, "")
    assert found() == ["connections.E002"]


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
) -> None:
    settings.OIDC_ISSUER = issuer
    assert found() == ["connections.E003"]


def test_a_secret_that_others_can_read_is_an_error(
    settings: Settings, provider: TestProvider, tmp_path: Path
) -> None:
    path = tmp_path / "open"
    path.write_text("secret")
    path.chmod(0o644)
    settings.OIDC_SECRET_FILE = str(path)
    assert found() == ["connections.E004"]
    settings.OIDC_SECRET_FILE = str(tmp_path / "nowhere")
    assert found() == ["connections.E004"]
    settings.OIDC_SECRET_FILE = str(tmp_path)
    assert found() == ["connections.E004"]


def finding() -> Finding:
    """doctor's findings about the identity provider."""
    [only] = doctor.check_identity_provider()
    return only


def test_doctor_says_that_the_metadata_can_be_fetched_and_used(provider: TestProvider) -> None:
    assert finding().level == Level.OK
    assert provider.issuer in finding().message


def test_doctor_says_nothing_without_an_issuer(settings: Settings) -> None:
    settings.OIDC_ISSUER = ""
    assert list(doctor.check_identity_provider()) == []


def test_doctor_reports_an_issuer_that_does_not_answer(
    settings: Settings, provider: TestProvider
) -> None:
    settings.OIDC_ISSUER = "http://127.0.0.1:9"
    assert finding().level == Level.ERROR
    assert "connection refused" in finding().message


def test_doctor_reports_metadata_that_cannot_be_used(provider: TestProvider) -> None:
    provider.change_metadata = lambda metadata: metadata | {"token_endpoint": "https://sso:99999/"}
    assert finding().level == Level.ERROR
    assert "no usable token_endpoint" in finding().message


def test_doctor_reports_an_issuer_that_no_request_can_be_made_to(
    settings: Settings, provider: TestProvider
) -> None:
    settings.OIDC_ISSUER = "https://sso.example.com:99999"
    assert finding().level == Level.ERROR


def test_doctor_reports_a_secret_that_cannot_be_read(
    settings: Settings, provider: TestProvider
) -> None:
    settings.OIDC_SECRET_FILE = ""
    assert finding().level == Level.ERROR


@pytest.mark.django_db
def test_doctor_checks_the_identity_provider(provider: TestProvider) -> None:
    assert "identity provider" in {each.check for each in doctor.diagnose()}
