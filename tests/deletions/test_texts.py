"""Every state, outcome and cause has its own text."""

import json
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any
from uuid import uuid4

import pytest

from connections import audit
from connections.agreements.what_changes import Access, compare_access
from connections.audit import EventCode, search
from connections.audit import texts as event_texts
from connections.audit.texts import event_label
from connections.change_requests.status import RequestStatus
from connections.core.causes import Cause, cause_text
from connections.core.data_types import unknown_types
from connections.datadog.responses import AttemptResult
from connections.deletions.status import DeletionEnd, status_of, steps_of
from connections.deletions.texts import RequestText, describe
from connections.models import (
    OPEN_STATES,
    ApprovalPolicy,
    Attempt,
    AuditEvent,
    Batch,
    BatchState,
    Credential,
    Deletion,
    Outcome,
    State,
)
from connections.web.badges import (
    CHANGE_BADGES,
    AuditLogStatus,
    Badge,
    BatchStatus,
    ConnectionStatus,
    CredentialStatus,
    NotificationStatus,
    PersonStatus,
    SyncStatus,
    batch_badge,
    deletion_badge,
)
from connections.web.icons import SHAPES
from connections.web.timeline import event_text

NOW = datetime(2026, 3, 2, 14, 3, 22, tzinfo=UTC)
CAUSES = ["", *Cause]
TONES = {"ok", "danger", "warn", "info", "unknown", "muted"}
ICONS = {*SHAPES, "dot"}


def deletion_in(
    state: State,
    outcome: str = "",
    *,
    cause: str = "",
    policy: ApprovalPolicy = ApprovalPolicy.NONE,
    attempts: list[Attempt] | None = None,
    **values: object,
) -> Deletion:
    """An unsaved deletion with prefetched attempts and approvals."""
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


def described(deletion: Deletion, **values: Any) -> RequestText:
    """What its page says."""
    return describe(deletion, status=status_of(deletion), **values)


def badge_of(deletion: Deletion) -> Badge:
    """Its badge in a list."""
    return deletion_badge(deletion, status=status_of(deletion))


def attempt(**values: object) -> Attempt:
    """An unsaved attempt with a 500 response."""
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


def test_every_deletion_has_a_badge_and_a_headline_without_raw_codes():
    for deletion in every_deletion():
        words = described(deletion)
        shown = (words.title, words.label, words.sentences, *words.lines)
        where = (deletion.state, deletion.outcome, deletion.cause)
        assert all(text and text == text.strip() for text in shown), where
        assert words.sentences[-1] in ".…", where
        assert words.headline[-1] not in ".:", where
        assert "error" not in " ".join(shown).casefold(), where
        assert "None" not in " ".join(shown), where
        badge = badge_of(deletion)
        assert badge.label == words.label, where
        assert badge.tone in TONES, where
        assert badge.icon in ICONS, where


def test_every_state_of_a_bulk_deletion_has_a_badge():
    badges = {batch_badge(Batch(state=state), has_expired=False) for state in BatchState}
    assert len(badges) == len(BatchState)


def test_only_unknown_deletions_use_the_unknown_color():
    unknown = {
        (deletion.state, deletion.outcome)
        for deletion in every_deletion()
        if badge_of(deletion).tone == "unknown"
    }

    assert unknown == {("unknown", "")}


def test_every_cause_has_its_own_sentence():
    sentences = {cause_text(cause) for cause in CAUSES[1:]}

    assert len(sentences) == len(set(CAUSES[1:]))
    assert [each for each in sentences if not re.match(r"(?!Cause:)[A-Z].*\.$", each)] == []


def test_an_unknown_cause_is_shown_by_its_code():
    assert cause_text("moon_phase") == "Cause: moon_phase."
    assert cause_text("") == ""


