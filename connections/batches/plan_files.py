"""Plan files: the connections of a bulk deletion as CSV or JSON, for `delete_org_connections`.

Each line is read separately, so a bad line doesn't prevent others from being deleted.
"""

import json
import re
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from connections.access.actor import Actor
from connections.batches import drafts
from connections.batches.drafts import PlannedConnection, PlanSource
from connections.core.errors import InvalidInputError
from connections.core.sites import find_site
from connections.core.tabular import split_cells
from connections.models import (
    Batch,
    BatchOrigin,
    BatchRow,
    BatchState,
    Credential,
    Person,
    RowProblem,
)
from connections.verifier.labels import ROW_PROBLEMS

_REQUIRED = {"site", "connection_id"}
_COLUMNS = _REQUIRED | {"credential"}
_HEADER = "site,connection_id or site,connection_id,credential"
_LINE_END = re.compile(r"\r\n|\n|\r")
# JSON can contain a lone surrogate, which can't be stored or printed.
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, kw_only=True)
class PlanLine:
    """One connection to delete, or why the line can't be used.

    `number` is the line in CSV, where the header is line 1, and the entry in JSON, counted from 1.
    """

    number: int
    site: str = ""
    connection_id: str = ""
    credential_name: str = ""
    # The credential with this name, once it has been looked up.
    credential: Credential | None = None
    problem: str = ""

    @property
    def connection(self) -> str:
        """The connection as forms name it: "<site>/<connection ID>"."""
        return f"{self.site}/{self.connection_id}"


@dataclass(frozen=True, kw_only=True)
class FailedLine:
    """A line that deletes nothing, and why."""

    number: int
    error: str


def read_plan(content: bytes) -> list[PlanLine]:
    """The lines of a plan file, with their credentials. Skips empty lines.

    Raises InvalidInputError when the file as a whole can't be read.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidInputError({"plan": "The plan isn't UTF-8 text."}) from None
    lines = _parse_json(text) if text.lstrip()[:1] in {"[", "{"} else _parse_csv(text)
    if not lines:
        raise InvalidInputError({"plan": "The plan names no connections."})
    lines = _with_credentials(lines)
    if usable := _usable_lines(lines):
        drafts.require_row_count(len(usable))
    return lines


def _parse_csv(text: str) -> list[PlanLine]:
    rows = _LINE_END.split(text)
    header = [cell.strip().lower() for cell in split_cells(rows[0]) or ()]
    if set(header) not in (_REQUIRED, _COLUMNS) or len(set(header)) != len(header):
        raise InvalidInputError({"plan": f"The first line must be the header: {_HEADER}."})
    filled = [(number, row) for number, row in enumerate(rows[1:], start=2) if row.strip()]
    return [_parse_row(number, row, header=header) for number, row in filled]


def _parse_row(number: int, row: str, *, header: Sequence[str]) -> PlanLine:
    cells = split_cells(row)
    if cells is None:
        return PlanLine(number=number, problem="This line isn't valid CSV. Check its quotes.")
    if len(cells) != len(header):
        problem = f"Expected {len(header)} columns, found {len(cells)}."
        return PlanLine(number=number, problem=problem)
    return _check(number, dict(zip(header, cells, strict=True)))


def _parse_json(text: str) -> list[PlanLine]:
    try:
        entries = json.loads(text, object_pairs_hook=_object_of)
    except (ValueError, RecursionError):
        entries = None
    if not isinstance(entries, list):
        raise InvalidInputError(
            {"plan": "The plan isn't a JSON list of objects with site and connection_id."}
        )
    return [_parse_entry(number, entry) for number, entry in enumerate(entries, start=1)]


def _object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any] | tuple[tuple[str, Any], ...]:
    """A JSON object.

    Refuses a repeated key, because a dictionary would keep only one of its values.
    """
    values = dict(pairs)
    return values if len(values) == len(pairs) else tuple(pairs)


def _parse_entry(number: int, entry: Any) -> PlanLine:
    if not isinstance(entry, dict) or not _REQUIRED <= set(entry) <= _COLUMNS:
        problem = (
            "Expected an object with site, connection_id and, optionally, credential, each once."
        )
        return PlanLine(number=number, problem=problem)
    values = {name: value for name, value in entry.items() if value is not None}
    if not all(isinstance(value, str) for value in values.values()):
        return PlanLine(number=number, problem="Every value must be text.")
    if any(_SURROGATE.search(value) for value in values.values()):
        return PlanLine(number=number, problem="Every value must be valid Unicode text.")
    return _check(number, values)


def _check(number: int, values: Mapping[str, str]) -> PlanLine:
    site = find_site(values.get("site", ""))
    if site is None:
        problem = "Unknown site. Use a name such as EU1 or a host such as datadoghq.eu."
        return PlanLine(number=number, problem=problem)
    return PlanLine(
        number=number,
        site=site.site,
        connection_id=values.get("connection_id", "").strip(),
        credential_name=values.get("credential", "").strip(),
    )


def _with_credentials(lines: Sequence[PlanLine]) -> list[PlanLine]:
    by_name = defaultdict[tuple[str, str], list[Credential]](list)
    for credential in Credential.objects.filter(retired_at=None):
        by_name[credential.site, credential.name.casefold()].append(credential)
    return [
        _with_credential(line, among=by_name[line.site, line.credential_name.casefold()])
        if line.credential_name and not line.problem
        else line
        for line in lines
    ]


def _with_credential(line: PlanLine, *, among: Sequence[Credential]) -> PlanLine:
    """The line with its credential. `among` holds the credentials with that name in any case.

    The database allows two names that Python considers equal when case is ignored, such as ß and
    SS.
    """
    exact = [credential for credential in among if credential.name == line.credential_name]
    matches = exact or among
    if len(matches) == 1:
        return replace(line, credential=matches[0])
    problem = "No credential in use on this site has this name."
    if matches:
        problem = (
            "Several credentials have this name in different letter case. Use the exact spelling."
        )
    return replace(line, problem=problem)


# --- From lines to a bulk deletion ------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class FilePlan:
    """The draft that a plan file describes, not stored."""

    batch: Batch
    rows: Sequence[BatchRow]
    failed: Sequence[FailedLine]

    @property
    def sendable(self) -> list[BatchRow]:
        """The rows that can be deleted."""
        return [row for row in self.rows if not row.problem]


def build_plan(
    *, lines: Sequence[PlanLine], actor: Actor, requester: Person | None = None
) -> FilePlan | None:
    """The draft for these lines, from the newest snapshots. None if no line can be used.

    Raises what `drafts.create_draft` raises.
    """
    named = _usable_lines(lines)
    if not named:
        return None
    source = PlanSource(
        origin=BatchOrigin.SELECTION,
        connections=[
            PlannedConnection(
                text=line.connection,
                credential_id=line.credential.pk if line.credential else None,
                is_credential_fixed=line.credential is not None,
            )
            for line in named
        ],
    )
    batch, rows = drafts.build_draft(source=source, actor=actor, requester=requester)
    by_line = {line.number: row for line, row in zip(named, rows, strict=True)}
    return FilePlan(batch=batch, rows=rows, failed=find_failed(lines=lines, rows=by_line))


def find_failed(*, lines: Sequence[PlanLine], rows: Mapping[int, BatchRow]) -> list[FailedLine]:
    """The lines that delete nothing. `rows` are the plan's rows by line number."""
    errors = {line.number: _error_text(line, row=rows.get(line.number)) for line in lines}
    return [FailedLine(number=number, error=error) for number, error in errors.items() if error]


