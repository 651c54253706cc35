"""An approval covers one confirmed sending: after a lost answer the approvers decide again."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, transaction
from django.test import Client
from pytest_django import Settings

from connections import wording
from connections.access.actor import WORKER, person_actor
from connections.core.causes import Cause
from connections.core.errors import BlockedError, ConflictError
from connections.deletions import approvals, sending, time_limits
from connections.deletions.export import deletion_row
from connections.models import (
    Approval,
    ApprovalPolicy,
    Attempt,
    AuditEvent,
    Deletion,
    Notification,
    Outcome,
    Person,
    State,
)
from connections.operations import due
from connections.web.overview.page import Pending, overview
from sandbox import faults
from sandbox.entities import Connection
from sandbox.server import SandboxServer
from tests.deletions.approvals.conftest import AskFor, approve, confirm
from tests.deletions.approvals.test_break_glass import WHY, breaker, broken
from tests.flows.support import Page, read
from tests.support.clock import SettableClock

__all__ = ["breaker"]

pytestmark = [pytest.mark.django_db, pytest.mark.database]

ClientOf = Callable[[Person], Client]
Lose = Callable[[Deletion], Deletion]
DECLINED = "Ask the partner first."


@pytest.fixture
def lose_answer(ada: Person, sandbox: SandboxServer, clock: SettableClock) -> Lose:
    """Ada confirms it, the response is lost, and two listings agree that it is still there."""

    def act(deletion: Deletion) -> Deletion:
        sandbox.world.set_fault(fault=faults.RESET_AFTER_READING, operation="delete")
        assert confirm(deletion, ada).state == State.UNKNOWN
        sandbox.world.clear_faults()
        return look_twice(deletion, clock)

    return act


def look_twice(deletion: Deletion, clock: SettableClock) -> Deletion:
    """The deletion after the two checks that decide."""
    for seconds in (36, 61):
        clock.advance(seconds=seconds)
        due.run_due(actor=WORKER)
    deletion.refresh_from_db()
    return deletion


@pytest.fixture
def present(asked: Deletion, linus: Person, lose_answer: Lose) -> Deletion:
    """Approved by Linus and sent once without effect."""
    deletion = lose_answer(approve(asked, linus))
    assert (deletion.state, deletion.approval_round) == (State.STILL_PRESENT, 2)
    return deletion


@pytest.fixture
def sent(sandbox: SandboxServer, wanted: Connection) -> Callable[[], int]:
    """How many DELETEs reached Datadog."""
    return lambda: sandbox.world.deletes_received(wanted.id)


def decline(deletion: Deletion, person: Person) -> Deletion:
    return approvals.decline_deletion(
        deletion=deletion, actor=person_actor(person=person), reason=DECLINED
    )


def record(client: Client, deletion: Deletion) -> Page:
    return read(client.get(f"/deletions/{deletion.pk}/"))


def waits_for(person: Person) -> Pending:
    return overview(actor=person_actor(person=person)).pending


def codes_of(deletion: Deletion) -> list[str]:
    events = AuditEvent.objects.filter(subject_id=str(deletion.pk)).order_by("seq")
    return list(events.values_list("code", flat=True))


def test_approvals_given_by_a_clock_that_was_ahead_lapse_when_it_is_set_back(
    present: Deletion,
    ada: Person,
    linus: Person,
    sent: Callable[[], int],
    clock: SettableClock,
) -> None:
    approve(present, linus)
    clock.advance(hours=-1)
    with pytest.raises(ConflictError, match="needs approval again"):
        confirm(present, ada)
    assert (present.approval_round, present.expires_at) == (3, None)
    approve(present, linus)
    assert confirm(present, ada).outcome == Outcome.DELETED
    assert sent() == 2


def test_the_worker_lapses_them_too(present: Deletion, linus: Person, clock: SettableClock) -> None:
    approve(present, linus)
    clock.advance(hours=-1)
    due.run_due(actor=WORKER)
    present.refresh_from_db()
    assert (present.state, present.approval_round) == (State.STILL_PRESENT, 3)


@pytest.mark.parametrize("is_approved", [False, True])
def test_a_request_by_a_clock_that_was_ahead_expires_when_it_is_set_back(
    asked: Deletion, ada: Person, linus: Person, clock: SettableClock, is_approved: bool
) -> None:
    if is_approved:
        approve(asked, linus)
    clock.advance(hours=-1)
    with pytest.raises(ConflictError):
        confirm(asked, ada) if is_approved else approve(asked, linus)
    due.run_due(actor=WORKER)
    asked.refresh_from_db()
    assert asked.outcome == Outcome.EXPIRED


@pytest.mark.parametrize("days", [0, 30])
def test_the_approvals_of_an_earlier_attempt_allow_no_other(
    present: Deletion, ada: Person, sent: Callable[[], int], clock: SettableClock, days: int
) -> None:
    clock.advance(hours=24 * days)
    with pytest.raises(ConflictError, match=r"needs approval again\. No new DELETE"):
        confirm(present, ada)
    assert present.state == State.STILL_PRESENT
    assert sent() == 1


def test_the_confirming_form_answers_409_and_sends_nothing(
    present: Deletion, ada: Person, client_of: ClientOf, sent: Callable[[], int]
) -> None:
    client = client_of(ada)
    page = record(client, present)
    assert not page.has_form_to("/execute/")
    response = client.post(
        f"/deletions/{present.pk}/execute/", {"confirmation": "Payments US"}, follow=True
    )
    assert response.status_code == 409
    assert sent() == 1


def test_the_same_person_approves_another_sending_within_a_new_24_hours(
    present: Deletion, ada: Person, linus: Person, sent: Callable[[], int], clock: SettableClock
) -> None:
    assert present.expires_at == clock.at + time_limits.APPROVAL_WINDOW
    clock.advance(hours=23)
    approve(present, linus)
    assert present.state == State.STILL_PRESENT
    assert present.expires_at == clock.at + time_limits.CONFIRMING_WINDOW
    assert confirm(present, ada).outcome == Outcome.DELETED
    assert sent() == 2
    assert [one.round for one in Approval.objects.order_by("pk")] == [1, 2]


def test_two_people_must_approve_again_under_policy_two(
    ask_for: AskFor,
    linus: Person,
    barbara: Person,
    ada: Person,
    lose_answer: Lose,
    sent: Callable[[], int],
) -> None:
    deletion = approve(approve(ask_for(ApprovalPolicy.TWO), linus), barbara)
    approve(lose_answer(deletion), barbara)
    with pytest.raises(ConflictError, match="needs approval again"):
        confirm(deletion, ada)
    approve(deletion, linus)
    confirm(deletion, ada)
    assert sent() == 2


def test_the_requester_cannot_approve_the_second_attempt_either(
    present: Deletion, ada: Person
) -> None:
    with pytest.raises(PermissionDenied, match="Another person must approve"):
        approve(present, ada)


def test_no_one_approves_the_same_attempt_twice(present: Deletion, linus: Person) -> None:
    approve(present, linus)
    with pytest.raises(ConflictError):
        approve(present, linus)


def test_a_page_opened_before_the_first_attempt_approves_no_second_one(
    present: Deletion, linus: Person, barbara: Person
) -> None:
    for person in (linus, barbara):
        with pytest.raises(ConflictError, match="The request changed since you opened it"):
            approvals.approve_deletion(
                deletion=present, actor=person_actor(person=person), digest=present.approval_digest
            )


def test_a_second_lost_response_needs_a_third_approval(
    present: Deletion, ada: Person, linus: Person, lose_answer: Lose, sent: Callable[[], int]
) -> None:
    lose_answer(approve(present, linus))
    assert present.approval_round == 3
    with pytest.raises(ConflictError, match="needs approval again"):
        confirm(present, ada)
    assert sent() == 2


def test_automatic_retries_stay_within_one_approval(
    asked: Deletion,
    ada: Person,
    linus: Person,
    sandbox: SandboxServer,
    clock: SettableClock,
    sent: Callable[[], int],
) -> None:
    approve(asked, linus)
    sandbox.world.set_fault(fault=faults.rate_limited(reset="7"), operation="delete")
    assert confirm(asked, ada).state == State.WAITING
    sandbox.world.clear_faults()
    clock.advance(seconds=8)
    due.run_due(actor=WORKER)
    asked.refresh_from_db()
    assert (asked.outcome, asked.approval_round) == (Outcome.DELETED, 1)
    assert sent() == 2


def test_a_failed_check_before_sending_uses_up_no_approval(
    present: Deletion, ada: Person, linus: Person, sandbox: SandboxServer
) -> None:
    approve(present, linus)
    sandbox.world.set_fault(fault=faults.RETURNS_403, operation="list")
    confirm(present, ada)
    assert (present.state, present.cause) == (State.STILL_PRESENT, Cause.LISTING_FAILED)
    sandbox.world.clear_faults()
    assert confirm(present, ada).outcome == Outcome.DELETED


@pytest.mark.parametrize("answer", [faults.RETURNS_403, faults.rate_limited(reset="7")])
def test_a_second_unknown_attempt_uses_up_its_approval_too(
    present: Deletion,
    ada: Person,
    linus: Person,
    sandbox: SandboxServer,
    clock: SettableClock,
    answer: faults.Fault,
) -> None:
    """Refused, or too late to send again, after an attempt that may have worked."""
    approve(present, linus)
    sandbox.world.set_fault(fault=answer, operation="delete")
    confirm(present, ada)
    clock.advance(minutes=16)
    due.run_due(actor=WORKER)
    present.refresh_from_db()
    assert (present.state, present.approval_round) == (State.UNKNOWN, 3)


def test_unconfirmed_approvals_lapse_and_the_same_people_can_approve_again(
    present: Deletion, ada: Person, linus: Person, clock: SettableClock, sent: Callable[[], int]
) -> None:
    approve(present, linus)
    clock.advance(hours=24)
    due.run_due(actor=WORKER)
    present.refresh_from_db()
    assert (present.state, present.approval_round) == (State.STILL_PRESENT, 3)
    lapsed = AuditEvent.objects.get(code="deletion.approvals_lapsed")
    assert (lapsed.details["approval_round"], lapsed.details["approvals_given"]) == (2, 1)
    with pytest.raises(ConflictError, match="needs approval again"):
        confirm(present, ada)
    approve(present, linus)
    assert present.expires_at == clock.at + timedelta(hours=24)
    assert confirm(present, ada).outcome == Outcome.DELETED
    assert sent() == 2


@pytest.mark.parametrize("act", ["confirm", "approve"])
def test_approvals_lapse_without_a_worker_too(
    present: Deletion,
    ada: Person,
    linus: Person,
    barbara: Person,
    clock: SettableClock,
    sent: Callable[[], int],
    act: str,
) -> None:
    approve(present, linus)
    clock.advance(hours=24)
    if act == "confirm":
        with pytest.raises(ConflictError, match="needs approval again"):
            confirm(present, ada)
        assert present.approval_round == 3
    else:
        approve(present, barbara)
        assert [one.approver for one in present.current_approvals] == [barbara]
    assert sent() == 1


def test_a_first_approval_after_the_window_begins_another(
    ask_for: AskFor, linus: Person, barbara: Person, lose_answer: Lose, clock: SettableClock
) -> None:
    deletion = lose_answer(approve(approve(ask_for(ApprovalPolicy.TWO), linus), barbara))
    clock.advance(hours=25)
    approve(deletion, linus)
    assert deletion.expires_at == clock.at + time_limits.APPROVAL_WINDOW
    clock.advance(hours=25)
    approve(deletion, barbara)
    assert deletion.current_approvals == [Approval.objects.get(round=deletion.approval_round)]
    assert deletion.lacks_approvals


def test_a_decline_after_enough_approvals_ends_the_round_and_leaves_it_open(
    present: Deletion,
    ada: Person,
    linus: Person,
    barbara: Person,
    client_of: ClientOf,
    sent: Callable[[], int],
) -> None:
    approve(present, linus)
    assert not record(client_of(linus), present).has_form_to("/decline/")
    assert record(client_of(barbara), present).has_form_to("/decline/")
    decline(present, barbara)
    assert (present.state, present.approval_round) == (State.STILL_PRESENT, 3)
    with pytest.raises(ConflictError, match="needs approval again"):
        confirm(present, ada)
    assert sent() == 1


def test_a_decline_ends_the_approval_of_another_person(
    ask_for: AskFor, linus: Person, barbara: Person, ada: Person, lose_answer: Lose
) -> None:
    deletion = lose_answer(approve(approve(ask_for(ApprovalPolicy.TWO), linus), barbara))
    approve(deletion, linus)
    decline(deletion, barbara)
    assert (deletion.state, deletion.outcome) == (State.STILL_PRESENT, "")
    assert deletion.current_approvals == []
    told = AuditEvent.objects.get(code="deletion.declined").details
    assert (told["reason"], told["approval_round"]) == (DECLINED, 2)
    approve(deletion, barbara)
    with pytest.raises(ConflictError, match="needs approval again"):
        confirm(deletion, ada)


def test_a_confirmation_that_lost_a_race_with_a_new_round_sends_nothing(
    present: Deletion, ada: Person, linus: Person, sent: Callable[[], int]
) -> None:
    approve(present, linus)
    stale = Deletion.objects.get(pk=present.pk)
    Deletion.objects.filter(pk=present.pk).update(approval_round=3)
    confirm(stale, ada)
    assert (stale.state, sent()) == (State.STILL_PRESENT, 1)


def test_break_glass_covers_one_attempt(
    asked: Deletion,
    breaker: Person,
    ada: Person,
    linus: Person,
    sandbox: SandboxServer,
    clock: SettableClock,
    sent: Callable[[], int],
) -> None:
    sandbox.world.set_fault(fault=faults.RESET_AFTER_READING, operation="delete")
    assert broken(asked, breaker).state == State.UNKNOWN
    sandbox.world.clear_faults()
    look_twice(asked, clock)
    for person in (ada, breaker):
        with pytest.raises(ConflictError, match="needs approval again"):
            confirm(asked, person)
    with pytest.raises(ConflictError, match="covers one attempt"):
        broken(asked, breaker)
    assert sent() == 1
    approve(asked, linus)
    with pytest.raises(ConflictError, match="Only Ada"):
        confirm(asked, breaker)
    assert confirm(asked, ada).outcome == Outcome.DELETED


def test_a_lost_break_glass_permission_does_not_block_an_approved_attempt(
    asked: Deletion,
    breaker: Person,
    ada: Person,
    linus: Person,
    sandbox: SandboxServer,
    clock: SettableClock,
) -> None:
    sandbox.world.set_fault(fault=faults.RESET_AFTER_READING, operation="delete")
    broken(asked, breaker)
    sandbox.world.clear_faults()
    look_twice(asked, clock)
    Person.objects.filter(pk=breaker.pk).update(is_active=False)
    assert confirm(approve(asked, linus), ada).outcome == Outcome.DELETED


def test_break_glass_can_be_used_for_a_second_attempt_after_an_approved_one(
    present: Deletion, breaker: Person, sent: Callable[[], int]
) -> None:
    assert broken(present, breaker).outcome == Outcome.DELETED
    assert (present.break_glass_round, sent()) == (2, 2)


def test_the_approval_of_who_lost_the_right_does_not_count_the_second_time(
    present: Deletion, ada: Person, linus: Person
) -> None:
    approve(present, linus)
    linus.groups.clear()
    with pytest.raises(BlockedError, match="no longer has permission to approve"):
        confirm(present, ada)


def test_what_disappeared_or_changed_meanwhile_is_not_approved(
    present: Deletion, linus: Person, sandbox: SandboxServer, wanted: Connection
) -> None:
    sandbox.world.remove_connection(connection_id=wanted.id)
    with pytest.raises(ConflictError, match=r"nothing to approve\. No new DELETE"):
        approve(present, linus)
    assert present.outcome == Outcome.GONE_UNATTRIBUTED


def test_the_page_asks_the_approvers_again_and_keeps_the_first_approval(
    present: Deletion, ada: Person, linus: Person, client_of: ClientOf
) -> None:
    page = record(client_of(linus), present)
    assert "A new DELETE needs new approvals" in page.text
    assert "0 of 1" in page.text
    assert "Approved by (round 1)" in page.text
    form = page.form_to("/approve/")
    assert page.has_form_to("/decline/")
    assert client_of(linus).post(form.action, form.fields).status_code == 303
    page = record(client_of(ada), present)
    assert "A new DELETE is approved by Linus." in page.text
    assert page.has_form_to("/execute/")
    assert not record(client_of(linus), present).has_form_to("/approve/")


def test_the_overview_and_the_menu_count_it_for_who_must_decide(
    present: Deletion, ada: Person, linus: Person, client_of: ClientOf
) -> None:
    assert waits_for(linus).to_approve.yours == [present]
    assert waits_for(ada).to_confirm.yours == []
    assert menu_count(client_of(linus)) == 1
    approve(present, linus)
    assert waits_for(linus).to_approve.yours == []
    assert waits_for(ada).to_confirm.yours == [present]
    assert menu_count(client_of(linus)) == 0


def test_the_menu_counts_the_second_of_two_approvals(
    ask_for: AskFor,
    linus: Person,
    barbara: Person,
    root: Person,
    lose_answer: Lose,
    client_of: ClientOf,
) -> None:
    deletion = lose_answer(approve(approve(ask_for(ApprovalPolicy.TWO), linus), barbara))
    approve(deletion, linus)
    assert [menu_count(client_of(one)) for one in (linus, barbara)] == [0, 1]
    approve(deletion, barbara)
    assert menu_count(client_of(root)) == 0


def menu_count(client: Client) -> int:
    context = client.get("/deletions/").context
    return next(item["count"] or 0 for item in context["nav"] if item["label"] == "Deletions")


def test_possible_approvers_are_notified_that_approval_is_needed_again(
    asked: Deletion, linus: Person, barbara: Person, lose_answer: Lose, settings: Settings
) -> None:
    settings.HAS_MAIL = True
    lose_answer(approve(asked, linus))
    told = Notification.objects.filter(
        code="deletion.still_present", channel=Notification.Channel.MAIL
    )
    names = set(told.values_list("person__username", flat=True))
    assert names == {"ada", "linus", "barbara"}
    title = wording.notification_title("deletion.still_present", details={}, needs_approval=True)
    assert title == "No effect so far: approval needed again"


def test_an_export_names_the_approvers_of_each_attempt(
    present: Deletion, ada: Person, linus: Person, barbara: Person
) -> None:
    row = deletion_row(Deletion.objects.get())
    assert row["approved_by"] == ["Linus"]
    approve(present, barbara)
    confirm(present, ada)
    row = deletion_row(Deletion.objects.get())
    assert row["approved_by"] == ["Barbara"]
    assert [one["approved_by"] for one in row["attempts"]] == [["Linus"], ["Barbara"]]


# --- What the database holds by itself


@contextmanager
def refused(match: str) -> Iterator[None]:
    """The database refuses what is done inside, and nothing of it stays."""
    with pytest.raises(IntegrityError, match=match), transaction.atomic():
        yield


def test_the_database_sends_nothing_on_the_approvals_of_an_earlier_round(
    present: Deletion,
) -> None:
    with refused("Other people must approve it first"):
        Deletion.objects.update(state=State.SENDING)


@pytest.mark.parametrize("state", [State.UNKNOWN, State.STILL_PRESENT, State.APPROVED])
def test_the_database_ends_an_approval_round_with_its_attempt(
    asked: Deletion, linus: Person, state: State
) -> None:
    approve(asked, linus)
    Deletion.objects.update(state=State.SENDING)
    with refused("An approval covers one attempt"):
        Deletion.objects.update(state=state)
    if state == State.UNKNOWN:
        Deletion.objects.update(state=state, approval_round=2)


@pytest.fixture
def in_doubt(asked: Deletion, linus: Person, lose_answer: Lose, clock: SettableClock) -> Deletion:
    """Set back to waiting while its last attempt may still work, which the product never does."""
    deletion = approve(lose_answer(approve(asked, linus)), linus)
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


def test_the_database_refuses_an_attempt_in_a_round_with_an_unknown_one(
    in_doubt: Deletion,
) -> None:
    with refused("An approval covers one attempt"):
        Deletion.objects.update(state=State.SENDING, epoch=3)


def test_the_database_refuses_an_attempt_during_another(asked: Deletion, linus: Person) -> None:
    approve(asked, linus)
    attempt = sending.claim(deletion=asked, actor=WORKER, was_rechecked=True)
    assert attempt is not None
    with refused("An approval covers one attempt"):
        Deletion.objects.update(epoch=2)


def test_nothing_is_claimed_in_a_round_with_an_unknown_attempt(
    in_doubt: Deletion,
) -> None:
    with pytest.raises(BlockedError, match="might have worked"):
        sending.claim(deletion=in_doubt, actor=WORKER, was_rechecked=True)


@pytest.mark.parametrize("number", [1, 4])
def test_the_database_lets_a_round_neither_return_nor_be_skipped(
    present: Deletion, number: int
) -> None:
    with refused("An approval covers one attempt"):
        Deletion.objects.update(approval_round=number)


def test_the_database_takes_no_approval_for_another_round(
    present: Deletion, linus: Person, clock: SettableClock
) -> None:
    first = Approval.objects.get()
    for number in (1, 3):
        with refused(r"An approval is of one deletion|There is one already"):
            Approval.objects.create(
                deletion=present,
                approver=linus,
                approver_name="Linus",
                requester=first.requester,
                round=number,
                decision=first.decision,
                digest=first.digest,
                decided_at=clock.at,
            )


def test_the_database_moves_no_approval_into_another_round(present: Deletion) -> None:
    with refused("A decision stays as it was given"):
        Approval.objects.update(round=2)


def test_the_database_limits_break_glass_to_its_round(
    present: Deletion, breaker: Person, clock: SettableClock
) -> None:
    values = {"break_glass_at": clock.at, "break_glass_by": breaker, "break_glass_reason": WHY}
    with refused("Broken glass stays broken"):
        Deletion.objects.update(**values, break_glass_round=1)
    Deletion.objects.update(**values, break_glass_round=2)
    with refused("Broken glass stays broken"):
        Deletion.objects.update(break_glass_round=3, approval_round=3)
    Deletion.objects.update(approval_round=3)
    with refused("Other people must approve it first"):
        Deletion.objects.update(state=State.SENDING)


def test_the_database_takes_no_attempt_under_another_round(present: Deletion) -> None:
    attempt = present.attempts.get()
    attempt.pk, attempt.number, attempt.epoch = None, 2, 2
    with refused("A sending is of the deletion's current round"):
        attempt.save(force_insert=True)


def test_an_attempt_counts_the_approvals_of_its_round_itself(
    present: Deletion, ada: Person
) -> None:
    with pytest.raises(BlockedError, match="still needs approval"):
        sending.require_sendable(deletion=present, confirmed_by=ada)
