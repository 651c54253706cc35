"""A bulk deletion in its bundle: its plan, its own events, and whatever is changed in them."""

import json
import random
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from connections.access.actor import WORKER, command_actor, person_actor
from connections.batches import decisions, drafts, running, stopping
from connections.deletions.history import HistoryFilter
from connections.evidence import verification
from connections.evidence.records import kind_of
from connections.evidence.stored_events import Fault
from connections.inventory import protections
from connections.models import (
    ApprovalPolicy,
    AuditEvent,
    Batch,
    Deletion,
    OrgConnectionKey,
    Person,
    RowProblem,
)
from connections.people import erasure
from connections.verifier.events import BATCH, DELETION, Event
from connections.verifier.folding import Rows
from connections.verifier.labels import ROW_PROBLEMS
from connections.verifier.messages import VerificationFailed
from connections.verifier.report import main
from connections.verifier.rules import RULES, RunningBatch, plan_problems
from connections.verifier.strict_json import parse_time
from connections.verifier.verification import Verification
from sandbox.server import SandboxServer
from tests.batches.support import add_connections, approve, draft, execute, request, sync_now
from tests.evidence.columns import (
    assert_each_bundled_column_counts,
    assert_each_stored_column_counts,
    assert_each_stored_row_counts,
)
from tests.evidence.markup import assert_no_leaf_becomes_markup
from tests.evidence.support import (
    Forger,
    Made,
    complaint,
    deletions_in,
    files_of,
    make,
    page_of,
    run_verifier,
)
from tests.evidence.test_forgeries import spoil
from tests.flows.support import store_credential
from tests.support.append_only import triggers_off


def plan_six(sandbox: SandboxServer, ada: Person) -> Batch:
    """A draft of Ada: three connections to delete, four rows left out, and one removed."""
    payments = store_credential(sandbox, "Payments US", policy=ApprovalPolicy.ONE, is_read=False)
    keys = add_connections(sandbox, 5)
    sync_now(payments)
    site, _, connection_id = keys[2].rpartition("/")
    protections.protect_connection(
        actor=person_actor(person=ada),
        key=OrgConnectionKey(site=site, connection_id=UUID(connection_id)),
        reason="In use.",
    )
    unknown = f"{site}/{uuid4()}"
    batch = draft(ada, [*keys[:3], "not a connection", keys[0], unknown, keys[3], keys[4]])
    drafts.remove_rows(batch=batch, actor=person_actor(person=ada), connections=[keys[3]])
    return batch


@pytest.fixture
def batch(transactional_db: None, sandbox: SandboxServer, ada: Person, linus: Person) -> Batch:
    """A bulk deletion that was approved, confirmed, paused, resumed and finished."""
    batch = request(plan_six(sandbox, ada), ada)
    execute(approve(batch, linus), ada)
    stopping.pause_batch(batch=batch, actor=person_actor(person=linus))
    stopping.resume_batch(batch=batch, actor=person_actor(person=ada))
    running.run_due(actor=WORKER)
    batch.refresh_from_db()
    assert batch.state == "finished"
    return batch


_MADE: list[Made] = []


@pytest.fixture
def made(transactional_db: None, request: pytest.FixtureRequest) -> Made:
    """Its bundle, which all tests share."""
    if not _MADE:
        _MADE.append(make_of(request.getfixturevalue("batch")))
    return _MADE[0]


def make_of(batch: Batch, **more: Any) -> Made:
    return make(filters=HistoryFilter(batch=batch.pk, **more))


def has_plan(made: Made) -> bool:
    return any(line.get("kind") == BATCH for line in Forger(made=made).records())


