"""Remove safeguards one by one; exit code 1 when no test fails without one of them.

    python -m tests.mutations            those whose code or tests changed since the last full run
    python -m tests.mutations --all      all of them; records the hashes that the other form reads
    python -m tests.mutations PART …     those whose name contains one of these

With `--random N --seed S` it draws random faults instead: see random_mutants.py.

The tests must pass before you run this: a mutant counts as caught when one of them fails. With
ORGADMIN_TEST_DATABASE_URL, the first two forms remove the safeguards that need PostgreSQL; without
it, the others.
"""

import os
import sys
import time

from tests.mutations import random_mutants
from tests.mutations.hashes import changed_since_full_run, record_full_run
from tests.mutations.mutants import MUTANTS, Mutant
from tests.mutations.running import try_all
from tests.support.sweeps import ON_POSTGRESQL


def main(arguments: list[str]) -> int:
    """Print one line for each removed safeguard."""
    if "--random" in arguments:
        return random_mutants.main(arguments)
    mutants = _chosen(arguments)
    started = time.monotonic()
    survived = 0
    # On PostgreSQL, every run of pytest creates a database with the same name.
    processes = 1 if ON_POSTGRESQL else os.cpu_count() or 2
    for verdict in try_all(mutants, processes=processes):
        survived += bool(verdict.problem)
        result = verdict.problem.upper() if verdict.problem else "a test failed"
        sys.stdout.write(f"{verdict.mutant.name:48} {result:20} {verdict.seconds:5.1f} s\n")
        if verdict.problem:
            sys.stdout.write(f"{verdict.output}\n")
        sys.stdout.flush()
    seconds = time.monotonic() - started
    sys.stdout.write(
        f"{len(mutants)} of {len(MUTANTS)} removed, {survived} survived, {seconds:.0f} s\n"
    )
    if arguments == ["--all"] and not survived:
        record_full_run(mutants)
    return 1 if survived else 0


def _chosen(arguments: list[str]) -> tuple[Mutant, ...]:
    here = tuple(mutant for mutant in MUTANTS if mutant.needs_postgresql == ON_POSTGRESQL)
    if arguments == ["--all"]:
        return here
    if not arguments:
        return changed_since_full_run(here)
    chosen = tuple(mutant for mutant in MUTANTS if any(part in mutant.name for part in arguments))
    if not chosen:
        sys.exit(f"No safeguard has a name that contains {' or '.join(arguments)}.")
    return chosen


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
