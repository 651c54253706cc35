"""What the auditor's verifier reports about approvals and break glass."""

from pathlib import Path

import pytest

from connections.change_requests import sending
from connections.evidence.records import kind_of
from connections.models import Deletion, Person, State
from connections.verifier.events import DELETION
from connections.verifier.page import record_section
from connections.verifier.rules import break_glass_by_event, done_without_approvals
from connections.verifier.verification import Verification
from sandbox import faults
from sandbox.server import SandboxServer
from tests.deletions.approvals.conftest import approve, confirm, decline
from tests.deletions.approvals.test_break_glass import (
    REASON,
    REVIEW_NOTE,
    approve_late,
    break_glass_user,
    use_break_glass,
)
from tests.deletions.approvals.test_rounds import LoseResponse, check_twice, lose_response
from tests.evidence.columns import (
    assert_each_bundled_column_counts,
    assert_each_stored_column_counts,
    assert_each_stored_row_counts,
    newest_rows,
)
from tests.evidence.support import differences_of, make, rows_and_events
from tests.support.append_only import triggers_off
from tests.support.clock import SettableClock

__all__ = ["break_glass_user", "lose_response"]

pytestmark = pytest.mark.django_db


def test_an_approved_deletion_matches_its_events(requested: Deletion, linus: Person, ada: Person):
    confirm(approve(requested, linus), ada)
    rows, events = rows_and_events(requested)
    assert differences_of(rows, events) == []
    assert done_without_approvals(events) == []


def test_break_glass_and_its_review_are_compared_with_their_events_and_shown(
    requested: Deletion, break_glass_user: Person, linus: Person
):
    approve_late(use_break_glass(requested, break_glass_user), linus)
    rows, events = rows_and_events(requested)
    assert differences_of(rows, events) == []
    assert done_without_approvals(events)
    page = record_section("Deletion", str(requested.pk), rows, events)
    assert all(f"<dd><bdi>{text}</bdi></dd>" in page for text in (REASON, REVIEW_NOTE))


@pytest.mark.sweep
@pytest.mark.django_db(transaction=True)
@pytest.mark.database
def test_each_column_of_break_glass_and_its_review_counts(
    requested: Deletion,
    break_glass_user: Person,
    linus: Person,
    clock: SettableClock,
    tmp_path: Path,
    subtests: pytest.Subtests,
):
    approve_late(use_break_glass(requested, break_glass_user), linus)
    kind = kind_of(DELETION)
    assert {table.name for table, _ in newest_rows(kind, requested.pk)} == {
        *("deletion", "attempt", "break_glass_review")
    }
    assert_each_stored_column_counts(kind, requested.pk, subtests)
    assert_each_stored_row_counts(kind, requested.pk, subtests)
    clock.advance(seconds=1)
    assert_each_bundled_column_counts(make(), str(requested.pk), tmp_path, subtests)


def test_each_attempt_is_compared_with_the_approvals_of_its_own_round(
    requested: Deletion, linus: Person, barbara: Person, ada: Person, lose_response: LoseResponse
):
    deletion = lose_response(approve(requested, linus))
    decline(deletion, barbara)
    confirm(approve(deletion, barbara), ada)
    rows, events = rows_and_events(deletion)
    assert differences_of(rows, events) == []
    assert done_without_approvals(events) == []
    rows["attempt 1"]["approval_round"] = 2
    assert "attempt 1 is not of the approval round in which it was sent" in differences_of(
        rows, events
    )


def test_lapsed_approvals_do_not_count_for_a_later_attempt(
    requested: Deletion,
    linus: Person,
    ada: Person,
    lose_response: LoseResponse,
    clock: SettableClock,
):
    deletion = approve(lose_response(approve(requested, linus)), linus)
    clock.advance(hours=25)
    confirm(approve(deletion, linus), ada)
    rows, events = rows_and_events(deletion)
    assert differences_of(rows, events) == []
    before_the_last = [event for event in events if event.details.get("approval_round") != 3]
    last = [event for event in events if event.code == "deletion.sending"][-1]
    assert done_without_approvals([*before_the_last, last]) == [last]


