"""Show for each safeguard that a test fails without it; exit code 1 when one does not."""

import sys
import time

from tests.mutations.mutants import MUTANTS
from tests.mutations.running import try_all, unmutated


def main() -> int:
    """Print one line for each safeguard. Names given as arguments choose some of them."""
    wanted = sys.argv[1:]
    mutants = tuple(
        mutant for mutant in MUTANTS if not wanted or any(w in mutant.name for w in wanted)
    )
    started = time.monotonic()
    code, output = unmutated(mutants)
    if code:
        sys.stdout.write(f"{output}\nThe tests do not even pass with every safeguard in place.\n")
        return 1
    survived = 0
    for verdict in try_all(mutants):
        survived += bool(verdict.problem)
        said = verdict.problem.upper() if verdict.problem else "a test failed"
        sys.stdout.write(f"{verdict.mutant.name:48} {said:20} {verdict.seconds:5.1f} s\n")
        if verdict.problem:
            sys.stdout.write(f"{verdict.output}\n")
        sys.stdout.flush()
    seconds = time.monotonic() - started
    sys.stdout.write(f"{len(mutants)} removed, {survived} unnoticed, {seconds:.0f} s\n")
    return 1 if survived or not mutants else 0


if __name__ == "__main__":
    sys.exit(main())
