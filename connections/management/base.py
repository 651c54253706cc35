"""Base classes of commands: JSON output, exit codes and exports."""

import json
import logging
import os
import re
import sqlite3
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal, NoReturn
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.core.management.base import BaseCommand, CommandError, CommandParser, OutputWrapper
from django.core.serializers.json import DjangoJSONEncoder
from django.db import Error as DatabaseError
from django.db import connection

from connections.access.actor import command_actor
from connections.audit.signing import SigningKeyError
from connections.change_requests.attempt_facts import unrecorded_response_text
from connections.core.database import MissingDatabaseError, is_unwritable_error
from connections.core.errors import (
    ClockBehindError,
    DomainError,
    InvalidInputError,
    ResponseNotRecordedError,
)
from connections.core.private_files import PrivateFileError
from connections.core.text import printable, printable_json, printable_lines
from connections.crypto.encryption import EncryptionError, check_key_ring
from connections.exports.export import Export, start_export
from connections.inventory.syncs import credentials_in_use
from connections.models import Credential, Person
from connections.operations.schema import read_schema
from connections.verifier.messages import VerificationFailed
from connections.verifier.notes import parse_checkpoint

logger = logging.getLogger(__name__)

FAILED = 1
USAGE = 2
# What was to be done is done already.
ALREADY_SO = 3
NOT_SENT = 5
UNKNOWN = 6
# The exit code that shells report for a program that SIGPIPE ended.
OUTPUT_CLOSED = 141
# What Python turns bytes that are not UTF-8 into. It can't be stored or printed.
_SURROGATE = re.compile("[\ud800-\udfff]")


class LineOutput(OutputWrapper):
    """Writes one line with each call. A name in it can't add a line or control the terminal."""

    def write(  # type: ignore[override]
        self,
        msg: str = "",
        style_func: Callable[[str], str] | None = None,
        ending: str | None = None,
    ) -> None:
        """Write the line in the given style, which is the only source of escape sequences."""
        super().write(printable(msg), style_func, ending)

    def write_piece(self, text: str) -> None:
        """Write a part of a file as it is. On a terminal, only line breaks are not escaped."""
        if self.isatty():
            text = printable_lines(text.removeprefix("\ufeff").replace("\r\n", "\n"))
        super().write(text, ending="")


class Result:
    """What a command prints at its end, and its exit code."""

    def __init__(
        self, document: Any, *lines: str, errors: Iterable[str] = (), exit_code: int = 0
    ) -> None:
        """`document` is printed with `--json`, otherwise `lines`; `errors` on standard error."""
        self.document, self.lines = document, lines
        self.errors, self.exit_code = errors, exit_code


