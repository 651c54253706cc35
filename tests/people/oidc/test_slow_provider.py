"""A slow provider: one deadline for all its responses, and a limit on waiting sign-ins."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime

import pytest
from django.test import Client, RequestFactory
from pytest_django import Settings

from connections.core.secret import Secret
from connections.models import AuditEvent, Person
from connections.people.oidc import client as oidc
from connections.people.oidc import exchange
from connections.people.oidc.exchange import IdentityProvider, open_exchange
from connections.people.oidc.identity import Failure, ProviderError
from connections.web.people import single_sign_on
from tests.datadog.servers import Play, ScriptedServer, http_response
from tests.people.oidc.support import START, connect, is_signed_in, redirect_back
from tests.support.provider import TestProvider

DEADLINE_SECONDS = 2.0
# Enough for a busy machine, and less than a response that drips takes.
ENDED_SECONDS = 10.0


def provider_at(issuer: str, *, deadline_seconds: float = DEADLINE_SECONDS) -> IdentityProvider:
    return IdentityProvider(
        issuer=issuer,
        client_id="orgadmin",
        client_secret=Secret("the client's secret"),
        deadline_seconds=deadline_seconds,
    )


def drip(data: bytes, *, at_once: int) -> Play:
    """Send the first bytes at once, then one at a time, each well within any pause allowed."""

    def play(connection: socket.socket, is_over: threading.Event) -> None:
        connection.sendall(data[:at_once])
        for byte in data[at_once:]:
            if is_over.wait(0.02):
                return
            connection.sendall(bytes([byte]))

    return play


def after(seconds: float, data: bytes) -> Play:
    def play(connection: socket.socket, is_over: threading.Event) -> None:
        if not is_over.wait(seconds):
            connection.sendall(data)

    return play


def metadata_of(issuer: str) -> dict[str, object]:
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/authorize",
        "token_endpoint": f"{issuer}/token",
        "jwks_uri": f"{issuer}/keys",
    }


@contextmanager
def ends_in_time() -> Iterator[None]:
    """Expect “unreachable” from the block, soon after the deadline."""
    began = time.monotonic()
    with pytest.raises(ProviderError) as failure:
        yield
    assert failure.value.reason == Failure.UNREACHABLE
    assert time.monotonic() - began < ENDED_SECONDS


LONG_RESPONSE = http_response(body=json.dumps({"filler": "x" * 1000}).encode())


@pytest.mark.parametrize(
    "at_once",
    [
        pytest.param(0, id="the status line drips"),
        pytest.param(len(b"HTTP/1.1 200 OK\r\n"), id="the headers drip"),
        pytest.param(LONG_RESPONSE.index(b"\r\n\r\n") + 4, id="the body drips"),
    ],
)
def test_a_slow_response_ends_at_the_deadline(at_once: int):
    with (
        ScriptedServer([drip(LONG_RESPONSE, at_once=at_once)]) as server,
        ends_in_time(),
        open_exchange(provider_at(server.url)) as requested,
    ):
        oidc.fetch_metadata(requested)


def test_a_provider_that_accepts_and_sends_nothing_ends_at_the_deadline():
    def silent(_: socket.socket, is_over: threading.Event) -> None:
        is_over.wait(ENDED_SECONDS)

    with (
        ScriptedServer([], on_accept=silent) as server,
        ends_in_time(),
        open_exchange(provider_at(server.url)) as requested,
    ):
        oidc.fetch_metadata(requested)


def test_three_slow_responses_share_one_deadline():
    plays: list[Play] = []
    # Each alone is in time; two leave room for a busy machine, and three are too much.
    deadline_seconds = 3.0
    delays = [deadline_seconds * share for share in (0.1, 0.1, 0.9)]
    with ScriptedServer(plays) as server:
        documents: list[dict[str, object]] = [
            metadata_of(server.url),
            {"id_token": "a.b.c"},
            {"keys": []},
        ]
        plays += [
            after(delay, http_response(body=json.dumps(document).encode()))
            for delay, document in zip(delays, documents, strict=True)
        ]
        provider = provider_at(server.url, deadline_seconds=deadline_seconds)
        with ends_in_time(), open_exchange(provider) as requested:
            oidc.fetch_identity(
                requested,
                request=oidc.start(is_reauthentication=False, now=datetime.now(UTC)),
                redirect_uri="http://testserver/sign-in/provider/answer/",
                callback={"code": "a code"},
                now=datetime.now(UTC),
            )
    assert server.targets == ["/.well-known/openid-configuration", "/token", "/keys"]


def test_no_request_is_sent_after_the_deadline():
    with ScriptedServer([after(0, http_response())]) as server:
        provider = provider_at(server.url, deadline_seconds=0)
        with ends_in_time(), open_exchange(provider) as requested:
            oidc.fetch_metadata(requested)
        assert server.seen == []


def test_a_response_that_is_too_long_is_refused():
    document = metadata_of("an issuer") | {"filler": "x" * exchange.MAX_BODY}
    with (
        ScriptedServer([after(0, http_response(body=json.dumps(document).encode()))]) as server,
        pytest.raises(ProviderError, match="body too long"),
        open_exchange(provider_at(server.url)) as requested,
    ):
        oidc.fetch_metadata(requested)


def test_a_redirect_is_not_followed():
    with ScriptedServer(
        [after(0, http_response("302 Found", headers={"Location": "/"}))]
    ) as server:
        with (
            pytest.raises(ProviderError, match="status 302"),
            open_exchange(provider_at(server.url)) as requested,
        ):
            oidc.fetch_metadata(requested)
        assert len(server.seen) == 1


def test_no_error_or_log_contains_a_client_secret_sent_in_the_form():
    seen = []

    def spying(**sent: object) -> None:
        seen.append(repr(sent))
        raise ProviderError(Failure.UNREACHABLE, "")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exchange, "send", spying)
        with pytest.raises(ProviderError), open_exchange(provider_at("http://127.0.0.1:9")) as to:
            to.fetch("http://127.0.0.1:9/token", form={"client_secret": "the secret"})
    assert seen
    assert "secret" not in seen[0]


@contextmanager
def two_waiting_sign_ins(issuer: str) -> Iterator[None]:
    """Two sign-ins at the provider, the most that can wait at once."""
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(open_exchange(provider_at(issuer)))
        yield


def test_while_two_wait_for_a_silent_provider_a_third_is_refused_at_once(
    client: Client, db: None, provider: TestProvider
):
    """The two wait in threads until the provider disconnects."""
    may_end = threading.Event()
    have_asked = threading.Barrier(3)
    reasons = []

    def silent(connection: socket.socket, is_over: threading.Event) -> None:
        del is_over
        have_asked.wait(5)
        may_end.wait(5)
        connection.close()

    def sign_in(issuer: str) -> None:
        try:
            with open_exchange(provider_at(issuer, deadline_seconds=10)) as requested:
                oidc.fetch_metadata(requested)
        except ProviderError as error:
            reasons.append(error.reason)

    with ScriptedServer([silent]) as server:
        waiting = [threading.Thread(target=sign_in, args=[server.url]) for _ in range(2)]
        for thread in waiting:
            thread.start()
        have_asked.wait(5)
        events = AuditEvent.objects.count()
        page = client.get(START)
        assert (page.status_code, page["Retry-After"]) == (503, "60")
        assert "Try again in a minute" in page.text
        assert AuditEvent.objects.count() == events
        may_end.set()
        for thread in waiting:
            thread.join(5)
    assert reasons == [Failure.UNREACHABLE] * 2
    assert client.get(START).status_code == 302


def test_returning_while_two_sign_ins_wait_loses_nothing(
    client: Client, ada: Person, provider: TestProvider
):
    connect(ada, provider)
    back = redirect_back(client)
    with two_waiting_sign_ins(provider.issuer):
        assert client.get(back).status_code == 503
    assert not is_signed_in(client, ada)
    client.get(back)
    assert is_signed_in(client, ada)


def test_a_sign_in_that_found_no_free_slot_can_be_retried(
    client: Client, db: None, provider: TestProvider
):
    """Django stores no session with a 5xx response; this holds whatever the page's status is."""
    request = RequestFactory().get(redirect_back(client))
    request.session = client.session
    with two_waiting_sign_ins(provider.issuer), pytest.raises(ProviderError) as failure:
        single_sign_on.finish(request)
    assert failure.value.reason == Failure.BUSY
    assert single_sign_on.pending_purpose(request)


def test_a_sign_in_that_fails_frees_its_slot(
    client: Client, db: None, provider: TestProvider, settings: Settings
):
    settings.OIDC_ISSUER = "http://127.0.0.1:9"
    statuses = [client.get(START).status_code for _ in range(exchange.MAX_CONCURRENT + 1)]
    assert statuses == [502] * (exchange.MAX_CONCURRENT + 1)
