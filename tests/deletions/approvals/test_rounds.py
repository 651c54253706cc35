"""An approval covers one confirmed attempt: after a lost response the approvers decide again."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, transaction
from django.test import Client

from connections.access.actor import WORKER, person_actor
from connections.change_requests import approvals, rechecks, sending
from connections.change_requests.actions import Recheck
from connections.core import time_limits
from connections.core.causes import Cause
from connections.core.errors import BlockedError, ConflictError, OvertakenError
from connections.models import (
    Approval,
    ApprovalPolicy,
    Attempt,
    AuditEvent,
    Deletion,
    Outcome,
    Person,
    State,
)
from connections.operations import due
from sandbox import faults
from sandbox.entities import Connection
from sandbox.server import SandboxServer
from tests.deletions.approvals.conftest import (
    DECLINED,
    RequestFor,
    approve,
    confirm,
    decline,
    exported_row,
)
from tests.deletions.approvals.test_break_glass import REASON, break_glass_user, use_break_glass
from tests.flows.support import Page, read
from tests.support.clock import SettableClock

__all__ = ["break_glass_user"]

pytestmark = pytest.mark.django_db

ClientOf = Callable[[Person], Client]
LoseResponse = Callable[[Deletion], Deletion]


@pytest.fixture
def lose_response(ada: Person, sandbox: SandboxServer, clock: SettableClock) -> LoseResponse:
    """Ada confirms it, the response is lost, and two syncs agree that it is still listed."""

    def act(deletion: Deletion) -> Deletion:
        sandbox.world.set_fault(fault=faults.RESET_AFTER_READING, operation="delete")
        assert confirm(deletion, ada).state == State.UNKNOWN
        sandbox.world.clear_faults()
        return check_twice(deletion, clock)

    return act


def check_twice(deletion: Deletion, clock: SettableClock) -> Deletion:
    """The deletion after the two checks that settle it."""
    for seconds in (36, 61):
        clock.advance(seconds=seconds)
        due.run_due(actor=WORKER)
    deletion.refresh_from_db()
    return deletion


@pytest.fixture
def still_present(requested: Deletion, linus: Person, lose_response: LoseResponse) -> Deletion:
    """Approved by Linus and sent once without effect."""
    deletion = lose_response(approve(requested, linus))
    assert (deletion.state, deletion.approval_round) == (State.STILL_PRESENT, 2)
    return deletion


@pytest.fixture
def delete_count(sandbox: SandboxServer, wanted: Connection) -> Callable[[], int]:
    """How many DELETEs reached Datadog."""
    return lambda: sandbox.world.deletes_received(wanted.id)


def record(client: Client, deletion: Deletion) -> Page:
    return read(client.get(f"/deletions/{deletion.pk}/"))


def verbs(person: Person, client_of: ClientOf) -> list[str]:
    """What the overview asks of this person."""
    return [item.action for item in client_of(person).get("/").context["first"]]


def codes_of(deletion: Deletion) -> list[str]:
    events = AuditEvent.objects.filter(subject_id=str(deletion.pk)).order_by("seq")
    return list(events.values_list("code", flat=True))


def test_a_missing_reason_is_shown_in_the_form_that_was_posted(
    still_present: Deletion, root: Person, client_of: ClientOf
):
    url = f"/deletions/{still_present.pk}/"
    for posted, other in (("decline", "close"), ("close", "decline")):
        page = read(client_of(root).post(f"{url}{posted}/", {"reason": ""}))
        assert (page.status, "Enter a reason" in page.text) == (422, True)
        assert f'id="id_reason_{posted}_error"' in page.html
        assert f'id="id_reason_{other}"' in page.html
        assert f'id="id_reason_{other}_error"' not in page.html


def test_the_worker_also_lapses_approvals(
    still_present: Deletion, linus: Person, clock: SettableClock
):
    approve(still_present, linus)
    clock.advance(hours=24)
    due.run_due(actor=WORKER)
    still_present.refresh_from_db()
    assert (still_present.state, still_present.approval_round) == (State.STILL_PRESENT, 3)


@pytest.mark.parametrize("days", [0, 30])
def test_the_approvals_of_an_earlier_attempt_do_not_allow_another(
    still_present: Deletion,
    ada: Person,
    delete_count: Callable[[], int],
    clock: SettableClock,
    days: int,
):
    clock.advance(hours=24 * days)
    with pytest.raises(ConflictError, match=r"needs approval again\. No new DELETE"):
        confirm(still_present, ada)
    assert still_present.state == State.STILL_PRESENT
    assert delete_count() == 1


def test_the_confirmation_form_returns_409_and_sends_nothing(
    still_present: Deletion, ada: Person, client_of: ClientOf, delete_count: Callable[[], int]
):
    client = client_of(ada)
    page = record(client, still_present)
    assert "A new DELETE is approved by" not in page.text
    assert not page.has_form_to("/execute/")
    response = client.post(
        f"/deletions/{still_present.pk}/execute/", {"confirmation": "Payments US"}, follow=True
    )
    assert response.status_code == 409
    assert delete_count() == 1


def test_the_same_person_can_approve_another_attempt_within_a_new_24_hours(
    still_present: Deletion,
    ada: Person,
    linus: Person,
    delete_count: Callable[[], int],
    clock: SettableClock,
):
    assert still_present.expires_at == clock.at + time_limits.APPROVAL_WINDOW
    clock.advance(hours=23)
    approve(still_present, linus)
    assert still_present.state == State.STILL_PRESENT
    assert still_present.expires_at == clock.at + time_limits.CONFIRMING_WINDOW
    assert confirm(still_present, ada).outcome == Outcome.DELETED
    assert delete_count() == 2
    assert [approval.round for approval in Approval.objects.order_by("pk")] == [1, 2]


def test_two_people_must_approve_again_under_policy_two(
    request_deletion: RequestFor,
    linus: Person,
    barbara: Person,
    ada: Person,
    lose_response: LoseResponse,
    delete_count: Callable[[], int],
):
    deletion = approve(approve(request_deletion(ApprovalPolicy.TWO), linus), barbara)
    approve(lose_response(deletion), barbara)
    with pytest.raises(ConflictError, match="needs approval again"):
        confirm(deletion, ada)
    approve(deletion, linus)
    confirm(deletion, ada)
    assert delete_count() == 2


def test_the_requester_cannot_approve_the_second_attempt_either(
    still_present: Deletion, ada: Person
):
    with pytest.raises(PermissionDenied, match="Another person must approve"):
        approve(still_present, ada)


def test_no_one_approves_the_same_attempt_twice(still_present: Deletion, linus: Person):
    approve(still_present, linus)
    with pytest.raises(ConflictError):
        approve(still_present, linus)


def test_no_one_gives_both_approvals_of_an_attempt(request_deletion: RequestFor, linus: Person):
    deletion = approve(request_deletion(ApprovalPolicy.TWO), linus)
    with pytest.raises(OvertakenError, match="You already approved or declined this deletion"):
        approve(deletion, linus)
    assert deletion.approvals.count() == 1


def test_a_page_opened_before_the_first_attempt_cannot_approve_a_second_one(
    still_present: Deletion, linus: Person, barbara: Person
):
    for person in (linus, barbara):
        with pytest.raises(ConflictError, match="The request has changed since you opened it"):
            approvals.approve(
                change_request=still_present,
                actor=person_actor(person=person),
                digest=still_present.approval_digest,
            )


def test_a_second_lost_response_needs_a_third_approval(
    still_present: Deletion,
    ada: Person,
    linus: Person,
    lose_response: LoseResponse,
    delete_count: Callable[[], int],
):
    lose_response(approve(still_present, linus))
    assert still_present.approval_round == 3
    with pytest.raises(ConflictError, match="needs approval again"):
        confirm(still_present, ada)
    assert delete_count() == 2


def test_automatic_retries_stay_within_one_approval(
    requested: Deletion,
    ada: Person,
    linus: Person,
    sandbox: SandboxServer,
    clock: SettableClock,
    delete_count: Callable[[], int],
):
    approve(requested, linus)
    sandbox.world.set_fault(fault=faults.rate_limited(reset="7"), operation="delete")
    assert confirm(requested, ada).state == State.WAITING
    sandbox.world.clear_faults()
    clock.advance(seconds=8)
    due.run_due(actor=WORKER)
    requested.refresh_from_db()
    assert (requested.outcome, requested.approval_round) == (Outcome.DELETED, 1)
    assert delete_count() == 2


def test_a_failed_check_before_sending_uses_up_no_approval(
    still_present: Deletion, ada: Person, linus: Person, sandbox: SandboxServer
):
    approve(still_present, linus)
    sandbox.world.set_fault(fault=faults.RETURNS_403, operation="list")
    confirm(still_present, ada)
    assert (still_present.state, still_present.cause) == (State.STILL_PRESENT, Cause.LISTING_FAILED)
    sandbox.world.clear_faults()
    assert confirm(still_present, ada).outcome == Outcome.DELETED


@pytest.mark.parametrize("response", [faults.RETURNS_403, faults.rate_limited(reset="7")])
def test_a_second_unknown_attempt_uses_up_its_approval_too(
    still_present: Deletion,
    ada: Person,
    linus: Person,
    sandbox: SandboxServer,
    clock: SettableClock,
    response: faults.Fault,
):
    """Refused, or too late to send again, after an attempt that might have worked."""
    approve(still_present, linus)
    sandbox.world.set_fault(fault=response, operation="delete")
    confirm(still_present, ada)
    clock.advance(minutes=16)
    due.run_due(actor=WORKER)
    still_present.refresh_from_db()
    assert (still_present.state, still_present.approval_round) == (State.UNKNOWN, 3)


@pytest.mark.database
def test_unconfirmed_approvals_lapse_and_the_same_people_can_approve_again(
    still_present: Deletion,
    ada: Person,
    linus: Person,
    clock: SettableClock,
    delete_count: Callable[[], int],
):
    approve(still_present, linus)
    clock.advance(hours=24)
    due.run_due(actor=WORKER)
    still_present.refresh_from_db()
    assert (still_present.state, still_present.approval_round) == (State.STILL_PRESENT, 3)
    lapsed = AuditEvent.objects.get(code="deletion.approvals_lapsed")
    assert (lapsed.details["approval_round"], lapsed.details["approvals_given"]) == (2, 1)
    with pytest.raises(ConflictError, match="needs approval again"):
        confirm(still_present, ada)
    approve(still_present, linus)
    assert still_present.expires_at == clock.at + timedelta(hours=24)
    assert confirm(still_present, ada).outcome == Outcome.DELETED
    assert delete_count() == 2


@pytest.mark.parametrize("act", ["confirm", "approve"])
def test_approvals_lapse_even_without_a_worker(
    still_present: Deletion,
    ada: Person,
    linus: Person,
    barbara: Person,
    clock: SettableClock,
    delete_count: Callable[[], int],
    client_of: ClientOf,
    act: str,
):
    approve(still_present, linus)
    url = f"/deletions/{still_present.pk}/"
    assert read(client_of(ada).get(url)).has_form_to("/execute/")
    clock.advance(hours=24)
    page = read(client_of(ada).get(url))
    assert "Barbara and Linus can approve." in page.text
    assert not page.has_form_to("/execute/")
    for approver in (barbara, linus):
        page = read(client_of(approver).get(url))
        assert page.has_form_to("/approve/")
        assert "Approvals expired at" in page.text
        assert "A new DELETE is approved by" not in page.text
    if act == "confirm":
        with pytest.raises(ConflictError, match="needs approval again"):
            confirm(still_present, ada)
        assert still_present.approval_round == 3
    else:
        approve(still_present, barbara)
        assert [approval.approver for approval in still_present.current_approvals] == [barbara]
    assert delete_count() == 1


def test_a_first_approval_after_the_window_starts_another(
    request_deletion: RequestFor,
    linus: Person,
    barbara: Person,
    lose_response: LoseResponse,
    clock: SettableClock,
):
    deletion = lose_response(approve(approve(request_deletion(ApprovalPolicy.TWO), linus), barbara))
    clock.advance(hours=25)
    approve(deletion, linus)
    assert deletion.expires_at == clock.at + time_limits.APPROVAL_WINDOW
    clock.advance(hours=25)
    approve(deletion, barbara)
    assert deletion.current_approvals == [Approval.objects.get(round=deletion.approval_round)]
    assert deletion.lacks_approvals


def test_an_approval_that_another_person_gives_during_the_check_is_the_only_one(
    still_present: Deletion, linus: Person, barbara: Person, monkeypatch: pytest.MonkeyPatch
):
    check = rechecks.recheck_and_store

    def approve_first(**arguments: Any) -> Recheck:
        monkeypatch.setattr(rechecks, "recheck_and_store", check)
        approve(Deletion.objects.get(), barbara)
        return check(**arguments)

    monkeypatch.setattr(rechecks, "recheck_and_store", approve_first)
    with pytest.raises(OvertakenError, match="no longer waiting for approval"):
        approve(still_present, linus)
    assert [each.approver for each in Approval.objects.filter(round=2)] == [barbara]


def test_what_needs_no_approval_is_not_declined(
    request_deletion: RequestFor, linus: Person, sandbox: SandboxServer, clock: SettableClock
):
    sandbox.world.set_fault(fault=faults.RESET_AFTER_READING, operation="delete")
    deletion = request_deletion(ApprovalPolicy.NONE)
    assert check_twice(deletion, clock).state == State.STILL_PRESENT
    with pytest.raises(OvertakenError, match="isn't waiting for approval"):
        decline(deletion, linus)


def test_a_decline_after_enough_approvals_ends_the_round_and_leaves_it_open(
    still_present: Deletion,
    ada: Person,
    linus: Person,
    barbara: Person,
    client_of: ClientOf,
    delete_count: Callable[[], int],
):
    approve(still_present, linus)
    assert not record(client_of(linus), still_present).has_form_to("/decline/")
    assert record(client_of(barbara), still_present).has_form_to("/decline/")
    decline(still_present, barbara)
    assert (still_present.state, still_present.approval_round) == (State.STILL_PRESENT, 3)
    with pytest.raises(ConflictError, match="needs approval again"):
        confirm(still_present, ada)
    assert delete_count() == 1


def test_a_decline_ends_the_approval_of_another_person(
    request_deletion: RequestFor,
    linus: Person,
    barbara: Person,
    ada: Person,
    lose_response: LoseResponse,
):
    deletion = lose_response(approve(approve(request_deletion(ApprovalPolicy.TWO), linus), barbara))
    approve(deletion, linus)
    decline(deletion, barbara)
    assert (deletion.state, deletion.outcome) == (State.STILL_PRESENT, "")
    assert deletion.current_approvals == []
    details = AuditEvent.objects.get(code="deletion.declined").details
    assert (details["reason"], details["approval_round"]) == (DECLINED, 2)
    approve(deletion, barbara)
    with pytest.raises(ConflictError, match="needs approval again"):
        confirm(deletion, ada)


@pytest.mark.database
def test_a_confirmation_that_lost_a_race_with_a_new_round_sends_nothing(
    still_present: Deletion, ada: Person, linus: Person, delete_count: Callable[[], int]
):
    approve(still_present, linus)
    stale = Deletion.objects.get(pk=still_present.pk)
    Deletion.objects.filter(pk=still_present.pk).update(approval_round=3)
    confirm(stale, ada)
    assert (stale.state, delete_count()) == (State.STILL_PRESENT, 1)


def test_break_glass_covers_one_attempt(
    requested: Deletion,
    break_glass_user: Person,
    ada: Person,
    linus: Person,
    sandbox: SandboxServer,
    clock: SettableClock,
    delete_count: Callable[[], int],
):
    sandbox.world.set_fault(fault=faults.RESET_AFTER_READING, operation="delete")
    assert use_break_glass(requested, break_glass_user).state == State.UNKNOWN
    sandbox.world.clear_faults()
    check_twice(requested, clock)
    for person in (ada, break_glass_user):
        with pytest.raises(ConflictError, match="needs approval again"):
            confirm(requested, person)
    with pytest.raises(ConflictError, match="covers one attempt"):
        use_break_glass(requested, break_glass_user)
    assert delete_count() == 1
    approve(requested, linus)
    with pytest.raises(ConflictError, match="Only Ada"):
        confirm(requested, break_glass_user)
    assert confirm(requested, ada).outcome == Outcome.DELETED


def test_a_lost_break_glass_permission_does_not_block_an_approved_attempt(
    requested: Deletion,
    break_glass_user: Person,
    ada: Person,
    linus: Person,
    sandbox: SandboxServer,
    clock: SettableClock,
):
    sandbox.world.set_fault(fault=faults.RESET_AFTER_READING, operation="delete")
    use_break_glass(requested, break_glass_user)
    sandbox.world.clear_faults()
    check_twice(requested, clock)
    Person.objects.filter(pk=break_glass_user.pk).update(is_active=False)
    assert confirm(approve(requested, linus), ada).outcome == Outcome.DELETED


def test_break_glass_can_be_used_for_a_second_attempt_after_an_approved_one(
    still_present: Deletion, break_glass_user: Person, delete_count: Callable[[], int]
):
    assert use_break_glass(still_present, break_glass_user).outcome == Outcome.DELETED
    assert (still_present.break_glass_round, delete_count()) == (2, 2)


def test_an_approver_who_lost_the_permission_does_not_count_for_a_second_attempt(
    still_present: Deletion, ada: Person, linus: Person
):
    approve(still_present, linus)
    linus.groups.clear()
    with pytest.raises(BlockedError, match="no longer has permission to approve"):
        confirm(still_present, ada)


def test_a_missing_or_changed_connection_is_not_approved(
    still_present: Deletion, linus: Person, sandbox: SandboxServer, wanted: Connection
):
    sandbox.world.remove_connection(connection_id=wanted.id)
    with pytest.raises(ConflictError, match=r"nothing to approve\. No new DELETE"):
        approve(still_present, linus)
    assert still_present.outcome == Outcome.GONE_UNATTRIBUTED


def test_the_page_requests_approval_again_and_keeps_the_first_approval(
    still_present: Deletion, ada: Person, linus: Person, client_of: ClientOf
):
    page = record(client_of(linus), still_present)
    assert "A new DELETE needs new approvals" in page.text
    assert "Approvals 0 of 1" in page.text
    assert re.search(r"Approved [-:\d ]+UTC · Linus", page.text)
    form = page.form_to("/approve/")
    assert page.has_form_to("/decline/")
    assert client_of(linus).post(form.action, form.fields).status_code == 303
    page = record(client_of(ada), still_present)
    assert "A new DELETE is approved by Linus." in page.text
    assert page.has_form_to("/execute/")
    assert not record(client_of(linus), still_present).has_form_to("/approve/")


def test_the_overview_and_the_menu_count_it_for_approvers_who_must_decide(
    still_present: Deletion, ada: Person, linus: Person, client_of: ClientOf
):
    assert verbs(linus, client_of) == ["Decide…"]
    assert verbs(ada, client_of) == ["Resolve"]
    assert menu_count(client_of(linus)) == 1
    approve(still_present, linus)
    assert verbs(linus, client_of) == []
    assert verbs(ada, client_of) == ["Resolve"]
    assert menu_count(client_of(linus)) == 0


def test_the_menu_counts_the_second_of_two_approvals(
    request_deletion: RequestFor,
    linus: Person,
    barbara: Person,
    root: Person,
    lose_response: LoseResponse,
    client_of: ClientOf,
):
    deletion = lose_response(approve(approve(request_deletion(ApprovalPolicy.TWO), linus), barbara))
    approve(deletion, linus)
    assert [menu_count(client_of(one)) for one in (linus, barbara)] == [0, 1]
    approve(deletion, barbara)
    # An administrator is an Operator too, who can confirm it now.
    assert [menu_count(client_of(one)) for one in (linus, root)] == [0, 1]


def menu_count(client: Client) -> int:
    context = client.get("/deletions/").context
    return next(int(item.count or 0) for item in context["nav"].items if item.label == "Deletions")


def test_an_export_names_the_approvers_of_each_attempt(
    still_present: Deletion, ada: Person, linus: Person, barbara: Person
):
    row = exported_row()
    assert (row["approved_by"], row["settled_at"]) == (["Linus"], None)
    approve(still_present, barbara)
    confirm(still_present, ada)
    row = exported_row()
    deletion, at = Deletion.objects.get(), "2026-03-02T14:05:00+00:00"
    first, second = row.pop("attempts")
    durations = deletion.attempts.order_by("number").values_list("duration_ms", flat=True)
    assert [first.pop("duration_ms"), second.pop("duration_ms")] == list(durations)
    assert second.pop("headers") == deletion.attempts.get(number=2).headers != {}
    both: dict[str, Any] = {
        "credential": "Payments US",
        "credential_fingerprint": deletion.credential_fingerprint,
        "was_rechecked": True,
        "is_late": False,
        "errors": [],
    }
    earlier = "2026-03-02T14:03:23+00:00"
    lost: dict[str, Any] = {"number": 1, "epoch": 1, "approved_by": ["Linus"], "sent_at": earlier}
    lost |= {"answered_at": earlier, "verdict": "ambiguous", "cause": "connection_lost"}
    lost |= {"http_status": None, "headers": {}, "body_sha256": None, "body_is_complete": False}
    assert first == both | lost
    deleted: dict[str, Any] = {"number": 2, "epoch": 2, "approved_by": ["Barbara"], "sent_at": at}
    deleted |= {"answered_at": at, "verdict": "deleted", "cause": None, "http_status": 200}
    deleted |= {"body_sha256": sha256(b"{}\n").hexdigest(), "body_is_complete": True}
    assert second == both | deleted
    source, sink = deletion.source_org_id, deletion.sink_org_id
    expected: dict[str, Any] = {"id": str(deletion.pk), "batch": None, "site": deletion.site}
    expected |= {name: both[name] for name in ("credential", "credential_fingerprint", "errors")}
    expected |= {
        "connection_id": str(deletion.connection_id),
        "connection_types": ["logs", "metrics"],
    }
    expected |= {"source_org": {"id": source, "name": "Payments US"}, "source_org_id": source}
    expected |= {"sink_org": {"id": sink, "name": "Group SOC"}, "sink_org_id": sink}
    expected |= {"is_reviewed": True, "policy": "one", "state": "settled", "outcome": "deleted"}
    expected |= {"cause": None, "settled_reason": "", "reason": "contract ended"}
    expected |= {"ticket": "SEC-212", "requested_by": "Ada", "requested_at": earlier}
    expected |= {"automatic": False}
    expected |= {"confirmed_by": "Ada", "confirmed_at": at, "approved_by": ["Barbara"]}
    expected |= {"approved_at": at, "sent_at": at, "settled_by": "Ada", "settled_at": at}
    expected |= {"verified_at": None, "contradicted_at": None, "http_status": 200}
    assert row == expected | {"broke_glass": None}


# --- What the database enforces by itself


@contextmanager
def assert_database_refuses(match: str) -> Iterator[None]:
    """Expect the database to refuse the block, and roll it back."""
    with pytest.raises(IntegrityError, match=match), transaction.atomic():
        yield


@pytest.mark.database
def test_the_database_refuses_to_send_with_the_approvals_of_an_earlier_round(
    still_present: Deletion,
):
    with assert_database_refuses("The deletion needs more approvals"):
        Deletion.objects.update(state=State.SENDING)


@pytest.mark.database
@pytest.mark.parametrize("state", [State.UNKNOWN, State.STILL_PRESENT, State.APPROVED])
def test_the_database_ends_an_approval_round_with_its_attempt(
    requested: Deletion, linus: Person, state: State
):
    approve(requested, linus)
    Deletion.objects.update(state=State.SENDING)
    with assert_database_refuses("An approval covers one attempt"):
        Deletion.objects.update(state=state)
    if state == State.UNKNOWN:
        Deletion.objects.update(state=state, approval_round=2)


@pytest.fixture
def waiting_with_unknown_attempt(
    requested: Deletion, linus: Person, lose_response: LoseResponse, clock: SettableClock
) -> Deletion:
    """Set back to waiting while its last attempt may still succeed, which Org Admin never does."""
    deletion = approve(lose_response(approve(requested, linus)), linus)
    Deletion.objects.update(state=State.SENDING, epoch=2)
    Attempt.objects.create(
        deletion=deletion,
        number=2,
        epoch=2,
        approval_round=2,
        was_rechecked=True,
        claimed_at=clock.at,
    )
    Deletion.objects.update(state=State.WAITING)
    deletion.refresh_from_db()
    return deletion


@pytest.mark.database
def test_the_database_refuses_an_attempt_in_a_round_with_an_unknown_one(
    waiting_with_unknown_attempt: Deletion,
):
    with assert_database_refuses("An approval covers one attempt"):
        Deletion.objects.update(state=State.SENDING, epoch=3)


@pytest.mark.database
def test_the_database_refuses_an_attempt_during_another(requested: Deletion, linus: Person):
    approve(requested, linus)
    assert sending.claim([requested], actor=WORKER, was_rechecked=True)
    with assert_database_refuses("A deletion that is being sent can't be claimed again"):
        Deletion.objects.update(epoch=2)


@pytest.mark.database
def test_nothing_is_claimed_in_a_round_with_an_unknown_attempt(
    waiting_with_unknown_attempt: Deletion,
):
    with pytest.raises(BlockedError, match="might have worked"):
        sending.claim([waiting_with_unknown_attempt], actor=WORKER, was_rechecked=True)


@pytest.mark.database
@pytest.mark.parametrize("number", [1, 4])
def test_the_database_lets_a_round_neither_decrease_nor_skip_a_number(
    still_present: Deletion, number: int
):
    with assert_database_refuses("An approval covers one attempt"):
        Deletion.objects.update(approval_round=number)


@pytest.mark.database
def test_the_database_refuses_an_approval_for_another_round(
    still_present: Deletion, linus: Person, clock: SettableClock
):
    first = Approval.objects.get()
    for number in (1, 3):
        with assert_database_refuses(r"An approval must match|The row already exists"):
            Approval.objects.create(
                deletion=still_present,
                approver=linus,
                approver_name="Linus",
                requester=first.requester,
                round=number,
                decision=first.decision,
                digest=first.digest,
                decided_at=clock.at,
            )


@pytest.mark.database
def test_the_database_refuses_to_move_an_approval_into_another_round(still_present: Deletion):
    with assert_database_refuses("A decision can't be changed"):
        Approval.objects.update(round=2)


@pytest.mark.database
def test_the_database_limits_break_glass_to_its_round(
    still_present: Deletion, break_glass_user: Person, clock: SettableClock
):
    values = {
        "break_glass_at": clock.at,
        "break_glass_by": break_glass_user,
        "break_glass_reason": REASON,
    }
    with assert_database_refuses("The use of break glass can't be changed"):
        Deletion.objects.update(**values, break_glass_round=1)
    Deletion.objects.update(**values, break_glass_round=2)
    with assert_database_refuses("The use of break glass can't be changed"):
        Deletion.objects.update(break_glass_round=3, approval_round=3)
    Deletion.objects.update(approval_round=3)
    with assert_database_refuses("The deletion needs more approvals"):
        Deletion.objects.update(state=State.SENDING)


@pytest.mark.database
def test_the_database_refuses_an_attempt_under_another_round(still_present: Deletion):
    attempt = still_present.attempts.get()
    attempt.pk, attempt.number, attempt.epoch = None, 2, 2
    with assert_database_refuses("An attempt must belong to the deletion's current round"):
        attempt.save(force_insert=True)


@pytest.mark.database
def test_starting_an_attempt_counts_the_approvals_of_its_round_itself(
    still_present: Deletion, ada: Person
):
    with pytest.raises(BlockedError, match="still needs approval"):
        sending.require_sendable(change_request=still_present, confirmed_by=ada)
