"""A provider that is configured in half, or of no use, is said before anybody stands before it."""

from pathlib import Path

import pytest
from django.core.checks import run_checks
from pytest_django import Settings

from tests.support.provider import TestProvider


def found() -> list[str]:
    problems = run_checks(include_deployment_checks=True, tags=["security"])
    return [str(problem.id) for problem in problems if str(problem.id).startswith("connections.E")]


def test_none_and_a_whole_one_are_in_order(settings: Settings, provider: TestProvider) -> None:
    assert found() == []
    settings.OIDC_ISSUER = settings.OIDC_CLIENT_ID = settings.OIDC_SECRET_FILE = ""
    assert found() == []


@pytest.mark.parametrize("missing", ["OIDC_ISSUER", "OIDC_CLIENT_ID", "OIDC_SECRET_FILE"])
def test_half_of_one_is_an_error(settings: Settings, provider: TestProvider, missing: str) -> None:
    setattr(settings, missing, "")
    assert found() == ["connections.E002"]


@pytest.mark.parametrize(
    "issuer",
    ["http://sso.example.com", "sso.example.com", "https://", "https://sso.example.com/?a=b"],
)
def test_an_issuer_in_clear_or_of_no_form_is_an_error(
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
