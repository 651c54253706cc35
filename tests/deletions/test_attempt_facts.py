"""No text about a deletion claims more than its recorded attempts allow."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from uuid import uuid4

import pytest

from connections.audit import EventCode
from connections.change_requests import attempt_facts
from connections.change_requests.status import RequestStatus
from connections.core.causes import Cause, cause_text
from connections.core.errors import ResponseLocation, ResponseNotRecordedError
from connections.datadog.responses import AttemptResult
from connections.deletions.claims import Claim, claim_text
from connections.deletions.status import status_of
from connections.deletions.texts import describe
from connections.models import (
    OPEN_STATES,
    ApprovalPolicy,
    Attempt,
    AuditEvent,
    Deletion,
    Outcome,
    State,
)
from connections.notifications.titles import notification_title
from connections.verifier.labels import OUTCOMES
from connections.verifier.rules import Sent
from connections.web.badges import deletion_badge
from connections.web.timeline import event_text
from tests.deletions.test_texts import CAUSES, NOW, badge_of, deletion_in, described
from tests.support.sweeps import sample

# Possible results of one attempt: result, status, cause, whether the response was late.
RESULTS: dict[str, tuple[str, int | None, str, bool]] = {
    "429": (AttemptResult.RATE_LIMITED, 429, Cause.RATE_LIMITED, False),
    "never left": (AttemptResult.NOT_SENT, None, Cause.CONNECTION_REFUSED, False),
    "403": (AttemptResult.REFUSED, 403, Cause.FORBIDDEN, False),
    "404": (AttemptResult.NOT_FOUND, 404, Cause.NOT_FOUND, False),
    "200": (AttemptResult.DELETED, 200, "", False),
    "500": (AttemptResult.AMBIGUOUS, 500, Cause.SERVER_ERROR, False),
    "cut": (AttemptResult.AMBIGUOUS, None, Cause.CONNECTION_LOST, False),
    "no response": ("", None, "", False),
    "late 200": (AttemptResult.DELETED, 200, "", True),
    "late 403": (AttemptResult.REFUSED, 403, Cause.FORBIDDEN, True),
    "late never left": (AttemptResult.NOT_SENT, None, Cause.CONNECTION_REFUSED, True),
    "late 500": (AttemptResult.AMBIGUOUS, 500, Cause.SERVER_ERROR, True),
}
NEVER_LEFT = {"never left", "late never left"}
UNCERTAIN = {"500", "cut", "no response", "late 500"}
DELETED = {"200", "late 200"}
History = tuple[str, ...]
SHORT: list[History] = [
    (),
    *product(RESULTS),
    *product(RESULTS, RESULTS),
]
LONG: list[History] = list(product(["429", "never left", "cut", "late 200"], repeat=3))
PLACES = [(state, "") for state in OPEN_STATES]
PLACES += [(State.SETTLED, outcome) for outcome in Outcome.values]
# Causes with their own text.
CAUSES_WITH_TEXT = [
    "",
    Cause.LISTING_FAILED,
    Cause.ABSENT_WHEN_READ,
    Cause.TOO_LATE,
    Cause.RATE_LIMITED,
    Cause.FORBIDDEN,
    Cause.NOT_FOUND,
]
CLAIMS_NOTHING_SENT = re.compile(
    r"nothing (?:was|has been|is) sent|\bnot sent\b|never sent|no DELETE (?:was|has been) sent"
    r"|hasn't been sent",
    re.IGNORECASE,
)
CLAIMS_NOTHING_DELETED = re.compile(
    r"nothing was deleted|not deleted by|deleted nothing", re.IGNORECASE
)
CLAIMS_A_LOST_RESPONSE = re.compile(r"(?:answer|response) was lost", re.IGNORECASE)


def attempts_with(history: History) -> list[Attempt]:
    """Unsaved attempts with these results."""
    made = []
    for number, result in enumerate(history, start=1):
        verdict, status, cause, is_late = RESULTS[result]
        made.append(
            Attempt(
                number=number,
                epoch=number,
                verdict=verdict,
                http_status=status,
                cause=cause,
                is_late=is_late,
                duration_ms=143,
                claimed_at=NOW,
                answered_at=NOW if verdict else None,
                was_rechecked=True,
                credential_name="Payments EU",
            )
        )
    return made


def sent_in(history: History) -> Sent:
    """The facts of a history, from the names of its results."""
    results = set(history) - NEVER_LEFT
    if results & DELETED:
        return Sent.DONE
    if results & UNCERTAIN:
        return Sent.UNCERTAIN
    return Sent.REFUSED if results else Sent.NOTHING


def every_case(histories: list[History]) -> Iterator[tuple[History, Deletion]]:
    """Every state and outcome, with every cause that has text, policy and history of attempts.

    Yields one deletion per state, outcome, cause and policy again and again, with other attempts.
    """
    attempts_of = [(history, attempts_with(history)) for history in histories]
    for (state, outcome), cause in product(PLACES, CAUSES_WITH_TEXT):
        # Only these two depend on the policy or on whether it was reviewed.
        looks = state == State.REQUESTED or outcome == Outcome.ALREADY_ABSENT
        kinds = ((ApprovalPolicy.NONE, True), (ApprovalPolicy.ONE, False))
        for policy, is_reviewed in kinds if looks else kinds[:1]:
            deletion = deletion_in(
                state,
                outcome,
                cause=cause,
                policy=policy,
                is_reviewed=is_reviewed,
                settled_at=NOW if outcome else None,
                expires_at=NOW + timedelta(minutes=15),
                due_at=NOW,
            )
            for history, attempts in attempts_of:
                deletion._prefetched_objects_cache["attempts"] = attempts  # type: ignore[attr-defined]
                deletion.epoch = len(attempts)
                deletion.confirmed_at = NOW if attempts else None
                yield history, deletion


def texts_of(deletion: Deletion) -> list[str]:
    """Each text that a page, mail, command or bundle can produce for it."""
    texts = []
    status = status_of(deletion)
    possible = [status]
    if not deletion.is_settled:
        possible += [RequestStatus.CHECKING, RequestStatus.EXPIRED]
    for each in possible:
        words = describe(deletion, status=each)
        badge = deletion_badge(deletion, status=each)
        texts += [
            badge.explanation,
            badge.label,
            words.sentences,
            *words.facts,
            *words.lines,
            *words.alarms,
        ]
    attempts = list(deletion.attempts.all())
    texts += [
        attempt_facts.attempts_summary(attempts),
        attempt_facts.not_sent_sentence(attempts),
    ]
    if deletion.outcome:
        texts += [
            Outcome(deletion.outcome).label,
            notification_title("deletion.settled", details={"outcome": deletion.outcome}),
            OUTCOMES[deletion.outcome],
        ]
    return texts


def false_texts(history: History, texts: list[str]) -> list[str]:
    """The texts that claim something this history doesn't support."""
    sent = sent_in(history)
    return [
        text
        for text in texts
        if (
            (sent > Sent.NOTHING and CLAIMS_NOTHING_SENT.search(text))
            or (sent > Sent.REFUSED and CLAIMS_NOTHING_DELETED.search(text))
            or (sent != Sent.UNCERTAIN and CLAIMS_A_LOST_RESPONSE.search(text))
            or (sent < Sent.UNCERTAIN and "might have worked" in text)
        )
    ]