@pytest.mark.database
def test_a_bulk_deletion_is_evidence_from_its_plan_to_its_end(batch: Batch, tmp_path: Path):
    made = make_of(batch)
    assert made.bundle.differences == ()
    verdict = run_verifier(made.data, tmp_path / "x", "--fingerprint", made.key.fingerprint)
    assert (verdict.code, "VERIFIED: every check passed." in verdict.text) == (0, True)
    assert "(3 became deletions, 4 left out, 1 removed before the request)" in verdict.text
    assert (
        "Ada confirmed the plan before every attempt, after at least 1 other person had approved it"
    ) in verdict.text
    for why in ("protected", "invalid ID", "an earlier row has the same connection", "not listed"):
        assert f"Left out of the plan: 1 row ({why})." in verdict.text
    records = Forger(made=made).records()
    [bundled] = [line for line in records if line.get("kind") == BATCH]
    assert (bundled["id"], bundled["rows"]["batch"]["state"]) == (str(batch.pk), "finished")
    assert [row.get("problem", "") for row in plan_rows(records)] == [
        *("", "", "protected", "malformed_id", "duplicate", "not_visible", "", "")
    ]
    positions = {row["id"]: row["position"] for row in plan_rows(records)}
    assert sorted(positions[each["batch_row_id"]] for each in deletions(records)) == [1, 2, 8]
    events = [event.code for event in Forger(made=made).events() if event.about[0] == BATCH]
    assert events == [
        f"batch.{word}"
        for word in ("requested", "approved", "confirmed", "paused", "resumed", "finished")
    ]
    page = unescape(page_of(made.data, tmp_path))
    assert "Linus paused the bulk deletion with 3 connections not sent." in page
    assert verification.verify_audit_log().fault is None


@pytest.mark.sweep
def test_no_leaf_of_its_bundle_becomes_markup(
    made: Made, tmp_path: Path, subtests: pytest.Subtests
):
    assert_no_leaf_becomes_markup(made, tmp_path, subtests)


def test_the_events_of_the_bundle_name_the_bulk_deletion(batch: Batch):
    make_of(batch)
    started, finished = AuditEvent.objects.filter(code__startswith="evidence_bundle.").order_by(
        "seq"
    )
    assert started.details["batch"] == str(batch.pk)
    assert started.stored_sentence.endswith(f" an evidence bundle of the {batch}.")
    assert f" of the {batch} " in finished.stored_sentence


@pytest.mark.database
def test_one_that_was_declined_verifies_without_a_confirmation(
    sandbox: SandboxServer, transactional_db: None, ada: Person, linus: Person, tmp_path: Path
):
    batch = request(plan_six(sandbox, ada), ada)
    decisions.decline_batch(batch=batch, actor=person_actor(person=linus), reason="In use.")
    made = make_of(batch)
    verdict = run_verifier(made.data, tmp_path / "x")
    assert (verdict.code, plan_of(made)[0]["batch"]["state"]) == (0, "declined")
    assert "The plan was not confirmed, and no attempt was made." in verdict.text


def test_a_bundle_with_another_filter_says_that_the_plan_is_missing(batch: Batch, tmp_path: Path):
    requested_at = batch.requested_at
    assert requested_at
    for filters in (
        HistoryFilter(),
        HistoryFilter(batch=batch.pk, status=("deleted",)),
        HistoryFilter(batch=batch.pk, site=("sandbox-us1",)),
    ):
        made = make(filters=filters)
        assert not has_plan(made)
        verdict = run_verifier(made.data, tmp_path / "x")
        assert verdict.code == 0
        assert "  - No row of 1 bulk deletion was left out." in verdict.text
    within = make_of(batch, since=requested_at)
    assert "of 1 bulk deletion was" not in run_verifier(within.data, tmp_path / "x").text
    before = make_of(batch, until=requested_at)
    assert (before.bundle.deletions, has_plan(before)) == (0, False)


def test_a_draft_has_no_plan_in_a_bundle(
    sandbox: SandboxServer, transactional_db: None, ada: Person, tmp_path: Path
):
    made = make_of(plan_six(sandbox, ada))
    assert not has_plan(made)
    assert complaint(made.data, tmp_path) == ""


