"""Texts about connections: what deleting one does, its data types, its creator."""

from collections.abc import Mapping, Sequence

from connections.core.text import join_names
from connections.models.org_connections import SnapshotFields

# The types documented in 2026-11, and the words for their data. More can be added.
_TYPES = {"logs": "logs", "metrics": "metrics", "audit": "audit events"}
KNOWN_TYPES = tuple(_TYPES)


def effect_text(*, source: str, sink: str, types: Sequence[str]) -> str:
    """What stops working: "Labs loses access to ML Platform's metrics."."""
    what = join_names([_TYPES.get(kind, kind) for kind in types]) or "data"
    sink, source = sink or "The destination org", source or "the source org"
    return f"{sink} loses access to {source}'s {what}."


def loss_text(*, sink: str, lost: Mapping[tuple[str, ...], Sequence[str]]) -> str:
    """ "Labs loses access to logs of Mobile; metrics of Retail EU and Retail US."

    `lost` has the names of the source orgs, by the data types that each one shared.
    """
    parts = [
        f"{join_names([_TYPES.get(kind, kind) for kind in types]) or 'data'} of "
        f"{join_names(sorted(sources, key=str.casefold))}"
        for types, sources in sorted(lost.items())
    ]
    return f"{sink or 'Unknown org'} loses access to {'; '.join(parts)}."


def unknown_types(types: Sequence[str]) -> list[str]:
    """The data types that Datadog did not document when Org Admin was released."""
    return [kind for kind in types if kind not in _TYPES]


def creator_kind(is_service_account: bool | None) -> str:
    """Whether the creator is a person or a service account; "" if Datadog doesn't say."""
    return {True: "a service account", False: "a person", None: ""}[is_service_account]


def creator_flags(snapshot: SnapshotFields) -> list[str]:
    """Notes about a connection's creator."""
    kind = creator_kind(snapshot.creator_is_service_account)
    disabled = ["disabled"] if snapshot.creator_is_disabled else []
    return disabled + ([kind] if kind else [])
