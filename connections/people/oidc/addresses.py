"""Which addresses are good enough to be asked, or to be handed to a browser."""

import re
from urllib.parse import SplitResult, urlsplit

# Characters. It goes into a Location header, which servers and browsers bound.
LONGEST_ADDRESS = 2000
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
# urlsplit drops line ends and tabs in silence, and a browser reads a backslash as a slash.
_ALLOWED = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")
_HOST_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_][a-z0-9_-]{0,62})*\.?")


def is_usable_issuer(issuer: str) -> bool:
    """Whether it is https, or http on this machine, with a valid host and port and no query."""
    parts = _split(issuer)
    return parts is not None and not parts.query


def is_usable_endpoint(address: object, *, issuer: str) -> bool:
    """Whether it is as safe as the issuer: http only where the issuer itself is http here."""
    parts = _split(address)
    return parts is not None and (parts.scheme == "https" or urlsplit(issuer).scheme == "http")


def origin_of(address: str) -> str:
    """Scheme, host and port of a usable address."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}"


def _split(address: object) -> SplitResult | None:
    """The parts of a safe address that is valid as a whole; None for anything else."""
    if not isinstance(address, str) or len(address) > LONGEST_ADDRESS:
        return None
    if not _ALLOWED.fullmatch(address):
        return None
    try:
        parts = urlsplit(address)
        # Reading the port is what checks it.
        is_valid = _is_host(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    is_plain = "@" not in parts.netloc and "#" not in address
    return parts if is_safe and is_valid and is_plain else None


def _is_host(host: str | None) -> bool:
    # urlsplit itself checks what stands in brackets, and only there can a host hold a colon.
    return host is not None and (":" in host or _HOST_NAME.fullmatch(host) is not None)
