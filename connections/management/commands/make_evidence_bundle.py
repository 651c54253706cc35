"""Make an evidence bundle: a ZIP that auditors verify offline."""

import os
import tempfile
from argparse import ArgumentParser
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from connections.access.actor import command_actor
from connections.core import clock
from connections.deletions import history
from connections.deletions.history_filter import HistoryForm, period_text
from connections.evidence.bundles import Bundle, make_bundle, verifier_digest
from connections.management.base import FAILED, OrgAdminCommand
from connections.management.commands.export_deletions import FILTERS, filter_query
from connections.wording import pluralize

# The history's filters; --from, --to and --text are this command's documented names.
FLAGS = {name: f"--{name.replace('_', '-')}" for name in FILTERS} | {
    "since": "--from",
    "until": "--to",
    "q": "--text",
}


class Command(OrgAdminCommand):
    """`make_evidence_bundle`: exit code 0 when the file is complete and consistent.

    1 when it was not made, or when a deletion differs from its events; the file exists then, and
    its verifier names the differences.
    """

    help = (
        "Write the deletions that pass the filters, with the events that tell of them and the "
        "proofs, into a ZIP file that verify.py checks offline."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add where to put it, the history's filters, and the digest of the verifier."""
        super().add_arguments(parser)
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--output", metavar="FILE", type=Path, help="A new file.")
        what.add_argument(
            "--verifier-digest",
            action="store_true",
            help="Only print the SHA-256 of the verify.py that bundles of this version hold.",
        )
        for name, (metavar, text) in FILTERS.items():
            parser.add_argument(FLAGS[name], dest=name, metavar=metavar, help=text, default="")
        parser.add_argument(
            "--seed", default="", help="What the sample is drawn by: the auditor's own choice."
        )
        parser.add_argument(
            "--checkpoint",
            action="append",
            default=[],
            type=Path,
            metavar="FILE",
            help="A checkpoint kept elsewhere, to which the bundle shall lead; repeatable.",
        )

    def run(self, **options: Any) -> None:
        """Write it under a temporary name first, so that FILE is always complete."""
        if options["verifier_digest"]:
            digest = verifier_digest()
            self.emit({"verifier_sha256": digest}, f"{digest}  verify.py")
            return
        output: Path = options["output"].absolute()
        # Not Path.exists, which raises for an invalid file name.
        if os.path.exists(output):
            self.usage_error(f"{output} is there already. Nothing was changed.")
        query = {name: options[name] for name in FILTERS if options[name]}
        actor = command_actor()
        form = HistoryForm(query, credentials=history.list_selectable_credentials(actor=actor))
        if not form.is_valid():
            field, problems = next(iter(form.errors.items()))
            self.usage_error(f"{FLAGS.get(field, field)}: {problems[0]}")
        notes = [(str(path), self._read(path)) for path in options["checkpoint"]]
        arguments = {
            "actor": actor,
            "filters": form.history_filter(now=clock.now()),
            "query": filter_query(query),
            "seed": options["seed"],
            "notes": notes,
        }
        try:
            bundle = _write(output, arguments)
        except OSError as error:
            raise CommandError(f"No bundle was made: {error}.") from None
        self.emit(asdict(bundle) | {"file": str(output)}, _text(bundle, output))
        if bundle.differing:
            raise SystemExit(FAILED)

    def _read(self, path: Path) -> str:
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            self.usage_error(f"{path} cannot be read: {error}.")


def _write(output: Path, arguments: dict[str, Any]) -> Bundle:
    handle, name = tempfile.mkstemp(dir=output.parent, prefix=f".{output.name}.")
    partial = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            bundle = make_bundle(output=file, **arguments)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(output)
    except BaseException:
        partial.unlink()
        raise
    return bundle


def _text(bundle: Bundle, output: Path) -> str:
    period = period_text(since=bundle.since, until=bundle.until)
    lines = [
        f"{output}: {pluralize(bundle.deletions, 'deletion')} asked for {period}, "
        f"{pluralize(bundle.events, 'event')}, {bundle.size:,} bytes.",
        f"SHA-256 {bundle.sha256}",
        f"Signed by key {bundle.fingerprint}, at {pluralize(bundle.checkpoint_size, 'event')}.",
        "Give that fingerprint, and the digest of the verifier, to the auditor by another way.",
    ]
    if bundle.differing:
        lines.append(
            f"{bundle.differing} of the deletions do NOT say what their events say, and verifying "
            "the bundle will fail. Somebody changed the database past this program, or:"
        )
        lines += bundle.differences
    return "\n".join(lines)
