"""Time making and verifying an evidence bundle of N deletions: `python -m benchmarks.bundle`.

Each deletion has five events. Also verifies the whole audit log and compares every deletion with
its events. Uses a temporary SQLite database. Fails when making or verifying takes more than a
minute for 100,000 events, or when memory grows with their number.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.reporting import peak_memory_mb
from benchmarks.temporary_django import temporary_django

BODY = b"{}"
BATCH = 500
MAX_SECONDS = 60.0
MAX_GROWTH_MB = 64.0


# Runs the verifier and prints its own peak memory (KiB), without that of the parent process.
VERIFY = """
import re, runpy, sys
del sys.argv[0]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    sys.stderr.write(re.search("VmHWM:\\\\s+([0-9]+)", open("/proc/self/status").read())[1])
"""


def fill(deletions: int) -> None:
    """Insert deletions from request to outcome, with their attempts and events."""
    from connections import audit
    from connections.core import clock
    from connections.models import Credential, Person

    now = clock.now()
    person = Person.objects.create(username="ada", first_name="Ada", last_name="Lovelace")
    credential = Credential.objects.create(
        name="Payments EU",
        site="datadoghq.eu",
        fingerprint="0123456789ab",
        keys_set_at=now,
        keys_set_by_name="Root",
        created_at=now,
        created_by_name="Root",
    )
    for first in range(0, deletions, BATCH):
        with audit.atomic():
            _store(
                range(first, min(first + BATCH, deletions)),
                person=person,
                credential=credential,
                at=clock.now(),
            )


def _store(numbers: range, *, person: Any, credential: Any, at: datetime) -> None:
    from connections.access.actor import person_actor
    from connections.models import Attempt, Deletion

    made = [
        Deletion(
            id=uuid.UUID(int=number + 1, version=4),
            request_id=uuid.UUID(int=number + 1),
            site=credential.site,
            connection_id=uuid.UUID(int=number + 1),
            credential=credential,
            credential_name=credential.name,
            credential_fingerprint=credential.fingerprint,
            is_reviewed=True,
            digest="0" * 64,
            reason="migrated to the new logging pipeline",
            ticket=f"SEC-{number}",
            policy="none",
            state="settled",
            outcome="deleted",
            epoch=1,
            requested_at=at + timedelta(microseconds=number),
            requested_by=person,
            requested_by_name=person.display_name,
            confirmed_at=at,
            confirmed_by=person,
            confirmed_by_name=person.display_name,
            sending_at=at,
            settled_at=at,
            settled_by_name=person.display_name,
            source_org_id="a" * 36,
            source_org_name="Payments EU",
            sink_org_id="b" * 36,
            sink_org_name="Group SOC",
            connection_types=["logs", "metrics"],
        )
        for number in numbers
    ]
    Deletion.objects.bulk_create(made)
    Attempt.objects.bulk_create(
        Attempt(
            deletion=deletion,
            number=1,
            epoch=1,
            credential_name=credential.name,
            credential_fingerprint=credential.fingerprint,
            was_rechecked=True,
            claimed_at=at,
            verdict="deleted",
            answered_at=at,
            duration_ms=180,
            http_status=200,
            body=BODY,
            body_sha256=hashlib.sha256(BODY).hexdigest(),
        )
        for deletion in made
    )
    actor = person_actor(person=person, request_id="f" * 32)
    for deletion in made:
        _record(deletion, actor=actor)


def _record(deletion: Any, *, actor: Any) -> None:
    from connections import audit
    from connections.audit import personal_data
    from connections.deletions import lifecycle as deletion_lifecycle

    deletion_lifecycle.record_request(deletion, actor=actor)
    settled = {"state": "settled", "outcome": "deleted", "cause": ""}
    response = {"verdict": "deleted", "http_status": 200, "errors": [], "duration_ms": 180}
    response["body_sha256"] = hashlib.sha256(BODY).hexdigest()
    sending = {
        "attempt": 1,
        "epoch": 1,
        "credential": deletion.credential_name,
        "fingerprint": deletion.credential_fingerprint,
        "was_rechecked": True,
    }
    for code, details in (
        (audit.EventCode.DELETION_SENDING, sending),
        (audit.EventCode.DELETION_ANSWERED, settled | response),
        (audit.EventCode.DELETION_SETTLED, settled),
    ):
        audit.record(
            code=code,
            actor=actor,
            subject=deletion,
            sentence=audit.Sentence(
                "{person}: {x}.", person=personal_data.name_of(actor), x=deletion.description
            ),
            details=details,
        )


def measure(directory: Path) -> dict[str, Any]:
    """Make one bundle of all deletions and verify it in a separate process."""
    from connections.access.actor import command_actor
    from connections.deletions.history import HistoryFilter
    from connections.evidence.bundles import make_bundle
    from connections.verifier import verify

    audit_log = _verify_audit_log()
    path = directory / "bundle.zip"
    before, cpu, started = peak_memory_mb(), time.process_time(), time.perf_counter()
    with path.open("wb") as file:
        bundle = make_bundle(actor=command_actor(), filters=HistoryFilter(), query="", output=file)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    growth, started = peak_memory_mb() - before, time.perf_counter()
    verified = subprocess.run(  # noqa: S603 - our own program, no shell
        [sys.executable, "-I", "-c", VERIFY, verify.__file__, str(path)],
        check=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    return audit_log | {
        "deletions": bundle.deletions,
        "events": bundle.events,
        "differing": bundle.differing,
        "megabytes": round(bundle.size / 1e6, 1),
        "make_seconds": round(seconds, 1),
        "make_cpu_seconds": round(cpu, 1),
        "make_memory_growth_mb": round(growth, 1),
        "verify_exit_code": verified.returncode,
        "verify_seconds": round(time.perf_counter() - started, 1),
        "verify_peak_memory_mb": round(int(verified.stderr) / 1024, 1),
    }


def _verify_audit_log() -> dict[str, Any]:
    """Verify the audit log, and compare every deletion with its events."""
    from connections.evidence.comparison import DifferingDeletions, compare_all_deletions
    from connections.evidence.verification import verify_audit_log
    from connections.models import Deletion

    before, cpu, started = peak_memory_mb(), time.process_time(), time.perf_counter()
    report = verify_audit_log()
    cpu, seconds = time.process_time() - cpu, time.perf_counter() - started
    growth, compare_started = peak_memory_mb() - before, time.process_time()
    list(compare_all_deletions(DifferingDeletions()))
    compare_cpu = time.process_time() - compare_started
    return {
        "audit_log_is_intact": report.fault is None,
        "audit_log_seconds": round(seconds, 1),
        "audit_log_cpu_seconds": round(cpu, 1),
        "audit_log_memory_growth_mb": round(growth, 1),
        "compare_cpu_microseconds": round(compare_cpu * 1e6 / Deletion.objects.count()),
    }


def main() -> int:
    """Print one JSON document; exit code 1 when a limit is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deletions", type=int, default=20_000)
    count = parser.parse_args().deletions
    os.environ.pop("DATABASE_URL", None)
    with temporary_django(), tempfile.TemporaryDirectory() as directory:
        fill(count)
        results = measure(Path(directory))
    sys.stdout.write(json.dumps(results) + "\n")
    max_seconds = max(MAX_SECONDS * results["events"] / 100_000, 5.0)
    is_fast = results["make_seconds"] <= max_seconds and results["verify_seconds"] <= max_seconds
    is_verified = results["differing"] == 0 and results["verify_exit_code"] == 0
    growth = max(results["make_memory_growth_mb"], results["audit_log_memory_growth_mb"])
    is_flat = growth <= MAX_GROWTH_MB
    return int(not (is_fast and is_verified and results["audit_log_is_intact"] and is_flat))


if __name__ == "__main__":
    sys.exit(main())
