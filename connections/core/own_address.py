"""The address at which people open Org Admin."""

import ipaddress
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest

_DEFAULT_PORTS = {"https": 443, "http": 80}


def own_origin(request: HttpRequest | None = None) -> str:
    """Scheme, host and port at which people open Org Admin; "" if that isn't certain.

    Every link that leaves this service and every address that it gives to others starts with it.

    It is ORGADMIN_BASE_URL. Without that, it is the request's host if ALLOWED_HOSTS names it
    exactly and the port is the default one or, for this machine's own names, the one that the
    service listens on: the client can choose any other. Without a request, it is the only public
    host that ALLOWED_HOSTS names.
    """
    if settings.BASE_URL:
        return _normalize_origin(settings.BASE_URL)
    exact = {host.lower().strip("[]") for host in settings.ALLOWED_HOSTS if not is_pattern(host)}
    if request is not None:
        try:
            origin = _normalize_origin(f"{request.scheme}://{request.get_host()}")
        except ValueError:
            # There is no port with such a number.
            return ""
        host, port = urlsplit(origin).hostname or "", urlsplit(origin).port
        is_own_port = port is None or (is_loopback(host) and str(port) == _listening_port(request))
        return origin if host in exact and is_own_port else ""
    public = [host for host in exact if not is_loopback(host)]
    if len(public) != 1:
        return ""
    return f"https://[{public[0]}]" if ":" in public[0] else f"https://{public[0]}"


def is_pattern(host: str) -> bool:
    """Whether an ALLOWED_HOSTS entry matches more than one host."""
    return host.startswith((".", "*"))


def is_loopback(host: str) -> bool:
    """Whether an ALLOWED_HOSTS entry means only this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _listening_port(request: HttpRequest) -> str:
    # Not `get_port`, which can be what a proxy says.
    return str(request.META["SERVER_PORT"])


def _normalize_origin(url: str) -> str:
    """The origin in the form that browsers write: in lower case, without a default port."""
    parts = urlsplit(url.lower())
    is_default = parts.port == _DEFAULT_PORTS.get(parts.scheme)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host.rpartition(':')[0] if is_default else host}"
