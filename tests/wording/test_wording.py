"""Every state, outcome and cause has words of its own."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from uuid import uuid4

import pytest

from connections import audit, wording
from connections.core.causes import Cause
from connections.datadog.responses import AttemptResult
from connections.models import (
    OPEN_STATES,
    ApprovalPolicy,
    Attempt,
    AuditEvent,
    Credential,
    Deletion,
    Outcome,
    State,
)
from connections.wording import NextStep

NOW = datetime(2026, 3, 2, 14, 3, 22, tzinfo=UTC)
CAUSES = ["", *Cause]
TONES = {"ok", "danger", "warn", "info", "unknown", "muted"}
ICON_TEMPLATE = Path(__file__).parents[2] / "templates/connections/components/icon.html"
ICONS = {*re.findall(r'name == "(\w+)"', ICON_TEMPLATE.read_text()), "dot"}


def deletion_in(
    state: State,
    outcome: str = "",
    *,
    cause: str = "",
    policy: ApprovalPolicy = ApprovalPolicy.NONE,
    attempts: list[Attempt] | None = None,
    **values: object,
) -> Deletion:
    """An unsaved deletion, with its attempts and approvals at hand."""
    deletion = Deletion(
        connection_id=uuid4(),
        site="datadoghq.eu",
        credential=Credential(name="Payments EU"),
        credential_name="Payments EU",
        source_org_name="Payments EU",
        sink_org_name="Group SOC",
        connection_types=["logs", "metrics"],
        reason="no longer needed",
        is_reviewed=True,
        policy=policy,
        state=state,
        outcome=outcome,
        cause=cause,
        requested_at=NOW,
        requested_by_name="Grace",
        settled_by_name="Ada",
    )
    for name, value in values.items():
        setattr(deletion, name, value)
    deletion._prefetched_objects_cache = {  # type: ignore[attr-defined]
        "attempts": attempts or [],
        "approvals": [],
    }
    return deletion


def attempt(**values: object) -> Attempt:
    """An unsaved attempt that was answered by 500."""
    made = Attempt(
        number=1,
        verdict=AttemptResult.AMBIGUOUS,
        cause=Cause.SERVER_ERROR,
        http_status=500,
        duration_ms=143,
        answered_at=NOW,
        errors=["Internal Server Error"],
    )
    for name, value in values.items():
        setattr(made, name, value)
    return made


def every_deletion() -> Iterator[Deletion]:
    """Every state × outcome × cause, with and without attempts, times and policies."""
    places = [(state, "") for state in OPEN_STATES]
    places += [(State.SETTLED, outcome) for outcome in Outcome.values]
    for (state, outcome), cause, policy in product(
        places, CAUSES, (ApprovalPolicy.NONE, ApprovalPolicy.TWO)
    ):
        for attempts in ([], [attempt()], [attempt(http_status=None, errors=[])]):
            yield deletion_in(state, outcome, cause=cause, policy=policy, attempts=attempts)
    for outcome, at in product(Outcome.values, (None, NOW)):
        yield deletion_in(State.SETTLED, outcome, verified_at=NOW, contradicted_at=at)
        yield deletion_in(State.SETTLED, outcome, due_at=NOW)


def test_every_deletion_has_a_badge_a_headline_and_no_bare_error() -> None:
    for deletion in every_deletion():
        words = wording.describe(deletion)
        said = (words.badge, words.headline, *words.lines)
        where = (deletion.state, deletion.outcome, deletion.cause)
        assert all(text and text == text.strip() for text in said), where
        assert words.headline.endswith("."), where
        assert "error" not in " ".join(said).casefold(), where
        assert "None" not in " ".join(said), where
        assert words.tone in TONES, where
        assert words.icon in ICONS, where


def test_the_badge_alone_is_the_badge_of_all_the_words() -> None:
    for deletion in every_deletion():
        words, short = wording.describe(deletion), wording.badge(deletion)
        assert (words.badge, words.tone, words.icon) == (short.label, short.tone, short.icon)


def test_the_colour_of_the_unknown_is_used_for_nothing_else() -> None:
    unknown = {
        (deletion.state, deletion.outcome)
        for deletion in every_deletion()
        if wording.badge(deletion).tone == "unknown"
    }

    assert unknown == {("unknown", ""), ("settled", "unresolved")}


def test_nobody_is_told_that_nothing_was_sent_when_something_may_have_been() -> None:
    for deletion in every_deletion():
        may_have_been = deletion.state in {State.UNKNOWN, State.SENDING, State.STILL_PRESENT}
        if may_have_been or deletion.outcome in {"deleted", "gone_unattributed", "unresolved"}:
            assert "othing was sent" not in wording.describe(deletion).headline


@pytest.mark.parametrize("cause", CAUSES[1:])
def test_every_cause_is_a_sentence_of_its_own(cause: str) -> None:
    words = wording.cause_text(cause)

    assert words.endswith(".")
    assert words[0].isupper()
    assert not words.startswith("Cause:")


def test_no_two_causes_are_said_in_the_same_words() -> None:
    words = [wording.cause_text(cause) for cause in CAUSES[1:]]

    assert len(set(words)) == len(set(CAUSES[1:]))


def test_a_cause_of_a_later_version_is_named_as_it_is() -> None:
    assert wording.cause_text("moon_phase") == "Cause: moon_phase."
    assert wording.cause_text("") == ""


@pytest.mark.parametrize("state", OPEN_STATES)
def test_every_open_state_has_a_label(state: State) -> None:
    assert wording.label_of_state(state)


@pytest.mark.parametrize("outcome", Outcome.values)
def test_every_outcome_has_a_label(outcome: str) -> None:
    assert wording.label_of_outcome(outcome)


@pytest.mark.parametrize("step", list(NextStep))
def test_every_step_has_a_label(step: NextStep) -> None:
    assert step.label


@pytest.mark.parametrize(
    ("deletion", "headline"),
    [
        (deletion_in(State.SENDING), "Sending to Datadog."),
        (
            deletion_in(State.WAITING, cause="rate_limited"),
            "Datadog asked us to wait (429). Nothing was deleted.",
        ),
        (
            deletion_in(State.WAITING, cause="connection_refused"),
            "Datadog could not be reached. Nothing was sent.",
        ),
        (
            deletion_in(State.SETTLED, "deleted", verified_at=NOW),
            "Deleted, and gone from Datadog’s list.",
        ),
        (deletion_in(State.SETTLED, "deleted"), "Datadog says it is deleted (200)."),
        (
            deletion_in(State.SETTLED, "deleted", contradicted_at=NOW),
            "Datadog said deleted, but still lists it.",
        ),
        (
            deletion_in(State.SETTLED, "already_absent", cause="not_found"),
            "Datadog found no such connection (404).",
        ),
        (
            deletion_in(State.SETTLED, "already_absent", cause="absent_when_read"),
            "It was already gone. Nothing was sent.",
        ),
        (deletion_in(State.UNKNOWN), "We do not know whether it was deleted."),
        (
            deletion_in(State.SETTLED, "unresolved"),
            "Closed by Ada without knowing.",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_words_agreed_on_are_the_words_said(deletion: Deletion, headline: str) -> None:
    assert wording.describe(deletion).headline == headline


def test_what_is_read_again_before_sending_is_followed_and_not_decided_on() -> None:
    for state in (State.REQUESTED, State.APPROVED, State.STILL_PRESENT):
        words = wording.describe(deletion_in(state, confirmed_at=NOW), is_being_rechecked=True)

        assert (words.badge, words.tone) == ("Reading again", "info")
        assert words.headline == "It is read again before anything is sent."
        assert words.steps == ()


def test_an_approval_names_who_can_give_it() -> None:
    waiting = deletion_in(
        State.REQUESTED, policy=ApprovalPolicy.ONE, expires_at=NOW + timedelta(days=1)
    )

    words = wording.describe(waiting, approvers=("Ada", "Linus"))

    assert words.lines == (
        "Asked by Grace at 14:03:22 UTC on 2 Mar 2026; expires at 14:03:22 UTC on 3 Mar 2026.",
        "Ada and Linus can approve.",
    )


def test_an_approver_is_told_who_asks() -> None:
    waiting = deletion_in(State.REQUESTED, policy=ApprovalPolicy.ONE)

    words = wording.describe(waiting, approvers=("Ada",), may_approve=True)

    assert words.headline == "Grace asks to delete an org connection."
    assert "Ada can approve." not in words.lines


def test_an_unknown_after_a_refusal_says_which_request_is_not_known() -> None:
    refused = attempt(number=2, verdict=AttemptResult.REFUSED, http_status=403)
    words = wording.describe(
        deletion_in(State.UNKNOWN, cause="forbidden", attempts=[attempt(), refused])
    )

    assert words.lines[0] == "Attempt 1 might have worked. Attempt 2 returned 403."


@pytest.mark.parametrize("code", [code for code in audit.EventCode if code.startswith("deletion.")])
def test_every_event_of_a_deletion_is_short_and_never_its_code(code: str) -> None:
    event = AuditEvent(
        code=code,
        stored_sentence="A long sentence.",
        text=json.dumps({"details": {"outcome": "refused", "cause": "forbidden"}}),
    )

    words = wording.event_text(event)

    assert words.title not in {event.sentence, code}
    assert words.tone in TONES
    assert words.icon in ICONS


def test_an_unknown_connection_type_is_named_and_warned_of() -> None:
    words, is_known = wording.effect_of_type("rum", source="Payments EU", sink="Group SOC")

    assert words.startswith("rum: a type that Org Admin does not know.")
    assert not is_known


def test_what_is_open_has_a_next_step_and_what_is_settled_has_none() -> None:
    for state in OPEN_STATES:
        assert wording.next_text(deletion_in(state))
    for outcome in Outcome.values:
        assert wording.next_text(deletion_in(State.SETTLED, outcome)) is None
    assert wording.next_text(deletion_in(State.SETTLED, "deleted", due_at=NOW))


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 events"), (1, "1 event"), (1042, "1,042 events")]
)
def test_one_is_in_the_singular(number: int, words: str) -> None:
    assert wording.pluralize(number, "event") == words
