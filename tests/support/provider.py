"""A small OpenID Connect provider on a loopback port: real sockets, real signatures, and faults.

Unless a test changes it, it follows OpenID Connect Core and RFC 7636: codes work once, the verifier
must match the challenge, and the redirect address and the client's secret must be correct.
"""

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, quote_plus, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

Claims = dict[str, Any]
CLIENT_ID = "orgadmin"
CLIENT_SECRET = "the client's secret"
# Made once, because making a key takes longer than a test.
_KEYS: list[rsa.RSAPrivateKey] = []


def rsa_key(number: int) -> rsa.RSAPrivateKey:
    """One of several keys that stay the same while the tests run."""
    while len(_KEYS) <= number:
        _KEYS.append(rsa.generate_private_key(public_exponent=65537, key_size=2048))
    return _KEYS[number]


@dataclass(kw_only=True)
class TestProvider:
    """What the provider does; a test changes it before or between requests."""

    __test__ = False

    issuer: str = ""
    subject: str = "248289761001"
    # Claims about the person besides the subject; never requested and never to be trusted.
    extra: Claims = field(default_factory=dict)
    # How many seconds ago they signed in there, unless asked to sign in again.
    signed_in_ago: int = 3600
    obeys_prompt: bool = True
    shows_page: bool = False
    sends_iss: bool = True
    # Changes to what is sent: the claims, the token, the redirect's query, the metadata.
    change_claims: Callable[[Claims], Claims] = lambda claims: claims
    change_answer: Callable[[dict[str, str]], dict[str, str]] = lambda response: response
    change_metadata: Callable[[Claims], Claims] = lambda metadata: metadata
    sign: Callable[[Claims], str] = lambda claims: signed(claims)
    refuses_with: str = ""
    # What the UserInfo endpoint says; without it, there is no such endpoint.
    userinfo: Claims = field(default_factory=dict)
    # More metadata, such as an end_session_endpoint.
    more_metadata: Claims = field(default_factory=dict)
    # Sent in place of the metadata.
    metadata_text: bytes | None = None
    keys: Claims = field(default_factory=lambda: {"keys": [public_key(0)]})
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    requests: list[dict[str, str]] = field(default_factory=list)

    def metadata(self) -> Claims:
        """The discovery document."""
        return self.change_metadata(
            {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/keys",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "authorization_response_iss_parameter_supported": self.sends_iss,
                **({"userinfo_endpoint": f"{self.issuer}/userinfo"} if self.userinfo else {}),
                **self.more_metadata,
            }
        )

    def redirect_for(self, query: dict[str, str]) -> str:
        """The address that the browser is sent back to."""
        response = {"state": query["state"]}
        if self.sends_iss:
            response["iss"] = self.issuer
        if self.refuses_with:
            response["error"] = self.refuses_with
        else:
            response["code"] = secrets.token_urlsafe(16)
            self.codes[response["code"]] = query
        return f"{query['redirect_uri']}?{urlencode(self.change_answer(response))}"

    def token_for(self, form: dict[str, str], authorization: str) -> Claims | None:
        """The response of the token endpoint; None if refused."""
        query = self.codes.pop(form.get("code", ""), None)
        challenge = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        secret = quote_plus(CLIENT_SECRET)
        expected = base64.b64encode(f"{CLIENT_ID}:{secret}".encode()).decode()
        if (
            query is None
            or query["code_challenge"] != base64.urlsafe_b64encode(challenge).rstrip(b"=").decode()
            or query["redirect_uri"] != form.get("redirect_uri")
            or authorization != f"Basic {expected}"
        ):
            return None
        return {
            "access_token": secrets.token_urlsafe(16),
            "token_type": "Bearer",
            "id_token": self.sign(self.change_claims(self._claims(query))),
        }

    def _claims(self, query: dict[str, str]) -> Claims:
        now = int(time.time())
        is_anew = self.obeys_prompt and query.get("prompt") == "login"
        return {
            "iss": self.issuer,
            "sub": self.subject,
            "aud": query["client_id"],
            "nonce": query["nonce"],
            "iat": now,
            "exp": now + 300,
            "auth_time": now if is_anew else now - self.signed_in_ago,
            **self.extra,
        }


def signed(claims: Claims, *, number: int = 0, algorithm: str = "RS256", kid: str = "0") -> str:
    """An ID token signed with one of the keys."""
    return jwt.encode(claims, rsa_key(number), algorithm=algorithm, headers={"kid": kid})


def unsigned(claims: Claims) -> str:
    """An ID token with the algorithm "none"."""
    return jwt.encode(claims, "", algorithm="none", headers={"kid": "0"})


def signed_with_public_key(claims: Claims) -> str:
    """An ID token whose HMAC key is the provider's public key, which anyone can know."""

    def part(value: Claims | bytes) -> str:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    text = f"{part({'alg': 'HS256', 'kid': '0'})}.{part(claims)}"
    key = json.dumps(public_key(0)).encode()
    return f"{text}.{part(hashlib.sha256(key + text.encode()).digest())}"


def public_key(number: int) -> Claims:
    """The public part of one of its keys, as the provider publishes it."""
    key: Claims = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(rsa_key(number).public_key()))
    return key | {"kid": str(number), "use": "sig", "alg": "RS256"}


@contextmanager
def provider_on_loopback() -> Iterator[TestProvider]:
    """Serve a provider until the end of the block."""
    provider = TestProvider()

    class Handler(_Handler):
        at = provider

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        provider.issuer = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield provider
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    at: TestProvider

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query))
        if parts.path == "/.well-known/openid-configuration":
            text = self.at.metadata_text
            self._send(200, json.dumps(self.at.metadata()).encode() if text is None else text, {})
        elif parts.path == "/keys":
            self._send_json(self.at.keys)
        elif parts.path == "/userinfo":
            is_allowed = self.headers.get("Authorization", "").startswith("Bearer ")
            self._send_json(self.at.userinfo, status=200 if is_allowed else 401)
        elif parts.path == "/authorize" and (not self.at.shows_page or query.get("go")):
            self.at.requests.append(query)
            self._send(302, b"", {"Location": self.at.redirect_for(query)})
        elif parts.path == "/authorize":
            self._send(200, _page(query).encode(), {"Content-Type": "text/html"})
        else:
            self._send(404, b"", {})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        response = self.at.token_for(dict(parse_qsl(body)), self.headers.get("Authorization", ""))
        if response is None:
            self._send_json({"error": "invalid_grant"}, status=400)
        else:
            self._send_json(response)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""

    def _send_json(self, value: Claims, *, status: int = 200) -> None:
        self._send(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _page(query: dict[str, str]) -> str:
    fields = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'
        for name, value in (query | {"go": "1"}).items()
    )
    return (
        '<!doctype html><html lang="en"><title>Provider</title><link rel="icon" href="data:,">'
        "<h1>Provider</h1>"
        f'<form action="/authorize">{fields}<button type="submit">Sign in here</button></form>'
    )
