"""What pages say of the site and the creator that a connection is stored with."""

from connections.core.sites import DatadogSite, UnknownSiteError, get_site
from connections.models.org_connections import SnapshotFields


def site_or_none(site: str) -> DatadogSite | None:
    """The site, or None for one that this installation no longer knows."""
    try:
        return get_site(site)
    except UnknownSiteError:
        return None


def site_label(site: str) -> str:
    """ "EU1 · app.datadoghq.eu", or the stored name of a site no longer known."""
    known = site_or_none(site)
    return known.label if known else f"{site} (not configured any more)"


def site_name(site: str) -> str:
    """ "EU1", or the stored name of a site no longer known."""
    known = site_or_none(site)
    return known.name if known else site


def creator_kind(is_service_account: bool | None) -> str:
    """Whether the creator is a person, where Datadog says."""
    return {True: "a service account", False: "a person", None: ""}[is_service_account]


def creator_flags(snapshot: SnapshotFields) -> list[str]:
    """What is worth knowing of a connection's creator."""
    kind = creator_kind(snapshot.creator_is_service_account)
    disabled = ["disabled"] if snapshot.creator_is_disabled else []
    return disabled + ([kind] if kind else [])
