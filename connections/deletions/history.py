"""The history of deletions: outcome groups, filters, pages and search."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import reduce
from itertools import chain
from operator import or_
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Count, Exists, Max, Min, OuterRef, Q, QuerySet, Subquery, TextField
from django.db.models.expressions import RawSQL
from django.db.models.functions import Cast, Left

from connections.access import permissions, visibility
from connections.access.actor import Actor
from connections.deletions.status import STATUS_GROUPS, OutcomeGroup, outcome_group
from connections.models import (
    GONE_OUTCOMES,
    OPEN_STATES,
    AccessReview,
    AccessReviewRow,
    Credential,
    Deletion,
    Outcome,
    State,
)

# What a filter by status can name besides a state, an outcome or one of STATUS_GROUPS.
CONTRADICTED = "contradicted"
BREAK_GLASS = "break_glass"

PAGE_SIZE = 100
EXPORT_BATCH = 500
MAX_COUNTED = 1000
MIN_INDEXED_LENGTH = 3
# With this many rows, a scan from the newest finds a page sooner than the text index does.
COMMON_WORD_ROWS = 10_000
SQLITE_MATCHES = "SELECT 1 FROM connections_deletion_search WHERE search_text MATCH %s LIMIT %s"
SQLITE_SEARCH = "SELECT deletion_id FROM connections_deletion_search WHERE search_text MATCH %s"


@dataclass(frozen=True, kw_only=True)
class HistoryFilter:
    """What to show of the history. An empty field filters nothing. Of several values, any matches.

    Times are UTC.
    """

    since: datetime | None = None
    # Exclusive.
    until: datetime | None = None
    person: tuple[UUID, ...] = ()
    credential: tuple[UUID, ...] = ()
    site: tuple[str, ...] = ()
    # "<site>/<org id>" of the source or the destination org.
    org: tuple[str, ...] = ()
    # States, outcomes, STATUS_GROUPS, CONTRADICTED and BREAK_GLASS.
    status: tuple[str, ...] = ()
    ticket: str = ""
    connection_id: UUID | None = None
    batch: UUID | None = None
    # Only deletions of this access review's connections that were still open when it started, or
    # were requested since.
    access_review: UUID | None = None
    # Only those that ended then or later.
    ended_since: datetime | None = None
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class Cursor:
    """The key of a row. The next page shows what was requested before that row."""

    requested_at: datetime
    id: UUID

    def __str__(self) -> str:
        return f"{self.requested_at.isoformat()}~{self.id}"

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Read `str(cursor)` back. Raises ValueError for anything else."""
        at, separator, pk = text.partition("~")
        requested_at = datetime.fromisoformat(at)
        if not separator or requested_at.tzinfo is None:
            raise ValueError("This isn't a position in the history.")
        try:
            requested_at = requested_at.astimezone(UTC)
        except OverflowError:
            raise ValueError("This isn't a position in the history.") from None
        return cls(requested_at=requested_at, id=UUID(pk))


@dataclass(frozen=True, kw_only=True)
class BulkMatches:
    """The matches of one bulk deletion: the first of them, and how many there are."""

    first: UUID
    count: int
    # Those whose connection is gone.
    gone: int


@dataclass(frozen=True, kw_only=True)
class HistoryPage:
    """One page, the position where the next one starts, and the number of matches."""

    deletions: list[Deletion]
    # The visible bulk deletions of which the page has only the first match.
    folded: dict[UUID, BulkMatches] = field(default_factory=dict)
    # None on the last page.
    next: Cursor | None
    # Exact up to 1,000. None if there are more.
    count: int | None


def history_page(
    *,
    actor: Actor,
    filters: HistoryFilter,
    after: Cursor | None = None,
    is_oldest_first: bool = False,
    size: int = PAGE_SIZE,
    folds: bool = False,
) -> HistoryPage:
    """The deletions that match the filter, newest first by default. Raises PermissionDenied.

    If it `folds`, the matches of each bulk deletion are one row, in the place of the first, unless
    the filter is for one bulk deletion.
    """
    permissions.require(permissions.can_see(actor), "see the history")
    parts, folded = _matches(filters, actor=actor), dict[UUID, BulkMatches]()
    if folds and not filters.batch:
        page, folded = _fold_bulk(
            parts, after, size + 1, filters=filters, is_oldest_first=is_oldest_first, actor=actor
        )
    else:
        page = _rows_after(parts, after, limit=size + 1, is_oldest_first=is_oldest_first)
    return HistoryPage(
        deletions=page[:size],
        folded=folded,
        next=_cursor_at(page[size - 1]) if len(page) > size else None,
        count=_count(parts),
    )


