"""List access requests from the command line."""

from typing import Any

from connections.access.actor import command_actor
from connections.access_requests.listing import (
    ACCESS_REQUEST_COLUMNS,
    AccessRequestFilter,
    ListedAccessRequest,
    iterate_access_requests,
)
from connections.core.text import format_time
from connections.management.base import OrgAdminCommand, Result


class Command(OrgAdminCommand):
    """Prints the stored access requests, newest first."""

    help = "List the access requests, newest first."

    def run(self, **options: Any) -> Result:
        rows = list(iterate_access_requests(actor=command_actor(), filters=AccessRequestFilter()))
        document = {"access_requests": [ACCESS_REQUEST_COLUMNS.row(row) for row in rows]}
        return Result(document, *map(_line, rows))


def _line(row: ListedAccessRequest) -> str:
    request = row.request
    parts = (
        str(request.pk),
        format_time(request.requested_at),
        request.get_kind_display(),
        request.progress,
        request.description,
    )
    return "  ".join(parts)
