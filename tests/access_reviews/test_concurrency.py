"""The record stays true when people decide and close at the same time."""

from contextlib import suppress
from typing import Any

import pytest
from django.db import OperationalError, connection

from connections.access.actor import person_actor
from connections.access_reviews import closing, population
from connections.access_reviews.deleting import plan_deletions
from connections.batches import confirming, stopping
from connections.core.causes import Cause
from connections.core.errors import ConflictError
from connections.inventory.inventory import Inventory
from connections.models import (
    AccessReviewDecision,
    AuditEvent,
    Batch,
    BatchState,
    Credential,
    EventCode,
    Person,
    Sync,
)
from tests.access_reviews.conftest import MakeReview
from tests.access_reviews.support import close, decide, start
from tests.batches.support import approve, execute, request, sync_now
from tests.support.at_once import at_once, start_until_it_waits

pytestmark = [
    pytest.mark.database,
    pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one writer at a time."),
    pytest.mark.django_db(transaction=True),
]


def test_a_decision_is_either_part_of_the_closing_or_refused(
    make_review: MakeReview, ada: Person, edith: Person
):
    for number in range(6):
        review = make_review(number + 1)
        same = type(review).objects.get(pk=review.pk)

        def keep() -> None:
            with suppress(ConflictError):
                decide(same, ada)  # noqa: B023 - runs within this round

        at_once([keep, lambda: close(review, edith, "On leave.")])  # noqa: B023 - as above
        has_decisions = AccessReviewDecision.objects.filter(row__review=review).exists()
        closed_as = set(review.rows.values_list("closed_as", flat=True))
        assert closed_as == {"keep" if has_decisions else "pending"}


def test_two_plans_at_once_make_one_draft(make_review: MakeReview, ada: Person):
    actor = person_actor(person=ada)
    for number in range(4):
        review = make_review(number + 1)
        decide(review, ada, decision="delete")

        def plan() -> None:
            plan_deletions(review=review, actor=actor)  # noqa: B023 - runs within this round

        at_once([plan, plan])
        assert Batch.objects.filter(access_review=review).count() == 1


def test_a_plan_confirmed_during_a_decision_to_keep_its_connection_never_runs(
    make_review: MakeReview, ada: Person, grace: Person
):
    for number in range(6):
        review = make_review(number + 1)
        decide(review, ada, decision="delete")
        batch = plan_deletions(review=review, actor=person_actor(person=ada)).batch

        def confirm() -> None:
            with suppress(ConflictError):
                request(batch, ada)  # noqa: B023 - runs within this round

        at_once([confirm, lambda: decide(review, grace)])  # noqa: B023 - as above
        batch.refresh_from_db()
        assert batch.state in {BatchState.DRAFT, BatchState.PAUSED}


def test_a_connection_kept_by_a_decision_during_the_confirmation_is_not_deleted(
    make_review: MakeReview,
    ada: Person,
    grace: Person,
    linus: Person,
    monkeypatch: pytest.MonkeyPatch,
):
    review = make_review(1)
    Credential.objects.update(policy="one")
    decide(review, ada, decision="delete")
    draft = plan_deletions(review=review, actor=person_actor(person=ada)).batch
    batch = approve(request(draft, ada), linus)
    confirm = confirming.confirm
    started = []

    def confirm_during_the_decision(*arguments: Any, **values: Any) -> None:
        started.append(start_until_it_waits(lambda: decide(review, grace)))
        confirm(*arguments, **values)

    monkeypatch.setattr(confirming, "confirm", confirm_during_the_decision)
    execute(batch, ada)
    started[0].join(timeout=30)
    batch.refresh_from_db()
    assert (batch.state, batch.pause_cause) == (BatchState.PAUSED, Cause.DECIDED_TO_KEEP)


def test_a_plan_made_and_requested_during_a_decision_to_keep_its_connection_does_not_run(
    make_review: MakeReview,
    ada: Person,
    grace: Person,
    edith: Person,
    monkeypatch: pytest.MonkeyPatch,
):
    older = make_review(1)
    decide(older, ada, decision="delete")
    close(older, edith)
    newer = start(edith, scope="q=Partner")
    pause_where_kept = stopping.pause_where_kept
    started = []

    def plan_and_request() -> None:
        request(plan_deletions(review=older, actor=person_actor(person=ada)).batch, ada)

    def pause_before_the_plan_is_made(**values: Any) -> None:
        pause_where_kept(**values)
        started.append(start_until_it_waits(plan_and_request))

    monkeypatch.setattr(stopping, "pause_where_kept", pause_before_the_plan_is_made)
    decide(newer, grace)
    started[0].join(timeout=30)
    assert Batch.objects.get().state == BatchState.DRAFT


@pytest.mark.parametrize("step", ["start", "close"])
def test_no_sync_is_stored_while_states_and_coverage_are_read(
    step: str,
    make_review: MakeReview,
    payments: Credential,
    ada: Person,
    edith: Person,
    monkeypatch: pytest.MonkeyPatch,
):
    review = make_review(1)
    decide(review, ada)
    syncs = Sync.objects.count()
    module = population if step == "start" else closing
    build = module.build_inventory

    def sync() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '100ms'")
        with pytest.raises(OperationalError):
            sync_now(payments)

    def build_during_a_sync(**values: Any) -> Inventory:
        at_once([sync])
        built: Inventory = build(**values)
        return built

    monkeypatch.setattr(module, "build_inventory", build_during_a_sync)
    if step == "start":
        start(edith)
    else:
        close(review, edith)
    assert Sync.objects.count() == syncs


def test_decisions_about_the_same_row_are_recorded_in_the_order_that_counts(
    make_review: MakeReview, ada: Person, grace: Person
):
    review = make_review(2)
    same = type(review).objects.get(pk=review.pk)
    for _ in range(4):
        at_once([lambda: decide(review, ada), lambda: decide(same, grace, decision="delete")])
    events = AuditEvent.objects.filter(code=EventCode.ACCESS_REVIEW_DECIDED).order_by("seq")
    recorded = [decision["id"] for event in events for decision in event.details["decisions"]]
    assert recorded == list(AccessReviewDecision.objects.values_list("pk", flat=True))
    assert len(recorded) == 16