def count_matches(*, actor: Actor, filters: HistoryFilter) -> int | None:
    """How many deletions match the filter. None if there are more than MAX_COUNTED.

    Raises PermissionDenied.
    """
    permissions.require(permissions.can_see(actor), "see the history")
    return _count(_matches(filters, actor=actor))


def find_ended(*, actor: Actor, status: tuple[str, ...], since: datetime) -> QuerySet[Deletion]:
    """The deletions that ended since a time with one of these statuses, as the history shows them.

    Raises PermissionDenied.
    """
    permissions.require(permissions.can_see(actor), "see the history")
    filters = HistoryFilter(status=status, ended_since=since)
    return visibility.visible(_visible_rows(filters, actor=actor), actor=actor)


def _cursor_at(deletion: Deletion) -> Cursor:
    return Cursor(requested_at=deletion.requested_at, id=deletion.id)


def _count(parts: list[QuerySet[Deletion]]) -> int | None:
    """How many deletions the parts have together. None if there are more than MAX_COUNTED."""
    if not parts:
        return 0
    pieces: list[str] = []
    values: list[Any] = []
    for number, part in enumerate(parts):
        sql, part_values = part.values("pk")[: MAX_COUNTED + 1].query.sql_with_params()
        pieces.append(f"SELECT * FROM ({sql}) AS part{number}")  # noqa: S608 - Django's own text
        values += part_values
    # UNION counts a row of several parts once.
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT COUNT(*) FROM ({' UNION '.join(pieces)}) AS matches", values)  # noqa: S608 - as above
        count: int = cursor.fetchone()[0]
    return count if count <= MAX_COUNTED else None


def _rows_after(
    parts: list[QuerySet[Deletion, Any]],
    cursor: Cursor | None,
    *,
    limit: int,
    is_oldest_first: bool = False,
) -> list[Any]:
    """The first rows of all parts after the cursor. Each part is sorted newest first."""
    if is_oldest_first:
        parts = [rows.reverse() for rows in parts]
    if cursor:
        # The first condition lets the index seek. The second decides between equal times.
        sign = "gt" if is_oldest_first else "lt"
        later = Q(**{f"requested_at__{sign}": cursor.requested_at})
        later |= Q(**{f"id__{sign}": cursor.id})
        seek = {f"requested_at__{sign}e": cursor.requested_at}
        parts = [rows.filter(later, **seek) for rows in parts]
    if len(parts) == 1:
        return list(parts[0][:limit])
    by_id = {row.id: row for rows in parts for row in rows[:limit]}
    in_order = sorted(
        by_id.values(), key=lambda row: (row.requested_at, row.id), reverse=not is_oldest_first
    )
    return in_order[:limit]


def _fold_bulk(
    parts: list[QuerySet[Deletion]],
    after: Cursor | None,
    size: int,
    *,
    filters: HistoryFilter,
    is_oldest_first: bool,
    actor: Actor,
) -> tuple[list[Deletion], dict[UUID, BulkMatches]]:
    """The first `size` rows after the cursor, with one for each bulk deletion of several."""
    parts = [rows.select_related("batch") for rows in parts]
    page: list[Deletion] = []
    bulk: dict[UUID, BulkMatches] = {}
    limit = size
    while len(page) < size:
        found = _rows_after(parts, after, limit=limit, is_oldest_first=is_oldest_first)
        batches = visibility.visible_batch_ids(found, actor=actor).difference(bulk)
        if batches:
            bulk |= _bulk_matches(filters, batches, is_oldest_first=is_oldest_first, actor=actor)
        for row in found:
            matches = bulk.get(row.batch_id) if row.batch_id else None
            if matches is None or matches.first == row.id:
                page.append(row)
        if len(found) < limit:
            break
        after, limit = _cursor_at(found[-1]), EXPORT_BATCH
    return page[:size], {batch: one for batch, one in bulk.items() if one.count > 1}


