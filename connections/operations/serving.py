"""The service's port, and whether people can reach it."""

import os
import socket

from django.conf import settings

from connections.core.errors import DomainError
from connections.core.own_address import own_origin


class CannotListenError(DomainError):
    """The address to serve on can't be used. The message says which one and what to do."""


def open_listener(*, host: str, port: int) -> socket.socket:
    """A listening socket that child processes inherit.

    `host` is a name or an address, with or without brackets for IPv6. Port 0 lets the system
    choose. Raises CannotListenError.
    """
    host = host.strip("[]")
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = addresses[0]
        listener = socket.create_server(
            (str(address[0]), port),
            family=family,
            backlog=1024,
            dualstack_ipv6=host == "::" and socket.has_dualstack_ipv6(),
        )
    except OSError as error:
        is_name_error = isinstance(error, socket.gaierror)
        reason = error.strerror if is_name_error else os.strerror(error.errno or 0)
        raise CannotListenError(
            f"Can't listen on {host} port {port}: {reason}. Choose another with PORT or "
            "ORGADMIN_BIND, or stop what uses it."
        ) from None
    listener.set_inheritable(True)
    return listener


def local_address(listener: socket.socket, *, host: str) -> str:
    """The URL that a person on this machine can open, without a trailing slash."""
    host, port = host.strip("[]"), listener.getsockname()[1]
    url_host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://[{url_host}]:{port}" if ":" in url_host else f"http://{url_host}:{port}"


def list_access_problems() -> list[str]:
    """What prevents people from reaching a public service, as sentences that say what to do."""
    problems = []
    if not settings.IS_LOCAL and not settings.TRUSTED_PROXIES:
        problems.append(
            "It can't be opened yet: ALLOWED_HOSTS makes it public, so it needs HTTPS from a "
            "proxy, but no proxy is trusted. Set ORGADMIN_TRUSTED_PROXIES to the proxy's address."
        )
    if not settings.IS_LOCAL and not own_origin():
        problems.append(
            "Its links have no address, because ALLOWED_HOSTS doesn't name exactly one public "
            "host. Set ORGADMIN_BASE_URL."
        )
    return problems
