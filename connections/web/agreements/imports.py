"""Importing agreements from CSV."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from connections.core.csv_import import ImportResult
from connections.core.errors import InvalidInputError
from connections.core.text import join_names, pluralize
from connections.inventory.pair_files import COLUMNS, import_agreements
from connections.web.agreements.forms import MAX_LINES, AgreementImportForm
from connections.web.framework.http import actor_of
from connections.web.framework.person_limits import limited


@limited("import-agreements", per_minute=10)
def agreement_import(request: HttpRequest) -> HttpResponse:
    """The form. A POST imports the lines and says which of them failed."""
    form, result = AgreementImportForm(), None
    if request.method == "POST":
        form = AgreementImportForm(request.POST, request.FILES)
        try:
            form.require_valid()
            content = form.cleaned_data["content"]
            result = import_agreements(actor=actor_of(request), content=content)
        except InvalidInputError as error:
            form.add_errors(error)
    context = {
        "form": form,
        "result": result,
        "summary": _summary(result) if result else "",
        "header": ",".join(COLUMNS),
        "max_lines": MAX_LINES,
    }
    return render(request, "agreements/import.html", context, status=422 if form.errors else 200)


def _summary(result: ImportResult) -> str:
    """ "3 agreements set, 2 unchanged and 1 line failed."."""
    parts = [f"{pluralize(len(result.set), 'agreement')} set"] if result.set else []
    parts += [f"{len(result.unchanged):,} unchanged"] if result.unchanged else []
    parts += [f"{pluralize(len(result.failed), 'line')} failed"] if result.failed else []
    return f"{join_names(parts) or 'There are no lines after the header'}."
