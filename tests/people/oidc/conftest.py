"""Identity providers on a loopback port, and settings for them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from tests.support.certified_provider import CertifiedProvider, certified_provider, find_package
from tests.support.provider import CLIENT_ID, CLIENT_SECRET, TestProvider, provider_on_loopback


@pytest.fixture
def client_secret(settings: Settings, tmp_path: Path) -> None:
    """Org Admin's client at the provider, which is called “Example SSO” on screen."""
    secret = tmp_path / "client_secret"
    secret.touch(mode=0o600)
    secret.write_text(f"{CLIENT_SECRET}\n")
    settings.OIDC_CLIENT_ID = CLIENT_ID
    settings.OIDC_SECRET_FILE = str(secret)
    settings.OIDC_NAME = "Example SSO"


@pytest.fixture
def provider(settings: Settings, client_secret: None) -> Iterator[TestProvider]:
    """The provider that can misbehave."""
    with provider_on_loopback() as served:
        settings.OIDC_ISSUER = served.issuer
        yield served


@pytest.fixture(scope="session")
def certified_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the certified provider's package."""
    return find_package(tmp_path_factory.mktemp("certified_provider"))


@pytest.fixture(params=["simulated", "certified"])
def either_provider(
    request: pytest.FixtureRequest, settings: Settings, client_secret: None
) -> Iterator[TestProvider | CertifiedProvider]:
    """Each of the two providers, with an account in the group `deleters`."""
    claims: dict[str, Any] = {"email": "ada@example.com", "name": "Ada", "groups": ["deleters"]}
    if request.param == "simulated":
        with provider_on_loopback() as simulated:
            simulated.extra = {**claims, "amr": ["pwd", "mfa"]}
            settings.OIDC_ISSUER = simulated.issuer
            yield simulated
        return
    package: Path = request.getfixturevalue("certified_package")
    redirect_uri = "http://testserver/sign-in/provider/answer/"
    with certified_provider(package, redirect_uri=redirect_uri, **claims) as certified:
        settings.OIDC_ISSUER = certified.issuer
        yield certified
