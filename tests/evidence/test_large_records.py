"""The verifier's work grows with a record's events, not with their square."""

import itertools
from pathlib import Path
from typing import Any

import pytest

from connections.verifier.events import Event
from connections.verifier.rules import RunningBatch
from tests.evidence.support import Forger, Made, complaint, format_lines


def with_attempts(made: Made, count: int) -> bytes:
    """A bundle of one deletion with this many attempts that had no approval."""
    forger = Forger(made=made)
    documents = forger.documents()
    own = [each for each in documents if (each["subject"] or {}).get("type") != "deletion"]
    requested = next(each for each in documents if each["code"] == "deletion.requested")
    sending = next(each for each in documents if each["code"] == "deletion.sending")
    name = requested["subject"]["id"]
    rows: dict[str, Any] = {
        "deletion": {"requested_at": requested["at"], "policy": "one", "outcome": "refused"}
    }
    requested["details"] = {"rows": dict(rows)}
    last, attempts = max(each["seq"] for each in documents), []
    for number in range(1, count + 1):
        columns = {"number": number, "approval_round": 1}
        rows[f"attempt {number}"] = columns
        details = {"attempt": number, "rows": {f"attempt {number}": columns}}
        place = {"seq": last + number, "subject": requested["subject"], "refs": {}}
        attempts.append({**sending, **place, "details": details})
    forger.files["records.ndjson"] = format_lines(
        [{"id": name, "kind": "deletion", "rows": rows}]
        if count < 1000
        else [
            {"id": name, "kind": "deletion", "rows": {"deletion": rows.pop("deletion")}},
            *({"rows": dict(part)} for part in itertools.batched(rows.items(), 1000)),
        ]
    )
    forger.edit_json(
        "population.json",
        lambda each: each.update(selected=1, in_period=1, counts={"refused": 1}),
    )
    forger.make_log([*own, requested, *attempts])
    return forger.signed()


def test_attempts_without_approvals_are_found_in_one_pass(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    reads = 0
    read = Event.__getattribute__

    def count_read(event: Event, name: str) -> Any:
        nonlocal reads
        reads += 1
        return read(event, name)

    monkeypatch.setattr(Event, "__getattribute__", count_read)
    work = []
    for attempts in (20, 40, 80):
        bundle, reads = with_attempts(made, attempts), 0
        assert complaint(bundle, tmp_path) == ""
        work.append(reads)
    assert work[2] - work[1] == 2 * (work[1] - work[0])


class CountedNumber(int):
    """Counts how often it is compared."""

    compared = 0

    def __gt__(self, other: object) -> bool:
        CountedNumber.compared += 1
        return int(self) > other  # type: ignore[operator]


def test_whether_a_bulk_deletion_was_running_is_looked_up():
    codes = ["batch.requested", "batch.confirmed", *("batch.paused", "batch.resumed") * 500]
    actor = {"id": None, "kind": "person", "name": "Ada"}
    common = {"actor": actor, "at": "", "details": {}, "refs": {}, "sentence": "", "subject": None}
    events = [Event({**common, "code": c, "seq": n}, {}) for n, c in enumerate(codes, start=1)]
    running = RunningBatch(events)
    assert running.allowed(CountedNumber(len(codes) + 1), 1)
    assert CountedNumber.compared < 20