class OrgAdminCommand(BaseCommand):
    """A command that calls the same services as the pages.

    Standard output contains only the result: text or, with `--json`, exactly one JSON document,
    even if the command failed (`{"error": …}`). Errors go to standard error. Exit code 1 is a
    failure, 2 a usage error or invalid input, and 6 a DELETE that was sent but whose response could
    not be recorded. A Result can have other codes.
    """

    stdout: LineOutput
    stderr: LineOutput
    takes_json = True
    # Whether the command needs the key ring that decrypts the stored secrets.
    needs_keys = False
    # What a failed file operation means, as the start of a sentence.
    failed = "Failed"
    # System checks import every page, which would delay each command.
    requires_system_checks: list[str] | tuple[str, ...] | Literal["__all__"] = ()

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """A parser that reports usage errors as JSON with `--json` and refuses non-UTF-8 text."""
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        if self.takes_json:
            parser.add_argument(
                "--json", action="store_true", help="Print exactly one JSON document."
            )
        print_error, parse = parser.error, parser.parse_args

        def report_error(message: str) -> None:
            self.as_json = "--json" in sys.argv
            if self.as_json:
                self.emit({"error": message})
            print_error(printable(message))

        def parse_text(args: Sequence[str], namespace: Any = None) -> Any:
            if any(_SURROGATE.search(argument) for argument in args):
                parser.error("The arguments must be UTF-8 text.")
            return parse(args, namespace)

        parser.error = report_error  # type: ignore[method-assign]
        parser.parse_args = parse_text  # type: ignore[assignment]
        return parser

    def execute(self, *args: Any, **options: Any) -> Any:
        """Run the command, and turn exceptions of services into CommandError with an exit code.

        Django then prints the CommandError on standard error.
        """
        self.as_json = bool(options.get("json"))
        style_func = self.stderr.style_func
        self.stdout = LineOutput(options.pop("stdout", None) or sys.stdout)
        self.stderr = LineOutput(options.pop("stderr", None) or sys.stderr)
        self.stderr.style_func = style_func
        try:
            return super().execute(*args, **options)
        except Exception as error:
            failure = self.find_failure(error)
            if failure is None:
                raise
        message, code = failure
        if self.as_json:
            self.emit({"error": message})
        raise CommandError(message, returncode=code)

    def find_failure(self, error: Exception) -> tuple[str, int] | None:
        """The message and the exit code for an exception. None for an unexpected one."""
        match error:
            case InvalidInputError():
                return str(error), USAGE
            case ClockBehindError():
                return str(error), NOT_SENT
            case CommandError():
                return str(error), error.returncode
            case ResponseNotRecordedError():
                response_text = unrecorded_response_text(error)
                text = " ".join([response_text.headline, *response_text.lines])
                return f"{text} {link_to(error.noun, error.change_request_id)}", UNKNOWN
            case DatabaseError():
                return database_error_text(error), self.failure_code
        if isinstance(error, _FAILURES):
            return str(error), self.failure_code
        if isinstance(error, OSError | sqlite3.Error):
            return f"{self.failed}: {reason_of(error)}.", self.failure_code
        if isinstance(error, connection.Database.Error):  # type: ignore[attr-defined]
            # Django doesn't translate the driver's errors when a cursor is closed, for example.
            return database_error_text(error), self.failure_code
        if self.failure_code != FAILED:
            # The traceback's exit code would be 1.
            logger.error("Unexpected error", exc_info=error)
            return f"Unexpected error: {error!r}.", self.failure_code
        return None

    @property
    def failure_code(self) -> int:
        """The exit code of a failure. Another one where 1 is a result or denies an effect."""
        return FAILED

    def handle(self, *args: Any, **options: Any) -> None:
        """Check the keys if they are needed, run, print the result and exit with its code."""
        if self.needs_keys:
            check_key_ring()
        result = self.run(**options)
        if result:
            self.finish(result)

    def run(self, **options: Any) -> Result | None:
        """Do what the command is for. None means that nothing is left to print."""
        raise NotImplementedError

    def finish(self, result: Result) -> None:
        """Print the result and exit with its code."""
        self.emit(result.document, *result.lines)
        for line in result.errors:
            self.stderr.write(line)
        if result.exit_code:
            raise SystemExit(result.exit_code)

    def emit(self, document: Any, *lines: str) -> None:
        """Write `document` with `--json`, otherwise the lines.

        A closed output is ignored, because the exit code still tells the result.
        """
        if self.as_json:
            text = json.dumps(document, cls=DjangoJSONEncoder, ensure_ascii=False)
            lines = (printable_json(text),)
        try:
            for line in lines:
                self.stdout.write(line)
            self.stdout.flush()
        except BrokenPipeError:
            self.drop_output()

    def drop_output(self) -> None:
        """Discard buffered output, which Python would otherwise report as an error at exit."""
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.stdout.fileno())
        os.close(null)

    def usage_error(self, message: str) -> NoReturn:
        """End with exit code 2."""
        raise CommandError(message, returncode=USAGE)

    def read_input(self, path: str) -> bytes:
        """The contents of the file, or of standard input for "-". Ends with a usage error."""
        try:
            return sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
        except OSError as error:
            self.usage_error(_unreadable_text(path, error))

    def read_text(self, path: Path) -> str:
        """The text of a UTF-8 file. Ends with a usage error."""
        try:
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            self.usage_error(f"{path} isn't UTF-8 text.")
        except OSError as error:
            self.usage_error(_unreadable_text(path, error))

    def find_person(self, username: str) -> Person:
        """The person with this username, ignoring case. Otherwise end with a usage error."""
        person = Person.objects.filter(username__iexact=username).first()
        if person is None:
            self.usage_error(f"No person has the username {username!r}.")
        return person

    def choose_credentials(self, name: str | None) -> list[Credential]:
        """The credential in use with this name, ignoring case, or all if the name is None.

        Ends with a usage error if there is no such credential.
        """
        in_use = credentials_in_use(actor=command_actor())
        if name is None:
            return in_use
        credentials = [
            credential for credential in in_use if credential.name.casefold() == name.casefold()
        ]
        if not credentials:
            self.usage_error(f"No credential in use is named {name!r}.")
        return credentials


