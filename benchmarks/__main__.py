"""`./run bench`: measures every row, prints its table and rewrites docs/PERFORMANCE.md."""

import argparse
import contextlib
import os
import signal
import sys
import time

from benchmarks import report
from benchmarks.rows import ROWS, Bench

DELETIONS = 100_000


def main() -> int:
    """Return exit code 1 if a goal isn't met."""
    options = _parse_arguments()
    # Ends the blocks below, and thereby everything they started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    deletions = options.deletions or (DELETIONS // 10 if options.quick else DELETIONS)
    numbers = [options.row] if options.row else list(ROWS)
    is_met = True
    with contextlib.ExitStack() as stack:
        bench = Bench(stack, url=options.database, is_quick=options.quick, deletions=deletions)
        for number in numbers:
            started, how = time.perf_counter(), report.machine()
            lines = list(ROWS[number].measure(bench))
            if not lines:
                _print(f"{number}. {ROWS[number].title}: {ROWS[number].needs} Left out.\n")
                continue
            _print(f"{number}. {ROWS[number].title}\n\n{report.table(lines)}\n")
            _print(f"{how}. Took {time.perf_counter() - started:.0f} s.\n")
            is_met = is_met and all(line.is_met is not False for line in lines)
            if not options.no_write:
                report.save(number, lines, how=how + (", --quick" if options.quick else ""))
    return int(not is_met)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./run bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, a tenth of the data")
    parser.add_argument("--row", type=int, choices=ROWS, help="measure this row only")
    parser.add_argument(
        "--database",
        default=os.environ.get("DATABASE_URL", ""),
        metavar="URL",
        help="a PostgreSQL server to measure as well, where it may create databases",
    )
    parser.add_argument(
        "--deletions", type=int, metavar="N", help=f"in the history; {DELETIONS:,} by default"
    )
    parser.add_argument("--no-write", action="store_true", help="only print the tables")
    options = parser.parse_args()
    if options.database and not options.database.startswith(("postgres://", "postgresql://")):
        parser.error("--database must be a postgres:// URL; SQLite is always measured.")
    return options


def _print(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - what the command is for


if __name__ == "__main__":
    sys.exit(main())
