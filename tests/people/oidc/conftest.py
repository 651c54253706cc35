"""An identity provider on a loopback port, and settings for it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

from tests.support.provider import CLIENT_ID, CLIENT_SECRET, TestProvider, provider_on_loopback


@pytest.fixture
def provider(settings: Settings, tmp_path: Path) -> Iterator[TestProvider]:
    """The provider, called “Example SSO” on screen."""
    secret = tmp_path / "client_secret"
    secret.touch(mode=0o600)
    secret.write_text(f"{CLIENT_SECRET}\n")
    with provider_on_loopback() as served:
        settings.OIDC_ISSUER = served.issuer
        settings.OIDC_CLIENT_ID = CLIENT_ID
        settings.OIDC_SECRET_FILE = str(secret)
        settings.OIDC_NAME = "Example SSO"
        yield served
