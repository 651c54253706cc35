"""Write a record of N events, verify it, and say how long each took: `python -m benchmarks.audit`.

It works in a throw-away data directory on SQLite and fails when verifying takes longer than
2 s for 100,000 events, or when memory grows with the record.
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

from connections.actors import command_actor, person_actor  # noqa: E402
from connections.models import Person  # noqa: E402
from connections.services import audit, checkpoints, erasable  # noqa: E402
from connections.services.audit_verification import verify_record  # noqa: E402

MOST_SECONDS = 2.0
MOST_GROWTH_MB = 32.0
BATCH = 1000


def fill(events: int) -> float:
    """Append events as the services do, a thousand in a transaction; seconds for each."""
    person = Person.objects.create(username="ada", first_name="Ada", last_name="Lovelace")
    actors = [person_actor(person=person, request_id="f" * 32), command_actor()]
    started = time.perf_counter()
    for first in range(0, events, BATCH):
        with transaction.atomic():
            for number in range(first, min(first + BATCH, events)):
                actor = actors[number % 2]
                audit.record(
                    code=audit.Code.DELETION_LOOKED,
                    actor=actor,
                    subject=person,
                    sentence=f"{erasable.name(actor)} looked at Payments EU → Group SOC.",
                    details={"found": "not listed", "number": number, "state": "unknown"},
                )
        checkpoints.make_checkpoint()
    return (time.perf_counter() - started) / events


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
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        report = verify_record()
        seconds.append(time.perf_counter() - started)
    document = {
        "events": events,
        "whole": report.fault is None,
        "append_microseconds": round(each * 1e6),
        "verify_seconds": round(min(seconds), 3),
        "verify_grew_mb": round(memory() - before, 1),
    }
    sys.stdout.write(json.dumps(document) + "\n")
    is_fast = min(seconds) <= MOST_SECONDS * events / 100_000
    return int(not (is_fast and report.fault is None and memory() - before <= MOST_GROWTH_MB))


if __name__ == "__main__":
    sys.exit(main())
