"""A bulk deletion in its bundle: its plan, its own events, and whatever is changed in them."""

import json
import random
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection

from connections.access.actor import WORKER, command_actor, person_actor
from connections.batches import decisions, drafts, running, stopping
from connections.deletions.history import HistoryFilter
from connections.evidence import verification
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
from connections.verifier.archive import PLAN_FILE
from connections.verifier.events import BATCH, DELETION, Event
from connections.verifier.plans import LEFT_OUT, Plan
from connections.verifier.report import main
from sandbox.server import SandboxServer
from tests.batches.support import add_connections, approve, draft, execute, request, sync_now
from tests.evidence.support import Forger, Made, complaint, files_of, make, page_of, run_verifier
from tests.evidence.test_document import EVIDENCE
from tests.evidence.test_forgeries import LATER, spoil
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


def document(made: Made) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(files_of(made.data)[PLAN_FILE])
    return found


@pytest.mark.database
def test_a_bulk_deletion_is_evidence_from_its_plan_to_its_end(batch: Batch, tmp_path: Path) -> None:
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
    bundled = document(made)
    assert (bundled["id"], bundled["state"], bundled["count"]) == (str(batch.pk), "finished", 3)
    assert [row["problem"] for row in bundled["rows"]] == [
        *("", "", "protected", "malformed_id", "duplicate", "not_visible", "", "")
    ]
    kept = [row for row in bundled["rows"] if row["deletion"]]
    assert {row["deletion"] for row in kept} == {
        str(deletion.pk) for deletion in batch.deletions.all()
    }
    assert [row["position"] for row in kept] == [1, 2, 8]
    events = [event.code for event in Forger(made=made).events() if event.about[0] == BATCH]
    assert events == [
        f"batch.{word}"
        for word in ("requested", "approved", "confirmed", "paused", "resumed", "finished")
    ]
    page = unescape(page_of(made.data, tmp_path))
    assert "Linus paused the bulk deletion with 3 connections not sent." in page
    assert page.count("<td>Left out: ") == 4
    assert page.count("<td>Removed before the request, ") == 1
    assert verification.verify_audit_log().fault is None


def test_the_events_of_the_bundle_name_the_bulk_deletion(batch: Batch) -> None:
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
) -> None:
    batch = request(plan_six(sandbox, ada), ada)
    decisions.decline_batch(batch=batch, actor=person_actor(person=linus), reason="In use.")
    made = make_of(batch)
    verdict = run_verifier(made.data, tmp_path / "x")
    assert (verdict.code, document(made)["state"]) == (0, "declined")
    assert "The plan was not confirmed, and no attempt was made." in verdict.text


def test_a_bundle_with_another_filter_says_that_the_plan_is_missing(
    batch: Batch, tmp_path: Path
) -> None:
    requested_at = batch.requested_at
    assert requested_at
    for filters in (
        HistoryFilter(),
        HistoryFilter(batch=batch.pk, outcome="deleted"),
        HistoryFilter(batch=batch.pk, site="sandbox-us1"),
    ):
        made = make(filters=filters)
        assert PLAN_FILE not in files_of(made.data)
        verdict = run_verifier(made.data, tmp_path / "x")
        assert verdict.code == 0
        assert "  - No row of 1 bulk deletion was left out." in verdict.text
    within = make_of(batch, since=requested_at)
    assert "of 1 bulk deletion was" not in run_verifier(within.data, tmp_path / "x").text
    before = make_of(batch, until=requested_at)
    assert (before.bundle.deletions, PLAN_FILE in files_of(before.data)) == (0, False)


def test_a_draft_has_no_plan_in_a_bundle(
    sandbox: SandboxServer, transactional_db: None, ada: Person, tmp_path: Path
) -> None:
    made = make_of(plan_six(sandbox, ada))
    assert PLAN_FILE not in files_of(made.data)
    assert complaint(made.data, tmp_path) == ""


@pytest.mark.database
def test_it_names_no_erased_person(
    batch: Batch, ada: Person, linus: Person, tmp_path: Path
) -> None:
    for person in (ada, linus):
        erasure.erase_person(actor=command_actor(), person=person)
    made = make_of(batch)
    files = files_of(made.data)
    page = page_of(made.data, tmp_path)
    for name in ("Ada", "Linus"):
        assert name not in files[PLAN_FILE].decode()
        assert f">{name}<" not in page
    assert complaint(made.data, tmp_path) == ""
    assert " confirmed the plan before every attempt" in run_verifier(made.data, tmp_path).text


