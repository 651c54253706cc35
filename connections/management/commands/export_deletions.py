"""Write the history of deletions to standard output."""

from argparse import ArgumentParser
from typing import Any
from urllib.parse import urlencode

from django.http import QueryDict

from connections.access.actor import Actor, command_actor
from connections.core import tabular
from connections.deletions import history
from connections.deletions.export import prepare_export
from connections.deletions.history import HistoryFilter
from connections.deletions.history_filter import HistoryForm
from connections.management.base import ExportCommand, OrgAdminCommand

FILTERS = {
    "since": ("DATE", "Requested on this day (such as 2026-01-31, UTC) or later."),
    "until": ("DATE", "Requested on this day (UTC) or earlier."),
    "status": ("STATE", "A state or an outcome, such as unknown or refused."),
    "site": ("SITE", "A site, such as datadoghq.eu."),
    "org": ("ORG", "Source or destination org: SITE/ORG_ID."),
    "ticket": ("TICKET", "Exactly this ticket."),
    "connection_id": ("UUID", "Exactly this connection."),
    "batch": ("UUID", "Exactly this bulk deletion."),
    "q": ("TEXT", "Words in reasons, tickets, orgs, people and IDs."),
}
FLAGS = {name: f"--{name.replace('_', '-')}" for name in FILTERS} | {"q": "--text"}


class Command(ExportCommand):
    """`export_deletions`: the same rows and audit events as the history page's export."""

    help = "Write the deletions that match the filters to standard output, newest first."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--format", choices=tuple(tabular.CONTENT_TYPES), help="Default: json with --json."
        )
        add_filters(parser, flags=FLAGS)

    def run(self, **options: Any) -> None:
        file_format = options["format"] or ("json" if self.as_json else "")
        if not file_format:
            self.usage_error("Choose a format: --format csv, json or ndjson.")
        if self.as_json and file_format != "json":
            self.usage_error(f"Give --json or --format {file_format}, not both.")
        actor = command_actor()
        export = prepare_export(
            actor=actor,
            filters=read_filters(self, options, actor=actor, flags=FLAGS),
            file_format=file_format,
            query=filter_query(options),
        )
        self.write_export(export, checkpoint_file=options["checkpoint_file"])


def add_filters(parser: ArgumentParser, *, flags: dict[str, str]) -> None:
    """Add the history's filters; `flags` are their options by field."""
    for name, (metavar, text) in FILTERS.items():
        parser.add_argument(flags[name], dest=name, metavar=metavar, help=text, default="")


def read_filters(
    command: OrgAdminCommand, options: dict[str, Any], *, actor: Actor, flags: dict[str, str]
) -> HistoryFilter:
    """A command's valid filters. Otherwise it ends with a usage error."""
    query = QueryDict(urlencode({name: options[name] for name in FILTERS if options[name]}))
    form = HistoryForm(query, credentials=history.list_selectable_credentials(actor=actor))
    if not form.is_valid():
        field, problems = next(iter(form.errors.items()))
        command.usage_error(f"{flags[field]}: {problems[0]}")
    return form.filters()


def filter_query(options: dict[str, Any]) -> str:
    """The filters in the form that the export's audit event shows."""
    return "&".join(f"{name}={options[name]}" for name in FILTERS if options[name])
