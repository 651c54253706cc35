"""What a plan would do, from one query: counts, warnings, and what each destination org loses."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import F, TextChoices
from django.urls import reverse

from connections.access.actor import Actor
from connections.access.permissions import visibility_of
from connections.access.visibility import visible_batch_rows
from connections.batches import facts
from connections.batches.what_changes import TakenAccess, find_owner_names, list_losses
from connections.core.data_types import unknown_types
from connections.core.text import format_limit, join_some_names, pluralize
from connections.models import (
    Batch,
    BatchRow,
    Deletion,
    OrgConnectionKey,
    OrgPair,
    RowProblem,
)
from connections.verifier.labels import ROW_PROBLEMS
from connections.web.change_requests.excluded import Excluded, find_excluded_by_deletions
from connections.web.framework.forms import PageWarning

# How many lines of a total are shown before the others are folded away, and how many names a
# sentence has.
MAX_LINES = 4
MAX_NAMES = 3
NEW = timedelta(days=7)
# The problems of a row whose connection another deletion deletes or has deleted.
_OVERTAKEN = {RowProblem.CHANGED, RowProblem.ALREADY_BEING_DELETED}
# What a count of rows with a problem says, where that isn't its label: "2 with an open deletion".
_COUNTED = {
    RowProblem.MALFORMED_ID: "with an invalid ID",
    RowProblem.ALREADY_BEING_DELETED: "with an open deletion",
    RowProblem.NO_CREDENTIAL: "without a credential that can delete it",
    RowProblem.KEPT: "marked Keep",
}


class PlanFilter(TextChoices):
    """Which rows of a plan to show: the values of `show` in the address, and some links' texts."""

    ALL = "", "All"
    TO_DELETE = "to-delete", "To delete"
    LEFT_OUT = "left-out", "Left out"
    # Shown by the links in warnings.
    AUDIT = "audit"
    NEW = "new"
    UNKNOWN_TYPE = "unknown-type"
    KEPT = "kept"
    ENDS_REQUEST = "ends-request"
    SENT_REQUEST = "sent-request"


class PlanRow(NamedTuple):
    """The part of a row that counting needs, without a model object for each."""

    id: int
    site: str
    connection_id: UUID | None
    problem: str
    source_org_id: str
    source_org_name: str
    sink_org_id: str
    sink_org_name: str
    connection_types: list[str]
    connection_created_at: datetime | None
    creator_name: str
    creator_is_disabled: bool | None
    creator_is_service_account: bool | None
    # When its deletion ended, for example because it was withdrawn.
    ended_at: datetime | None

    @property
    def is_to_delete(self) -> bool:
        """Whether the bulk deletion deletes it."""
        return not self.problem and self.ended_at is None

    @property
    def pair(self) -> OrgPair:
        """The orgs that it connects."""
        return OrgPair(self.site, self.source_org_id, self.sink_org_id)

    @property
    def key(self) -> OrgConnectionKey:
        """The connection."""
        if self.connection_id is None:
            raise ValueError("A malformed ID names no connection.")
        return OrgConnectionKey(site=self.site, connection_id=self.connection_id)

    @property
    def source(self) -> str:
        """The source org's name, or its ID."""
        return self.source_org_name or self.source_org_id

    @property
    def sink(self) -> str:
        """The destination org's name, or its ID."""
        return self.sink_org_name or self.sink_org_id


