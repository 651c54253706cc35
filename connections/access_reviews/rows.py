"""The rows of an access review, each with its state: computed while it is open, stored at closing.

A row is gone when no credential in use lists its connection. Otherwise its newest decision counts
while what it covers is still listed and its last day has not passed; without such a decision the
row is pending.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

from connections.access import permissions, visibility
from connections.access.actor import Actor
from connections.access_reviews.current import (
    CurrentConnection,
    StoredKey,
    in_review,
    load_current,
    stored_id,
)
from connections.core import clock
from connections.inventory.inventory import fetch_stored
from connections.models import (
    AccessReview,
    AccessReviewDecision,
    AccessReviewRow,
    OrgConnectionKey,
    ReviewDecision,
    RowState,
)


@dataclass(frozen=True, slots=True)
class NewestDecision:
    """What states and counts need of the newest decision about a row."""

    id: int
    decision: str
    keep_until: date | None
    review_digest: str
    decided_by_id: UUID

    def counts(self, *, digest: str, today: date) -> bool:
        """Whether it covers what is listed, and its last day has not passed."""
        return self.review_digest == digest and not self.has_ended(today=today)

    def has_ended(self, *, today: date) -> bool:
        """Whether the last day of a decision to keep has passed."""
        return self.keep_until is not None and self.keep_until < today


@dataclass(frozen=True, slots=True)
class ReviewRow:
    """One row as one person sees it. `details.load_details` adds what a page shows of it."""

    id: int
    position: int
    key: OrgConnectionKey
    state: RowState
    # What syncs that the person can see show now; None where they show nothing, and once closed.
    current: CurrentConnection | None
    newest: NewestDecision | None
    decision_count: int

    @property
    def text(self) -> str:
        """The connection in forms: "<site>/<connection ID>"."""
        return f"{self.key.site}/{self.key.connection_id}"

    @property
    def digest(self) -> str:
        """What a form sends back, so that nobody decides about something that it didn't show."""
        return self.current.digest if self.current else ""

    @property
    def is_outdated(self) -> bool:
        """Whether it was decided, and the decision no longer counts."""
        return self.state == RowState.PENDING and self.newest is not None


def review_rows(*, review: AccessReview, actor: Actor) -> list[ReviewRow]:
    """The rows that the actor can see, in their order. Raises PermissionDenied.

    The number of queries doesn't depend on that of the rows.
    """
    permissions.require(permissions.can_see(actor), "see access reviews")
    rows = visibility.visible_access_review_rows(
        AccessReviewRow.objects.filter(review=review), actor=actor
    )
    stored = fetch_stored(
        rows.order_by("position").values_list(
            "id", "position", "site", "connection_id", "closed_as"
        )
    )
    decisions, counts = _newest_decisions(review)
    if review.is_closed:
        return [
            _row(each, state=RowState(each[-1]), current=None, decisions=decisions, counts=counts)
            for each in stored
        ]
    hidden = permissions.visibility_of(actor).hidden
    known, visible = load_current(of=in_review(review), hidden=hidden)
    today = clock.now().date()
    found = []
    for each in stored:
        key: StoredKey = (each[2], each[3])
        current = visible.get(key)
        # What only hidden credentials list is not listed, as in the person's inventory.
        state = state_of(
            known[key] if current else None, newest=decisions.get(each[0]), today=today
        )
        found.append(_row(each, state=state, current=current, decisions=decisions, counts=counts))
    return found


def state_of(
    current: CurrentConnection | None, *, newest: NewestDecision | None, today: date
) -> RowState:
    """The state of a row of an open access review."""
    if current is None:
        return RowState.GONE
    if newest is None or not newest.counts(digest=current.digest, today=today):
        return RowState.PENDING
    return RowState.KEEP if newest.decision == ReviewDecision.KEEP else RowState.DELETE


def count_states(rows: Iterable[ReviewRow]) -> Counter[RowState]:
    """How many of these rows have each state."""
    return Counter(row.state for row in rows)


def _row(
    stored: tuple[Any, ...],
    *,
    state: RowState,
    current: CurrentConnection | None,
    decisions: dict[int, NewestDecision],
    counts: Counter[int],
) -> ReviewRow:
    pk, position, site, connection_id, _ = stored
    return ReviewRow(
        id=pk,
        position=position,
        key=OrgConnectionKey(site=site, connection_id=UUID(str(connection_id))),
        state=state,
        current=current,
        newest=decisions.get(pk),
        decision_count=counts[pk],
    )


def _newest_decisions(review: AccessReview) -> tuple[dict[int, NewestDecision], Counter[int]]:
    """The newest decision about each row of an access review, and how many each row has."""
    newest: dict[int, NewestDecision] = {}
    counts = Counter[int]()
    rows = AccessReviewDecision.objects.filter(row__review=review).order_by("id")
    for row_id, pk, decision, keep_until, digest, decided_by_id in rows.values_list(
        "row_id", "id", "decision", "keep_until", "review_digest", "decided_by_id"
    ):
        newest[row_id] = NewestDecision(pk, decision, keep_until, digest, decided_by_id)
        counts[row_id] += 1
    return newest, counts


def stored_key(key: OrgConnectionKey) -> StoredKey:
    """The key of a connection in what `load_current` returns."""
    return key.site, stored_id(key.connection_id)
