"""Which requests go through the proxy, and whose certificates are trusted."""

from pathlib import Path

import pytest

from connections.core.causes import Cause
from connections.datadog.client import DatadogClient
from connections.datadog.responses import AttemptResult
from connections.net.connection import tls_context
from connections.net.http import Route, check_no_proxy
from sandbox.certificates import Certificate
from tests.datadog.servers import CONNECTION_ID, ScriptedServer, http_response, key_pair, respond

PROXY = "http://proxy.example:3128"


@pytest.mark.parametrize(
    ("url", "no_proxy", "is_proxied"),
    [
        ("https://api.datadoghq.com/x", "", True),
        ("https://sso.example.org", "example.org", False),
        ("https://sso.example.org:8443/x", " .Example.org, other", False),
        ("https://example.org", "example.org", False),
        ("https://badexample.org", "example.org", True),
        ("https://example.org.evil.example", "example.org", True),
        ("https://api.datadoghq.com.", ",", True),
        ("https://10.0.0.1", "10.0.0.1", False),
        ("https://[::1]:8443", "[::1]", False),
        ("https://api.datadoghq.com", "*", False),
        ("http://127.0.0.1:8000", "", False),
    ],
)
def test_a_host_that_is_excepted_is_not_asked_through_the_proxy(
    url: str, no_proxy: str, is_proxied: bool
):
    route = Route(proxy_url=PROXY, no_proxy=check_no_proxy(no_proxy))
    assert route.proxy_for(url) == (PROXY if is_proxied else "")


@pytest.mark.parametrize(
    "entry", ["10.0.0.0/8", "host:8443", "[::1]:8443", "*.example.org", "https://host", "a b"]
)
def test_an_exception_that_would_match_no_host_is_refused(entry: str):
    with pytest.raises(ValueError, match="no host name or address"):
        check_no_proxy(f"other, {entry}")


def test_the_extra_certificates_are_trusted_beside_the_public_ones(certificate: Certificate):
    public = len(tls_context("", "").get_ca_certs())
    assert len(tls_context("", str(certificate.bundle)).get_ca_certs()) == public + 1
    route = Route(extra_ca_file=str(certificate.bundle))
    with ScriptedServer([respond(http_response())], tls=certificate.server) as server:
        client = DatadogClient(base_url=server.url, keys=key_pair(), route=route)
        assert client.delete_org_connection(connection_id=CONNECTION_ID).verdict is (
            AttemptResult.DELETED
        )


def test_with_unreadable_extra_certificates_nothing_is_sent(tmp_path: Path):
    route = Route(extra_ca_file=str(tmp_path / "missing.pem"))
    client = DatadogClient(base_url="https://127.0.0.1:9", keys=key_pair(), route=route)
    result = client.delete_org_connection(connection_id=CONNECTION_ID)
    assert (result.verdict, result.cause) == (AttemptResult.NOT_SENT, Cause.CA_BUNDLE_UNREADABLE)