@pytest.mark.database
def test_it_names_no_erased_person(batch: Batch, ada: Person, linus: Person, tmp_path: Path):
    for person in (ada, linus):
        erasure.erase_person(actor=command_actor(), person=person)
    made = make_of(batch)
    files = files_of(made.data)
    page = page_of(made.data, tmp_path)
    for name in ("Ada", "Linus"):
        assert f'"{name}"' not in files["records.ndjson"].decode()
        assert f">{name}<" not in page
    assert complaint(made.data, tmp_path) == ""
    assert " confirmed the plan before every attempt" in run_verifier(made.data, tmp_path).text


def test_each_reason_to_leave_a_row_out_has_texts():
    assert set(ROW_PROBLEMS) == set(RowProblem)


# --- Changes of the bundle, signed with the right key ---------------------------------------------

FIRST, SECOND, PROTECTED, MALFORMED, DUPLICATE, UNLISTED, REMOVED, LAST = range(8)
type Records = list[dict[str, Any]]


def plan_rows(records: Records) -> Records:
    """The rows of the plan among the lines of records.ndjson."""
    return [line["row"] for line in records if "row" in line]


def deletions(records: Records) -> Records:
    return [line["rows"]["deletion"] for line in records if line.get("kind") == DELETION]


@pytest.mark.sweep
def test_each_column_of_a_bulk_deletion_and_its_plan_counts(
    made: Made, tmp_path: Path, subtests: pytest.Subtests
):
    [batch] = [line["id"] for line in Forger(made=made).records() if line.get("kind") == BATCH]
    assert_each_bundled_column_counts(made, batch, tmp_path, subtests)


def without_the_plan(records: Records) -> None:
    del records[next(n for n, line in enumerate(records) if line.get("kind") == BATCH) :]


def without_a_row(records: Records) -> None:
    records.pop()


def with_a_row_twice(records: Records) -> None:
    records.append(records[-1])


def with_another_order(records: Records) -> None:
    records[-1], records[-2] = records[-2], records[-1]


EDITS: dict[str, tuple[Callable[[Records], Any], str]] = {
    "row removed": (without_a_row, "“count” of the row “batch_rows”"),
    "row repeated": (with_a_row_twice, "“count” of the row “batch_rows”"),
    "order": (with_another_order, "“sha256” of the row “batch_rows”"),
    "no plan": (without_the_plan, "The bundle has events of records that it does not contain"),
    "which one": (
        lambda records: records[-9].update(id=str(uuid4())),
        "does not match its events",
    ),
}


@pytest.mark.parametrize(("change", "named"), EDITS.values(), ids=EDITS.keys())
def test_a_change_of_the_plan_is_named(
    made: Made, tmp_path: Path, change: Callable[[Records], Any], named: str
):
    forger = Forger(made=made)
    forger.edit_records(change)
    assert named in complaint(forger.signed(), tmp_path)


NOT_RUNNING = "was sent while the plan was not confirmed or not running"
LEFT_OUT_EVENTS = {
    "requested": "does not match its events",
    "approved": "does not match its events",
    "confirmed": "does not match its events",
    "resumed": "does not match its events",
    "finished": "“ended_at” of the row “batch” is not what its events set",
}


@pytest.mark.parametrize(("word", "named"), LEFT_OUT_EVENTS.items(), ids=LEFT_OUT_EVENTS.keys())
def test_an_event_of_the_bulk_deletion_left_out_is_named(
    made: Made, tmp_path: Path, word: str, named: str
):
    forger = Forger(made=made)
    forger.leave_out_events(lambda event: event["code"] == f"batch.{word}")
    assert named in complaint(forger.signed(), tmp_path)


def test_a_deletion_left_out_with_its_events_is_named(made: Made, tmp_path: Path):
    forger = Forger(made=made)
    [left_out, *_] = deletions_in(made)
    forger.leave_out_events(lambda event: (event["subject"] or {}).get("id") == left_out["id"])
    forger.edit_records(lambda records: records.remove(left_out))
    found = complaint(forger.signed(), tmp_path)
    assert found.startswith("The plan does not match its deletions: row ")
    assert found.endswith(" has no deletion.")


