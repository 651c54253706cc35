"""Make an evidence bundle: a ZIP that auditors verify offline."""

import os
import tempfile
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

from connections.access.actor import command_actor
from connections.core.text import pluralize
from connections.deletions.history_filter import period_text
from connections.evidence import bundles
from connections.evidence.bundles import Bundle
from connections.evidence.program import build_program, program_digest
from connections.management.base import FAILED, OrgAdminCommand, Result
from connections.management.commands import export_deletions
from connections.models import AccessReview

_FLAGS = export_deletions.FLAGS | {"since": "--from", "until": "--to"}


class Command(OrgAdminCommand):
    """`make_evidence_bundle`: exit code 0 if the file is complete and consistent.

    Exit code 1 if it was not made, or if a record differs from its events. In the second case the
    file exists, and its verifier names the differences.
    """

    help = (
        "Write the deletions and access requests that match the filters, their audit events and "
        "the proofs to a ZIP file that verify.pyz checks offline."
    )
    failed = "No bundle was made"

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_mutually_exclusive_group(required=True)
        actions.add_argument("--output", metavar="FILE", type=Path, help="A new file.")
        actions.add_argument(
            "--verifier",
            metavar="FILE",
            type=Path,
            help="Only write this version's verify.pyz, to a new file, and print its SHA-256.",
        )
        export_deletions.add_filters(parser, flags=_FLAGS)
        parser.add_argument(
            "--review",
            type=UUID,
            metavar="UUID",
            help="A closed access review and the deletions of its connections, without a filter.",
        )
        parser.add_argument(
            "--checkpoint",
            action="append",
            default=[],
            type=Path,
            metavar="FILE",
            help="A checkpoint kept elsewhere that the bundle must extend; repeatable.",
        )

    def run(self, **options: Any) -> Result:
        output: Path = (options["output"] or options["verifier"]).absolute()
        # Not Path.exists, which raises for an invalid file name.
        if os.path.exists(output):
            self.usage_error(f"{output} already exists. Nothing was changed.")
        if options["verifier"]:
            with _new_file(output) as file:
                file.write(build_program())
            document = {"file": str(output), "verifier_sha256": program_digest()}
            return Result(document, f"{program_digest()}  {output}")
        actor = command_actor()
        notes = [(str(path), self.read_text(path)) for path in options["checkpoint"]]
        filters = export_deletions.read_filters(self, options, actor=actor, flags=_FLAGS)
        review = self._find_review(options)
        with _new_file(output) as file:
            if review:
                bundle = bundles.make_access_review_bundle(
                    actor=actor, output=file, review=review, notes=notes
                )
            else:
                query = export_deletions.filter_query(options)
                bundle = bundles.make_bundle(
                    actor=actor, output=file, filters=filters, query=query, notes=notes
                )
        return Result(
            asdict(bundle) | {"file": str(output)},
            *_lines(bundle, output, review=review),
            exit_code=FAILED if bundle.differing else 0,
        )

    def _find_review(self, options: dict[str, Any]) -> AccessReview | None:
        pk = options["review"]
        if pk is None:
            return None
        if export_deletions.filter_query(options):
            self.usage_error("Give --review or filters, not both.")
        review = AccessReview.objects.filter(pk=pk).first()
        if review is None:
            self.usage_error("There is no such access review.")
        return review


@contextmanager
def _new_file(output: Path) -> Iterator[BinaryIO]:
    """A file that gets its name only at the end of the block, so that it is always complete."""
    handle, name = tempfile.mkstemp(dir=output.parent, prefix=f".{output.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(output)
    except BaseException:
        Path(name).unlink()
        raise


def _lines(bundle: Bundle, output: Path, *, review: AccessReview | None) -> list[str]:
    counts = bundle.counts_text
    if review:
        contents = f"the access review {review.name}, {counts} of its connections"
    else:
        contents = f"{counts} requested {period_text(since=bundle.since, until=bundle.until)}"
    lines = [
        f"{output}: {contents}, {pluralize(bundle.events, 'event')}, {bundle.size:,} bytes.",
        f"SHA-256 {bundle.sha256}",
        f"Signed with key {bundle.fingerprint}, at {pluralize(bundle.checkpoint_size, 'event')}.",
        "Give the auditor this fingerprint and the verifier's digest through a different channel.",
    ]
    if bundle.differing:
        lines.append(
            f"Records that differ from their audit events: {bundle.differing}. Verifying the "
            "bundle will fail. The database might have been changed outside Org Admin."
        )
        lines += bundle.differences
    return lines