def _bulk_matches(
    filters: HistoryFilter, batches: Iterable[UUID], *, is_oldest_first: bool, actor: Actor
) -> dict[UUID, BulkMatches]:
    rows = visibility.visible(_visible_rows(filters, actor=actor), actor=actor).order_by()
    rows = rows.filter(*combined_conditions(filters), batch__in=batches)
    # All deletions of a bulk deletion are requested at one time, so their IDs sort them. PostgreSQL
    # has no greatest UUID, but the greatest text.
    end = Min if is_oldest_first else Max
    found = rows.values_list("batch").annotate(
        first=end(Cast("pk", TextField())),
        matching=Count("pk"),
        gone=Count("pk", filter=Q(outcome__in=GONE_OUTCOMES)),
    )
    return {
        batch: BulkMatches(first=UUID(first), count=count, gone=gone)
        for batch, first, count, gone in found
    }


def _matches(filters: HistoryFilter, *, actor: Actor) -> list[QuerySet[Deletion]]:
    """Queries that together find the visible matches, each newest first.

    One query for several values, for both sides of an org, or for the few credentials that a person
    can see, would read and sort far more rows than a page needs. Several queries each read an index
    in its order.
    """
    rows, conditions = _visible_rows(filters, actor=actor), _conditions(filters)
    if not (filters.org or filters.credential) and permissions.visibility_of(actor).hidden:
        rows = rows.filter(*map(_any_of, conditions))
        return visibility.visible_by_credential(rows, actor=actor)
    parts, *others = conditions or [[Q()]]
    rows = visibility.visible(rows.filter(*map(_any_of, others)), actor=actor)
    return [rows.filter(part) for part in parts]


def _conditions(filters: HistoryFilter) -> list[list[Q]]:
    """What each value of these filters matches, by filter, the most selective filter first."""
    orgs = [org.partition("/")[::2] for org in filters.org]
    by_filter = (
        [
            Q(**{"site": site, side: org_id})
            for site, org_id in orgs
            for side in ("source_org_id", "sink_org_id")
        ],
        [Q(requested_by=person) for person in filters.person],
        [Q(credential=credential) for credential in filters.credential],
        [Q(site=site) for site in filters.site],
    )
    return [conditions for conditions in by_filter if conditions]


def combined_conditions(filters: HistoryFilter) -> list[Q]:
    """What the filters by org, person, credential and site match, of any kind of request."""
    return list(map(_any_of, _conditions(filters)))


def _any_of(conditions: Iterable[Q]) -> Q:
    return reduce(or_, conditions, Q())


def _visible_rows(filters: HistoryFilter, *, actor: Actor) -> QuerySet[Deletion]:
    """`_rows`, but none of a hidden bulk deletion, even if some of its rows are visible."""
    rows = _rows(filters)
    return rows.filter(batch__in=visibility.visible_batches(actor=actor)) if filters.batch else rows


def _rows(filters: HistoryFilter) -> QuerySet[Deletion]:
    """The rows that match every filter except those of `_conditions`, newest first."""
    rows = Deletion.objects.order_by("-requested_at", "-id")
    exact = {
        "requested_at__gte": filters.since,
        "requested_at__lt": filters.until,
        "settled_at__gte": filters.ended_since,
        "ticket": filters.ticket,
        "connection_id": filters.connection_id,
        "batch": filters.batch,
    }
    rows = rows.filter(**{name: value for name, value in exact.items() if value})
    rows = rows.filter(has_any(filters.status))
    if filters.access_review:
        rows = rows.filter(_of_access_review(filters.access_review))
    for word in filters.text.casefold().split():
        rows = rows.filter(_contains(word))
    return rows


def has_any(statuses: Iterable[str]) -> Q:
    """The condition that a deletion has one of these statuses; see `HistoryFilter`."""
    exact = chain.from_iterable(STATUS_GROUPS.get(status, [status]) for status in statuses)
    return _any_of(map(_has_status, exact))


def _has_status(status: str) -> Q:
    if status == CONTRADICTED:
        return Q(contradicted_at__isnull=False)
    if status == BREAK_GLASS:
        return Q(break_glass_at__isnull=False)
    if status in OPEN_STATES:
        # The time is redundant, but lets the database use the partial index of open deletions.
        return Q(state=status, settled_at=None)
    return Q(outcome=status) if status in Outcome.values else Q(state=status)


def _of_access_review(access_review: UUID) -> Q:
    """Deletions of the access review's connections that were not closed before it started."""
    reviews = AccessReview.objects.filter(pk=access_review)
    rows = AccessReviewRow.objects.filter(
        review=access_review, site=OuterRef("site"), connection_id=OuterRef("connection_id")
    )
    is_later = Q(settled_at=None) | Q(settled_at__gte=Subquery(reviews.values("created_at")))
    return Q(Exists(rows)) & is_later