def test_no_deletion_escapes_the_comparison_by_coming_after_the_plan():
    verification = Verification("bundle.zip")
    verification.whole[BATCH] = str(uuid4())
    with pytest.raises(VerificationFailed, match="comes after the one that the bundle was made"):
        verification._check_record(DELETION, "1", {}, [])


def test_two_deletions_cannot_share_a_row(made: Made):
    verification = Verification("bundle.zip")
    [verification.started] = [
        event for event in Forger(made=made).events() if event.code == "evidence_bundle.started"
    ]
    verification.since, verification.until = None, parse_time("2999-01-01T00:00:00Z")
    [first, *_] = deletions_in(made)
    events = [each for each in Forger(made=made).events() if each.about == (DELETION, first["id"])]
    verification._check_deletion(first["id"], first["rows"], events)
    with pytest.raises(VerificationFailed, match="has the row of another one"):
        verification._check_deletion("0", first["rows"], events)


def test_a_bundle_of_another_bulk_deletion_than_recorded_is_refused(made: Made):
    verification = Verification("bundle.zip")
    [verification.started] = [
        event for event in Forger(made=made).events() if event.code == "evidence_bundle.started"
    ]
    with pytest.raises(VerificationFailed, match="not the one recorded when the bundle was start"):
        verification._require_recorded(BATCH, str(uuid4()))


