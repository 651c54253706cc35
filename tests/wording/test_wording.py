"""Every state, outcome and cause has its own text."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import product
from typing import Any
from uuid import uuid4

import pytest

from connections import wording
from connections.core.causes import Cause
from connections.datadog.responses import AttemptResult
from connections.models import (
    OPEN_STATES,
    ApprovalPolicy,
    Attempt,
    Batch,
    BatchState,
    Credential,
    Deletion,
    Outcome,
    State,
)
from connections.web.icons import SHAPES
from connections.wording import Badge, DeletionStatus
from connections.wording.batches import BatchStatus, batch_badge
from connections.wording.changes import CHANGE_BADGES
from connections.wording.deletion_texts import DeletionText
from connections.wording.statuses import (
    AuditLogStatus,
    ConnectionStatus,
    CredentialStatus,
    NotificationStatus,
    PersonStatus,
    SyncStatus,
)

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


def described(deletion: Deletion, **values: Any) -> DeletionText:
    """What its page says."""
    return wording.describe(deletion, status=wording.status_of(deletion), **values)


def badge_of(deletion: Deletion) -> Badge:
    """Its badge in a list."""
    return wording.badge(deletion, status=wording.status_of(deletion))


def next_of(deletion: Deletion) -> Badge | None:
    """The last entry of its timeline."""
    return wording.next_badge(deletion, status=wording.status_of(deletion))


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


def test_every_deletion_has_a_badge_and_a_headline_without_raw_codes() -> None:
    for deletion in every_deletion():
        words = described(deletion)
        shown = (words.badge.label, words.headline, *words.lines)
        where = (deletion.state, deletion.outcome, deletion.cause)
        assert all(text and text == text.strip() for text in shown), where
        assert words.headline.endswith("."), where
        assert "error" not in " ".join(shown).casefold(), where
        assert "None" not in " ".join(shown), where
        assert words.badge.tone in TONES, where
        assert words.badge.icon in ICONS, where


def test_the_badge_alone_equals_the_badge_of_the_full_text() -> None:
    for deletion in every_deletion():
        assert described(deletion).badge == badge_of(deletion)


def test_every_state_of_a_bulk_deletion_has_a_badge() -> None:
    badges = {batch_badge(Batch(state=state), has_expired=False) for state in BatchState}
    assert len(badges) == len(BatchState)


def test_only_unknown_deletions_use_the_unknown_color() -> None:
    unknown = {
        (deletion.state, deletion.outcome)
        for deletion in every_deletion()
        if badge_of(deletion).tone == "unknown"
    }

    assert unknown == {("unknown", "")}


def test_no_text_claims_that_nothing_was_sent_when_something_might_have_been() -> None:
    for deletion in every_deletion():
        may_have_been = deletion.state in {State.UNKNOWN, State.SENDING, State.STILL_PRESENT}
        if may_have_been or deletion.outcome in {"deleted", "gone_unattributed", "unresolved"}:
            assert "othing was sent" not in described(deletion).headline


@pytest.mark.parametrize("cause", CAUSES[1:])
def test_every_cause_has_its_own_sentence(cause: str) -> None:
    words = wording.cause_text(cause)

    assert words.endswith(".")
    assert words[0].isupper()
    assert not words.startswith("Cause:")


def test_no_two_causes_have_the_same_text() -> None:
    words = [wording.cause_text(cause) for cause in CAUSES[1:]]

    assert len(set(words)) == len(set(CAUSES[1:]))


def test_an_unknown_cause_is_shown_by_its_code() -> None:
    assert wording.cause_text("moon_phase") == "Cause: moon_phase."
    assert wording.cause_text("") == ""


@pytest.mark.parametrize("state", OPEN_STATES)
def test_every_open_state_has_a_label(state: State) -> None:
    assert wording.label_of_state(state)


@pytest.mark.parametrize("outcome", Outcome.values)
def test_every_outcome_has_a_label(outcome: str) -> None:
    assert wording.label_of_outcome(outcome)


STATUSES: dict[str, Iterable[Badge]] = {
    "deletion": [status.value for status in DeletionStatus],
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
def test_no_two_statuses_share_a_label_and_each_is_explained(subject: str) -> None:
    badges = list(STATUSES[subject])

    assert len({badge.label for badge in badges}) == len(badges)
    for badge in badges:
        assert badge.tone in TONES
        assert badge.icon in ICONS
        assert badge.explanation.endswith((".", "}"))


def test_the_badge_of_every_deletion_is_explained() -> None:
    for deletion in every_deletion():
        badge = badge_of(deletion)
        assert badge.explanation.endswith(".")
        assert "{" not in badge.label + badge.explanation
