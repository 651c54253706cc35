"""Importing CSV on a page: a preview of what each line changes, then one button that imports."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Protocol
from urllib.parse import urlencode

from django import forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from connections.access.actor import Actor
from connections.core.csv_import import ImportResult
from connections.core.errors import InvalidInputError
from connections.core.text import join_names, pluralize
from connections.web.framework.forms import ServiceForm
from connections.web.framework.http import actor_of

# Because proxies usually end a request after 60 s.
MAX_LINES = 1000
# With its line ends as browsers send them, and less than a form can have.
MAX_BYTES = 250_000


class Service(Protocol):
    """What imports the lines. A preview changes nothing."""

    def __call__(self, *, actor: Actor, content: bytes, is_preview: bool) -> ImportResult: ...


@dataclass(frozen=True, kw_only=True)
class ImportPage:
    """One page that imports."""

    template: str
    service: Service
    # Of what a line sets, such as "agreement".
    noun: str
    columns: Sequence[str]
    # What a line is about, as the search of the list finds it.
    name_of: Callable[[dict[str, Any]], str]
    list_name: str

    def respond(self, request: HttpRequest) -> HttpResponse:
        """The form. A POST previews the lines, and imports them with `confirm=yes`."""
        posted = request.method == "POST"
        form = CsvForm(request.POST, request.FILES) if posted else CsvForm()
        context: dict[str, Any] = {}
        if posted and "edit" not in request.POST:
            try:
                form.require_valid()
                context = self._run(request, form.cleaned_data["content"])
            except InvalidInputError as error:
                form.add_errors(error)
        context |= {"form": form, "header": ",".join(self.columns), "max_lines": MAX_LINES}
        status = 422 if form.errors else 409 if context.get("is_outdated") else 200
        return render(request, self.template, context, status=status)

    def _run(self, request: HttpRequest, content: bytes) -> dict[str, Any]:
        actor, digest = actor_of(request), request.POST.get("digest")
        result = self.service(actor=actor, content=content, is_preview=True)
        is_confirmed = request.POST.get("confirm") == "yes"
        # What someone saved after the preview isn't overwritten unseen.
        is_outdated = is_confirmed and digest is not None and digest != _digest(result)
        is_preview = is_outdated or not is_confirmed
        if not is_preview:
            result = self.service(actor=actor, content=content, is_preview=False)
        named = [(row, self.name_of(row)) for row in result.set]
        return {
            "result": result,
            "is_preview": is_preview,
            "is_outdated": is_outdated,
            "digest": _digest(result),
            "summary": self._summary(result, is_preview=is_preview),
            "set": [
                {
                    "line": row["line"],
                    "name": name,
                    "changes": result.changes.get(row["line"], []),
                    "url": f"{reverse(self.list_name)}?{urlencode({'q': name})}",
                }
                for row, name in named
            ],
            # The lines travel in the form.
            "lines": content.decode("utf-8-sig") if is_preview else "",
            "what": pluralize(len(named), self.noun),
        }

    def _summary(self, result: ImportResult, *, is_preview: bool) -> str:
        """ "3 agreements set, 2 unchanged and 1 line failed."."""
        what, failed = pluralize(len(result.set), self.noun), pluralize(len(result.failed), "line")
        parts = [f"{what} {'to set' if is_preview else 'set'}"] if result.set else []
        parts += [f"{len(result.unchanged):,} unchanged"] if result.unchanged else []
        parts += (
            [f"{failed} {'with an error' if is_preview else 'failed'}"] if result.failed else []
        )
        return f"{join_names(parts) or 'There are no lines after the header'}."


def _digest(preview: ImportResult) -> str:
    """Of what the preview says, which another version of an agreement changes."""
    said = repr((preview.document, sorted(preview.changes.items())))
    return sha256(said.encode()).hexdigest()


class CsvForm(ServiceForm):
    """Lines of CSV, pasted or as a file."""

    csv = forms.CharField(
        label="Lines",
        help_text="Paste CSV with its header.",
        required=False,
        strip=False,
        widget=forms.Textarea(attrs={"rows": 8, "spellcheck": "false", "required": False}),
    )
    file = forms.FileField(label="Or choose a file", required=False)

    def clean(self) -> dict[str, Any]:
        """Put the bytes into `cleaned_data["content"]`."""
        cleaned = super().clean() or self.cleaned_data
        upload, pasted = cleaned.get("file"), cleaned.get("csv", "")
        if bool(upload) == bool(pasted) and not self.errors:
            self.add_error("csv", "Paste lines, or choose one file of at most 250 KB.")
        content = upload.read() if upload else pasted.encode()
        if b"\0" in content:
            self.add_error("file", "The file contains a character that can't be stored.")
        # As a browser sends the previewed lines.
        cleaned["content"] = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = cleaned["content"].count(b"\n")
        if lines > MAX_LINES + 1 or len(cleaned["content"]) + lines > MAX_BYTES:
            self.add_error("csv", f"Import at most {MAX_LINES:,} lines and 250 KB at once.")
        return cleaned