def test_no_forged_plan_causes_a_traceback(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    chance = random.Random(7)  # noqa: S311 - any will do
    path = tmp_path / "bundle.zip"
    for _ in range(30):
        forger = Forger(made=made)
        records = [
            spoil(record, chance) if chance.random() < 0.3 else record
            for record in forger.records()
        ]
        lines = "".join(f"{json.dumps(record)}\n" for record in records)
        forger.files["records.ndjson"] = lines.encode()
        path.write_bytes(forger.signed())
        assert main([str(path)]) in {0, 1, 2}
        assert capsys.readouterr().err == ""


# --- Events that no bundle can have, because each is proven to be in the audit log ----------------


def plan_of(made: Made) -> tuple[Rows, list[Event]]:
    """The rows of the bulk deletion, and its events."""
    [record] = [line for line in Forger(made=made).records() if line.get("kind") == BATCH]
    return record["rows"], [each for each in Forger(made=made).events() if each.about[0] == BATCH]


def event_of(events: list[Event], word: str) -> Event:
    return next(event for event in events if event.code == f"batch.{word}")


def problems_after(made: Made, change: Callable[[list[Event]], None]) -> list[str]:
    rows, events = plan_of(made)
    change(events)
    return list(RULES[BATCH](rows, events))


def test_an_approval_counts_if_another_person_approved_this_plan_before_the_confirmation(
    made: Made,
):
    requester = plan_of(made)[0]["batch"]["requested_by_id"]

    def by_requester(events: list[Event]) -> None:
        event_of(events, "approved").actor_id = requester

    def afterwards(events: list[Event]) -> None:
        event_of(events, "approved").seq = event_of(events, "resumed").seq

    def of_another_plan(events: list[Event]) -> None:
        event_of(events, "approved").details["approval_digest"] = "0" * 64

    without = ["it was confirmed without the required approvals"]
    assert problems_after(made, lambda events: None) == []
    assert problems_after(made, by_requester) == without
    assert problems_after(made, afterwards) == without
    other = ["an approval is not for its plan, reason and ticket"]
    assert problems_after(made, of_another_plan) == other


def problems_with(
    made: Made, change: Callable[[Records, dict[Any, dict[str, Any]]], Any]
) -> list[str]:
    """What is wrong with the plan and its deletions after a change of either."""
    records = Forger(made=made).records()
    by_row = {deletion["batch_row_id"]: deletion for deletion in deletions(records)}
    rows = plan_rows(records)
    change(rows, by_row)
    return list(plan_problems(rows, by_row))


def test_each_row_of_a_plan_has_its_deletion_or_was_left_out(made: Made):
    def swap(rows: Records, by_row: dict[Any, Any]) -> None:
        first, second = rows[FIRST]["id"], rows[SECOND]["id"]
        by_row[first], by_row[second] = by_row[second], by_row[first]

    def invent(rows: Records, by_row: dict[Any, Any]) -> None:
        by_row[rows[DUPLICATE]["id"]] = by_row[rows[FIRST]["id"]]

    assert problems_with(made, lambda rows, by_row: None) == []
    assert problems_with(made, swap) == [
        f"row {number} has the deletion of something else" for number in (1, 2)
    ]
    assert problems_with(made, invent) == ["row 5 was left out but has a deletion"]
    assert problems_with(made, lambda rows, by_row: by_row.pop(rows[SECOND]["id"])) == [
        "row 2 has no deletion"
    ]
    assert problems_with(made, lambda rows, by_row: by_row.update({0: by_row[rows[0]["id"]]})) == [
        "a deletion belongs to no row of the plan"
    ]
    assert problems_with(made, lambda rows, by_row: rows.pop(UNLISTED))[0] == "row 7 is at place 6"


@pytest.mark.parametrize("key", ["digest", "sink_org_name", "connection_types", "snapshot_at"])
def test_a_deletion_that_differs_from_its_row_is_named(made: Made, key: str):
    def change(rows: Records, by_row: dict[Any, Any]) -> None:
        by_row[rows[FIRST]["id"]][key] = "other"

    assert problems_with(made, change) == ["row 1 has the deletion of something else"]


@pytest.mark.parametrize("word", ["requested", "paused", "finished"])
def test_an_attempt_while_the_bulk_deletion_was_not_running_is_named(made: Made, word: str):
    _, events = plan_of(made)
    seq = event_of(events, word).seq + 1
    assert not RunningBatch(events).allowed(seq, 1)
    assert RunningBatch(events).allowed(event_of(events, "resumed").seq + 1, 1)


def test_people_can_confirm_a_deletion_again_alone_after_the_end(made: Made):
    _, events = plan_of(made)
    assert RunningBatch(events).allowed(event_of(events, "finished").seq + 1, 2)
    assert not RunningBatch(events).allowed(event_of(events, "requested").seq + 1, 2)


def test_a_deletion_sent_too_early_is_named(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(RunningBatch, "allowed", lambda *_: False)
    assert NOT_RUNNING in complaint(made.data, tmp_path)


# --- Changes of the database by its owner ---------------------------------------------------------


@pytest.mark.database
def test_each_stored_column_of_a_bulk_deletion_and_its_plan_counts(
    batch: Batch, subtests: pytest.Subtests
):
    assert_each_stored_column_counts(kind_of(BATCH), batch.pk, subtests)
    assert_each_stored_row_counts(kind_of(BATCH), batch.pk, subtests)


@pytest.mark.database
def test_a_stored_deletion_moved_to_another_row_is_named(batch: Batch, tmp_path: Path):
    first, second = batch.deletions.order_by("batch_row__position")[:2]
    rows = {row.position: row.pk for row in batch.rows.all()}
    with triggers_off():
        for deletion, position in ((first, 7), (second, 1), (first, 2)):
            Deletion.objects.filter(pk=deletion.pk).update(batch_row=rows[position])
    made = make_of(batch)
    named = "“batch_row_id” of the row “deletion” is not what its events set"
    assert (made.bundle.differing, named in made.bundle.differences[0]) == (2, True)
    assert named in complaint(made.data, tmp_path)
    report = verification.verify_audit_log()
    assert set(report.differing_ids[Fault.DELETION]) == {str(first.pk), str(second.pk)}