def _contains(word: str) -> Q:
    """A text search for one word, with the trigram index if that helps.

    PostgreSQL's index serves LIKE by itself. SQLite's index is a separate table: it finds a rare
    word immediately, but for a common word it collects and sorts all matches, while a scan from the
    newest row soon fills a page. It contains nothing shorter than three characters.
    """
    if connection.vendor == "sqlite" and len(word) >= MIN_INDEXED_LENGTH and not _is_common(word):
        return Q(pk__in=RawSQL(SQLITE_SEARCH, [_quoted_phrase(word)]))  # noqa: S611 - the word is a parameter
    return Q(search_text__contains=word)


def _is_common(word: str) -> bool:
    counted = f"SELECT COUNT(*) FROM ({SQLITE_MATCHES})"  # noqa: S608 - our own text
    with connection.cursor() as cursor:
        cursor.execute(counted, [_quoted_phrase(word), COMMON_WORD_ROWS])
        return bool(cursor.fetchone()[0] == COMMON_WORD_ROWS)


def _quoted_phrase(word: str) -> str:
    return '"' + word.replace('"', '""') + '"'


def iterate_values(
    *, actor: Actor, filters: HistoryFilter, fields: tuple[str, ...]
) -> Iterator[list[Any]]:
    """Every visible match, newest first, in batches of named tuples with these fields.

    The fields must include `id` and `requested_at`.
    """
    parts = _all_matches(filters, actor=actor)
    return _iterate_batches([rows.values_list(*fields, named=True) for rows in parts])


def _all_matches(filters: HistoryFilter, *, actor: Actor) -> list[QuerySet[Deletion]]:
    """Like `_matches`, but for reading every row in batches, which many queries would slow down."""
    if _conditions(filters):
        return _matches(filters, actor=actor)
    return [visibility.visible(_visible_rows(filters, actor=actor), actor=actor)]


def _iterate_batches(parts: list[QuerySet[Deletion, Any]]) -> Iterator[list[Any]]:
    cursor: Cursor | None = None
    while batch := _rows_after(parts, cursor, limit=EXPORT_BATCH):
        yield batch
        cursor = _cursor_at(batch[-1])


def count_by_day(*, actor: Actor, filters: HistoryFilter) -> Counter[tuple[date, OutcomeGroup]]:
    """How many deletions match, by the UTC day of their request and by outcome group.

    Raises PermissionDenied.
    """
    permissions.require(permissions.can_see(actor), "see the chart of deletions")
    rows = visibility.visible(_visible_rows(filters, actor=actor), actor=actor).order_by()
    rows = rows.filter(*combined_conditions(filters))
    # Both databases write a time as text that starts with its day. TruncDate would call Python for
    # each row of SQLite.
    rows = rows.annotate(day=Left(Cast("requested_at", TextField()), 10))
    # Apart, so that an index has everything that closed ones need.
    closed = rows.exclude(outcome="").values_list("day", "outcome").annotate(found=Count("*"))
    still_open = rows.filter(outcome="", settled_at=None).values_list("day", "state")
    counts = Counter[tuple[date, OutcomeGroup]]()
    for day, outcome, count in closed:
        group = outcome_group(state=State.SETTLED, outcome=outcome)
        counts[date.fromisoformat(day), group] += count
    for day, state, count in still_open.annotate(found=Count("*")):
        counts[date.fromisoformat(day), outcome_group(state=state, outcome="")] += count
    return counts


def count_deletions(*, since: datetime | None, until: datetime | None) -> int:
    """The exact number of deletions that were requested in a period."""
    return _rows(HistoryFilter(since=since, until=until)).count()


def search_text_of(deletion: Deletion, *, comments: Iterable[str] = ()) -> str:
    """The text by which a search finds this deletion, case-folded."""
    words = (
        deletion.reason,
        deletion.ticket,
        deletion.source_org_name,
        deletion.sink_org_name,
        deletion.credential_name,
        deletion.requested_by_name,
        str(deletion.connection_id),
        str(deletion.id),
        *deletion.connection_types,
        *comments,
    )
    return "\n".join(word for word in words if word).casefold()


def list_selectable_credentials(*, actor: Actor) -> QuerySet[Credential]:
    """Every visible credential, by name, for the credential filter."""
    within = visibility.visible(Credential.objects.all(), actor=actor, by="pk")
    return within.only("id", "name").order_by("name")
