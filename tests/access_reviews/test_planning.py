"""Decisions to delete become a plan, and nothing is planned twice."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.core.exceptions import PermissionDenied
from django.test import Client

from connections.access.actor import WORKER, person_actor
from connections.access_reviews import deleting
from connections.access_reviews.details import load_details
from connections.access_reviews.progress import find_keep_decision
from connections.access_reviews.rows import review_rows
from connections.batches import drafts, running, stopping
from connections.batches.requesting import PlanChangedError
from connections.change_requests import lifecycle
from connections.core import clock as database_clock
from connections.core.errors import ConflictError, OvertakenError
from connections.evidence.verification import verify_audit_log
from connections.models import (
    AccessKind,
    AccessReview,
    AuditEvent,
    Batch,
    BatchOrigin,
    BatchRow,
    BatchState,
    Credential,
    CredentialAccess,
    Deletion,
    EventCode,
    OrgConnectionSnapshot,
    Outcome,
    Person,
    RowProblem,
    State,
)
from sandbox.server import SandboxServer
from tests.access_reviews.conftest import MakeReview
from tests.access_reviews.support import close, decide, start, texts_of
from tests.batches.support import approve, execute, request, sync_now
from tests.batches.support import draft as draft_of
from tests.flows.support import HTMX, read
from tests.support.clock import SettableClock
from tests.support.deletions import request_deletion

pytestmark = pytest.mark.django_db


def plan(review: AccessReview, person: Person) -> Any:
    return deleting.plan_deletions(review=review, actor=person_actor(person=person))


def test_a_plan_has_the_connections_that_are_decided_to_delete(
    make_review: MakeReview, ada: Person, edith: Person
):
    review = make_review(3)
    first, _, third = texts_of(review)
    decide(review, ada, first, third, decision="delete")
    decide(review, ada, third)
    planned = plan(review, ada)
    assert [row.reference for row in planned.batch.rows.all()] == [first]
    assert (planned.batch.origin, planned.batch.access_review) == (
        BatchOrigin.ACCESS_REVIEW,
        review,
    )
    close(review, edith, "On leave.")
    request(planned.batch, ada)
    event = AuditEvent.objects.get(code=EventCode.BATCH_REQUESTED)
    assert event.details["access_review"] == str(review.pk)


def test_the_page_of_a_plan_links_to_its_access_review(
    make_review: MakeReview, ada: Person, client_of: Callable[[Person], Client]
):
    review = make_review(2)
    decide(review, ada, decision="delete")
    draft = plan(review, ada).batch
    page = read(client_of(ada).get(f"/deletions/batches/{draft.pk}/"))
    assert f"Connections marked for deletion in {review.name}" in page.text
    assert f"/reviews/{review.pk}/" in [address for address, _ in page.links]


def test_a_connection_with_a_deletion_is_not_planned_again_and_links_to_it(
    make_review: MakeReview, ada: Person
):
    review = make_review(2)
    decide(review, ada, decision="delete")
    first = plan(review, ada)
    request(first.batch, ada)
    with pytest.raises(ConflictError, match="has been handled"):
        plan(review, ada)
    running.run_due(actor=WORKER)
    actor = person_actor(person=ada)
    details = load_details(review=review, actor=actor, rows=review_rows(review=review, actor=actor))
    assert [each.deletion and each.deletion.outcome for each in details] == [Outcome.DELETED] * 2
    with pytest.raises(ConflictError, match="has been handled"):
        plan(review, ada)


def test_a_connection_links_to_its_deletion_that_was_open_when_the_access_review_started(
    make_review: MakeReview,
    payments: Credential,
    ada: Person,
    edith: Person,
    client_of: Callable[[Person], Client],
    clock: SettableClock,
):
    Credential.objects.update(policy="one")
    ended, still_open = texts_of(make_review(2))
    actor = person_actor(person=ada)
    credential = Credential.objects.get(pk=payments.pk)
    before, during = [
        request_deletion(actor=actor, credential=credential, connection_id=each[-36:])
        for each in (ended, still_open)
    ]
    lifecycle.withdraw(change_request=before, actor=actor)
    clock.advance(seconds=1)
    review = start(edith, scope="q=Partner")
    decide(review, ada, decision="delete")
    rows = review_rows(review=review, actor=actor)
    found = {
        each.row.key.reference: each.deletion
        for each in load_details(review=review, actor=actor, rows=rows)
    }
    assert found[ended] is None
    assert found[still_open] == during
    assert [row.reference for row in plan(review, ada).batch.rows.all()] == [ended]
    close(review, edith)
    page = client_of(ada).get(f"/reviews/{review.pk}/").text
    assert page.count("Not deleted") == 1
    assert f'href="/deletions/{during.pk}/"' in page


def test_more_than_a_plan_holds_remains(
    make_review: MakeReview, ada: Person, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(drafts, "MAX_ROWS", 2)
    review = make_review(3)
    decide(review, ada, decision="delete")
    planned = plan(review, ada)
    assert (planned.batch.rows.count(), planned.remaining) == (2, 1)


def test_what_another_access_review_keeps_takes_no_space_from_what_can_be_deleted(
    make_review: MakeReview,
    ada: Person,
    grace: Person,
    edith: Person,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(drafts, "MAX_ROWS", 2)
    review = make_review(3)
    decide(review, ada, decision="delete")
    close(review, edith)
    first, second, third = texts_of(review)
    decide(start(edith, scope="q=Partner"), grace, first, second)
    planned = plan(review, ada)
    rows = list(planned.batch.rows.order_by("position").values_list("text", "problem"))
    assert rows == [(third, ""), (first, RowProblem.KEPT)]
    assert planned.remaining == 0


def test_planning_again_leads_to_the_open_draft_until_another_connection_is_decided(
    make_review: MakeReview, ada: Person, client_of: Callable[[Person], Client]
):
    review = make_review(2)
    first, second = texts_of(review)
    decide(review, ada, first, decision="delete")
    client, url = client_of(ada), f"/reviews/{review.pk}/plan/"
    draft = client.post(url).headers["Location"]
    again = client.post(url, follow=True)
    assert again.redirect_chain == [(draft, 303)]
    assert "You already planned these connections." in again.text
    decide(review, ada, second, decision="delete")
    assert [row.reference for row in plan(review, ada).batch.rows.all()] == [second]
    assert Batch.objects.count() == 2


def test_a_connection_is_planned_again_once_it_is_in_no_open_draft(
    make_review: MakeReview, ada: Person, grace: Person, clock: SettableClock
):
    review = make_review(2)
    decide(review, ada, decision="delete")
    taken_out, kept = texts_of(review)
    draft = plan(review, ada).batch
    drafts.remove_rows(batch=draft, actor=person_actor(person=ada), connections=[taken_out])
    assert [row.reference for row in plan(review, ada).batch.rows.all()] == [taken_out]
    assert plan(review, grace).batch.rows.count() == 2
    clock.advance(seconds=90_000)
    assert [row.reference for row in plan(review, ada).batch.rows.all()] == [taken_out, kept]


def test_a_connection_kept_since_the_plan_is_not_deleted(
    make_review: MakeReview, ada: Person, grace: Person
):
    review = make_review(2)
    kept, deleted = texts_of(review)
    decide(review, ada, decision="delete")
    draft = plan(review, ada).batch
    decide(review, grace, kept)
    with pytest.raises(PlanChangedError, match="Nothing was requested"):
        request(draft, ada)
    problems = draft.rows.order_by("position").values_list("problem", flat=True)
    assert list(problems) == [RowProblem.KEPT, ""]
    draft.refresh_from_db()
    request(draft, ada)
    assert [str(deletion.connection_id) for deletion in Deletion.objects.all()] == [deleted[-36:]]


def test_a_connection_kept_by_a_decision_during_the_request_is_not_deleted(
    make_review: MakeReview, ada: Person, grace: Person, monkeypatch: pytest.MonkeyPatch
):
    review = make_review(1)
    decide(review, ada, decision="delete")
    refresh_problems = drafts.refresh_problems

    def decide_after_the_check(**values: Any) -> list[BatchRow]:
        rows = refresh_problems(**values)
        decide(review, grace)
        return rows

    monkeypatch.setattr(drafts, "refresh_problems", decide_after_the_check)
    with pytest.raises(OvertakenError, match="just changed"):
        request(plan(review, ada).batch, ada)
    assert not Deletion.objects.exists()


def test_an_approver_sees_what_was_kept_since_the_request(
    make_review: MakeReview,
    ada: Person,
    grace: Person,
    linus: Person,
    client_of: Callable[[Person], Client],
):
    review = make_review(2)
    Credential.objects.update(policy="one")
    kept, _ = texts_of(review)
    decide(review, ada, decision="delete")
    batch = request(plan(review, ada).batch, ada)
    page = f"/deletions/batches/{batch.pk}/"
    assert "marked Keep in an access review" not in client_of(linus).get(page).text
    decide(review, grace, kept)
    warned = client_of(linus).get(page).text
    assert "1 connection marked Keep in an access review" in warned
    assert "?show=kept" in warned
    assert client_of(linus).get(f"{page}?show=kept").text.count("data-connection") == 1
    assert (
        f"Marked for deletion in {review.name}" in client_of(linus).get("/deletions/batches/").text
    )


def test_an_approved_plan_with_a_connection_to_keep_since_can_not_be_confirmed(
    make_review: MakeReview,
    ada: Person,
    grace: Person,
    linus: Person,
    client_of: Callable[[Person], Client],
):
    review = make_review(2)
    Credential.objects.update(policy="one")
    kept, deleted = texts_of(review)
    decide(review, ada, decision="delete")
    batch = approve(request(plan(review, ada).batch, ada), linus)
    url = f"/deletions/batches/{batch.pk}/"
    assert read(client_of(ada).get(url)).has_form_to("/execute/")
    decide(review, grace, kept)
    page = read(client_of(ada).get(url))
    assert not page.has_form_to("/execute/")
    assert "can't be confirmed until this deletion is withdrawn." in page.text
    Batch.objects.filter(pk=batch.pk).update(expires_at=database_clock.now())
    assert "can't be confirmed" not in client_of(ada).get(url).text
    Batch.objects.filter(pk=batch.pk).update(expires_at=batch.expires_at)
    with pytest.raises(ConflictError, match=r"decided to keep 1 connection .* Nothing was sent"):
        execute(batch, ada)
    actor = person_actor(person=ada)
    stopping.cancel_batch(batch=batch, actor=actor)
    rest = drafts.create_draft_of_remaining(batch=batch, actor=actor)
    execute(approve(request(rest, ada), linus), ada)
    queued = Deletion.objects.filter(state=State.WAITING)
    assert [str(each.connection_id) for each in queued] == [deleted[-36:]]


def test_a_paused_plan_with_a_connection_to_keep_since_can_not_be_resumed(
    make_review: MakeReview, ada: Person, grace: Person
):
    review = make_review(2)
    kept, deleted = texts_of(review)
    decide(review, ada, decision="delete")
    batch = request(plan(review, ada).batch, ada)
    actor = person_actor(person=ada)
    stopping.pause_batch(batch=batch, actor=actor)
    decide(review, grace, kept)
    with pytest.raises(ConflictError, match=r"decided to keep 1 connection .* It stays paused"):
        stopping.resume_batch(batch=batch, actor=actor)
    lifecycle.withdraw(change_request=batch.deletions.get(connection_id=kept[-36:]), actor=actor)
    stopping.resume_batch(batch=batch, actor=actor)
    running.run_due(actor=WORKER)
    sent = Deletion.objects.filter(outcome=Outcome.DELETED)
    assert [str(each.connection_id) for each in sent] == [deleted[-36:]]


def test_a_running_plan_with_a_connection_to_keep_since_is_paused(
    make_review: MakeReview, ada: Person, grace: Person, client_of: Callable[[Person], Client]
):
    review = make_review(2)
    kept, _ = texts_of(review)
    decide(review, ada, decision="delete")
    batch = request(plan(review, ada).batch, ada)
    decide(review, grace, kept)
    running.run_due(actor=WORKER)
    assert set(batch.deletions.values_list("state", flat=True)) == {State.WAITING}
    response = client_of(ada).get(f"/deletions/batches/{batch.pk}/")
    page = response.text
    assert not read(response).has_form_to("/resume/")
    assert f"Paused by {grace.display_name}" in page
    assert "has since decided to keep a connection of this bulk deletion" in page
    deletion = batch.deletions.get(connection_id=kept[-36:])
    url = f"/deletions/{deletion.pk}/"
    assert re.search(f'Marked Keep: <a href="{url}">[^<]+</a>. This bulk deletion can', page)
    assert "be resumed until this deletion is withdrawn." in page
    assert "Withdraw" in client_of(ada).get(url).text
    assert verify_audit_log().fault is None


def test_a_running_plan_continues_when_a_decision_keeps_what_was_already_sent(
    make_review: MakeReview, ada: Person, grace: Person
):
    review = make_review(2)
    first, second = texts_of(review)
    decide(review, ada, decision="delete")
    batch = request(plan(review, ada).batch, ada)
    lifecycle.withdraw(
        change_request=batch.deletions.get(connection_id=first[-36:]),
        actor=person_actor(person=ada),
    )
    decide(review, grace, first)
    running.run_due(actor=WORKER)
    sent = Deletion.objects.filter(outcome=Outcome.DELETED)
    assert [str(each.connection_id) for each in sent] == [second[-36:]]


def test_a_newer_access_review_can_keep_what_an_older_one_decided_to_delete(
    make_review: MakeReview, ada: Person, grace: Person, edith: Person
):
    older = make_review(2)
    kept, deleted = texts_of(older)
    decide(older, ada, decision="delete")
    close(older, edith)
    newer = start(edith, scope="q=Partner")
    decide(newer, grace, kept)
    draft = plan(older, ada).batch
    again = plan(older, ada)
    assert (again.batch, again.is_new) == (draft, False)
    assert dict(draft.rows.values_list("text", "problem")) == {kept: RowProblem.KEPT, deleted: ""}
    running_batch = request(draft, ada)
    decide(newer, grace, deleted)
    running_batch.refresh_from_db()
    assert running_batch.state == BatchState.PAUSED


def test_a_plan_from_a_selection_warns_of_a_decision_to_keep_and_goes_on(
    make_review: MakeReview, ada: Person, grace: Person, client_of: Callable[[Person], Client]
):
    review = make_review(1)
    decide(review, grace)
    batch = draft_of(ada, texts_of(review))
    page = client_of(ada).get(f"/deletions/batches/{batch.pk}/").text
    assert "1 connection marked Keep in an access review" in page
    assert request(batch, ada).state == BatchState.RUNNING


def test_the_review_of_a_deletion_says_who_decided_to_keep_the_connection(
    make_review: MakeReview, ada: Person, grace: Person, client_of: Callable[[Person], Client]
):
    review = make_review(1)
    snapshot = OrgConnectionSnapshot.objects.get(connection_id=texts_of(review)[0][-36:])
    url = "/deletions/new/?" + urlencode(
        {"credential": snapshot.credential_id, "connection_id": snapshot.connection_id}
    )
    assert "Marked Keep" not in client_of(ada).get(url).text
    decide(review, grace)
    page = client_of(ada).get(url).text
    assert "Marked Keep" in page
    assert f"by {grace.display_name} <time" in page
    assert f"</time> in {review.name}: <q>" in page
    decide(review, grace, decision="delete")
    assert "Marked Keep" not in client_of(ada).get(url).text


def test_the_page_of_a_requested_deletion_says_who_decided_to_keep_the_connection(
    make_review: MakeReview,
    payments: Credential,
    ada: Person,
    grace: Person,
    linus: Person,
    client_of: Callable[[Person], Client],
):
    review = make_review(1)
    Credential.objects.update(policy="one")
    deletion = request_deletion(
        actor=person_actor(person=ada),
        credential=Credential.objects.get(pk=payments.pk),
        connection_id=texts_of(review)[0][-36:],
    )
    url = f"/deletions/{deletion.pk}/"
    before = read(client_of(linus).get(url))
    assert "Marked Keep" not in before.text
    watch = before.watch["hx-get"]
    headers = HTMX | {"HX-Target": "watch"}
    assert client_of(linus).get(watch, headers=headers).status_code == 204
    decide(review, grace)
    assert "Marked Keep" in client_of(linus).get(watch, headers=headers).text
    page = client_of(linus).get(url).text
    assert "Marked Keep" in page
    assert f"by {grace.display_name} <time" in page
    assert f"</time> in {review.name}: <q>" in page
    lifecycle.withdraw(change_request=deletion, actor=person_actor(person=ada))
    assert "Marked Keep" not in client_of(linus).get(url).text


def test_a_decision_to_keep_holds_back_older_plans_also_after_its_last_day(
    make_review: MakeReview,
    payments: Credential,
    ada: Person,
    grace: Person,
    edith: Person,
    clock: SettableClock,
    client_of: Callable[[Person], Client],
):
    older = make_review(1)
    decide(older, ada, decision="delete")
    close(older, edith)
    newer = start(edith, scope="q=Partner")
    decide(newer, grace, keep_until=database_clock.now().date() + timedelta(days=1))
    clock.advance(hours=48)
    sync_now(payments)
    refused = client_of(ada).post(f"/reviews/{older.pk}/plan/")
    assert refused.status_code == 409
    assert "Another access review has since decided to keep what is left to" in refused.text
    assert not Batch.objects.exists()
    selection = draft_of(ada, texts_of(newer))
    page = client_of(ada).get(f"/deletions/batches/{selection.pk}/").text
    assert "1 connection marked Keep in an access review" in page
    connection_id = texts_of(newer)[0][-36:]
    review_url = "/deletions/new/?" + urlencode(
        {"credential": payments.pk, "connection_id": connection_id}
    )
    assert " (passed)</strong> by " in client_of(ada).get(review_url).text
    decide(newer, ada, decision="delete")
    assert "Marked Keep" not in client_of(ada).get(review_url).text
    assert [row.problem for row in plan(newer, ada).batch.rows.all()] == [""]


def test_a_decision_about_a_hidden_connection_is_not_shown(
    make_review: MakeReview, payments: Credential, ada: Person, grace: Person
):
    review = make_review(1)
    decide(review, grace)
    CredentialAccess.objects.create(credential=payments, person=grace, kind=AccessKind.SEE)
    key = review.rows.get().key
    found = [
        find_keep_decision(actor=person_actor(person=person), key=key) for person in (grace, ada)
    ]
    assert [decision is not None for decision in found] == [True, False]


def test_what_changed_after_the_closing_is_not_planned(
    make_review: MakeReview,
    ada: Person,
    edith: Person,
    payments: Credential,
    sandbox: SandboxServer,
    client_of: Callable[[Person], Client],
):
    review = make_review(2)
    widened, same = texts_of(review)
    decide(review, ada, decision="delete")
    close(review, edith)
    sandbox.world.change_connection(connection_id=widened[-36:], connection_types=("audit",))
    sync_now(payments)
    page = client_of(ada).get(f"/reviews/{review.pk}/").text
    assert "1 connection marked for deletion changed after this access review closed" in page
    assert [row.text for row in plan(review, ada).batch.rows.all()] == [same]
    sandbox.world.change_connection(connection_id=same[-36:], connection_types=("audit",))
    sync_now(payments)
    with pytest.raises(ConflictError, match="2 connections marked for deletion changed after this"):
        plan(review, ada)


def test_what_is_decided_to_delete_once_more_is_planned_again(
    make_review: MakeReview, ada: Person, grace: Person
):
    review = make_review(2)
    kept, _ = texts_of(review)
    decide(review, ada, decision="delete")
    draft = plan(review, ada).batch
    decide(review, grace, kept)
    with pytest.raises(PlanChangedError):
        request(draft, ada)
    decide(review, grace, kept, decision="delete")
    assert [row.reference for row in plan(review, ada).batch.rows.all()] == [kept]


def test_the_rest_of_a_plan_leaves_out_what_was_kept_since(
    make_review: MakeReview, ada: Person, grace: Person
):
    review = make_review(2)
    kept, _ = texts_of(review)
    decide(review, ada, decision="delete")
    batch = plan(review, ada).batch
    actor = person_actor(person=ada)
    request(batch, ada)
    stopping.cancel_batch(batch=batch, actor=actor)
    decide(review, grace, kept)
    rest = drafts.create_draft_of_remaining(batch=batch, actor=actor)
    assert rest.access_review == review
    assert dict(rest.rows.values_list("text", "problem"))[kept] == RowProblem.KEPT


def test_a_connection_that_disappeared_is_not_planned(
    make_review: MakeReview,
    payments: Credential,
    sandbox: SandboxServer,
    ada: Person,
    edith: Person,
):
    review = make_review(2)
    decide(review, ada, decision="delete")
    close(review, edith)
    gone, listed = review.rows.all()
    sandbox.world.remove_connection(connection_id=str(gone.connection_id))
    sync_now(payments)
    assert [row.reference for row in plan(review, ada).batch.rows.all()] == [listed.key.reference]


def test_only_an_operator_plans(make_review: MakeReview, ada: Person, linus: Person):
    review = make_review(1)
    decide(review, ada, decision="delete")
    with pytest.raises(PermissionDenied):
        plan(review, linus)
