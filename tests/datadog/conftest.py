"""Every test starts and ends without idle connections."""

from collections.abc import Iterator

import pytest

from connections.datadog.client import close_connections
from tests.support.certificates import Certificate, make_certificate


@pytest.fixture(autouse=True)
def _no_idle_connections() -> Iterator[None]:
    close_connections()
    yield
    close_connections()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))
