"""Texts about connections: what deleting one does, sites, creators."""

from collections.abc import Sequence

from connections.core.sites import DatadogSite, UnknownSiteError, get_site
from connections.models.org_connections import SnapshotFields

# The documented types (2026-11). The list grows; an unknown type is shown as it is.
_EFFECTS = {
    "logs": "Logs: searches, dashboards and monitors in {sink} no longer find {source}’s logs.",
    "metrics": "Metrics: queries, dashboards and monitors in {sink} lose {source}’s metrics.",
    "audit": "Audit: {sink} can no longer read {source}’s audit events.",
}


KNOWN_TYPES = tuple(_EFFECTS)

# Nouns for types whose own name is no noun for data.
_NOUNS = {"audit": "audit events"}


def join_names(names: Sequence[str]) -> str:
    """ "logs", "logs and metrics", "logs, metrics and audit"."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def effect_text(*, source: str, sink: str, types: Sequence[str]) -> str:
    """The sentence about what stops working."""
    what = join_names([_NOUNS.get(kind, kind) for kind in types]) or "data"
    return f"After this, {sink or '?'} can no longer query {source or '?'}’s {what}."


def sentence_text(*, source: str, sink: str, types: Sequence[str], is_past: bool) -> str:
    """What the connection is, or was, as a sentence: "Payments EU lets Group SOC read logs."."""
    what = join_names([_NOUNS.get(kind, kind) for kind in types]) or "its data"
    return f"{source or '?'} {'let' if is_past else 'lets'} {sink or '?'} read {what}."


def effect_of_type(kind: str, *, source: str, sink: str) -> tuple[str, bool]:
    """The sentence for one connection type, and whether the type is known."""
    if kind in _EFFECTS:
        return _EFFECTS[kind].format(source=source or "?", sink=sink or "?"), True
    return (
        f"{kind}: a type that Org Admin does not know. Ask its owner what {sink or '?'} does "
        "with it before you delete it.",
        False,
    )


def site_or_none(site: str) -> DatadogSite | None:
    """The site; None for one that is no longer configured."""
    try:
        return get_site(site)
    except UnknownSiteError:
        return None


def site_label(site: str) -> str:
    """ "EU1 (datadoghq.eu)", or the stored name of a site no longer known."""
    known = site_or_none(site)
    return known.label if known else f"{site} (no longer configured)"


def site_name(site: str) -> str:
    """ "EU1", or the stored name of a site no longer known."""
    known = site_or_none(site)
    return known.name if known else site


def org_label(*, site: str, org_id: str, name: str) -> str:
    """ "Payments EU · EU1 · …5e529f07": orgs can share a name."""
    return f"{name or 'Unknown org'} · {site_name(site)} · …{org_id[-8:]}"


def creator_kind(is_service_account: bool | None) -> str:
    """Whether the creator is a person or a service account; "" where Datadog doesn't say."""
    return {True: "a service account", False: "a person", None: ""}[is_service_account]


def creator_flags(snapshot: SnapshotFields) -> list[str]:
    """Notes about a connection's creator."""
    kind = creator_kind(snapshot.creator_is_service_account)
    disabled = ["disabled"] if snapshot.creator_is_disabled else []
    return disabled + ([kind] if kind else [])