@dataclass(frozen=True, kw_only=True)
class Total:
    """How many connections each org, data type, creator or owner has, largest first."""

    label: str
    largest: list[tuple[str, int]]
    others: list[tuple[str, int]]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The rows of a bulk deletion that were not removed, and what deleting them would do."""

    rows: list[PlanRow]
    # Those that access reviews have decided to keep.
    kept_ids: Collection[int]
    # The deletions that keep left out rows from being deleted, by row.
    others: Mapping[int, Deletion]
    # The names of the owners in the agreements of these orgs.
    owners: Mapping[OrgPair, str]
    # The open access requests of the orgs of those to delete, which deleting them ends, by row.
    excluded: Mapping[int, Excluded]
    at: datetime

    @property
    def to_delete(self) -> list[PlanRow]:
        """The rows that can be deleted and were not withdrawn."""
        return [row for row in self.rows if row.is_to_delete]

    @property
    def left_out(self) -> list[PlanRow]:
        """The rows that can't be deleted."""
        return [row for row in self.rows if row.problem]

    def rows_of(self, row_filter: PlanFilter) -> list[PlanRow]:
        """The rows that a filter shows, in the order of the plan."""
        tests: dict[PlanFilter, Callable[[PlanRow], Any]] = {
            PlanFilter.ALL: lambda row: True,
            PlanFilter.TO_DELETE: lambda row: row.is_to_delete,
            PlanFilter.LEFT_OUT: lambda row: row.problem,
            PlanFilter.AUDIT: lambda row: row.is_to_delete and "audit" in row.connection_types,
            PlanFilter.NEW: lambda row: row.is_to_delete and self._is_new(row),
            PlanFilter.UNKNOWN_TYPE: lambda row: (
                row.is_to_delete and unknown_types(row.connection_types)
            ),
            PlanFilter.KEPT: lambda row: row.is_to_delete and row.id in self.kept_ids,
            PlanFilter.ENDS_REQUEST: lambda row: self._is_excluded(row, was_sent=False),
            PlanFilter.SENT_REQUEST: lambda row: self._is_excluded(row, was_sent=True),
        }
        return [row for row in self.rows if tests[row_filter](row)]

    def _is_new(self, row: PlanRow) -> bool:
        created = row.connection_created_at
        return created is not None and self.at - created < NEW

    def _is_excluded(self, row: PlanRow, *, was_sent: bool) -> bool:
        excluded = self.excluded.get(row.id)
        access_request = excluded.visible if excluded else None
        return access_request is not None and (access_request.epoch > 0) == was_sent

    @property
    def numbers(self) -> list[tuple[str, int]]:
        """The counts at the top of the page."""
        rows, left_out = self.to_delete, len(self.left_out)
        withdrawn = len(self.rows) - len(rows) - left_out
        return [
            ("To delete", len(rows)),
            *([("Left out", left_out)] if left_out else []),
            *([("Withdrawn", withdrawn)] if withdrawn else []),
            ("Source orgs", len({(row.site, row.source_org_id) for row in rows})),
            ("Destination orgs", len({(row.site, row.sink_org_id) for row in rows})),
        ]

    def warnings(self, *, url_of: Callable[[PlanFilter], str]) -> list[PageWarning]:
        """What to know about the rows, most important first. `url_of` a filter shows its rows."""
        gone, audit = self.gone, self.rows_of(PlanFilter.AUDIT)
        left_out = [row for row in self.left_out if row.id not in gone]
        new, unknown = self.rows_of(PlanFilter.NEW), self.rows_of(PlanFilter.UNKNOWN_TYPE)
        problems = Counter(RowProblem(row.problem) for row in left_out)
        kinds = sorted({kind for row in unknown for kind in unknown_types(row.connection_types)})
        kept = self.rows_of(PlanFilter.KEPT)
        warnings = [
            PageWarning(
                headline=f"{pluralize(len(kept), 'connection')} marked Keep in an access review",
                detail=_names(f"{row.source} → {row.sink}" for row in kept),
                count=len(kept),
                rows_url=url_of(PlanFilter.KEPT),
            ),
            *self._excluded_warnings(url_of=url_of),
            self._gone_warning(rows_url=url_of(PlanFilter.LEFT_OUT)),
            PageWarning(
                headline=f"{len(left_out)} can't be deleted and {_is_or_are(left_out)} left out",
                detail=", ".join(
                    f"{count} {_COUNTED.get(problem) or ROW_PROBLEMS[problem].label.lower()}"
                    for problem, count in problems.most_common()
                ),
                count=len(left_out),
                rows_url=url_of(PlanFilter.LEFT_OUT),
            ),
            PageWarning(
                headline=f"{len(unknown)} {_verb_form(unknown, 'share')} an unknown data type",
                detail=f"{', '.join(kinds)}. Ask the owners what it is used for.",
                count=len(unknown),
                rows_url=url_of(PlanFilter.UNKNOWN_TYPE),
            ),
            PageWarning(
                headline=f"{len(audit)} {_verb_form(audit, 'share')} audit events",
                detail=f"{_names(row.sink for row in audit)} {_loses_or_lose(audit)} them",
                count=len(audit),
                rows_url=url_of(PlanFilter.AUDIT),
            ),
            PageWarning(
                headline=f"{len(new)} {'was' if len(new) == 1 else 'were'} created in the last "
                f"{format_limit(NEW)}",
                detail=f"By {_names(row.creator_name or 'an unknown user' for row in new)}",
                count=len(new),
                rows_url=url_of(PlanFilter.NEW),
            ),
        ]
        return [warning for warning in warnings if warning.count]

    def _excluded_warnings(self, *, url_of: Callable[[PlanFilter], str]) -> list[PageWarning]:
        """Which access requests the deletions end, and which ones keep them from being sent."""
        sent, ended = self.rows_of(PlanFilter.SENT_REQUEST), self.rows_of(PlanFilter.ENDS_REQUEST)
        hidden = [excluded for excluded in self.excluded.values() if excluded.visible is None]
        closed = "it is" if len(sent) == 1 else "they are"
        return [
            PageWarning(
                headline=f"{pluralize(len(sent), 'access request')} "
                f"{'was' if len(sent) == 1 else 'were'} sent to Datadog",
                detail=f"Nothing here can be requested or confirmed until {closed} closed",
                count=len(sent),
                rows_url=url_of(PlanFilter.SENT_REQUEST),
            ),
            PageWarning(
                headline=f"{pluralize(len(ended), 'access request')} "
                f"{_verb_form(ended, 'end')} when this is sent",
                detail=_names(f"{row.source} → {row.sink}" for row in ended),
                count=len(ended),
                rows_url=url_of(PlanFilter.ENDS_REQUEST),
            ),
            PageWarning(
                headline=f"Something about the orgs of {pluralize(len(hidden), 'connection')} "
                "is in progress",
                detail="Whichever is confirmed first ends the other",
                count=len(hidden),
            ),
        ]

    def _gone_warning(self, *, rows_url: str) -> PageWarning:
        """What was deleted since the plan was made, with a link to the bulk deletion that did."""
        count = len(self.gone)
        batches = {deletion.batch for deletion in self.gone.values()}
        batch = batches.pop() if len(batches) == 1 else None
        return PageWarning(
            headline=f"{count} {'was' if count == 1 else 'were'} already deleted",
            detail=f"By a bulk deletion that {batch.requested_by_name} requested" if batch else "",
            count=count,
            rows_url=reverse("batch-detail", args=[batch.pk]) if batch else rows_url,
            link="View bulk deletion" if batch else "",
        )

    @property
    def gone(self) -> dict[int, Deletion]:
        """The deletions that ended with a connection of the plan gone, by row."""
        return {row: deletion for row, deletion in self.others.items() if deletion.is_settled}

    @property
    def totals(self) -> list[Total]:
        """How many connections each org, data type, creator and owner has."""
        rows = self.to_delete
        return [
            _total("Destinations that lose access", (row.sink for row in rows)),
            _total("Sources", (row.source for row in rows)),
            _total("Data types", (kind for row in rows for kind in row.connection_types)),
            _total("Creators", map(_creator, rows)),
            _total("Owners", (self.owners.get(row.pair, "No one") for row in rows)),
        ]

    @property
    def losses(self) -> list[str]:
        """A sentence for each destination org, by its name."""
        return list_losses(
            TakenAccess(
                pair=row.pair, source=row.source, sink=row.sink, types=tuple(row.connection_types)
            )
            for row in self.to_delete
        )


