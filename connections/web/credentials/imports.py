"""Importing credentials from CSV."""

from collections import Counter
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.debug import sensitive_post_parameters

from connections.access.actor import Actor
from connections.core.errors import InvalidInputError
from connections.credentials.import_file import COLUMNS, parse_file
from connections.credentials.imports import LineOutcome, LineResult, import_credentials
from connections.inventory.inventory import current_snapshots
from connections.web.badges import Badge
from connections.web.credentials.forms import CredentialImportForm
from connections.web.framework.http import actor_of
from connections.web.framework.person_limits import limited
from connections.web.framework.reauthentication import requires_reauthentication

MAX_LINES = 200
# Less than the 60 s after which proxies usually end a request to Org Admin.
IMPORT_SECONDS = 45.0

_LINE_BADGES = {
    LineOutcome.FAILED: Badge("Failed", "danger", "cross"),
    LineOutcome.NOT_REACHED: Badge("Not reached", "warn", "clock"),
    LineOutcome.ADDED: Badge("Added", "ok", "check"),
    LineOutcome.ROTATED: Badge("Rotated", "ok", "key"),
    LineOutcome.SKIPPED: Badge("Skipped", "muted", "minus"),
}
_LINE_EXPLANATIONS = {
    LineOutcome.NOT_REACHED: "Time ran out. Send the same lines again.",
    LineOutcome.SKIPPED: "These keys are stored already.",
}


def _import_page(
    request: HttpRequest,
    form: CredentialImportForm | None = None,
    results: list[LineResult] | None = None,
) -> HttpResponse:
    form = form or CredentialImportForm(initial={"rotate": bool(request.POST.get("rotate"))})
    context = {
        "form": form,
        "headers": [",".join(columns) for columns in COLUMNS],
        "max_lines": MAX_LINES,
        "seconds": int(IMPORT_SECONDS),
        **(_results_context(results, actor=actor_of(request)) if results else {}),
    }
    status = 422 if form.errors else 200
    return render(request, "credentials/import.html", context, status=status)


def _results_context(results: list[LineResult], *, actor: Actor) -> dict[str, Any]:
    """The lines that need attention, first, how many have each outcome, and all connections."""
    counts = Counter(result.outcome for result in results)
    rows = [
        {
            "result": result,
            "badge": _LINE_BADGES[result.outcome],
            "text": result.error or _LINE_EXPLANATIONS.get(result.outcome, ""),
        }
        for outcome in _LINE_BADGES
        for result in results
        if result.outcome is outcome
    ]
    parts = [
        f"{counts[outcome]} {_LINE_BADGES[outcome].label.lower()}"
        for outcome in _LINE_BADGES
        if counts[outcome]
    ]
    is_done = not counts[LineOutcome.FAILED] and not counts[LineOutcome.NOT_REACHED]
    connections = current_snapshots(actor=actor).values("site", "connection_id").distinct()
    return {
        "rows": rows,
        "summary": ", ".join(parts),
        "is_done": is_done,
        "connections": connections.count(),
    }


# Hides the lines in error reports, even while DEBUG is on: see errors.py.
@sensitive_post_parameters("csv")
@limited("import", per_minute=10)
@requires_reauthentication(on_missing=_import_page, before_page=True)
def credential_import(request: HttpRequest) -> HttpResponse:
    """The form. A POST imports the lines and shows the result of each."""
    if request.method != "POST":
        return _import_page(request)
    form = CredentialImportForm(request.POST, request.FILES)
    try:
        form.require_valid()
        results = import_credentials(
            actor=actor_of(request),
            lines=parse_file(form.cleaned_data["text"], max_lines=MAX_LINES),
            rotate=form.cleaned_data["rotate"],
            seconds=IMPORT_SECONDS,
        )
    except InvalidInputError as error:
        form.add_errors(error)
        return _import_page(request, form)
    return _import_page(request, results=results)
