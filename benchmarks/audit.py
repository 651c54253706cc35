"""Write a record of N events, verify it, and say how long each took: `python -m benchmarks.audit`.

It works in a throw-away data directory on SQLite and fails when verifying takes longer than 2 s
of processor time for 100,000 events with a hundred checkpoints, or when memory grows with the
record. The clock's time stands beside it: on a busy machine it says more about the others.
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import time

DATA = tempfile.TemporaryDirectory(prefix="orgadmin-benchmark-")
os.environ |= {"ORGADMIN_DATA_DIR": DATA.name, "DJANGO_SETTINGS_MODULE": "orgadmin.settings"}
os.environ.pop("DATABASE_URL", None)

import django  # noqa: E402 - the environment comes first

django.setup()

from django.core.management import call_command  # noqa: E402 - needs the set-up
from django.db import transaction  # noqa: E402

from connections import audit  # noqa: E402
from connections.access.actor import Actor, command_actor, person_actor  # noqa: E402
from connections.audit import checkpoints, personal_data  # noqa: E402
from connections.audit.verification import verify_record  # noqa: E402
from connections.models import Person  # noqa: E402

MOST_SECONDS = 2.0
MOST_GROWTH_MB = 32.0
BATCH = 1000


def fill(events: int) -> float:
    """Append events as acts of two events each do, in transactions of a thousand; seconds for each.

    There is a checkpoint after each thousand.
    """
    person = Person.objects.create(username="ada", first_name="Ada", last_name="Lovelace")
    actors = [person_actor(person=person, request_id="f" * 32), command_actor()]
    started = time.process_time()
    for first in range(0, events, BATCH):
        with transaction.atomic():
            for number in range(first, min(first + BATCH, events), 2):
                with audit.act():
                    for actor in actors:
                        look(actor, person=person, number=number)
        checkpoints.make_checkpoint()
    return (time.process_time() - started) / events


def look(actor: Actor, *, person: Person, number: int) -> None:
    """One event such as there are most of."""
    audit.record(
        code=audit.Code.DELETION_LOOKED,
        actor=actor,
        subject=person,
        sentence=f"{personal_data.name(actor)} looked at Payments EU → Group SOC.",
        details={"found": "not listed", "number": number, "state": "unknown"},
    )


def memory() -> float:
    """The most that this process ever held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    """Print one JSON document; exit code 1 when a limit is passed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=100_000)
    events = parser.parse_args().events
    call_command("migrate", interactive=False, verbosity=0)
    each = fill(events)
    before = memory()
    seconds, by_clock = [], []
    for _ in range(3):
        started, began = time.process_time(), time.perf_counter()
        report = verify_record()
        seconds.append(time.process_time() - started)
        by_clock.append(time.perf_counter() - began)
    document = {
        "events": events,
        "whole": report.fault is None,
        "checkpoints": report.checkpoints,
        "append_processor_microseconds": round(each * 1e6),
        "verify_processor_seconds": round(min(seconds), 3),
        "verify_seconds": round(min(by_clock), 3),
        "verify_grew_mb": round(memory() - before, 1),
    }
    sys.stdout.write(json.dumps(document) + "\n")
    is_fast = min(seconds) <= MOST_SECONDS * events / 100_000
    return int(not (is_fast and report.fault is None and memory() - before <= MOST_GROWTH_MB))


if __name__ == "__main__":
    sys.exit(main())