def load_plan(
    batch: Batch, *, actor: Actor, at: datetime, current: Sequence[BatchRow] = ()
) -> Plan:
    """The plan as this person sees it. Four queries, whatever the number of rows.

    `current` are the rows of a draft with the problems that they have now.
    """
    hidden = visibility_of(actor).hidden
    rows = [
        PlanRow._make([*(getattr(row, name) for name in PlanRow._fields[:-1]), None])
        for row in current
        if row.credential_id not in hidden
    ]
    if not current:
        stored = visible_batch_rows(batch, actor=actor).order_by("position")
        stored = stored.annotate(ended_at=F("deletion__settled_at"))
        rows = [PlanRow._make(row) for row in stored.values_list(*PlanRow._fields)]
    overtaken = [row for row in current if row.problem in _OVERTAKEN]
    pairs = {row.id: row.pair for row in rows if row.is_to_delete and row.source_org_id}
    excluded = find_excluded_by_deletions(set(pairs.values()), actor=actor)
    return Plan(
        rows=rows,
        kept_ids=facts.find_kept(batch=batch),
        others=facts.find_later_deletions(overtaken, actor=actor) if overtaken else {},
        owners=find_owner_names(batch),
        excluded={row: excluded[pair] for row, pair in pairs.items() if pair in excluded},
        at=at,
    )


def _total(label: str, names: Iterable[str]) -> Total:
    counted = sorted(Counter(names).items(), key=lambda item: (-item[1], item[0].casefold()))
    return Total(label=label, largest=counted[:MAX_LINES], others=counted[MAX_LINES:])


def _creator(row: PlanRow) -> str:
    flags = ["disabled"] if row.creator_is_disabled else []
    if row.creator_is_service_account:
        flags.append("service account")
    return ", ".join((row.creator_name or "Unknown", *flags))


def _names(names: Iterable[str]) -> str:
    return join_some_names(sorted(set(names), key=str.casefold), limit=MAX_NAMES)


def _is_or_are(rows: Sequence[PlanRow]) -> str:
    return "is" if len(rows) == 1 else "are"


def _verb_form(rows: Collection[PlanRow], verb: str) -> str:
    return f"{verb}s" if len(rows) == 1 else verb


def _loses_or_lose(rows: Iterable[PlanRow]) -> str:
    return "loses" if len({row.sink for row in rows}) == 1 else "lose"
