"""The rows of an access review, each with its state: computed while it is open, stored at closing.

A row's newest decision counts while it covers what is listed, and its last day has not passed;
without such a decision the row is pending. Where every credential that lists the connection was
retired, what they listed last stays. Once syncs find the connection gone, the row is gone, unless
it was to be deleted: that decision has been carried out.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date
from typing import Any
from uuid import UUID

from connections.access import permissions, visibility
from connections.access.actor import Actor
from connections.access_reviews.current import (
    CurrentConnection,
    StoredKey,
    in_review,
    load_before_end,
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

    @property
    def is_to_delete(self) -> bool:
        """Whether it says to delete the connection."""
        return self.decision == ReviewDecision.DELETE

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
    # What the person can decide about; None where there is nothing, and once it is closed.
    current: CurrentConnection | None
    # Only credentials that are hidden from the person list it now.
    is_hidden_now: bool
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
    current = load_current(of=in_review(review), hidden=hidden)
    before_end: dict[StoredKey, CurrentConnection] = {}
    if any(one.is_to_delete for one in decisions.values()):
        of_decided = in_review(review, decisions__decision=ReviewDecision.DELETE)
        before_end = load_before_end(of=of_decided)
    today = clock.now().date()
    found = []
    for each in stored:
        key: StoredKey = (each[2], each[3])
        known, newest = current.known.get(key), decisions.get(each[0])
        state = (
            _state_of_listed(known, newest=newest, today=today)
            if known
            else _state_of_gone(before_end.get(key), newest=newest)
        )
        decidable = current.decidable(key)
        row = _row(each, state=state, current=decidable, decisions=decisions, counts=counts)
        found.append(replace(row, is_hidden_now=known is not None and decidable is None))
    return found


def _state_of_listed(
    known: CurrentConnection, *, newest: NewestDecision | None, today: date
) -> RowState:
    if newest is None or not newest.counts(digest=known.digest, today=today):
        return RowState.PENDING
    return RowState.DELETE if newest.is_to_delete else RowState.KEEP


def _state_of_gone(before: CurrentConnection | None, *, newest: NewestDecision | None) -> RowState:
    """`before`: as syncs last listed it, of a row that was to be deleted."""
    if before and newest and newest.is_to_delete and newest.review_digest == before.digest:
        return RowState.DELETE
    return RowState.GONE


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
        is_hidden_now=False,
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