STATUSES: dict[str, Iterable[Badge]] = {
    "deletion": [
        deletion_badge(Deletion(), status=status) for status in [*RequestStatus, *DeletionEnd]
    ],
    "batch": [status.value for status in BatchStatus],
    "credential": [status.value for status in CredentialStatus],
    "sync": [status.value for status in SyncStatus],
    "connection": [status.value for status in ConnectionStatus],
    "change": CHANGE_BADGES.values(),
    "notification": [status.value for status in NotificationStatus],
    "audit log": [status.value for status in AuditLogStatus],
    "person": [status.value for status in PersonStatus],
}


@pytest.mark.parametrize("subject", STATUSES)
def test_no_two_statuses_share_a_label_and_each_is_explained(subject: str):
    badges = list(STATUSES[subject])

    assert len({badge.label for badge in badges}) == len(badges)
    for badge in badges:
        assert badge.tone in TONES
        assert badge.icon in ICONS
        assert badge.explanation[-1] in ".…"


@pytest.mark.parametrize(
    ("values", "label"),
    [
        ({"verified_at": NOW}, "Deleted"),
        ({"due_at": NOW}, "Deleted, verifying"),
        ({}, "Deleted, unverified"),
        ({"contradicted_at": NOW}, "Still listed"),
        ({"contradicted_at": NOW, "verified_at": NOW}, "Reappeared"),
        ({"contradicted_at": NOW, "last_check_listed": False}, "Gone later"),
        ({"outcome": "already_absent", "cause": "not_found"}, "Not found"),
        (
            {"outcome": "already_absent", "cause": "not_found", "contradicted_at": NOW},
            "Still listed",
        ),
        ({"outcome": "already_absent", "cause": "absent_when_read"}, "Already gone"),
        (
            {"outcome": "already_absent", "cause": "absent_when_read", "is_reviewed": False},
            "Not listed",
        ),
        (
            {"outcome": "already_absent", "cause": "absent_when_read", "contradicted_at": NOW},
            "Reappeared",
        ),
        ({"outcome": "gone_unattributed"}, "Gone, unproven"),
        ({"outcome": "gone_unattributed", "contradicted_at": NOW}, "Reappeared"),
        ({"outcome": "refused", "cause": "bad_request"}, "Failed (400)"),
        ({"outcome": "refused", "cause": "unauthorized"}, "Failed (401)"),
        ({"outcome": "refused", "cause": "forbidden"}, "Failed (403)"),
        ({"outcome": "not_sent", "cause": "too_late"}, "Not sent"),
        ({"outcome": "not_sent", "cause": "too_late", "epoch": 1}, "Gave up"),
        ({"outcome": "stale"}, "Changed"),
        ({"outcome": "declined"}, "Declined"),
        ({"outcome": "withdrawn"}, "Withdrawn"),
        ({"outcome": "expired"}, "Expired"),
        ({"outcome": "unresolved"}, "Unresolved"),
    ],
)
def test_a_closed_deletion_has_one_label(values: dict[str, object], label: str):
    deletion = deletion_in(State.SETTLED, "deleted", settled_at=NOW)
    for name, value in values.items():
        setattr(deletion, name, value)

    assert badge_of(deletion).label == label


@pytest.mark.parametrize(
    ("state", "values", "label"),
    [
        (State.REQUESTED, {"policy": ApprovalPolicy.TWO}, "Needs approval"),
        (State.REQUESTED, {}, "Needs confirmation"),
        (State.REQUESTED, {"confirmed_at": NOW}, "Confirmed"),
        (State.REQUESTED, {"confirmed_at": NOW, "cause": "listing_failed"}, "Check failed"),
        (State.APPROVED, {}, "Approved"),
        (State.APPROVED, {"confirmed_at": NOW}, "Confirmed"),
        (State.SENDING, {"confirmed_at": NOW}, "Sending"),
        (State.WAITING, {"confirmed_at": NOW, "cause": "rate_limited"}, "Rate limited"),
        (State.WAITING, {"confirmed_at": NOW, "cause": "connection_refused"}, "Retrying"),
        (State.WAITING, {"confirmed_at": NOW, "cause": "listing_failed"}, "Check failed"),
        (State.UNKNOWN, {"confirmed_at": NOW, "cause": "answer_lost"}, "Unknown"),
        (State.STILL_PRESENT, {"confirmed_at": NOW, "cause": "listings_agree"}, "No effect"),
    ],
)
def test_an_open_deletion_has_one_label(state: State, values: dict[str, object], label: str):
    deletion = deletion_in(state)
    for name, value in values.items():
        setattr(deletion, name, value)

    assert badge_of(deletion).label == label


