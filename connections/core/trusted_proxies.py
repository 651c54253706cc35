"""The trusted proxies, and the address that a request came from behind them."""

import ipaddress

from django.conf import settings
from django.http import HttpRequest

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def get_trusted_networks() -> list[Network]:
    """The networks of ORGADMIN_TRUSTED_PROXIES. Raises ValueError for a malformed one."""
    everything = ["0.0.0.0/0", "::/0"]
    names = everything if "*" in settings.TRUSTED_PROXIES else settings.TRUSTED_PROXIES
    return [ipaddress.ip_network(name) for name in names]


def is_in_networks(address: str, networks: list[Network]) -> bool:
    """Whether the address belongs to one of the networks."""
    return any(ipaddress.ip_address(address) in network for network in networks)


def client_address(request: HttpRequest) -> str:
    """The network address that a request came from, behind the trusted proxies.

    The right-most entry of X-Forwarded-For that is not itself a trusted proxy; with "*" for the
    proxies, the last entry. A Unix socket has no address: "local".
    """
    address = request.META.get("REMOTE_ADDR") or "local"
    entries = request.headers.get("X-Forwarded-For", "").split(",")
    if "*" in settings.TRUSTED_PROXIES:
        last = entries[-1].strip()
        return last if _is_address(last) else address
    while entries and _is_trusted_proxy(address):
        entry = entries.pop().strip()
        if not _is_address(entry):
            break
        address = entry
    return address


def is_from_trusted_proxy(request: HttpRequest) -> bool:
    """Whether the request was sent by one of the trusted proxies."""
    return "*" in settings.TRUSTED_PROXIES or _is_trusted_proxy(request.META.get("REMOTE_ADDR", ""))


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_trusted_proxy(address: str) -> bool:
    return _is_address(address) and is_in_networks(address, get_trusted_networks())
