"""The state table of a deletion, row by row, without a database."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connections.access.actor import WORKER
from connections.change_requests import states
from connections.change_requests.states import BecomeUnknown, Settle, Wait
from connections.core.causes import Cause
from connections.datadog.responses import AttemptResult, WriteResponse
from connections.models import ApprovalPolicy, Deletion, Outcome, State

THEN = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def transition_after(
    verdict: AttemptResult,
    *,
    was_ambiguous: bool = False,
    times_not_sent: int = 1,
    retry_after_seconds: int | None = None,
) -> Settle | Wait | BecomeUnknown:
    response = WriteResponse(
        verdict=verdict,
        cause=Cause.SERVER_ERROR,
        http_status=None,
        headers={},
        body=b"",
        body_sha256="",
        body_is_complete=True,
        errors=(),
        retry_after_seconds=retry_after_seconds,
        duration_ms=0,
    )
    return states.transition_for(
        change_request=Deletion(sending_at=THEN, confirmed_at=THEN),
        response=response,
        now=THEN,
        was_ambiguous=was_ambiguous,
        times_not_sent=times_not_sent,
    )


UNKNOWN = BecomeUnknown(cause=Cause.SERVER_ERROR, due_at=THEN + timedelta(seconds=35))


@pytest.mark.parametrize("was_ambiguous", [False, True])
def test_a_200_is_deleted_regardless_of_earlier_attempts(was_ambiguous: bool):
    transition = transition_after(AttemptResult.DELETED, was_ambiguous=was_ambiguous)
    assert transition == Settle(outcome=Outcome.DELETED, due_at=THEN, at=THEN)


def test_a_404_is_never_called_deleted():
    transition = transition_after(AttemptResult.NOT_FOUND)
    assert transition == Settle(
        outcome=Outcome.ALREADY_ABSENT, cause=Cause.SERVER_ERROR, due_at=THEN
    )


def test_a_404_after_an_ambiguous_attempt_cannot_be_attributed():
    transition = transition_after(AttemptResult.NOT_FOUND, was_ambiguous=True)
    assert transition == Settle(outcome=Outcome.GONE_UNATTRIBUTED, cause=Cause.SERVER_ERROR)


def test_a_refusal_closes_the_deletion():
    transition = transition_after(AttemptResult.REFUSED)
    assert transition == Settle(outcome=Outcome.REFUSED, cause=Cause.SERVER_ERROR)


def test_a_refusal_after_an_ambiguous_attempt_leaves_it_unknown():
    assert transition_after(AttemptResult.REFUSED, was_ambiguous=True) == UNKNOWN


def test_a_429_waits_as_long_as_datadog_requires():
    transition = transition_after(AttemptResult.RATE_LIMITED, retry_after_seconds=7)
    assert transition == Wait(cause=Cause.SERVER_ERROR, seconds=7, at=THEN)


@pytest.mark.parametrize(("tries", "seconds"), [(1, 5), (2, 15), (3, 60), (4, 300)])
def test_a_request_that_never_left_waits_longer_each_time(tries: int, seconds: int):
    transition = transition_after(AttemptResult.NOT_SENT, times_not_sent=tries)
    assert transition == Wait(cause=Cause.SERVER_ERROR, seconds=seconds, at=THEN)


def test_the_fifth_request_that_never_left_stops_retrying():
    transition = transition_after(AttemptResult.NOT_SENT, times_not_sent=5)
    assert transition == Settle(outcome=Outcome.NOT_SENT, cause=Cause.TOO_MANY_TRIES)


def test_stopping_after_an_ambiguous_attempt_is_unknown():
    transition = transition_after(AttemptResult.NOT_SENT, times_not_sent=5, was_ambiguous=True)
    assert isinstance(transition, BecomeUnknown)


@pytest.mark.parametrize("was_ambiguous", [False, True])
def test_anything_else_is_unknown(was_ambiguous: bool):
    assert transition_after(AttemptResult.AMBIGUOUS, was_ambiguous=was_ambiguous) == UNKNOWN


def test_every_result_of_an_attempt_has_a_transition():
    assert all(transition_after(verdict) for verdict in AttemptResult)


@pytest.mark.parametrize(
    ("confirmed_at", "expires_at"),
    [
        (THEN - timedelta(minutes=14), THEN + timedelta(minutes=1)),
        # By a clock that was ahead.
        (THEN + timedelta(days=365), THEN + timedelta(minutes=15)),
    ],
)
def test_a_wait_ends_with_the_sending_window(confirmed_at: datetime, expires_at: datetime):
    deletion = Deletion(confirmed_at=confirmed_at)
    wait = Wait(cause=Cause.SERVER_ERROR, seconds=900, at=THEN)
    columns = wait.columns(change_request=deletion, actor=WORKER)
    assert columns["due_at"] == columns["expires_at"] == expires_at


def test_verification_follows_after_60_s_and_after_5_min():
    first = states.next_verification_at(settled_at=THEN, now=THEN)
    assert first == THEN + timedelta(seconds=60)
    assert states.next_verification_at(settled_at=THEN, now=first) == THEN + timedelta(minutes=5)


def test_verification_ends_after_the_last_time():
    assert states.next_verification_at(settled_at=THEN, now=THEN + timedelta(days=2)) is None


def test_an_unknown_deletion_is_first_checked_after_the_deadline_of_its_delete():
    due = states.next_check_at(sending_at=THEN, now=THEN + timedelta(seconds=1))
    assert due == THEN + timedelta(seconds=35)


def test_the_second_check_follows_60_s_after_the_first():
    now = THEN + timedelta(seconds=36)
    assert states.next_check_at(sending_at=THEN, now=now) == now + timedelta(seconds=60)


def test_an_old_unknown_deletion_is_checked_hourly():
    now = THEN + timedelta(hours=3)
    assert states.next_check_at(sending_at=THEN, now=now) == now + timedelta(hours=1)


@pytest.mark.parametrize("state", [State.REQUESTED, State.APPROVED, State.STILL_PRESENT])
def test_a_pre_send_check_lasts_at_most_45_seconds(state: State):
    deletion = Deletion(state=state, policy=ApprovalPolicy.NONE, confirmed_at=THEN)
    assert states.is_being_rechecked(deletion, now=THEN + timedelta(seconds=44))
    assert not states.is_being_rechecked(deletion, now=THEN + timedelta(seconds=45))


@pytest.mark.parametrize(
    "values",
    [
        {"state": State.REQUESTED, "confirmed_at": None},
        {"state": State.REQUESTED, "policy": ApprovalPolicy.ONE},
        {"state": State.APPROVED, "cause": Cause.LISTING_FAILED},
        {"state": State.STILL_PRESENT, "cause": Cause.LISTINGS_AGREE},
        {"state": State.SENDING},
        {"state": State.SETTLED, "outcome": Outcome.DELETED},
    ],
    ids=[
        "not confirmed",
        "needs approval",
        "not rechecked",
        "not confirmed again",
        "sent",
        "settled",
    ],
)
def test_no_other_deletion_is_being_rechecked(values: dict[str, Any]):
    deletion = Deletion(**{"policy": ApprovalPolicy.NONE, "confirmed_at": THEN} | values)
    assert not states.is_being_rechecked(deletion, now=THEN)
