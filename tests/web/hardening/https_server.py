"""Serves Org Admin over HTTPS for the scanner; its own web server leaves TLS to a proxy.

`python -m tests.web.hardening.https_server PORT CERTIFICATE KEY`
"""

import ssl
import sys
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from orgadmin.wsgi import application


class Server(ThreadingMixIn, WSGIServer):
    """A thread for each connection."""

    daemon_threads = True


class Handler(WSGIRequestHandler):
    """Logs nothing."""

    def log_message(self, format: str, *args: object) -> None:
        del format, args


def by_https(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Org Admin, with the request marked as HTTPS."""
    return application(environ | {"wsgi.url_scheme": "https"}, start_response)


def main(port: str, certificate: str, key: str) -> None:
    """Serve until a signal ends it."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    with make_server("127.0.0.1", int(port), by_https, Server, Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        print("Listening", flush=True)  # noqa: T201
        server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
