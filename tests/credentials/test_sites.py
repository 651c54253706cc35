"""The eight sites of Datadog's documentation and UK1: which requests go where."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

from connections.access.actor import command_actor
from connections.credentials import lifecycle as credential_lifecycle
from connections.inventory import fetching
from connections.net.http import Route
from tests.credentials.intercept import Interceptor
from tests.credentials.support import pasted

API_HOSTS = {
    "datadoghq.com": "api.datadoghq.com",
    "us3.datadoghq.com": "api.us3.datadoghq.com",
    "us5.datadoghq.com": "api.us5.datadoghq.com",
    "datadoghq.eu": "api.datadoghq.eu",
    "ap1.datadoghq.com": "api.ap1.datadoghq.com",
    "ap2.datadoghq.com": "api.ap2.datadoghq.com",
    "ddog-gov.com": "api.ddog-gov.com",
    "us2.ddog-gov.com": "api.us2.ddog-gov.com",
    "uk1.datadoghq.com": "api.uk1.datadoghq.com",
}
API_KEY = "0123456789abcdef0123456789abcdef"
APPLICATION_KEY = "ddapp_0123456789abcdef0123456789abcdef01"
CONNECTION_ID = "12345678-90ab-cdef-1234-567890abcdef"
LISTING = "/api/v2/org_connections?limit=1000&offset=0"
pytestmark = pytest.mark.django_db


@pytest.fixture
def datadog(tmp_path: Path, settings: Settings) -> Iterator[Interceptor]:
    with Interceptor(folder=tmp_path, hosts=tuple(API_HOSTS.values())) as interceptor:
        settings.OUTBOUND_ROUTE = Route(
            proxy_url=interceptor.url, ca_bundle=str(interceptor.bundle)
        )
        yield interceptor


@pytest.mark.parametrize("site", API_HOSTS)
def test_every_request_goes_to_its_sites_host_with_its_headers(datadog: Interceptor, site: str):
    credential = credential_lifecycle.add_credential(
        actor=command_actor(), name="", site=site, keys=pasted(API_KEY, APPLICATION_KEY)
    )
    client = fetching.open_client(credential=credential)
    client.delete_org_connection(connection_id=CONNECTION_ID)

    assert credential.is_verified
    root = f"https://{API_HOSTS[site]}"
    assert [(request.method, request.url) for request in datadog.seen] == [
        ("GET", f"{root}/api/v1/validate"),
        ("GET", f"{root}/api/v2/validate_keys"),
        ("GET", f"{root}/api/v2/current_user"),
        ("GET", f"{root}{LISTING}"),
        ("GET", f"{root}/api/v2/org"),
        ("DELETE", f"{root}/api/v2/org_connections/{CONNECTION_ID}"),
    ]
    for request in datadog.seen:
        needs_both = request.target != "/api/v1/validate"
        assert request.headers["accept"] == "application/json"
        assert request.headers["dd-api-key"] == API_KEY
        assert request.headers.get("dd-application-key") == (
            APPLICATION_KEY if needs_both else None
        )
        assert request.headers["user-agent"].startswith("org-admin/")
        assert "authorization" not in request.headers
        assert "cookie" not in request.headers
