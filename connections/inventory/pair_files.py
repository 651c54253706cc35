"""Agreements as files. An export can be edited and imported: it has the import's columns first."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from functools import cache
from itertools import batched
from typing import Any

from connections.access import permissions
from connections.access.actor import Actor
from connections.agreements.agreed import find_agreements
from connections.agreements.setting import FIELDS, Terms, preview_separately, set_separately
from connections.agreements.texts import change_texts
from connections.core.csv_import import ImportResult, Outcome, import_csv
from connections.core.errors import InvalidInputError
from connections.core.tabular import Columns, as_time
from connections.exports.export import Export
from connections.inventory.inventory import ROWS_PER_QUERY
from connections.inventory.matching import KnownOrg
from connections.inventory.org_details import find_by_id_or_name, find_owner
from connections.inventory.orgs import list_known_orgs
from connections.inventory.pairs import PairFilter, PairRow, list_pairs, load_pair_rows
from connections.models import Agreement, OrgPair, Person

_PAIR = ("site", "source_org", "destination_org")
COLUMNS = (*_PAIR, *FIELDS)
# In one transaction, for as long as SQLite's other writers can wait.
LINES_TOGETHER = 100


type _Line = tuple[OrgPair, Terms] | InvalidInputError


def import_agreements(*, actor: Actor, content: bytes, is_preview: bool = False) -> ImportResult:
    """Set what each line says, all of it or nothing; see COLUMNS. A preview sets nothing.

    An org is an ID, or a name that only one org of the site has; data types are separated by
    spaces or commas. An empty cell clears, but data types stay. A line that says nothing about a
    pair without an agreement changes nothing. Raises InvalidInputError for `file`.
    """
    orgs, find_person = list_known_orgs(actor=actor), cache(find_owner)

    def parse(row: dict[str, str]) -> _Line:
        try:
            source, sink = (
                find_by_id_or_name(orgs, site=row["site"], text=row[side]) for side in _PAIR[1:]
            )
            if source == sink:
                return InvalidInputError({"pair": "Source and destination are the same org."})
            return OrgPair(source.site, source.org_id, sink.org_id), _terms(row, find_person)
        except InvalidInputError as error:
            return error

    def apply_all(rows: list[dict[str, str]]) -> Iterator[Outcome]:
        if is_preview:
            yield from _preview(list(map(parse, rows)), actor=actor)
            return
        for part in batched(map(parse, rows), LINES_TOGETHER):
            outcomes = iter(set_separately(actor=actor, lines=_parsed(part)))
            for line in part:
                outcome = next(outcomes) if isinstance(line, tuple) else line
                yield outcome if isinstance(outcome, Exception) else isinstance(outcome, Agreement)

    return import_csv(content, columns=COLUMNS, apply_all=apply_all, named_by=_PAIR)


def _parsed(part: Sequence[_Line]) -> list[tuple[OrgPair, Terms]]:
    return [line for line in part if isinstance(line, tuple)]


def _preview(part: Sequence[_Line], *, actor: Actor) -> Iterator[Outcome]:
    lines = _parsed(part)
    outcomes = iter(preview_separately(actor=actor, lines=lines))
    latest = find_agreements({pair for pair, _ in lines})
    for line in part:
        outcome = next(outcomes) if isinstance(line, tuple) else line
        if isinstance(outcome, Agreement):
            yield list(change_texts(outcome, latest.get(outcome.pair)))
            latest[outcome.pair] = outcome
        else:
            yield outcome if isinstance(outcome, Exception) else False


def _terms(row: dict[str, str], find_person: Callable[[str], Person | None]) -> Terms:
    terms: Terms = {
        "owner": find_person(row["owner"]),
        "owner_text": row["owner_text"],
        "purpose": row["purpose"],
        "ticket": row["ticket"],
        "ends_on": _parse_date(row["ends_on"]),
    }
    if row["connection_types"]:
        terms["connection_types"] = row["connection_types"].replace(",", " ").lower().split()
    return terms


def _parse_date(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise InvalidInputError({"ends_on": f"“{text}” isn't a date such as 2027-06-30."}) from None


# --- Export -------------------------------------------------------------------------------------


def prepare_export(
    *, actor: Actor, filters: PairFilter, file_format: str, query: str
) -> Export[PairRow]:
    """An export of every visible match, in the order of the list. Raises PermissionDenied.

    `query` is the filter as the person entered it.
    """
    permissions.require(permissions.can_export(actor), "export agreements")

    def items() -> Iterator[PairRow]:
        matches = list_pairs(actor=actor, filters=filters).matches
        for batch in batched(matches, ROWS_PER_QUERY):
            yield from load_pair_rows(batch, actor=actor)

    return Export(
        actor=actor,
        what="agreements",
        description="agreements",
        file_format=file_format,
        query=query,
        items=items,
        columns=_export_columns(_names_that_find(list_known_orgs(actor=actor))),
    )


def _names_that_find(orgs: list[KnownOrg]) -> set[tuple[str, str]]:
    """The sites and names by which an import finds exactly these orgs."""
    counts = Counter((org.site, text) for org in orgs for text in (org.name, org.org_id))
    return {
        (site, text)
        for (site, text), count in counts.items()
        if count == 1 and text and text == text.strip()
    }


def _export_columns(names: set[tuple[str, str]]) -> Columns[PairRow]:
    def org(known: KnownOrg) -> str:
        return known.name if (known.site, known.name) in names else known.org_id

    return Columns[PairRow](
        {
            "site": lambda row: row.listed.source_org.site,
            "source_org": lambda row: org(row.listed.source_org),
            "destination_org": lambda row: org(row.listed.sink_org),
            "owner": _of(lambda agreement: agreement.owner and agreement.owner.username),
            "owner_text": _of(lambda agreement: agreement.owner_text),
            "purpose": _of(lambda agreement: agreement.purpose),
            "ticket": _of(lambda agreement: agreement.ticket),
            "ends_on": _of(lambda agreement: agreement.ends_on and agreement.ends_on.isoformat()),
            "connection_types": _of(lambda agreement: " ".join(agreement.connection_types)),
            "agreed": lambda row: row.listed.agreed,
            "reasons": lambda row: list(row.listed.reasons),
            "listed_types": lambda row: row.listed.types,
            "source_org_id": lambda row: row.listed.source_org.org_id,
            "destination_org_id": lambda row: row.listed.sink_org.org_id,
            "version": _of(lambda agreement: agreement.version),
            "set_by": _of(
                lambda agreement: (
                    agreement.set_by.username if agreement.set_by else agreement.set_by_process
                )
            ),
            "set_at": _of(lambda agreement: as_time(agreement.set_at)),
            "accepted": _of(lambda agreement: agreement.accepted_at is not None),
            "accepted_at": _of(lambda agreement: as_time(agreement.accepted_at)),
            "refusal_reason": _of(
                lambda agreement: agreement.decision.reason if agreement.decision else ""
            ),
        }
    )


def _of(get: Callable[[Agreement], Any]) -> Callable[[PairRow], Any]:
    """What is got from the agreement. "" for a pair without one."""
    return lambda row: get(row.agreement) if row.agreement else ""
