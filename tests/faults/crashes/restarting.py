"""Runs N workers in turn, each until it is killed: `python -m tests.faults.crashes.restarting N`.

Each is forked from a process that has loaded Django and opened nothing, so a restart imports
nothing. Prints how each ended as JSON: an exit code, or a negative signal number.
"""

import json
import os
import sys

import django

django.setup()

from django.core.management import call_command  # noqa: E402 - needs the set-up

from connections.operations import worker  # noqa: E402, F401 - loaded once, for all that are forked


def run_worker() -> int:
    """Run one worker in its own process; return how it ended."""
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            call_command("worker", end_with_parent=parent)
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def main() -> None:
    """Run the number of workers that the first argument gives."""
    json.dump([run_worker() for _ in range(int(sys.argv[1]))], sys.stdout)


if __name__ == "__main__":
    main()