@pytest.mark.parametrize(
    ("deletion", "sentences"),
    [
        (
            deletion_in(State.SENDING),
            "The DELETE is in progress. You can close this page; the result is recorded.",
        ),
        (
            deletion_in(State.WAITING, cause="rate_limited", due_at=NOW),
            "Rate limited (429). Nothing was deleted. Retries at 2026-03-02 14:03:22 UTC, up to "
            "15 min after confirmation.",
        ),
        (
            deletion_in(State.WAITING, cause="rate_limited", batch=Batch(), approval_round=1),
            "Rate limited (429). Nothing was deleted. A worker retries it while its bulk deletion "
            "runs, up to 15 min after its first attempt or last rate limit reset.",
        ),
        (
            deletion_in(State.WAITING, cause="connection_refused", due_at=NOW),
            "The request could not leave this server. Nothing was deleted. Retries at "
            "2026-03-02 14:03:22 UTC.",
        ),
        (
            deletion_in(State.SETTLED, "deleted", verified_at=NOW),
            "Deleted and verified.",
        ),
        (
            deletion_in(State.SETTLED, "deleted", due_at=NOW),
            "Deleted. Checking that Datadog no longer lists it…",
        ),
        (
            deletion_in(State.SETTLED, "deleted"),
            "Deleted. No complete sync has confirmed it yet.",
        ),
        (
            deletion_in(State.SETTLED, "deleted", contradicted_at=NOW),
            "Deleted, but Datadog still lists it.",
        ),
        (
            deletion_in(State.SETTLED, "already_absent", cause="not_found"),
            "Not found (404). This request deleted nothing.",
        ),
        (
            deletion_in(State.SETTLED, "already_absent", cause="absent_when_read"),
            "No longer listed in the pre-send check. Nothing was sent.",
        ),
        (
            deletion_in(State.UNKNOWN, attempts=[attempt()]),
            "Outcome unknown. The DELETE was sent and might have worked. Never resent "
            "automatically.",
        ),
        (
            deletion_in(State.SETTLED, "unresolved"),
            "Closed by Ada. The outcome was never determined.",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_texts_are_exactly_as_agreed(deletion: Deletion, sentences: str):
    assert described(deletion).sentences == sentences


def test_a_deletion_whose_retry_would_come_too_late_says_when_it_closes():
    for cause in ("rate_limited", "connection_refused"):
        waiting = deletion_in(
            State.WAITING, cause=cause, attempts=[attempt()], due_at=NOW, expires_at=NOW
        )
        words = described(waiting)

        assert words.sentences.endswith("Closes at 2026-03-02 14:03:22 UTC without a retry.")


def test_a_contradicted_deletion_says_once_what_each_attempt_returned():
    limited = attempt(
        verdict=AttemptResult.RATE_LIMITED, cause=Cause.RATE_LIMITED, http_status=429, errors=[]
    )
    worked = attempt(number=2, verdict=AttemptResult.DELETED, cause="", http_status=200, errors=[])
    only = deletion_in(State.SETTLED, "deleted", contradicted_at=NOW, attempts=[worked])
    second = deletion_in(State.SETTLED, "deleted", contradicted_at=NOW, attempts=[limited, worked])

    assert described(only).facts == ("200 OK in 143 ms", "2026-03-02 14:03:22 UTC", "attempt 2")
    facts_today = ("200 OK in 143 ms", "14:03:22 UTC", "attempt 2")
    assert described(second, now=NOW + timedelta(hours=1)).facts == facts_today
    assert not any("200" in line for each in (only, second) for line in described(each).lines)
    assert described(second).lines[-1] == "Attempt 1 returned 429."


@pytest.mark.parametrize("answered_at", [NOW, None])
def test_a_contradicted_deletion_says_which_attempt_might_have_worked(answered_at: datetime | None):
    lost = attempt(http_status=None, answered_at=answered_at, errors=[])
    gone = Outcome.GONE_UNATTRIBUTED
    found = deletion_in(State.SETTLED, gone, contradicted_at=NOW, attempts=[lost])
    assert described(found).lines[-1] == "Attempt 1 might have worked."


def test_a_deletion_being_rechecked_offers_no_decision():
    assert steps_of(RequestStatus.CHECKING) == ()
    for state in (State.REQUESTED, State.APPROVED, State.STILL_PRESENT):
        words = describe(deletion_in(state, confirmed_at=NOW), status=RequestStatus.CHECKING)

        assert words.label == "Checking"
        assert words.sentences == "Checking the connection before sending. Nothing has been sent."
    confirmed = deletion_in(State.APPROVED, confirmed_at=NOW, confirmed_by_name="Ada")
    words = describe(confirmed, status=RequestStatus.CHECKING)
    assert words.sentences.endswith("Nothing has been sent. Confirmed by Ada.")


def test_an_approval_names_who_can_give_it():
    waiting = deletion_in(
        State.REQUESTED, policy=ApprovalPolicy.ONE, expires_at=NOW + timedelta(days=1)
    )

    words = described(waiting, approvers=("Ada", "Linus"))

    assert words.facts == ("Expires at 2026-03-03 14:03:22 UTC",)
    assert words.lines == ("Ada and Linus can approve.",)


def test_an_approver_sees_who_requested_it():
    waiting = deletion_in(State.REQUESTED, policy=ApprovalPolicy.ONE)

    words = described(waiting, approvers=("Ada",), can_approve=True)

    assert words.title == "Grace requests your approval"
    assert "Ada can approve." not in words.lines


def test_an_unknown_after_a_refusal_says_which_attempt_is_unknown():
    refused = attempt(number=2, verdict=AttemptResult.REFUSED, http_status=403)
    words = described(deletion_in(State.UNKNOWN, cause="forbidden", attempts=[attempt(), refused]))

    assert words.lines[0] == "Attempt 1 might have worked."
    assert words.facts[0] == "403 Forbidden in 143 ms"


def test_every_event_of_a_deletion_has_a_short_text_instead_of_its_code():
    text = json.dumps({"details": {"outcome": "refused", "cause": "forbidden"}})
    for code in (code for code in audit.EventCode if code.startswith("deletion.")):
        badge = event_text(AuditEvent(code=code, stored_sentence="A sentence.", text=text)).badge
        assert badge.label not in {"A sentence.", code}
        assert (badge.tone in TONES, badge.icon in ICONS) == (True, True)


def test_the_effect_of_a_deletion_names_the_data_types():
    types = ["logs", "audit", "rum"]

    changes = compare_access(
        source="Payments EU", sink="Group SOC", now=Access(types=types), after=None
    )

    assert changes.sentence == "Group SOC loses access to Payments EU's logs, audit events and rum."
    assert unknown_types(types) == ["rum"]


def test_each_event_has_one_label_of_a_subject_and_what_happened():
    labels = [event_label(code) for code in search.code_choices()]
    assert len(set(labels)) == len(labels)
    for label in labels:
        assert re.fullmatch(r"[A-Z][\w -]*: [^:_]+", label), label


def test_every_special_label_is_of_a_code_that_exists():
    assert set(event_texts._ACTIONS) <= set(EventCode)
