"""Writing an export to standard output, for the commands that do."""

from argparse import ArgumentParser
from contextlib import closing
from pathlib import Path

from django.core.management.base import CommandError

from connections.audit.exporting import Export, begin_export
from connections.management.base import FAILED, UNREAD, OrgAdminCommand


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
                raise SystemExit(UNREAD) from None
        if note and self.prints_checkpoint and not checkpoint_file:
            self.stderr.write(note)