def test_the_documents_name_every_key_of_the_plan(made: Made) -> None:
    bundled = document(made)
    section = EVIDENCE.partition("**A bulk deletion in a bundle.**")[2].partition("\n\n**")[0]
    keys = {*bundled, *(key for row in bundled["rows"] for key in row)}
    assert [key for key in sorted(keys) if f"`{key}`" not in section] == []


def test_the_page_has_a_text_for_each_reason_to_leave_a_row_out() -> None:
    assert set(LEFT_OUT) == set(RowProblem)


# --- Changes of the bundle, signed with the right key ---------------------------------------------

FIRST, SECOND, PROTECTED, MALFORMED, DUPLICATE, UNLISTED, REMOVED, LAST = range(8)


def in_row(place: int, /, **values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda plan: plan["rows"][place].update(values)


def in_plan(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda plan: plan.update(values)


def swap_deletions(plan: dict[str, Any]) -> None:
    first, second = plan["rows"][FIRST], plan["rows"][SECOND]
    first["deletion"], second["deletion"] = second["deletion"], first["deletion"]


def repeat_deletion(plan: dict[str, Any]) -> None:
    plan["rows"][SECOND]["deletion"] = plan["rows"][FIRST]["deletion"]


NOT_THE_PLAN = "its rows are not those of the plan that was requested"
NO_ROW = "no row of the plan became this deletion"
OTHER_ORG = {"id": "1", "name": "Labs"}
EDITS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "row to delete removed": (lambda plan: plan["rows"].pop(), NOT_THE_PLAN),
    "row left out removed": (lambda plan: plan["rows"].pop(UNLISTED), "row 6: its position is"),
    "removed row removed": (lambda plan: plan["rows"].pop(REMOVED), "row 7: its position is"),
    "row repeated": (lambda plan: plan["rows"].append(plan["rows"][0]), "row 9: its position is"),
    "why a row was left out": (in_row(PROTECTED, problem="duplicate"), NOT_THE_PLAN),
    "row left out after all": (in_row(FIRST, problem="protected"), "row 1: it was left out but"),
    "row not left out": (in_row(PROTECTED, problem=""), "row 3: it has no deletion"),
    "row left out as removed": (in_row(PROTECTED, removed_at=LATER), NOT_THE_PLAN),
    "removed row not removed": (in_row(REMOVED, removed_at=None), "row 7: it has no deletion"),
    "credential": (in_row(SECOND, credential_id=""), NOT_THE_PLAN),
    "digest of a row": (in_row(SECOND, digest="0" * 64), "its digest is not that of its orgs"),
    "org of a row": (
        in_row(PROTECTED, sink_org=OTHER_ORG),
        "row 3: its digest is not that",
    ),
    "data types": (in_row(PROTECTED, connection_types=[]), "row 3: its digest is not that"),
    "org of an unlisted row": (
        in_row(UNLISTED, sink_org=OTHER_ORG),
        "row 6: its digest is not that",
    ),
    "reference": (in_row(UNLISTED, reference="sandbox-us1/x"), NOT_THE_PLAN),
    "order": (lambda plan: plan["rows"].reverse(), "row 1: its position is wrong"),
    "deletion of another row": (swap_deletions, "“connection_id” does not match row"),
    "deletion left out": (in_row(SECOND, deletion=None), "row 2: it has no deletion"),
    "deletion invented": (in_row(DUPLICATE, deletion="1"), "row 5: it was left out but has a"),
    "deletion twice": (repeat_deletion, "row 2: its deletion belongs to another row"),
    "unknown deletion": (in_row(SECOND, deletion="1"), NO_ROW),
    **{
        key: (in_plan(**{key: value}), f"“{key}” does not match its events")
        for key, value in {
            "state": "running",
            "origin": "filter",
            "filter": "site=us9",
            "site": "us9",
            "org": OTHER_ORG,
            "access_review": "1",
            "count": 2,
            "digest": "0" * 64,
            "approval_digest": "0" * 64,
            "policy": "none",
            "reason": "Because.",
            "ticket": "SEC-2",
            "stop_at_first_problem": True,
            "created_at": LATER,
            "requested_at": LATER,
        }.items()
    },
    "which one": (in_plan(id=str(uuid4())), "not the one recorded when the bundle was started"),
}


@pytest.mark.parametrize(("change", "named"), EDITS.values(), ids=EDITS.keys())
def test_a_change_of_the_plan_is_named(
    made: Made, tmp_path: Path, change: Callable[[dict[str, Any]], Any], named: str
) -> None:
    forger = Forger(made=made)
    forger.edit_plan(change)
    assert named in complaint(forger.signed(), tmp_path)


NOT_RUNNING = "attempt 1 was made while the plan was not confirmed or not running"
LEFT_OUT_EVENTS = {
    "requested": "it does not have exactly one request event",
    "approved": "it was confirmed without the required approvals",
    "confirmed": NOT_RUNNING,
    "resumed": NOT_RUNNING,
    "finished": "“state” does not match its events",
}


@pytest.mark.parametrize(("word", "named"), LEFT_OUT_EVENTS.items(), ids=LEFT_OUT_EVENTS.keys())
def test_an_event_of_the_bulk_deletion_left_out_is_named(
    made: Made, tmp_path: Path, word: str, named: str
) -> None:
    forger = Forger(made=made)
    forger.leave_out_events(lambda event: event["code"] == f"batch.{word}")
    assert named in complaint(forger.signed(), tmp_path)


def test_a_deletion_left_out_with_its_events_is_named(made: Made, tmp_path: Path) -> None:
    forger = Forger(made=made)
    left_out = json.loads(forger.files["deletions.json"])[1]["id"]
    forger.leave_out_events(lambda event: (event["subject"] or {}).get("id") == left_out)
    forger.edit_rows(lambda rows: rows.pop(1))
    found = complaint(forger.signed(), tmp_path)
    assert found == f"plan.json names deletion {left_out}, which is missing."


def test_a_plan_left_out_is_refused(made: Made, tmp_path: Path) -> None:
    forger = Forger(made=made)
    del forger.files[PLAN_FILE]
    found = complaint(forger.signed(), tmp_path)
    assert found == "plan.json is missing, or the bundle is not of one bulk deletion."


def test_no_forged_plan_causes_a_traceback(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(7)  # noqa: S311 - any will do
    path = tmp_path / "bundle.zip"
    for _ in range(30):
        forger = Forger(made=made)
        bundled = document(made)
        rows = [spoil(row, chance) if chance.random() < 0.3 else row for row in bundled.pop("rows")]
        head = json.dumps(spoil(bundled, chance) if chance.random() < 0.5 else bundled, indent=1)
        lines = ",\n".join(json.dumps(row) for row in rows)
        text = head.removesuffix("\n}") + f',\n "rows": [\n{lines}\n]}}\n'
        forger.files[PLAN_FILE] = text.encode()
        path.write_bytes(forger.signed())
        assert main([str(path)]) in {0, 1}
        assert capsys.readouterr().err == ""


# --- Events that no bundle can have, because each is proven to be in the audit log ----------------


def plan_of(made: Made) -> tuple[Plan, list[dict[str, Any]]]:
    """The plan with its events, and its rows."""
    bundled = document(made)
    rows = bundled.pop("rows")
    own = [event for event in Forger(made=made).events() if event.about[0] == BATCH]
    return Plan(bundled, own), rows


def event_of(plan: Plan, word: str) -> Event:
    return next(event for event in plan.events if event.code == f"batch.{word}")


def differences_after(made: Made, change: Callable[[Plan], None]) -> list[str]:
    plan, rows = plan_of(made)
    change(plan)
    return Plan(plan.document, plan.events).differences(rows)


def test_an_approval_counts_if_another_person_approved_this_plan_before_the_confirmation(
    made: Made,
) -> None:
    def by_requester(plan: Plan) -> None:
        event_of(plan, "approved").actor_id = event_of(plan, "requested").details["requested_by"]

    def afterwards(plan: Plan) -> None:
        event_of(plan, "approved").seq = event_of(plan, "resumed").seq

    def of_another_plan(plan: Plan) -> None:
        event_of(plan, "approved").details["approval_digest"] = "0" * 64

    without = ["it was confirmed without the required approvals"]
    assert differences_after(made, lambda plan: None) == []
    assert differences_after(made, by_requester) == without
    assert differences_after(made, afterwards) == without
    other = ["an approval is not for its plan, reason and ticket"]
    assert differences_after(made, of_another_plan) == other


def test_a_request_of_another_number_of_deletions_than_the_plan_has_is_named(made: Made) -> None:
    def change(plan: Plan) -> None:
        plan.document["count"] = event_of(plan, "requested").details["count"] = 2

    assert differences_after(made, change) == [NOT_THE_PLAN]


def test_a_request_for_approval_of_something_else_than_the_plan_is_named(made: Made) -> None:
    def change(plan: Plan) -> None:
        for where in (plan.document, *(event.details for event in plan.events)):
            if "approval_digest" in where:
                where["approval_digest"] = "0" * 64

    named = ["its approval digest is not that of its plan, reason and ticket"]
    assert differences_after(made, change) == named


def test_a_deletion_that_differs_from_its_row_is_named(made: Made) -> None:
    forger = Forger(made=made)
    row = json.loads(forger.files["deletions.json"])[0]
    events = [event for event in forger.events() if event.about == (DELETION, row["id"])]
    changes: dict[str, Any] = {
        "batch": None,
        "source_org": OTHER_ORG,
        "sink_org": OTHER_ORG,
        "connection_types": [],
        "policy": "none",
        "reason": "Because.",
        "ticket": "SEC-2",
        "requested_at": LATER,
    }
    for key, value in changes.items():
        plan, rows = plan_of(made)
        assert plan.differences(rows) == []
        [found] = plan.deletion_differences(row | {key: value}, events)
        assert found.startswith(f"“{key}” does not match row ")
    plan, rows = plan_of(made)
    plan.differences(rows)
    events[0].details["digest"] = "0" * 64
    [found] = plan.deletion_differences(row, events)
    assert found.startswith("“digest” does not match row ")


@pytest.mark.parametrize("word", ["requested", "paused", "finished"])
def test_an_attempt_while_the_bulk_deletion_was_not_running_is_named(made: Made, word: str) -> None:
    forger = Forger(made=made)
    row = json.loads(forger.files["deletions.json"])[0]
    events = [event for event in forger.events() if event.about == (DELETION, row["id"])]
    plan, rows = plan_of(made)
    plan.differences(rows)
    sending = next(event for event in events if event.code == "deletion.sending")
    sending.seq = event_of(plan, word).seq + 1
    found = plan.deletion_differences(row, events)
    assert found == [NOT_RUNNING]


def test_people_can_confirm_a_deletion_again_alone_after_the_end(made: Made) -> None:
    forger = Forger(made=made)
    row = json.loads(forger.files["deletions.json"])[0]
    events = [event for event in forger.events() if event.about == (DELETION, row["id"])]
    sending = next(event for event in events if event.code == "deletion.sending")
    plan, rows = plan_of(made)
    plan.differences(rows)
    unknown = event_of(plan, "finished")
    unknown.details["state"] = "unknown"
    again = Forger(made=made).events()[-1]
    again.code, again.details, again.seq = "deletion.sending", {"attempt": 2}, unknown.seq + 1
    assert plan.deletion_differences(row, [events[0], sending, unknown, again]) == []


# --- Changes of the database by its owner ---------------------------------------------------------

ROWS = "UPDATE connections_batchrow SET {} WHERE position = 1"


@pytest.mark.database
@pytest.mark.parametrize(
    ("statement", "named"),
    [
        (ROWS.format("problem = 'protected'"), "row 1: it was left out but has a deletion"),
        (ROWS.format("position = 9"), "row 1: its position is wrong"),
        (ROWS.format("text = 'x', connection_id = NULL, problem = 'malformed_id'"), "row 1: "),
    ],
)
def test_a_stored_plan_that_was_changed_is_named_when_its_bundle_is_made(
    batch: Batch, tmp_path: Path, statement: str, named: str
) -> None:
    with triggers_off(), connection.cursor() as cursor:
        cursor.execute(statement)
    made = make_of(batch)
    assert made.bundle.differing
    assert f"Bulk deletion {batch.pk}: " in made.bundle.differences[0]
    assert named in made.bundle.differences[0]
    assert named in complaint(made.data, tmp_path)


@pytest.mark.database
def test_a_stored_deletion_moved_to_another_row_is_named(batch: Batch, tmp_path: Path) -> None:
    first, second = batch.deletions.order_by("batch_row__position")[:2]
    rows = {row.position: row.pk for row in batch.rows.all()}
    with triggers_off():
        for deletion, position in ((first, 7), (second, 1), (first, 2)):
            Deletion.objects.filter(pk=deletion.pk).update(batch_row=rows[position])
    made = make_of(batch)
    named = "“connection_id” does not match row"
    assert (made.bundle.differing, named in made.bundle.differences[0]) == (2, True)
    assert named in complaint(made.data, tmp_path)
    assert verification.verify_audit_log().batches == (str(batch.pk),)
