"""The Datadog sites. Hosts are looked up here and never built from user input.

Datadog's DNS resolves any name under its domain, so a host built from a mistyped site would receive
keys.
"""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from connections.core.urls import is_secure, split_url


class UnknownSiteError(LookupError):
    """The site is neither one of Datadog's nor one of ORGADMIN_EXTRA_SITES."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DatadogSite:
    """One Datadog site. `site` is its DD_SITE value, which is also used in Org Admin's URLs.

    `base_url` is the root of the API, without a trailing slash.
    """

    name: str
    site: str
    ui_host: str
    api_host: str
    base_url: str

    @property
    def label(self) -> str:
        """The site as pages show it: "EU1 (datadoghq.eu)"."""
        return f"{self.name} ({self.site if self.site != self.name else self.ui_host})"

    def __str__(self) -> str:
        return self.label


def _datadog_site(name: str, site: str, ui_host: str, api_host: str) -> DatadogSite:
    return DatadogSite(
        name=name, site=site, ui_host=ui_host, api_host=api_host, base_url=f"https://{api_host}"
    )


# https://docs.datadoghq.com/getting_started/site/ and the API reference's list of servers.
DATADOG_SITES = (
    _datadog_site("US1", "datadoghq.com", "app.datadoghq.com", "api.datadoghq.com"),
    _datadog_site("US3", "us3.datadoghq.com", "us3.datadoghq.com", "api.us3.datadoghq.com"),
    _datadog_site("US5", "us5.datadoghq.com", "us5.datadoghq.com", "api.us5.datadoghq.com"),
    _datadog_site("EU1", "datadoghq.eu", "app.datadoghq.eu", "api.datadoghq.eu"),
    _datadog_site("AP1", "ap1.datadoghq.com", "ap1.datadoghq.com", "api.ap1.datadoghq.com"),
    _datadog_site("AP2", "ap2.datadoghq.com", "ap2.datadoghq.com", "api.ap2.datadoghq.com"),
    _datadog_site("US1-FED", "ddog-gov.com", "app.ddog-gov.com", "api.ddog-gov.com"),
    _datadog_site("US2-FED", "us2.ddog-gov.com", "us2.ddog-gov.com", "api.us2.ddog-gov.com"),
    _datadog_site("UK1", "uk1.datadoghq.com", "uk1.datadoghq.com", "api.uk1.datadoghq.com"),
)

# Used as a path segment of URLs and in log lines.
_EXTRA_NAME = re.compile(r"[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*", re.ASCII)
_EXTRA_NAME_MAX_LENGTH = 40
_HOST = re.compile(r"[A-Za-z0-9.:-]+", re.ASCII)
_DATADOG_NAMES = frozenset(
    word.casefold()
    for site in DATADOG_SITES
    for word in (site.name, site.site, site.ui_host, site.api_host)
)


def all_sites() -> tuple[DatadogSite, ...]:
    """Datadog's sites, then the sites of ORGADMIN_EXTRA_SITES in their order.

    The demo has only the latter, so that it can't send keys to Datadog.
    """
    return tuple(_known_sites().values())


def get_site(site: str) -> DatadogSite:
    """The site whose DD_SITE value (or extra name) is exactly `site`.

    Raises UnknownSiteError.
    """
    sites = _known_sites()
    if site not in sites:
        raise UnknownSiteError(
            f"There is no Datadog site {site!r}. Known: {', '.join(sites)}. "
            "Add other sites in ORGADMIN_EXTRA_SITES."
        )
    return sites[site]


def find_site(text: str) -> DatadogSite | None:
    """The site that `text` names: "EU1" or "datadoghq.eu", in any case."""
    wanted = text.strip().casefold()
    for site in all_sites():
        if wanted in (site.name.casefold(), site.site.casefold()):
            return site
    return None


def parse_extra_sites(text: str) -> dict[str, str]:
    """Base URLs by name from the text of ORGADMIN_EXTRA_SITES ("name=https://host,…").

    Raises ValueError with a sentence that says what to change. A name can't be one of Datadog's
    sites, and a host can't belong to Datadog or another site: a connection's protection under one
    site name would not apply under the other.
    """
    sites: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, url = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise _invalid_site_error(part, "isn't of the form “name=https://host”")
        _check_extra_name(name, sites=sites)
        base_url = _parse_base_url(name, url)
        if base_url in sites.values():
            raise _invalid_site_error(
                name, "has the same address as another site: one name is enough"
            )
        sites[name] = base_url
    return sites


def _check_extra_name(name: str, *, sites: Mapping[str, str]) -> None:
    if len(name) > _EXTRA_NAME_MAX_LENGTH or not _EXTRA_NAME.fullmatch(name):
        raise _invalid_site_error(
            name,
            f"isn't a usable name: use at most {_EXTRA_NAME_MAX_LENGTH} letters and digits, "
            "with single dots, hyphens or underscores between them",
        )
    if name.casefold() in _DATADOG_NAMES:
        raise _invalid_site_error(
            name, "is the name of one of Datadog's own sites: choose another name"
        )
    if name.casefold() in {other.casefold() for other in sites}:
        raise _invalid_site_error(name, "is named twice: choose another name for one of them")


def _parse_base_url(name: str, url: str) -> str:
    unreadable = _invalid_site_error(
        name, "has an address that can't be read: write it as https://host:port"
    )
    try:
        parts = split_url(url)
    except ValueError:
        raise unreadable from None
    host = parts.hostname or ""
    if not _HOST.fullmatch(host):
        raise unreadable
    if parts.username is not None or parts.path.strip("/") or parts.query or parts.fragment:
        raise _invalid_site_error(name, "can have only a scheme, a host and a port in its address")
    if not is_secure(parts):
        raise _invalid_site_error(
            name,
            "must start with https://, because keys are sent there; "
            "http:// is allowed for 127.0.0.1 and [::1] only",
        )
    if host.rstrip(".") in _DATADOG_NAMES:
        raise _invalid_site_error(
            name, "points at one of Datadog's own sites: choose that site instead"
        )
    bracketed = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{bracketed}" + (f":{parts.port}" if parts.port else "")


def _invalid_site_error(what: str, why: str) -> ValueError:
    return ValueError(f"{what!r} {why}.")


def _known_sites() -> Mapping[str, DatadogSite]:
    # Imported here because the settings import this module to parse the variable.
    from django.conf import settings

    extra: Mapping[str, str] = settings.EXTRA_SITES
    return _sites_by_key(tuple(extra.items()), is_demo=settings.IS_DEMO)


@functools.lru_cache(maxsize=8)
def _sites_by_key(
    extra: tuple[tuple[str, str], ...], *, is_demo: bool
) -> Mapping[str, DatadogSite]:
    sites = {} if is_demo else {site.site: site for site in DATADOG_SITES}
    for name, base_url in extra:
        host = urlsplit(base_url).netloc
        # The demo's sites are named as the ones that they simulate.
        label = name.removeprefix("sandbox-").upper() if is_demo else name
        sites[name] = DatadogSite(
            name=label, site=name, ui_host=host, api_host=host, base_url=base_url
        )
    return sites


def site_or_none(site: str) -> DatadogSite | None:
    """The site. None for a site that is no longer configured."""
    try:
        return get_site(site)
    except UnknownSiteError:
        return None


def site_label(site: str) -> str:
    """ "EU1 (datadoghq.eu)", or the stored name of a site that is no longer known."""
    datadog_site = site_or_none(site)
    return datadog_site.label if datadog_site else f"{site} (no longer configured)"


def site_name(site: str) -> str:
    """ "EU1", or the stored name of a site that is no longer known."""
    datadog_site = site_or_none(site)
    return datadog_site.name if datadog_site else site
