"""The data types of org connections."""

from collections.abc import Sequence

# The types documented in 2026-11, and the words for their data. More can be added.
DATA_TYPES = {"logs": "logs", "metrics": "metrics", "audit": "audit events"}


def unknown_types(types: Sequence[str]) -> list[str]:
    """The data types that Datadog did not document when Org Admin was released."""
    return [kind for kind in types if kind not in DATA_TYPES]
