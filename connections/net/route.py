"""How requests leave this machine: through which proxy, and which certificates they trust."""

import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

# A host name or an IPv4 address, with or without a dot before it; an IPv6 address; or every host.
_EXCEPTION = re.compile(
    r"\.?[\w-]+(\.[\w-]+)*\.?|\[?[0-9a-f]*:[0-9a-f]*:[0-9a-f:.]*]?|\*", re.IGNORECASE
)


@dataclass(frozen=True, kw_only=True)
class Route:
    """A proxy, the hosts that are not asked through it, and certificates. "" means none.

    `no_proxy` is comma-separated: a name covers its subdomains, and `*` every host. `ca_bundle`
    replaces the public certificates, and `extra_ca_file` adds to them. A proxy's URL can contain a
    password, so its repr is hidden.
    """

    proxy_url: str = field(default="", repr=False)
    no_proxy: str = ""
    ca_bundle: str = ""
    extra_ca_file: str = ""

    def proxy_for(self, url: str) -> str:
        """The proxy for this URL; "" for none."""
        parts = urlsplit(url)
        # Plain HTTP is only for this machine, and a proxy would see the keys in it.
        if parts.scheme != "https":
            return ""
        names = [name.strip(" .[]").lower() for name in self.no_proxy.split(",")]
        host = parts.hostname or ""
        is_excepted = any(
            name and (name in {"*", host} or host.endswith(f".{name}")) for name in names
        )
        return "" if is_excepted else self.proxy_url


# No proxy, and the public certificates.
DIRECT = Route()


def check_proxy_url(url: str) -> str:
    """The URL, or "" for none. Raises ValueError for any other, without repeating it."""
    parts = urlsplit(url)
    if url and (parts.scheme not in {"http", "https"} or not parts.hostname):
        raise ValueError("A proxy's address is http://host:port or https://host:port.")
    return url


def check_no_proxy(text: str) -> str:
    """The hosts, for Route. Raises ValueError for an entry that would except none."""
    for entry in filter(None, map(str.strip, text.split(","))):
        if not _EXCEPTION.fullmatch(entry):
            raise ValueError(f"{entry} is no host name or address. Write it without port or mask.")
    return text
