"""Bars of deletions, whose parts are groups of outcomes."""

from collections import Counter
from dataclasses import dataclass

from connections.deletions.status import OutcomeGroup
from connections.web.badges import OUTCOME_GROUPS


@dataclass(frozen=True, kw_only=True)
class BarPart:
    """One color of a bar. `start` is the sum of the parts before it."""

    group: OutcomeGroup
    label: str
    tone: str
    start: int
    count: int
    is_blank: bool = False


def bar_parts(counts: Counter[OutcomeGroup]) -> list[BarPart]:
    """The parts of a bar that aren't empty."""
    parts, start = [], 0
    for group, (label, tone) in OUTCOME_GROUPS.items():
        if count := counts[group]:
            parts.append(BarPart(group=group, label=label, tone=tone, start=start, count=count))
            start += count
    return parts
