"""Write the history of deletions to standard output."""

from argparse import ArgumentParser
from typing import Any

from connections.access.actor import Actor, command_actor
from connections.core import clock, tabular
from connections.deletions import history
from connections.deletions.export import prepare_export
from connections.deletions.history_filter import HistoryForm
from connections.management.base import ExportCommand, OrgAdminCommand

FILTERS = {
    "since": ("DATE", "Asked on this day (2026-01-31, UTC) or later."),
    "until": ("DATE", "Asked on this day (UTC) or before."),
    "status": ("STATE", "A state or an outcome, such as unknown or refused."),
    "site": ("SITE", "Such as datadoghq.eu."),
    "org": ("ORG", "Name or id of the source or the destination org."),
    "ticket": ("TICKET", "Exactly this ticket."),
    "connection_id": ("UUID", "Exactly this connection."),
    "q": ("TEXT", "Words in reason, ticket, orgs, people and ids."),
}


class Command(ExportCommand):
    """`export_deletions`: the same rows and audit events as the history page's export."""

    help = "Write the deletions that pass the filters to standard output, newest first."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the format and the history's filters."""
        super().add_arguments(parser)
        parser.add_argument(
            "--format", choices=tuple(tabular.CONTENT_TYPES), help="Default: json with --json."
        )
        for name, (metavar, text) in FILTERS.items():
            flag = "--text" if name == "q" else f"--{name.replace('_', '-')}"
            parser.add_argument(flag, dest=name, metavar=metavar, help=text, default="")

    def run(self, **options: Any) -> None:
        """Write row by row, so that memory stays flat."""
        file_format = options["format"] or ("json" if self.as_json else "")
        if not file_format:
            self.usage_error("Name a format: --format csv, json or ndjson.")
        if self.as_json and file_format != "json":
            self.usage_error(f"--json and --format {file_format} exclude each other.")
        actor = command_actor()
        form = read_filters(self, options, actor=actor, flags={})
        export = prepare_export(
            actor=actor,
            filters=form.history_filter(now=clock.now()),
            file_format=file_format,
            query=filter_query(options),
        )
        self.write_export(export, checkpoint_file=options["checkpoint_file"])


def read_filters(
    command: OrgAdminCommand, options: dict[str, Any], *, actor: Actor, flags: dict[str, str]
) -> HistoryForm:
    """The valid form of a command's filters; otherwise ends the command with a usage error.

    `flags` are the options by field, where they are not named after the field.
    """
    query = {name: options[name] for name in FILTERS if options[name]}
    form = HistoryForm(query, credentials=history.list_selectable_credentials(actor=actor))
    if not form.is_valid():
        field, problems = next(iter(form.errors.items()))
        command.usage_error(f"{flags.get(field, field)}: {problems[0]}")
    return form


def filter_query(options: dict[str, Any]) -> str:
    """The filters as the export's audit event shows them."""
    return "&".join(f"{name}={options[name]}" for name in FILTERS if options[name])
