"""Add or rotate many credentials from a CSV file."""

from argparse import ArgumentParser
from typing import Any

from connections.access.actor import command_actor
from connections.credentials.import_file import COLUMNS, decode_file, parse_file
from connections.credentials.imports import LineOutcome, LineResult, import_credentials
from connections.management.base import FAILED, OrgAdminCommand, Result


class Command(OrgAdminCommand):
    """Verifies each line, and stores the lines whose keys verify."""

    help = (
        "Add credentials from CSV with the columns "
        + " or ".join(",".join(columns) for columns in COLUMNS)
        + ". Lines whose keys are already stored are skipped. A failed line doesn't affect others. "
        "Exit codes: 0 no line failed, 1 at least one failed, 2 usage."
    )
    needs_keys = True

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--file", required=True, metavar="CSV", help="UTF-8. - reads standard input."
        )
        parser.add_argument(
            "--rotate",
            action="store_true",
            help="Rotate credentials that are stored under a line's name with other keys.",
        )

    def run(self, **options: Any) -> Result:
        lines = parse_file(decode_file(self.read_input(options["file"])))
        results = import_credentials(actor=command_actor(), lines=lines, rotate=options["rotate"])
        document = {
            outcome.value: [_document(result) for result in results if result.outcome is outcome]
            for outcome in LineOutcome
            if outcome is not LineOutcome.NOT_REACHED
        }
        exit_code = FAILED if document[LineOutcome.FAILED] else 0
        return Result(document, *map(_text, results), exit_code=exit_code)


def _document(result: LineResult) -> dict[str, Any]:
    document: dict[str, Any] = {"line": result.number, "name": result.name}
    return document | {"error": result.error} if result.error else document


def _text(result: LineResult) -> str:
    text = f"line {result.number}: {result.outcome} {result.name}".rstrip()
    return f"{text}: {result.error}" if result.error else text
