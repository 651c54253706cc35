"""Release the hold, after listing what Org Admin does then."""

from argparse import ArgumentParser
from typing import Any

from connections.access.actor import command_actor
from connections.core.text import format_time
from connections.management.base import ALREADY_SO, USAGE, OrgAdminCommand, Result
from connections.operations import holds


class Command(OrgAdminCommand):
    """Exit code 0 if the hold is released, 2 without `--yes`, 3 if none is on."""

    help = "List what Org Admin does by itself once the hold is released. With --yes, release it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--yes", action="store_true", help="Release it.")

    def run(self, **options: Any) -> Result:
        work = holds.find_held_work()
        lines = work.lines
        document = {
            "released": bool(work.is_on and options["yes"]),
            "clock_behind_seconds": work.clock.behind.total_seconds(),
            "holds": [
                {"kind": hold.kind, "reason": hold.reason, "put_on_at": hold.put_on_at}
                for hold in work.holds
            ],
            "work": lines,
        }
        if not work.is_on:
            return Result(document, "Org Admin isn't on hold.", exit_code=ALREADY_SO)
        if options["yes"]:
            holds.release_holds(actor=command_actor(), digest=work.digest)
            return Result(document, *lines, "Released. Org Admin acts by itself again.")
        return Result(
            document,
            *filter(None, [work.clock.problem]),
            *(f"On hold since {format_time(hold.put_on_at)}: {hold.reason}" for hold in work.holds),
            "Once released, Org Admin does this by itself:" if lines else "Nothing is waiting.",
            *lines,
            errors=["Nothing was changed. Add --yes to release the hold."],
            exit_code=USAGE,
        )
