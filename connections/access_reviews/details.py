"""What a page or an export shows of some rows of an access review in addition to their state."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from django.db.models import Max, Q, QuerySet

from connections.access import visibility
from connections.access.actor import Actor
from connections.access.permissions import visibility_of
from connections.access_reviews.current import (
    LISTED_COLUMNS,
    about_connections,
    about_reviews,
    as_listed,
    deciding_credentials,
    load_snapshots,
)
from connections.access_reviews.rows import ReviewRow
from connections.agreements.agreed import Agreements, load_agreements
from connections.core import clock
from connections.inventory.inventory import created_since_text, find_owners_and_groups
from connections.inventory.matching import FilterFacts, InventoryFilter, ListedConnection
from connections.models import (
    GONE_OUTCOMES,
    AccessReview,
    AccessReviewDecision,
    AccessReviewRow,
    Change,
    Deletion,
    OrgConnectionKey,
    OrgConnectionSnapshot,
    Person,
    RowState,
    SnapshotFields,
)
from connections.models.text_columns import HexId, HexKey, hex_key


class DeletionResult(StrEnum):
    """What happened to a connection after the decision to delete it."""

    DELETED = "deleted"
    REMOVED_OUTSIDE = "removed_outside"  # syncs found it gone, and no deletion succeeded
    NOT_DELETED = "not_deleted"


@dataclass(frozen=True, kw_only=True)
class RowDetails:
    """One row with everything that pages and exports show of it."""

    row: ReviewRow
    # From the newest sync that the person can see; once closed, from the frozen row.
    connection: SnapshotFields
    last_seen_at: datetime
    # Made in this access review, oldest first.
    decisions: list[AccessReviewDecision]
    # The newest decision of another access review, made before this one was closed.
    other_decision: AccessReviewDecision | None
    # The kinds of changes since the last decision, or since the start: each once, oldest first.
    changes: list[Change]
    # Requested since the start: the newest deletion that succeeded; if none did, the newest one.
    deletion: Deletion | None
    # What happened to the connection after a decision to delete it. None for other rows.
    result: DeletionResult | None
    # Who alone decides on it.
    owner: Person | None

    @property
    def decision(self) -> AccessReviewDecision | None:
        """The newest decision of this access review, whether or not it counts."""
        return self.decisions[-1] if self.decisions else None

    @property
    def last_decision(self) -> AccessReviewDecision | None:
        """The newest decision about the connection, from this or another access review."""
        newest = [decision for decision in (self.decision, self.other_decision) if decision]
        return max(newest, key=lambda decision: decision.pk, default=None)


def load_details(
    *, review: AccessReview, actor: Actor, rows: Sequence[ReviewRow]
) -> list[RowDetails]:
    """The details of some of `review_rows`, in their order.

    The number of queries doesn't depend on the number of rows.
    """
    keys = [row.key for row in rows]
    shown = _find_shown(review, rows=rows, actor=actor)
    decisions, others = _find_decisions(review, rows=rows)
    since = {key: each.decided_at for key, each in others.items()}
    for row in rows:
        for decision in decisions[row.id][-1:]:
            since[row.key] = max(decision.decided_at, since.get(row.key, decision.decided_at))
    changes = _find_changes(review, about_connections(keys), since=since, actor=actor)
    deletions = _find_deletions(review, keys=keys, actor=actor)
    results = _find_results(rows, deletions=deletions)
    owners = Person.objects.in_bulk({row.owner_id for row in rows if row.owner_id})
    return [
        RowDetails(
            row=row,
            connection=shown[row.id][0],
            last_seen_at=shown[row.id][1],
            decisions=decisions[row.id],
            other_decision=others.get(row.key),
            changes=changes[row.key],
            deletion=deletions.get(row.key),
            result=results.get(row.key),
            owner=owners[row.owner_id] if row.owner_id else None,
        )
        for row in rows
    ]


def load_listed(
    *, review: AccessReview, actor: Actor, rows: Sequence[ReviewRow]
) -> dict[HexKey, ListedConnection]:
    """What filters and sorting need of all `review_rows`: the connections of `load_details`.

    No query while the actor can decide on every row, otherwise at most two.
    """
    listed = {row.hex_key: row.current.listed for row in rows if row.current}
    if len(listed) == len(rows):
        return listed
    stored = [*review.rows.order_by().values_list(*LISTED_COLUMNS)]
    if visibility_of(actor).hidden:
        # Instead of the frozen row, which might come from a credential that is hidden.
        snapshots = _visible_snapshots(about_reviews([review.pk]), review=review, actor=actor)
        stored += snapshots.values_list(*LISTED_COLUMNS)
    newest = {columns[:2]: columns for columns in stored}
    return {key: listed.get(key) or as_listed(newest[key]) for key in (row.hex_key for row in rows)}


def load_filter_facts(
    *, review: AccessReview, actor: Actor, filters: InventoryFilter, with_agreements: bool
) -> FilterFacts:
    """What these filters must know of all rows. No query without a filter that needs one.

    `reviewed` counts the decisions of other access reviews, and `changed` means since the newest
    decision, or since the start.
    """
    about = about_reviews([review.pk], prefix="row__")
    decisions = _until_closed(AccessReviewDecision.objects.filter(about), review).order_by()
    facts: dict[str, Any] = {}
    if filters.reviewed:
        others = decisions.exclude(row__review=review)
        facts["reviewed"] = set(others.values_list("row__site", HexId("row__connection_id")))
    if filters.changed:
        newest = decisions.values_list("row__site", "row__connection_id")
        since = {
            OrgConnectionKey(site=site, connection_id=connection_id): decided_at
            for site, connection_id, decided_at in newest.annotate(Max("decided_at"))
        }
        changes = _find_changes(review, about_reviews([review.pk]), since=since, actor=actor)
        facts["changed"] = {hex_key(key) for key in changes}
    if filters.created:
        facts["created_since"] = created_since_text(filters.created, now=clock.now())
    if with_agreements or filters.needs_agreements:
        facts["agreements"] = load_agreements(today=clock.now().date())
    return FilterFacts(**facts, **find_owners_and_groups(filters))


def _find_shown(
    review: AccessReview, *, rows: Sequence[ReviewRow], actor: Actor
) -> dict[int, tuple[SnapshotFields, datetime]]:
    """What each row shows, and when a sync last showed it."""
    current = {row.id: row.current for row in rows if row.current}
    others = [row for row in rows if row.id not in current]
    frozen = AccessReviewRow.objects.in_bulk([row.id for row in others])
    # The frozen row might come from a credential that is hidden from this person.
    snapshots = _newest_visible([row.key for row in others], review=review, actor=actor)
    shown: dict[int, tuple[SnapshotFields, datetime]] = {}
    for pk, newest in zip(current, load_snapshots(current.values()), strict=True):
        shown[pk] = newest, newest.last_seen_at
    for row in others:
        snapshot, stored = snapshots.get(row.key), frozen[row.id]
        shown[row.id] = (
            (snapshot, snapshot.last_seen_at) if snapshot else (stored, stored.snapshot_at)
        )
    return shown


def _newest_visible(
    keys: Sequence[OrgConnectionKey], *, review: AccessReview, actor: Actor
) -> dict[OrgConnectionKey, OrgConnectionSnapshot]:
    """The newest snapshots that a person with hidden credentials can see."""
    if not keys or not visibility_of(actor).hidden:
        return {}
    visible = _visible_snapshots(about_connections(keys), review=review, actor=actor)
    return {snapshot.key: snapshot for snapshot in visible}


def _visible_snapshots(
    which: Q, *, review: AccessReview, actor: Actor
) -> QuerySet[OrgConnectionSnapshot]:
    """The snapshots that the actor can see, up to the closing, newest last."""
    snapshots = OrgConnectionSnapshot.objects.filter(which)
    if review.closed_at:
        snapshots = snapshots.filter(first_seen_at__lte=review.closed_at)
    return visibility.visible(snapshots, actor=actor).order_by("last_seen_at", "id")


def _find_decisions(
    review: AccessReview, *, rows: Sequence[ReviewRow]
) -> tuple[dict[int, list[AccessReviewDecision]], dict[OrgConnectionKey, AccessReviewDecision]]:
    """The decisions of this access review by row, and the newest one of any other one."""
    own = defaultdict[int, list[AccessReviewDecision]](list)
    others: dict[OrgConnectionKey, AccessReviewDecision] = {}
    about = about_connections([row.key for row in rows], prefix="row__")
    decisions = _until_closed(AccessReviewDecision.objects.filter(about), review).order_by("id")
    # Large documents that nothing here shows.
    documents = (f"row__review__{name}" for name in ("coverage", "coverage_at_close", "appeared"))
    for decision in decisions.select_related("row__review", "decided_by").defer(*documents):
        if decision.row.review_id == review.pk:
            own[decision.row_id].append(decision)
        else:
            others[decision.row.key] = decision
    return own, others


def find_earlier(review: AccessReview) -> set[HexKey]:
    """Its connections that an access review had too which was started before. One query."""
    rows = AccessReviewRow.objects.filter(
        about_reviews([review.pk]), review__created_at__lt=review.created_at
    )
    return set(rows.order_by().values_list("site", HexId("connection_id")))


def find_owner_names(agreements: Agreements) -> dict[tuple[str, str, str], str]:
    """The name of the person or the team that answers for each pair. One query."""
    terms = agreements.by_pair
    ids = {UUID(each.owner_hex) for each in terms.values() if each.owner_hex}
    names = {person.pk.hex: person.display_name for person in Person.objects.filter(pk__in=ids)}
    return {pair: each.owner_text or names[each.owner_hex or ""] for pair, each in terms.items()}


def _until_closed(
    decisions: QuerySet[AccessReviewDecision], review: AccessReview
) -> QuerySet[AccessReviewDecision]:
    return decisions.filter(decided_at__lte=review.closed_at) if review.closed_at else decisions


def _find_changes(
    review: AccessReview, about: Q, *, since: dict[OrgConnectionKey, datetime], actor: Actor
) -> dict[OrgConnectionKey, list[Change]]:
    changes = Change.objects.filter(
        about, recorded_at__gt=min([review.created_at, *since.values()])
    )
    if review.closed_at:
        changes = changes.filter(recorded_at__lte=review.closed_at)
    newest_by_kind = defaultdict[OrgConnectionKey, dict[str, Change]](dict)
    for change in visibility.visible_changes(changes, actor=actor).order_by("number"):
        if change.key and change.recorded_at > since.get(change.key, review.created_at):
            newest_by_kind[change.key][change.kind] = change
    return defaultdict(
        list, {key: list(by_kind.values()) for key, by_kind in newest_by_kind.items()}
    )


def _find_deletions(
    review: AccessReview, *, keys: Sequence[OrgConnectionKey], actor: Actor
) -> dict[OrgConnectionKey, Deletion]:
    # Also those requested before it started, if they were open then.
    is_later = Q(settled_at=None) | Q(settled_at__gte=review.created_at)
    deletions = Deletion.objects.filter(about_connections(keys), is_later)
    visible = visibility.visible(deletions, actor=actor).order_by("requested_at", "id")
    return {deletion.key: deletion for deletion in sorted(visible, key=_has_succeeded)}


def _has_succeeded(deletion: Deletion) -> bool:
    return deletion.outcome in GONE_OUTCOMES and deletion.contradicted_at is None


def _find_results(
    rows: Sequence[ReviewRow], *, deletions: dict[OrgConnectionKey, Deletion]
) -> dict[OrgConnectionKey, DeletionResult]:
    keys = [row.key for row in rows if row.state == RowState.DELETE]
    # Without those that syncs found gone.
    listed = deciding_credentials(keys)
    results = {
        key: DeletionResult.NOT_DELETED if key in listed else DeletionResult.REMOVED_OUTSIDE
        for key in keys
    }
    for key, deletion in deletions.items():
        if key in results and _has_succeeded(deletion):
            results[key] = DeletionResult.DELETED
    return results