@pytest.mark.sweep
def test_no_text_contradicts_the_recorded_attempts():
    for history, deletion in sample(every_case([*SHORT, *LONG]), every=23):
        where = (history, deletion.state, deletion.outcome, deletion.cause)
        assert not false_texts(history, texts_of(deletion)), where


@pytest.mark.sweep
def test_an_attempt_that_might_have_worked_is_named_on_the_page():
    silent = {State.SENDING}
    told_by_the_outcome = {Outcome.DELETED}
    for history, deletion in sample(every_case(SHORT), every=7):
        if sent_in(history) != Sent.UNCERTAIN or deletion.state in silent:
            continue
        if deletion.outcome in told_by_the_outcome:
            continue
        words = described(deletion)
        assert any("might have worked" in line for line in (words.sentences, *words.lines)), (
            history,
            deletion.state,
            deletion.outcome,
            deletion.cause,
        )


def test_a_late_200_is_named_on_the_page_and_in_the_bundle():
    for history, deletion in every_case([("late 200",), ("cut", "late 200"), ("late 200", "cut")]):
        words = described(deletion)
        assert any("200" in alarm for alarm in words.alarms), (history, deletion.state)
        if deletion.outcome == Outcome.DELETED:
            assert "late" in " ".join(words.facts)
        if deletion.outcome == Outcome.GONE_UNATTRIBUTED:
            assert words.headline == "Gone, and Datadog returned 200"


