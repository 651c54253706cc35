"""What waits for people: every kind, where it stands in the list, and where it is counted.

The overview, the numbers in the navigation and the part "Needs you" of a list read this.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, NamedTuple

from django.db.models import Q, QuerySet
from django.urls import reverse

from connections.access_requests.problems import FAILED_ACCESS, FAILED_DELETIONS, HAS_FAILED
from connections.changes.changes import AWAITING, AWAITING_QUERY, matching_changes
from connections.core.database import exists_each
from connections.core.text import pluralize
from connections.models import (
    AccessRequest,
    AccessReview,
    AccessReviewDecision,
    AccessReviewState,
    Agreement,
    Batch,
    Deletion,
    Notification,
    Outcome,
)
from connections.web.overview import answered, attention, failed_access, reviews, upcoming
from connections.web.overview.attention import Item, Situation

# The kinds in the order of the list. Within a group, the earliest deadline comes first.
KINDS = (
    # What Org Admin does by itself soon.
    ("ends", "review_starts"),
    # What is unknown, then what failed.
    (
        *("hold", "clock", "verification_failed"),
        *("unknown", "no_effect", "still_listed", "late_approval"),
        *("interrupted", "contradicted", "not_ended", "refused", "failed"),
        *("keys_rejected", "unreachable", "sync_failed", "not_verified", "unverified"),
        *("repeat_failed", "not_delivered"),
    ),
    # What people decide.
    ("paused", "approval", "confirmation", "review", "acceptance", "keep_ended", "old_keys"),
    ("not_agreed",),
    ("change",),
)
_ORDER = {
    kind: (group, place) for group, kinds in enumerate(KINDS) for place, kind in enumerate(kinds)
}
_NO_DEADLINE = datetime.min.replace(tzinfo=UTC)


class Source(NamedTuple):
    """Finds items of some kinds: what one is called, the list of them, and its filters.

    Without any of the `rows`, visible or not, it finds nothing. None if it always has to look.
    """

    find: Callable[[Situation], Iterable[Item]]
    noun: str
    list_name: str
    rows: QuerySet[Any] | None = None
    filters: Mapping[str, str | Sequence[str]] = MappingProxyType({})


_OPEN_DELETIONS = Deletion.objects.filter(settled_at=None)

SOURCES = (
    Source(
        *(upcoming.ends, "end", "access-request-list"),
        AccessRequest.objects.filter(end_due_at__isnull=False),
    ),
    Source(
        *(upcoming.starting_reviews, "access review", "access-review-list"),
        AccessReview.objects.filter(repeat_months__isnull=False),
    ),
    Source(upcoming.stopped_work, "hold", "settings"),
    Source(upcoming.failed_verification, "verification", "settings"),
    Source(
        *(attention.unknown_outcomes, "unknown outcome", "deletion-list", _OPEN_DELETIONS),
        {"status": "unknown"},
    ),
    Source(
        *(attention.still_listed, "contradicted deletion", "deletion-list"),
        Deletion.objects.filter(contradicted_at__isnull=False),
        {"status": "contradicted"},
    ),
    Source(
        *(attention.failed_deletions, "failed deletion", "deletion-list"),
        Deletion.objects.filter(outcome__in=FAILED_DELETIONS),
        {"status": FAILED_DELETIONS},
    ),
    Source(
        *(failed_access.failed_access_requests, "failed access request", "access-request-list"),
        AccessRequest.objects.filter(HAS_FAILED),
        {"status": FAILED_ACCESS},
    ),
    Source(
        *(failed_access.not_ended, "access", "access-request-list"),
        AccessRequest.objects.filter(ends_on__isnull=False),
    ),
    Source(
        *(attention.late_approvals, "late approval", "deletion-list"),
        Deletion.objects.filter(break_glass_at__isnull=False),
        {"status": "break_glass"},
    ),
    Source(
        *(attention.deletion_requests, "requested deletion", "deletion-list", _OPEN_DELETIONS),
        {"status": "requested"},
    ),
    Source(
        *(attention.access_requests, "access request", "access-request-list"),
        AccessRequest.objects.filter(settled_at=None),
    ),
    Source(
        *(attention.bulk_deletions, "bulk deletion", "batch-list"),
        Batch.objects.filter(ended_at=None),
    ),
    Source(
        *(attention.changes, "change", "change-list", matching_changes(AWAITING)), AWAITING_QUERY
    ),
    Source(*(attention.failing_credentials, "credential", "org-list"), filters={"show": "failing"}),
    Source(
        *(attention.unverified, "unverified deletion", "deletion-list"),
        Deletion.objects.filter(outcome=Outcome.DELETED, verified_at=None),
        {"status": "deleted"},
    ),
    Source(attention.old_keys, "credential", "org-list", filters={"show": "old-keys"}),
    Source(
        *(attention.failed_notifications, "notification", "notification-list"),
        Notification.objects.filter(state=Notification.State.GIVEN_UP),
    ),
    Source(
        *(reviews.access_reviews, "access review", "access-review-list"),
        AccessReview.objects.filter(
            Q(state=AccessReviewState.OPEN) | Q(repeat_failed_at__isnull=False)
        ),
    ),
    Source(
        *(reviews.expired_keeps, "connection", "access-review-list"),
        AccessReviewDecision.objects.filter(keep_until__isnull=False),
    ),
    Source(
        *(answered.agreements, "agreement", "agreement-list", Agreement.objects.all()),
        {"needs": "you"},
    ),
)
_WITH_ROWS = [source for source in SOURCES if source.rows is not None]
_ROWS = [source.rows for source in _WITH_ROWS if source.rows is not None]
# Bulk deletions have no entry of their own in the navigation.
_ENTRIES = {"batch-list": "deletion-list"}


def find_items(situation: Situation, *, entry: str = "") -> list[Item]:
    """Everything that needs attention and that the person can see, most urgent first.

    With an `entry` of the navigation, only what its number counts.
    """
    # Nearly all kinds have nothing nearly always, and every query takes longer than this one.
    has_rows = zip(_WITH_ROWS, exists_each(*_ROWS), strict=True)
    empty = {source.find for source, exists in has_rows if not exists}
    sources = [source for source in SOURCES if entry in {"", _entry_of(source)}]
    items = [
        item
        for source in sources
        if source.find not in empty
        for item in _items_of(source, situation)
    ]
    return sorted(items, key=_place_of)


def count_by_entry(items: Iterable[Item]) -> Counter[str]:
    """How many of these wait for the person, by entry of the navigation."""
    counts = Counter[str]()
    for item in items:
        counts[item.entry] += item.count if item.is_yours else 0
    return counts


def _entry_of(source: Source) -> str:
    return _ENTRIES.get(source.list_name, source.list_name)


def _items_of(source: Source, situation: Situation) -> Iterator[Item]:
    items = [replace(item, entry=_entry_of(source)) for item in source.find(situation)]
    for is_yours in (True, False):
        same = [item for item in items if item.is_yours is is_yours]
        yield from same[: situation.limit]
        if rest := same[situation.limit :]:
            count = sum(item.count for item in rest)
            yield Item(
                kind=rest[-1].kind,
                badge=replace(rest[-1].badge, label="More"),
                name=pluralize(count, source.noun),
                url=reverse(source.list_name, query=source.filters),
                action="View all",
                is_yours=is_yours,
                count=count,
                entry=_entry_of(source),
            )


def _place_of(item: Item) -> tuple[int, bool, datetime, int]:
    group, place = _ORDER[item.kind]
    is_rest = item.badge.label == "More"
    return group, is_rest, (item.at if item.deadline else None) or _NO_DEADLINE, place
