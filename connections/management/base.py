"""What all commands of ours share: one JSON document on request, and their exit codes."""

import json
import os
import re
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn

from django.core.exceptions import PermissionDenied
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.serializers.json import DjangoJSONEncoder
from django.db import Error as DatabaseError

from connections import wording
from connections.audit.export import Export, begin_export
from connections.audit.signing_key import SigningKeyError
from connections.core.database import means_no_writes
from connections.core.errors import DomainError, InvalidInputError, ResponseNotRecordedError
from connections.crypto.encryption import EncryptionError, check_key_ring

FAILED = 1
USAGE = 2
UNKNOWN = 6
# What a shell says of a program that ended since nobody read its output any more.
OUTPUT_CLOSED = 141
# What bytes that are no UTF-8 arrive as, and what nothing can store or print.
_SURROGATE = re.compile("[\ud800-\udfff]")


class OrgAdminCommand(BaseCommand):
    """A command that calls the same services as the pages.

    Standard output holds the result alone: text, or with `--json` exactly one JSON document,
    also when the command failed (`{"error": …}`). What went wrong stands on standard error.
    Exit code 1 is a failure of ours, 2 a usage error (also what a service calls invalid
    input), 6 a DELETE that was sent and whose answer the database did not take; a command with
    further codes raises SystemExit after `emit`.
    """

    # Whether it must not start without the key ring that opens what is stored.
    needs_keys = False
    # They import every page, which a command in a script would wait for.
    requires_system_checks = ()

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """A parser of text, whose usage errors are one document too with `--json`."""
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        complain, parse = parser.error, parser.parse_args

        def tell(message: str) -> None:
            self.as_json = "--json" in sys.argv
            if self.as_json:
                self.emit({"error": message}, "")
            complain(message)

        def parse_text(args: Sequence[str], namespace: Any = None) -> Any:
            if any(_SURROGATE.search(argument) for argument in args):
                parser.error("An argument is no text in UTF-8.")
            return parse(args, namespace)

        parser.error = tell  # type: ignore[method-assign]
        parser.parse_args = parse_text  # type: ignore[assignment]
        return parser

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add `--json`; a subclass calls this and adds its own."""
        parser.add_argument(
            "--json", action="store_true", help="Exactly one JSON document on standard output."
        )

    def execute(self, *args: Any, **options: Any) -> Any:
        """Run, and turn what a service raised into a message and an exit code.

        Raises CommandError, which the command line prints on standard error.
        """
        self.as_json = bool(options.get("json"))
        try:
            return super().execute(*args, **options)
        except InvalidInputError as error:
            message, code = str(error), USAGE
        except (DomainError, PermissionDenied, EncryptionError, SigningKeyError) as error:
            message, code = str(error), FAILED
        except ResponseNotRecordedError as error:
            words = wording.unrecorded_response_text(error)
            text = " ".join([words.headline, *words.lines])
            message, code = f"{text} Record: /deletions/{error.deletion_id}/", UNKNOWN
        except DatabaseError as error:
            message, code = _database_error_text(error), FAILED
        except CommandError as error:
            message, code = str(error), error.returncode
        if self.as_json:
            self.emit({"error": message}, "")
        raise CommandError(message, returncode=code)

    def check_keys(self) -> None:
        """Raise EncryptionError unless the key ring opens what is stored."""
        check_key_ring()

    def handle(self, *args: Any, **options: Any) -> None:
        """Check the keys where they are needed, and act."""
        if self.needs_keys:
            self.check_keys()
        self.run(**options)

    def run(self, **options: Any) -> None:
        """What the command does."""
        raise NotImplementedError

    def emit(self, document: Any, text: str) -> None:
        """Write the result: `document` with `--json`, else `text`. Call it once.

        Where nobody reads it, the exit code tells all the same.
        """
        if self.as_json:
            text = json.dumps(document, cls=DjangoJSONEncoder, ensure_ascii=False)
        try:
            self.stdout.write(text)
            self.stdout.flush()
        except BrokenPipeError:
            self.drop_output()

    def drop_output(self) -> None:
        """Send what is still held back nowhere: Python would complain of it at its end."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.stdout.fileno())
        os.close(nowhere)

    def usage_error(self, message: str) -> NoReturn:
        """End with exit code 2: what was asked for cannot be meant."""
        raise CommandError(message, returncode=USAGE)


def _database_error_text(error: DatabaseError) -> str:
    if means_no_writes(error):
        return (
            f"The database can't be written: {error}. Make the database and its directory "
            "writable for this user, or free space, then try again."
        )
    return f"The database refused: {error}. Is it reachable and migrated?"


class ExportCommand(OrgAdminCommand):
    """A command whose standard output is an export, written piece by piece."""

    # Off where standard error is collected too.
    prints_checkpoint = True

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add where the checkpoint goes, which never stands among the rows."""
        super().add_arguments(parser)
        parser.add_argument(
            "--checkpoint-file",
            type=Path,
            metavar="FILE",
            help="Write the newest checkpoint here"
            + ("; else it is printed on standard error." if self.prints_checkpoint else "."),
        )

    def write_export(self, export: Export, *, checkpoint_file: Path | None) -> None:
        """Write all of it, recorded from its beginning to its end.

        Raises CommandError, and SystemExit when nobody reads it to its end.
        """
        note = export.checkpoint.note if export.checkpoint else ""
        if checkpoint_file:
            try:
                checkpoint_file.write_text(note, encoding="utf-8")
            except OSError as error:
                message = f"{checkpoint_file} cannot be written: {error.strerror}."
                raise CommandError(message, returncode=FAILED) from None
        with closing(begin_export(export=export)) as pieces:
            try:
                for piece in pieces:
                    self.stdout.write(piece.decode(), ending="")
                    # Before the end is recorded: what nobody took is not whole.
                    self.stdout.flush()
            except BrokenPipeError:
                self.drop_output()
                raise SystemExit(OUTPUT_CLOSED) from None
        if note and self.prints_checkpoint and not checkpoint_file:
            self.stderr.write(note)
