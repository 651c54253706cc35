"""A certificate for the servers of these tests, and the writes that all of them send."""

import pytest

from sandbox.certificates import Certificate, make_certificate
from tests.datadog.actions import WRITES, WriteUnderTest


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(params=WRITES, ids=lambda write: write.method)
def write(request: pytest.FixtureRequest) -> WriteUnderTest:
    found: WriteUnderTest = request.param
    return found
