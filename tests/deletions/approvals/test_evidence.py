"""What the auditor's verifier reports about approvals and break glass."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from connections.deletions import sending
from connections.deletions.export import deletion_row
from connections.models import AuditEvent, Deletion, Person, State, with_values
from connections.verifier.deletions import (
    break_glass_for,
    deletion_differences,
    sent_without_approvals,
)
from connections.verifier.events import Event
from connections.verifier.page import page_section
from connections.verifier.verification import Verification
from sandbox import faults
from sandbox.server import SandboxServer
from tests.deletions.approvals.conftest import approve, confirm
from tests.deletions.approvals.test_break_glass import (
    REASON,
    REVIEW_NOTE,
    break_glass_user,
    review,
    use_break_glass,
)
from tests.deletions.approvals.test_rounds import LoseResponse, check_twice, decline, lose_response
from tests.evidence.support import make
from tests.support.append_only import triggers_off
from tests.support.clock import SettableClock

__all__ = ["break_glass_user", "lose_response"]

pytestmark = pytest.mark.django_db


def bundle_row_and_events(deletion: Deletion) -> tuple[dict[str, Any], list[Event]]:
    """The row of the deletion as a bundle has it, and its events."""
    rows = AuditEvent.objects.filter(subject_id=str(deletion.pk)).order_by("seq")
    events = [
        Event(json.loads(row.text), {str(key): text for key, text in row.shown_values.items()})
        for row in with_values(rows)
    ]
    deletion = Deletion.objects.get(pk=deletion.pk)
    return json.loads(json.dumps(deletion_row(deletion))), events


def test_an_approved_deletion_matches_its_events(
    requested: Deletion, linus: Person, ada: Person
) -> None:
    confirm(approve(requested, linus), ada)
    row, events = bundle_row_and_events(requested)
    assert deletion_differences(row, events) == []
    assert sent_without_approvals(events) == []


def test_break_glass_and_its_review_are_compared_with_their_events_and_shown(
    requested: Deletion, break_glass_user: Person, linus: Person
) -> None:
    review(use_break_glass(requested, break_glass_user), linus)
    row, events = bundle_row_and_events(requested)
    assert deletion_differences(row, events) == []
    assert sent_without_approvals(events)
    page = page_section(row, events)
    assert f"Grace: {REASON} – reviewed by Linus: {REVIEW_NOTE}" in page


FORGED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "nobody broke it": lambda row: row.update(broke_glass=None),
    "another person": lambda row: row["broke_glass"].update(name="Ada"),
    "another reason": lambda row: row["broke_glass"].update(reason="tidying up"),
    "no review": lambda row: row["broke_glass"].update(reviewed_by=None),
    "another note": lambda row: row["broke_glass"].update(review_note="all well"),
}


@pytest.mark.parametrize("what", FORGED)
def test_a_row_that_contradicts_its_events_is_detected(
    requested: Deletion, break_glass_user: Person, linus: Person, what: str
) -> None:
    row, events = bundle_row_and_events(review(use_break_glass(requested, break_glass_user), linus))
    FORGED[what](row)
    assert deletion_differences(row, events) == ["“broke_glass” does not match the events"]


def test_each_attempt_is_compared_with_the_approvals_of_its_own_round(
    requested: Deletion, linus: Person, barbara: Person, ada: Person, lose_response: LoseResponse
) -> None:
    deletion = lose_response(approve(requested, linus))
    decline(deletion, barbara)
    confirm(approve(deletion, barbara), ada)
    row, events = bundle_row_and_events(deletion)
    assert deletion_differences(row, events) == []
    assert sent_without_approvals(events) == []
    row["attempts"][0]["approved_by"] = ["Barbara"]
    assert deletion_differences(row, events) == ["attempt 1 does not match the events"]


def test_lapsed_approvals_do_not_count_for_a_later_attempt(
    requested: Deletion,
    linus: Person,
    ada: Person,
    lose_response: LoseResponse,
    clock: SettableClock,
) -> None:
    deletion = approve(lose_response(approve(requested, linus)), linus)
    clock.advance(hours=25)
    confirm(approve(deletion, linus), ada)
    row, events = bundle_row_and_events(deletion)
    assert deletion_differences(row, events) == []
    before_the_last = [event for event in events if event.details.get("approval_round") != 3]
    last = [event for event in events if event.code == "deletion.sending"][-1]
    assert sent_without_approvals([*before_the_last, last]) == [last]


@pytest.mark.parametrize("names_rounds", [True, False])
def test_a_second_attempt_on_the_first_approval_is_detected(
    requested: Deletion, linus: Person, ada: Person, lose_response: LoseResponse, names_rounds: bool
) -> None:
    """Also in an audit log written before approval rounds were recorded."""
    confirm(approve(lose_response(approve(requested, linus)), linus), ada)
    row, events = bundle_row_and_events(requested)
    second = [event for event in events if event.code == "deletion.approved"][1]
    forged = [event for event in events if event is not second]
    if not names_rounds:
        for each in forged:
            each.details.pop("approval_round", None)
    [lacking] = sent_without_approvals(forged) or []
    assert lacking.details["attempt"] == 2
    assert "“approved_by” does not match the events" in deletion_differences(row, forged)


def test_an_event_that_names_another_round_is_detected(
    requested: Deletion, linus: Person, ada: Person, lose_response: LoseResponse
) -> None:
    confirm(approve(lose_response(approve(requested, linus)), linus), ada)
    row, events = bundle_row_and_events(requested)
    second = [event for event in events if event.code == "deletion.sending"][1]
    second.details["approval_round"] = 1
    assert deletion_differences(row, events) == ["“approval_round” does not match the events"]


def test_break_glass_covers_its_own_attempt_only(
    requested: Deletion,
    break_glass_user: Person,
    linus: Person,
    ada: Person,
    sandbox: SandboxServer,
    clock: SettableClock,
) -> None:
    sandbox.world.set_fault(fault=faults.RESET_AFTER_READING, operation="delete")
    use_break_glass(requested, break_glass_user)
    sandbox.world.clear_faults()
    confirm(approve(check_twice(requested, clock), linus), ada)
    row, events = bundle_row_and_events(requested)
    assert deletion_differences(row, events) == []
    [lacking] = sent_without_approvals(events) or []
    assert lacking.details["attempt"] == 1
    glass = break_glass_for(lacking, events)
    assert glass
    assert glass.actor == "Grace"
    second = [event for event in events if event.code == "deletion.sending"][1]
    assert break_glass_for(second, events) is None


@pytest.mark.django_db(transaction=True)
def test_a_bundle_reports_a_second_attempt_on_the_first_approval(
    requested: Deletion,
    linus: Person,
    ada: Person,
    lose_response: LoseResponse,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    deletion = lose_response(approve(requested, linus))
    # As a service without this safeguard would send it on a database without its triggers.
    monkeypatch.setattr(sending, "_require_valid_approvals", lambda deletion: None)
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