def test_no_event_title_claims_that_nothing_was_sent():
    for code in EventCode:
        outcome = "created" if code.startswith("access_request.") else "deleted"
        document = json.dumps({"details": {"outcome": outcome}})
        event = AuditEvent(code=code, stored_sentence="", text=document)
        assert not CLAIMS_NOTHING_SENT.search(event_text(event).badge.label)


def test_no_cause_claims_whether_something_was_sent():
    for words in map(cause_text, CAUSES[1:]):
        assert not CLAIMS_NOTHING_SENT.search(words)
        assert not CLAIMS_NOTHING_DELETED.search(words)


def test_the_attempts_together_led_to_what_the_history_says():
    for history in [*SHORT, *LONG]:
        assert attempt_facts.sent_by(attempts_with(history)) == sent_in(history)


@pytest.mark.parametrize(
    ("history", "sentence"),
    [
        ((), "Nothing was sent."),
        (("never left",), "Nothing was sent."),
        (("429",), "No new DELETE was sent. Attempt 1 returned 429."),
        (("429", "429"), "No new DELETE was sent. Attempts 1 and 2 returned 429."),
        (("429", "429", "429"), "No new DELETE was sent. 3 attempts returned 429."),
        (
            ("cut", "never left", "429"),
            "No new DELETE was sent. Attempt 1 might have worked. Attempt 3 returned 429.",
        ),
        (("late 200",), "No new DELETE was sent. Attempt 1 returned 200 late."),
        (("late 403",), "No new DELETE was sent. Attempt 1 returned 403 late."),
    ],
)
def test_the_safety_clause_follows_the_attempts(history: History, sentence: str):
    assert attempt_facts.attempts_summary(attempts_with(history)) == sentence


def test_an_attempt_with_an_unknown_result_might_have_worked():
    made = Attempt(number=1, verdict="", claimed_at=datetime(2026, 3, 2, tzinfo=UTC))
    assert attempt_facts.sent_by([made]) == Sent.UNCERTAIN


@pytest.mark.parametrize("sent", [*Sent, None])
def test_an_explanation_claims_only_what_the_attempts_allow(sent: Sent | None):
    expected = {
        Sent.NOTHING: "Nothing was sent. Nothing has been sent. Nothing was deleted.",
        Sent.REFUSED: "No new DELETE was sent. No new DELETE has been sent. Nothing was deleted.",
        Sent.UNCERTAIN: (
            "No new DELETE was sent. No new DELETE has been sent. The response was lost or "
            "unusable. The DELETE was sent and might have worked."
        ),
        Sent.DONE: "No new DELETE was sent. No new DELETE has been sent.",
        None: "No new DELETE was sent. No new DELETE has been sent.",
    }
    claims = (
        Claim.NOTHING_SENT,
        Claim.NOTHING_SENT_YET,
        Claim.NOTHING_DELETED,
        Claim.RESPONSE_LOST,
        Claim.MIGHT_HAVE_WORKED,
    )
    texts = [claim_text(claim, sent=sent) for claim in claims]
    assert " ".join(filter(None, texts)) == expected[sent]


def test_a_name_that_reads_like_a_claim_stays_a_name():
    by = "Nothing was deleted."
    declined = deletion_in(State.SETTLED, Outcome.DECLINED, settled_by_name=by, epoch=1)
    assert badge_of(declined).explanation == f"Declined by {by}."


@pytest.mark.parametrize(
    ("noun", "again"),
    [("deletion", "Don't delete again."), ("access_request", "Don't request it again.")],
)
def test_a_response_that_is_not_recorded_says_what_not_to_do_again(noun: str, again: str):
    error = ResponseNotRecordedError(
        noun=noun,
        change_request_id=uuid4(),
        response_text="Datadog returned 200.",
        location=ResponseLocation.NOWHERE,
    )
    assert again in attempt_facts.unrecorded_response_text(error).lines
