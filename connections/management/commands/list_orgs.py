"""List every known org from the command line."""

from typing import Any

from connections.access.actor import command_actor
from connections.core import tabular
from connections.inventory.orgs import OrgSummary, list_orgs
from connections.management.base import OrgAdminCommand, Result


class Command(OrgAdminCommand):
    """Prints the orgs as the last syncs stored them."""

    help = (
        "List every known org with its coverage (listed, failing, no-credential), its credentials "
        "and its number of connections, as the last syncs stored them. Sends no requests."
    )

    def run(self, **options: Any) -> Result:
        orgs = list_orgs(actor=command_actor())
        return Result({"orgs": [_document(org) for org in orgs]}, *map(_line, orgs))


def _document(summary: OrgSummary) -> dict[str, Any]:
    return {
        "id": summary.org.org_id,
        "site": summary.org.site,
        "name": summary.org.name or None,
        "coverage": summary.coverage.value,
        "credentials": [credential.name for credential in summary.credentials],
        "listed_at": tabular.as_time(summary.listed_at),
        "connections_in": summary.connections_in,
        "connections_out": summary.connections_out,
        "group": summary.group or None,
        "owner": summary.owner.username if summary.owner else None,
    }


def _line(summary: OrgSummary) -> str:
    org = summary.org
    return (
        f"{org.org_id}  {org.site}  {org.name}  {summary.coverage.value}  "
        f"{summary.connections_in} in, {summary.connections_out} out"
    )
