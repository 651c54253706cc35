"""A client with an access token sends only the token, and nothing reveals it."""

import pytest

from connections.core.datadog_keys import AccessToken
from connections.core.secret import Secret
from connections.datadog.client import DatadogClient
from connections.datadog.responses import DatadogError
from tests.datadog.actions import WRITES, WriteUnderTest
from tests.datadog.servers import (
    ScriptedServer,
    http_response,
    json_response,
    respond,
)
from tests.support.key_rings import exposed_by

TOKEN = "ddpat_canary0" + "c" * 30


def client_with_token(url: str) -> DatadogClient:
    return DatadogClient(base_url=url, keys=AccessToken(access_token=Secret(TOKEN)))


@pytest.mark.parametrize("call", [*WRITES, "list_org_connections", "whoami", "validate_key_pair"])
def test_a_token_is_sent_as_bearer_and_never_beside_the_other_headers(call: WriteUnderTest | str):
    refused = respond(json_response({"errors": ["no"]}, status="403 Forbidden"))
    with ScriptedServer([refused]) as server:
        client = client_with_token(server.url)
        if isinstance(call, WriteUnderTest):
            call.call(client, 5)
        else:
            with pytest.raises(DatadogError) as caught:
                getattr(client, call)()
            assert TOKEN not in exposed_by(caught.value, leave_out=__file__)
    (seen,) = server.seen
    assert seen.headers["authorization"] == f"Bearer {TOKEN}"
    assert not {name for name in seen.headers if name.startswith("dd-")}


def test_a_token_is_not_validated_as_an_api_key():
    with ScriptedServer([respond(http_response())]) as server:
        with pytest.raises(TypeError, match="no API key"):
            client_with_token(server.url).validate_api_key()
        assert server.connections == 0


def test_a_token_that_is_invalid_in_a_header_is_refused_without_repeating_it():
    token = AccessToken(access_token=Secret("ddpat_abc\r\nX: y"))
    with pytest.raises(ValueError, match="access token must be printable ASCII") as caught:
        DatadogClient(base_url="https://api.datadoghq.com", keys=token)
    assert "abc" not in str(caught.value)


def test_no_repr_shows_a_token():
    token = AccessToken(access_token=Secret(TOKEN))
    shown = repr((token, token.headers, token.by_field, client_with_token("https://a.example")))
    assert TOKEN not in shown