@pytest.mark.parametrize("names_rounds", [True, False])
def test_a_second_attempt_on_the_first_approval_is_detected(
    requested: Deletion, linus: Person, ada: Person, lose_response: LoseResponse, names_rounds: bool
):
    """Also in an audit log written before approval rounds were recorded."""
    confirm(approve(lose_response(approve(requested, linus)), linus), ada)
    rows, events = rows_and_events(requested)
    second = [event for event in events if event.code == "deletion.approved"][1]
    forged = [event for event in events if event is not second]
    if not names_rounds:
        for each in forged:
            each.details.pop("approval_round", None)
    [lacking] = done_without_approvals(forged) or []
    assert lacking.details["attempt"] == 2
    assert any("approval " in found for found in differences_of(rows, forged))


def test_an_event_that_names_another_round_is_detected(
    requested: Deletion, linus: Person, ada: Person, lose_response: LoseResponse
):
    confirm(approve(lose_response(approve(requested, linus)), linus), ada)
    rows, events = rows_and_events(requested)
    second = [event for event in events if event.code == "deletion.sending"][1]
    second.details["approval_round"] = 1
    assert differences_of(rows, events) == [f"event {second.seq} states the wrong approval round"]


def test_a_decision_of_the_requester_about_their_own_deletion_is_detected(
    requested: Deletion, linus: Person, ada: Person
):
    confirm(approve(requested, linus), ada)
    rows, events = rows_and_events(requested)
    [name] = [name for name in rows if name.startswith("approval ")]
    rows[name]["approver_id"] = rows["deletion"]["requested_by_id"]
    assert "its requester decided about it" in differences_of(rows, events)


def test_a_response_to_an_attempt_that_was_never_sent_is_detected(
    requested: Deletion, linus: Person, ada: Person
):
    confirm(approve(requested, linus), ada)
    rows, events = rows_and_events(requested)
    assert differences_of(rows, events) == []
    rows["attempt 2"] = {"number": 2, "verdict": "deleted"}
    [answered] = [event for event in events if event.code == "deletion.answered"]
    answered.details["rows"]["attempt 2"] = rows["attempt 2"]
    assert differences_of(rows, events) == ["its attempts are not those that were sent"]


def test_an_approval_of_something_else_does_not_count(
    requested: Deletion, linus: Person, ada: Person
):
    confirm(approve(requested, linus), ada)
    _, events = rows_and_events(requested)
    [approved] = [event for event in events if event.code == "deletion.approved"]
    approved.details["digest"] = "0" * 64
    [lacking] = done_without_approvals(events) or []
    assert lacking.code == "deletion.sending"


def test_break_glass_covers_its_own_attempt_only(
    requested: Deletion,
    break_glass_user: Person,
    linus: Person,
    ada: Person,
    sandbox: SandboxServer,
    clock: SettableClock,
):
    sandbox.world.set_fault(fault=faults.RESET_AFTER_READING, operation="delete")
    use_break_glass(requested, break_glass_user)
    sandbox.world.clear_faults()
    confirm(approve(check_twice(requested, clock), linus), ada)
    rows, events = rows_and_events(requested)
    assert differences_of(rows, events) == []
    [lacking] = done_without_approvals(events) or []
    assert lacking.details["attempt"] == 1
    by_event = break_glass_by_event(events)
    assert by_event[lacking.seq].actor == "Grace"
    second = [event for event in events if event.code == "deletion.sending"][1]
    assert second.seq not in by_event


@pytest.mark.django_db(transaction=True)
def test_a_bundle_reports_a_second_attempt_on_the_first_approval(
    requested: Deletion,
    linus: Person,
    ada: Person,
    lose_response: LoseResponse,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
):
    deletion = lose_response(approve(requested, linus))
    # As a service without this safeguard would send it on a database without its triggers.
    monkeypatch.setattr(sending, "_find_approval_block", lambda deletion: None)
    monkeypatch.setattr(Deletion, "lacks_approvals", False)
    with triggers_off():
        assert confirm(deletion, ada).state == State.SETTLED
    path = tmp_path / "bundle.zip"
    path.write_bytes(make().data)
    verification = Verification(str(path))
    verification.run()
    assert verification.warnings == [
        f"Deletion {deletion.pk}: attempt 2 was sent without required approvals."
    ]
