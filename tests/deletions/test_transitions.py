"""The table of a deletion's life, row by row, without a database."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connections.core.causes import Cause
from connections.datadog.responses import AttemptResult
from connections.deletions import states
from connections.deletions.states import Transition, transition_for
from connections.models import ApprovalPolicy, Deletion, Outcome, State

pytestmark = pytest.mark.database

THEN = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def answered(
    verdict: AttemptResult,
    *,
    was_ambiguous: bool = False,
    times_not_sent: int = 1,
    retry_after_seconds: int | None = None,
) -> Transition:
    return transition_for(
        verdict=verdict,
        cause="why",
        retry_after_seconds=retry_after_seconds,
        was_ambiguous=was_ambiguous,
        times_not_sent=times_not_sent,
    )


@pytest.mark.parametrize("was_ambiguous", [False, True])
def test_a_200_is_deleted_whatever_came_before(was_ambiguous: bool) -> None:
    to = answered(AttemptResult.DELETED, was_ambiguous=was_ambiguous)
    assert (to.state, to.outcome) == (State.SETTLED, Outcome.DELETED)


def test_a_404_is_never_called_deleted() -> None:
    to = answered(AttemptResult.NOT_FOUND)
    assert (to.state, to.outcome) == (State.SETTLED, Outcome.ALREADY_ABSENT)


def test_a_404_after_an_ambiguous_attempt_cannot_be_attributed() -> None:
    to = answered(AttemptResult.NOT_FOUND, was_ambiguous=True)
    assert (to.state, to.outcome) == (State.SETTLED, Outcome.GONE_UNATTRIBUTED)


def test_a_refusal_settles() -> None:
    to = answered(AttemptResult.REFUSED)
    assert (to.state, to.outcome, to.cause) == (State.SETTLED, Outcome.REFUSED, "why")


def test_a_refusal_after_an_ambiguous_attempt_stays_unknown() -> None:
    assert answered(AttemptResult.REFUSED, was_ambiguous=True).state == State.UNKNOWN


def test_a_429_waits_as_long_as_datadog_asks() -> None:
    to = answered(AttemptResult.RATE_LIMITED, retry_after_seconds=7)
    assert (to.state, to.wait_seconds) == (State.WAITING, 7)


@pytest.mark.parametrize(("tries", "seconds"), [(1, 5), (2, 15), (3, 60), (4, 300)])
def test_a_request_that_never_left_waits_longer_each_time(tries: int, seconds: int) -> None:
    to = answered(AttemptResult.NOT_SENT, times_not_sent=tries)
    assert (to.state, to.wait_seconds) == (State.WAITING, seconds)


def test_the_fifth_request_that_never_left_gives_up() -> None:
    to = answered(AttemptResult.NOT_SENT, times_not_sent=5)
    assert (to.state, to.outcome, to.cause) == (
        State.SETTLED,
        Outcome.NOT_SENT,
        Cause.TOO_MANY_TRIES,
    )


def test_giving_up_after_an_ambiguous_attempt_is_unknown() -> None:
    to = answered(AttemptResult.NOT_SENT, times_not_sent=5, was_ambiguous=True)
    assert to.state == State.UNKNOWN


@pytest.mark.parametrize("was_ambiguous", [False, True])
def test_anything_else_is_unknown(was_ambiguous: bool) -> None:
    assert answered(AttemptResult.AMBIGUOUS, was_ambiguous=was_ambiguous).state == State.UNKNOWN


def test_every_verdict_has_a_row() -> None:
    assert all(answered(verdict) for verdict in AttemptResult)


def test_the_proof_is_looked_for_after_60_s_and_after_5_min() -> None:
    first = states.next_verification_at(settled_at=THEN, now=THEN)
    assert first == THEN + timedelta(seconds=60)
    assert states.next_verification_at(settled_at=THEN, now=first) == THEN + timedelta(minutes=5)


def test_the_proof_is_not_looked_for_for_ever() -> None:
    assert states.next_verification_at(settled_at=THEN, now=THEN + timedelta(days=2)) is None


def test_an_unknown_is_first_looked_at_when_the_delete_cannot_be_on_its_way_any_more() -> None:
    due = states.next_check_at(sending_at=THEN, now=THEN + timedelta(seconds=1))
    assert due == THEN + timedelta(seconds=35)


def test_the_second_look_follows_60_s_after_the_first() -> None:
    now = THEN + timedelta(seconds=36)
    assert states.next_check_at(sending_at=THEN, now=now) == now + timedelta(seconds=60)


def test_an_old_unknown_is_looked_at_hourly() -> None:
    now = THEN + timedelta(hours=3)
    assert states.next_check_at(sending_at=THEN, now=now) == now + timedelta(hours=1)


@pytest.mark.parametrize("state", [State.REQUESTED, State.APPROVED, State.STILL_PRESENT])
def test_a_reading_lasts_45_seconds_from_the_confirmation(state: State) -> None:
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
    ids=["not confirmed", "needs approval", "not read", "not confirmed again", "sent", "settled"],
)
def test_nothing_else_is_being_read(values: dict[str, Any]) -> None:
    deletion = Deletion(**{"policy": ApprovalPolicy.NONE, "confirmed_at": THEN} | values)
    assert not states.is_being_rechecked(deletion, now=THEN)
