"""Importing agreements from CSV."""

from django.http import HttpRequest, HttpResponse

from connections.inventory.pair_files import COLUMNS, import_agreements
from connections.web.framework.csv_imports import ImportPage
from connections.web.framework.person_limits import limited

_PAGE = ImportPage(
    template="agreements/import.html",
    service=import_agreements,
    noun="agreement",
    columns=COLUMNS,
    name_of=lambda row: f"{row['source_org']} → {row['destination_org']}",
    list_name="agreement-list",
)


@limited("import-agreements", per_minute=30)
def agreement_import(request: HttpRequest) -> HttpResponse:
    """The form, a preview of its lines, and their import."""
    return _PAGE.respond(request)