def _usable_lines(lines: Sequence[PlanLine]) -> list[PlanLine]:
    return [line for line in lines if not line.problem]


def _error_text(line: PlanLine, *, row: BatchRow | None) -> str:
    if row is None:
        return line.problem
    # A page tells its reader what "you" can see and use. A command sees and uses everything, unless
    # it plans for a requester.
    requester = row.batch.created_by
    match row.problem:
        case "":
            return ""
        case RowProblem.NO_CREDENTIAL if line.credential:
            return f"The credential {line.credential.name} can't delete it."
        case RowProblem.NO_CREDENTIAL if requester:
            return f"{requester.display_name} can't use any credential that can delete it."
        case RowProblem.NO_CREDENTIAL:
            return "No credential can delete it."
        case RowProblem.NOT_VISIBLE if requester:
            return f"No sync that {requester.display_name} can see lists this ID."
        case RowProblem.NOT_VISIBLE:
            return "No sync lists this ID on this site."
    return ROW_PROBLEMS[row.problem].sentence


# From the request on, the plan of a bulk deletion doesn't change.
_OPEN = (BatchState.REQUESTED, BatchState.APPROVED, BatchState.RUNNING, BatchState.PAUSED)


@dataclass(frozen=True, kw_only=True)
class OpenPlan:
    """The open bulk deletion that was requested with a plan, and the lines that are not in it."""

    batch: Batch
    failed: Sequence[FailedLine]


def find_open_plan(*, lines: Sequence[PlanLine]) -> OpenPlan | None:
    """The open bulk deletion that was requested with the same plan.

    Its credentials might have been renamed or retired since.
    """
    named = [(line, drafts.normalize(line.connection)) for line in lines if line.site]
    for batch in Batch.objects.filter(ended_at=None, state__in=_OPEN):
        rows = _rows_by_line(batch, named=named)
        if rows:
            return OpenPlan(batch=batch, failed=find_failed(lines=lines, rows=rows))
    return None


def _rows_by_line(
    batch: Batch, *, named: Sequence[tuple[PlanLine, str]]
) -> dict[int, BatchRow] | None:
    """The rows of a bulk deletion by line number. None if its plan differs."""
    rows = deque(batch.rows.filter(removed_at=None).order_by("position"))
    # The credential's name when each deletion was requested.
    names = dict(batch.deletions.values_list("batch_row_id", "credential_name"))
    by_line = {}
    for line, key in named:
        if rows and rows[0].reference == key and _is_sent_as_named(rows[0], line=line, names=names):
            by_line[line.number] = rows.popleft()
        elif not line.problem:
            return None
    return None if rows else by_line


def _is_sent_as_named(row: BatchRow, *, line: PlanLine, names: Mapping[int, str]) -> bool:
    """Whether the credential that the line names sends this row."""
    if row.problem or not line.credential_name:
        return True
    if line.credential and line.credential.pk == row.credential_id:
        return True
    return names.get(row.pk, "").casefold() == line.credential_name.casefold()
