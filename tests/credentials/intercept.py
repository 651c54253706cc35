"""A proxy that impersonates every requested host with certificates of its own CA.

Org Admin really resolves names, opens tunnels, checks the certificate's host and sends its
requests; a test sees the method, host, path and headers of each.
"""

import contextlib
import datetime
import json
import socket
import ssl
import threading
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ORG_ID = "11111111-2222-3333-4444-555555555555"
_ANSWERS: dict[str, object] = {
    "/api/v1/validate": {"valid": True},
    "/api/v2/validate_keys": {"status": "ok"},
    "/api/v2/current_user": {
        "data": {
            "type": "users",
            "id": "u",
            "attributes": {"name": "Org Admin"},
            "relationships": {"org": {"data": {"type": "orgs", "id": ORG_ID}}},
        },
        "included": [{"type": "orgs", "id": ORG_ID, "attributes": {"name": "Payments"}}],
    },
    "/api/v2/org_connections": {
        "data": [],
        "meta": {"page": {"total_count": 0, "total_filtered_count": 0}},
    },
}


@dataclass(frozen=True, kw_only=True)
class InterceptedRequest:
    """One request inside a tunnel; header names in lower case."""

    tunnel: str
    method: str
    target: str
    headers: dict[str, str]

    @property
    def url(self) -> str:
        """The requested URL, from the tunnel and the Host header."""
        host = self.headers["host"]
        assert self.tunnel == f"{host}:443"
        return f"https://{host}{self.target}"


@dataclass
class Interceptor:
    """Listens on loopback until the block ends. `bundle` is the CA certificate to trust."""

    folder: Path
    hosts: tuple[str, ...]
    seen: list[InterceptedRequest] = field(default_factory=list)

    def __enter__(self) -> "Interceptor":
        self.bundle = self.folder / "authority.pem"
        self._tls = _server_context(self.folder, hosts=self.hosts, bundle=self.bundle)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets = [self._listener]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(timeout=5)
        for each in self._sockets:
            each.close()

    @property
    def url(self) -> str:
        """The proxy's address."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._sockets.append(client)
            thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        # Org Admin disconnects when it has the response.
        with contextlib.suppress(OSError):
            tunnel = _read_head(client).split(" ")[1]
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            inside = self._tls.wrap_socket(client, server_side=True)
            self._sockets.append(inside)
            while head := _read_head(inside):
                self._respond(inside, tunnel=tunnel, head=head)

    def _respond(self, inside: socket.socket, *, tunnel: str, head: str) -> None:
        first, *lines = head.rstrip("\r\n").split("\r\n")
        method, target, _ = first.split(" ")
        headers = dict(line.split(": ", 1) for line in lines)
        lowered = {name.lower(): value for name, value in headers.items()}
        self.seen.append(
            InterceptedRequest(tunnel=tunnel, method=method, target=target, headers=lowered)
        )
        body = json.dumps(_ANSWERS.get(target.partition("?")[0], {})).encode()
        fields = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        inside.sendall(f"HTTP/1.1 200 OK\r\n{fields}\r\n".encode() + body)


def _read_head(client: socket.socket) -> str:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        piece = client.recv(65_536)
        if not piece:
            return ""
        head += piece
    return head.decode("latin-1")


def _server_context(folder: Path, *, hosts: tuple[str, ...], bundle: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
    now = datetime.datetime.now(tz=datetime.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    bundle.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file = folder / "authority.key"
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(bundle, key_file)
    return context
