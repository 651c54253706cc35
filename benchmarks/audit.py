"""Time appending N audit events and verifying the audit log: `python -m benchmarks.audit`.

Uses a temporary SQLite database. Fails when verifying 100,000 events with a hundred checkpoints
takes more than 2 s of CPU time, or when memory grows with the audit log. Also prints elapsed time,
which depends on the machine's other load.
"""

import argparse
import json
import os
import sys
import tempfile
import time

from benchmarks.reporting import peak_memory_mb

DATA_DIR = tempfile.TemporaryDirectory(prefix="orgadmin-benchmark-")
os.environ |= {"ORGADMIN_DATA_DIR": DATA_DIR.name, "DJANGO_SETTINGS_MODULE": "orgadmin.settings"}
os.environ.pop("DATABASE_URL", None)

import django  # noqa: E402 - needs the environment

django.setup()

from django.core.management import call_command  # noqa: E402 - needs the setup
from django.db import transaction  # noqa: E402

from connections import audit  # noqa: E402
from connections.access.actor import Actor, command_actor, person_actor  # noqa: E402
from connections.audit import checkpoints, personal_data  # noqa: E402
from connections.evidence.verification import verify_audit_log  # noqa: E402
from connections.models import Person  # noqa: E402

MAX_SECONDS = 2.0
MAX_GROWTH_MB = 32.0
BATCH = 1000


def fill(events: int) -> float:
    """Append events in pairs, a thousand in a transaction, and return the CPU seconds for one.

    Each thousand is followed by a checkpoint.
    """
    person = Person.objects.create(username="ada", first_name="Ada", last_name="Lovelace")
    actors = [person_actor(person=person, request_id="f" * 32), command_actor()]
    started = time.process_time()
    for first in range(0, events, BATCH):
        with transaction.atomic():
            for number in range(first, min(first + BATCH, events), 2):
                with audit.atomic():
                    for actor in actors:
                        record_check(actor, person=person, number=number)
        checkpoints.make_checkpoint()
    return (time.process_time() - started) / events


def record_check(actor: Actor, *, person: Person, number: int) -> None:
    """Record an event of the most frequent kind."""
    audit.record(
        code=audit.EventCode.DELETION_CHECKED,
        actor=actor,
        subject=person,
        sentence=audit.Sentence(
            "{person} checked Payments EU → Group SOC.", person=personal_data.name_of(actor)
        ),
        details={"found": "not listed", "number": number, "state": "unknown"},
    )


def main() -> int:
    """Print one JSON document; exit code 1 when a limit is exceeded."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=100_000)
    events = parser.parse_args().events
    call_command("migrate", interactive=False, verbosity=0)
    seconds_per_event = fill(events)
    before = peak_memory_mb()
    cpu_seconds, elapsed_seconds = [], []
    for _ in range(3):
        cpu_started, started = time.process_time(), time.perf_counter()
        report = verify_audit_log()
        cpu_seconds.append(time.process_time() - cpu_started)
        elapsed_seconds.append(time.perf_counter() - started)
    document = {
        "events": events,
        "intact": report.fault is None,
        "checkpoints": report.checkpoints,
        "append_cpu_microseconds": round(seconds_per_event * 1e6),
        "verify_cpu_seconds": round(min(cpu_seconds), 3),
        "verify_seconds": round(min(elapsed_seconds), 3),
        "verify_memory_growth_mb": round(peak_memory_mb() - before, 1),
    }
    sys.stdout.write(json.dumps(document) + "\n")
    is_fast = min(cpu_seconds) <= MAX_SECONDS * events / 100_000
    return int(
        not (is_fast and report.fault is None and peak_memory_mb() - before <= MAX_GROWTH_MB)
    )


if __name__ == "__main__":
    sys.exit(main())
