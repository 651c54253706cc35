"""Which URLs the settings can have, and which are safe to send keys to.

Imports no HTTP library, because the settings import it.
"""

import re
from urllib.parse import SplitResult, urlsplit

_LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1"})


def check_webhook_url(url: str) -> str:
    """The URL unchanged; "" if there is none.

    Raises ValueError with a sentence that says what to do. It never contains the URL, because the
    path can be a secret.
    """
    if not url:
        return ""
    parts = split_url(url)
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ValueError("leave out user name, password and fragment.")
    if is_secure(parts):
        return url
    raise ValueError(
        "it must start with https://; http:// is allowed for 127.0.0.1 and [::1] only."
    )


def check_base_url(url: str) -> str:
    """The URL without a slash at its end; "" if there is none.

    Raises ValueError with a sentence that says what to do.
    """
    url = url.rstrip("/")
    if url and not re.fullmatch(r"https?://[^/?#@]+", url, re.IGNORECASE):
        raise ValueError("write it as https://host or https://host:port, without a path.")
    if url:
        split_url(url)
    return url


def origin_of(url: str) -> str:
    """Scheme, host and port of a checked URL, which is the part that can be shown."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def is_secure(parts: SplitResult) -> bool:
    """Whether it is https, or http on this machine."""
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK_HOSTS)


def split_url(url: str) -> SplitResult:
    """The parts of a URL with a host and a valid port. Raises ValueError for any other text."""
    problem = ValueError("it isn't a valid URL.")
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise problem
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - reading it is what checks it
    except ValueError:
        raise problem from None
    if not parts.hostname:
        raise problem
    return parts
