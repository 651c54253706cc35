"""The data types of org connections."""

from collections.abc import Iterable, Sequence

from connections.core.text import join_names

# The types documented in 2026-11, and the words for their data. More can be added.
DATA_TYPES = {"logs": "logs", "metrics": "metrics", "audit": "audit events"}


def unknown_types(types: Sequence[str]) -> list[str]:
    """The data types that Datadog did not document when Org Admin was released."""
    return [kind for kind in types if kind not in DATA_TYPES]


def in_order(types: Iterable[str]) -> list[str]:
    """Each data type once: first those in DATA_TYPES, in that order, then the others by name."""
    known = list(DATA_TYPES)
    unique = sorted(set(types))
    return sorted(unique, key=lambda kind: known.index(kind) if kind in known else len(known))


def data_text(types: Iterable[str]) -> str:
    """ "logs and metrics", or "audit events"."""
    return join_names([DATA_TYPES.get(kind, kind) for kind in in_order(types)]) or "data"
