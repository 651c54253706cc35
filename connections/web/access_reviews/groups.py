"""The order of an access review's rows, the headings above them, and where its pages begin."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import groupby
from typing import NamedTuple

from django.http import HttpRequest

from connections.access_reviews.decisions import MAX_TOGETHER
from connections.access_reviews.rows import ReviewRow
from connections.inventory.inventory import SORT_KEYS
from connections.inventory.matching import ListedConnection
from connections.models import ReviewDecision, RowState
from connections.models.text_columns import HexKey
from connections.web.access_reviews.rows import EXCEPTIONS, ReviewRowView
from connections.web.framework.lists import current_url

DEFAULT_SORT = "source"
# The heading of the rows in each state. In the order of the page: those to decide on come first.
_HEADINGS = {
    RowState.PENDING: (0, "To decide"),
    RowState.KEEP: (1, "Decided"),
    RowState.DELETE: (1, "Decided"),
    RowState.GONE: (2, "Gone"),
}


class RowCursor(NamedTuple):
    """The row that a page starts after: its group when the link was made, and its position.

    Numbered pages would skip rows, because a decision moves a row to another group.
    """

    group: int
    position: int

    @classmethod
    def of(cls, row: ReviewRow) -> "RowCursor":
        """The cursor of a row."""
        return cls(_HEADINGS[row.state][0], row.position)

    @classmethod
    def parse(cls, text: str) -> "RowCursor":
        """The cursor in an address. The beginning for any other text."""
        match = re.fullmatch(r"([0-9]{1,9})-([0-9]{1,9})", text)
        return cls(int(match[1]), int(match[2])) if match else cls(0, 0)

    def __str__(self) -> str:
        return f"{self.group}-{self.position}"


@dataclass(frozen=True, kw_only=True)
class RowGroup:
    """The rows of a page under one heading."""

    # The request of the page that shows it.
    request: HttpRequest
    label: str
    views: Sequence[ReviewRowView]
    # How many rows under this heading the person can decide on, also on other pages.
    count: int
    # Whether the rows have something in common, so that one decision can be about all of them.
    is_common: bool

    @property
    def html_id(self) -> str:
        """Identifies it on the page, and in the address that selects its rows."""
        return f"group-{sha256(self.label.encode()).hexdigest()[:8]}"

    @property
    def selectable(self) -> list[ReviewRowView]:
        """What its link selects: all rows to decide on without an exception.

        All rows to decide on if each of them is an exception. None if some are on another page.
        """
        if not self.is_common or len(self._to_decide) < self.count:
            return []
        return [view for view in self._to_decide if not view.exceptions] or self._to_decide

    @property
    def is_to_keep(self) -> bool:
        """Whether its link also prepares the decision to keep them."""
        return not any(view.exceptions for view in self.selectable)

    @property
    def url(self) -> str:
        """The page with these rows selected."""
        decision = ReviewDecision.KEEP.value if self.is_to_keep else ""
        url = current_url(self.request, select=self.html_id, decision=decision)
        return f"{url}#{self.html_id}"

    @property
    def has_others(self) -> bool:
        """Whether its link leaves out some that are to be decided on."""
        return len(self.selectable) < self.count

    @property
    def exceptions_text(self) -> str:
        """ "1 shares audit events, 2 have no agreement"."""
        counts = Counter(name for view in self._to_decide for name in view.exceptions)
        return ", ".join(
            f"{counts[name]:,} {one if counts[name] == 1 else many}"
            for name, one, many in EXCEPTIONS
            if counts[name]
        )

    @property
    def _to_decide(self) -> list[ReviewRowView]:
        return [view for view in self.views if view.details.row.is_decidable]


def group_rows(
    request: HttpRequest,
    views: Iterable[ReviewRowView],
    *,
    matching: Iterable[ReviewRow],
    names: Mapping[HexKey, str],
    to_decide: str,
) -> list[RowGroup]:
    """The rows of a page by heading.

    `matching` are those of all pages, `names` what those to decide on have in common, if the list
    is in that order, and `to_decide` their heading otherwise.
    """

    def heading(row: ReviewRow) -> str:
        is_open = row.state == RowState.PENDING
        return names.get(row.hex_key, to_decide) if is_open else _HEADINGS[row.state][1]

    counts = Counter(heading(row) for row in matching if row.is_decidable)
    return [
        RowGroup(
            request=request,
            label=label,
            views=list(members),
            count=counts[label],
            is_common=bool(names),
        )
        for label, members in groupby(views, key=lambda view: heading(view.details.row))
    ]


def sort_rows(
    rows: Sequence[ReviewRow],
    *,
    sort: str,
    listed: Mapping[HexKey, ListedConnection],
    names: Mapping[HexKey, str],
) -> list[ReviewRow]:
    """The rows in the order of the column `sort`, after "-" in descending order."""
    if sort == DEFAULT_SORT:
        # As the inventory was sorted at the start.
        return list(rows)
    column, is_descending = sort.removeprefix("-"), sort.startswith("-")
    if column == "owner":
        return sorted(
            rows, key=lambda row: names.get(row.hex_key, "").casefold(), reverse=is_descending
        )
    # The oldest was created first.
    name, is_reversed = ("created", True) if column == "age" else (column, False)
    return sorted(
        rows,
        key=lambda row: SORT_KEYS[name](listed[row.hex_key]),
        reverse=is_descending != is_reversed,
    )


def page_after(
    chosen: Iterable[ReviewRow],
    ordered: Sequence[ReviewRow],
    *,
    after: str,
    size: int,
    name_of: Callable[[HexKey], str | None],
) -> tuple[list[ReviewRow], RowCursor | None]:
    """The chosen rows of the page that starts after this cursor, and the cursor of the next page.

    Rows to decide on that have a name in common stay on one page, even if it gets longer, as far as
    one decision can be about all of them.
    """
    ranks = {row.position: rank for rank, row in enumerate(ordered)}

    def place(cursor: RowCursor) -> tuple[int, int]:
        return cursor.group, ranks.get(cursor.position, -1)

    def has_name_of_previous(index: int) -> bool:
        row, previous = following[index], following[index - 1]
        name = name_of(row.hex_key) if row.state == RowState.PENDING else None
        return name is not None and name == name_of(previous.hex_key)

    start = place(RowCursor.parse(after))
    places = {row.position: place(RowCursor.of(row)) for row in chosen}
    following = sorted(
        (row for row in chosen if places[row.position] > start),
        key=lambda row: places[row.position],
    )
    end = size
    while end < min(len(following), MAX_TOGETHER) and has_name_of_previous(end):
        end += 1
    return following[:end], RowCursor.of(following[end - 1]) if end < len(following) else None