_FAILURES = (
    DomainError,
    PermissionDenied,
    EncryptionError,
    SigningKeyError,
    PrivateFileError,
    MissingDatabaseError,
)


def link_to(noun: str, pk: UUID | None) -> str:
    """What a request is called, and the address of its page or, without an ID, of the list."""
    label, page = noun.replace("_", " ").capitalize(), f"{pk}/" if pk else ""
    return f"{label}: /{noun.replace('_', '-')}s/{page}"


def reason_of(error: Exception) -> str:
    """Why a file operation failed, with the file's name."""
    name = getattr(error, "filename", None)
    reason = getattr(error, "strerror", None) or str(error)
    return f"{reason} ({name})" if name else reason


def _unreadable_text(path: str | Path, error: OSError) -> str:
    """Why a file that a person named can't be read, and what to do."""
    why = error.strerror or error
    return f"{path} can't be read ({why}). Check the path and that you can read the file."


def database_error_text(error: Exception) -> str:
    """What a database error means for a command, and what to do."""
    # PostgreSQL's texts have several lines.
    reason = " ".join(str(error).split())
    if is_unwritable_error(error):
        return (
            f"Org Admin can't write to the database: {reason}. Make the database and its directory "
            "writable for this user, or free space, then try again."
        )
    try:
        schema = read_schema()
    except DatabaseError:
        return f"Database error: {reason}. Is the database reachable?"
    return f"Database error: {reason}." if schema.is_usable else schema.text


class ExportCommand(OrgAdminCommand):
    """A command that writes an export to standard output, piece by piece."""

    # False if something also collects standard error.
    prints_checkpoint = True

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the option for where to write the checkpoint, which is not part of the rows."""
        parser.add_argument(
            "--checkpoint-file",
            type=Path,
            metavar="FILE",
            help="Write the newest checkpoint here, replacing an earlier one."
            + (" Default: standard error." if self.prints_checkpoint else ""),
        )

    def write_export(self, export: Export[Any], *, checkpoint_file: Path | None) -> None:
        """Write the whole export. Record its start and end.

        Raises CommandError, and SystemExit when the reader closes the output early.
        """
        note = export.checkpoint.note if export.checkpoint else ""
        if checkpoint_file:
            _write_checkpoint(checkpoint_file, note)
        with closing(start_export(export=export)) as pieces:
            try:
                for piece in pieces:
                    self.stdout.write_piece(piece.decode())
                    # Before the end is recorded, because an export that was not read is not
                    # complete.
                    self.stdout.flush()
            except BrokenPipeError:
                self.drop_output()
                raise SystemExit(OUTPUT_CLOSED) from None
        if note and self.prints_checkpoint and not checkpoint_file:
            for line in note.splitlines():
                self.stderr.write(line)


def _write_checkpoint(path: Path, note: str) -> None:
    """Replace an earlier checkpoint, but no other file, because the path can be mistyped.

    Raises CommandError before anything is written.
    """
    try:
        if path.exists() and path.stat().st_size:
            parse_checkpoint(path.read_bytes(), str(path))
        path.write_text(note, encoding="utf-8")
    except VerificationFailed:
        message = f"{path} contains something other than a checkpoint. Nothing was changed."
        raise CommandError(message, returncode=USAGE) from None


def credential_document(credential: Credential) -> dict[str, Any]:
    """A credential and its key checks for `--json`."""
    return {
        "id": credential.pk,
        "name": credential.name,
        "site": credential.site,
        "org": {"id": credential.org_id, "name": credential.org_name},
        "fingerprint": credential.fingerprint,
        "policy": credential.policy,
        "verified": credential.is_verified,
        "verified_at": credential.verified_at,
        "cause": credential.verification_cause,
        "key_checks": credential.verification,
    }


def credential_lines(credential: Credential) -> list[str]:
    """A credential and its key checks as lines of text."""
    state = "keys accepted" if credential.is_verified else "keys not accepted"
    lines = [f"{credential.name} ({credential.site}): {state}"]
    marks = {True: "yes", False: "no ", None: "-  "}
    for result in credential.verification:
        text = result["text"] or "not checked"
        lines.append(f"  {marks[result['ok']]} {result['check']}: {text}")
    return lines
