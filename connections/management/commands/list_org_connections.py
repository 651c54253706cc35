"""List every org connection from the command line."""

from argparse import ArgumentParser
from typing import Any

from connections.access.actor import command_actor
from connections.core import tabular
from connections.core.causes import failure_text
from connections.core.text import format_time
from connections.crypto.encryption import check_key_ring
from connections.inventory import syncs
from connections.inventory.export import (
    CONNECTION_EXPORT_COLUMNS,
    PAST_CONNECTION_COLUMNS,
    agreement_document,
)
from connections.inventory.inventory import InventoryRow, iterate_rows
from connections.inventory.matching import InventoryFilter
from connections.inventory.point_in_time import (
    NotCovered,
    PastConnection,
    list_connections_at,
    parse_moment,
)
from connections.management.base import FAILED, OrgAdminCommand, Result
from connections.models import Credential, Sync

COLUMNS = (
    "id",
    "site",
    "source_org",
    "sink_org",
    "connection_types",
    "created_at",
    "created_by",
    "seen_by",
    "agreed",
    "reasons",
    "accepted",
    "accepted_at",
)
# While a connection isn't agreed, with --not-agreed.
NOT_AGREED = 10


class Command(OrgAdminCommand):
    """Syncs the orgs and prints their connections, or only prints what is stored."""

    help = (
        "Sync every org and list its connections. Exit code 1 if an org's sync failed; its known "
        "connections are still listed. Exit code 10 with --not-agreed while one isn't agreed."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--credential",
            metavar="NAME",
            help="Only connections visible to this credential. Default: all.",
        )
        parser.add_argument(
            "--stored", action="store_true", help="Don't sync: list what the last sync stored."
        )

        parser.add_argument(
            "--not-agreed", action="store_true", help="Only connections that aren't agreed."
        )
        parser.add_argument(
            "--at",
            metavar="TIME",
            help="Don't sync: list what the newest complete syncs by then showed. ISO 8601, UTC if "
            "it has no offset; a date stands for its end.",
        )

    def run(self, **options: Any) -> Result:
        credentials = self.choose_credentials(options["credential"])
        actor = command_actor()
        if options["at"] is not None:
            if options["not_agreed"]:
                self.usage_error("--not-agreed can't be used with --at.")
            chosen = credentials[0] if options["credential"] else None
            return self._list_at(options["at"], chosen=chosen)
        if not options["stored"]:
            check_key_ring()
            syncs.sync_orgs(actor=actor, credentials=credentials)
        filters = InventoryFilter(agreed="no" if options["not_agreed"] else "")
        rows = list(iterate_rows(actor=actor, filters=filters))
        if options["credential"]:
            rows = [row for row in rows if credentials[0] in row.listed_by]
        failures = _failures(credentials)
        document = {
            "org_connections": [_document(row) for row in rows],
            "failures": failures,
        }
        errors = [f"{failure['credential']}: {failure['message']}" for failure in failures]
        exit_code = FAILED if failures else NOT_AGREED if options["not_agreed"] and rows else 0
        return Result(document, *map(_line, rows), errors=errors, exit_code=exit_code)

    def _list_at(self, text: str, *, chosen: Credential | None) -> Result:
        past = list_connections_at(actor=command_actor(), at=parse_moment(text))
        rows = [row for row in past.connections if chosen is None or chosen in row.listed_by]
        document = {
            "at": tabular.as_time(past.at),
            "org_connections": [_past_document(row) for row in rows],
            "not_covered": [_not_covered_document(each) for each in past.not_covered],
        }
        lines = [f"{_line(row)}{'  changing' if row.is_changing else ''}" for row in rows]
        return Result(document, *lines, errors=map(_not_covered_line, past.not_covered))


def _document(row: InventoryRow) -> dict[str, Any]:
    values = CONNECTION_EXPORT_COLUMNS.row(row)
    agreement = agreement_document(row.agreement) if row.agreement else None
    return {name: values[name] for name in COLUMNS} | {"agreement": agreement}


def _past_document(row: PastConnection) -> dict[str, Any]:
    """A connection as `_document` has it. What a past moment can't say is null."""
    values = PAST_CONNECTION_COLUMNS.row(row)
    return dict.fromkeys((*COLUMNS, "agreement")) | values


def _not_covered_document(each: NotCovered) -> dict[str, Any]:
    return {
        "id": each.org.org_id,
        "site": each.org.site,
        "name": each.org.name or None,
        "last_synced_at": tabular.as_time(each.last_synced_at),
    }


def _not_covered_line(each: NotCovered) -> str:
    synced = format_time(each.last_synced_at) if each.last_synced_at else "never"
    return f"Not covered: {each.org.name or each.org.org_id} on {each.org.site}, synced {synced}"


def _line(row: InventoryRow | PastConnection) -> str:
    snapshot = row.snapshot
    types = ",".join(snapshot.connection_types)
    return (
        f"{snapshot.connection_id}  {snapshot.site}  "
        f"{snapshot.source_org_name} -> {snapshot.sink_org_name}  {types}"
    )


def _failures(credentials: list[Credential]) -> list[dict[str, Any]]:
    """The credentials among these whose last sync is missing or failed."""
    newest = syncs.newest_syncs()
    return [
        _failure(credential, last_sync)
        for credential in credentials
        for last_sync in [newest.get(credential.pk)]
        if last_sync is None or not last_sync.is_complete
    ]


def _failure(credential: Credential, last_sync: Sync | None) -> dict[str, Any]:
    never = "Its keys were never accepted." if not credential.org_id else "Never synced."
    return {
        "credential": credential.name,
        "site": credential.site,
        "cause": last_sync.cause if last_sync else "never_listed",
        "http_status": last_sync.http_status if last_sync else None,
        "errors": last_sync.errors if last_sync else [],
        "message": failure_text(cause=last_sync.cause, http_status=last_sync.http_status)
        if last_sync
        else never,
        "at": tabular.as_time(last_sync.started_at) if last_sync else None,
    }
