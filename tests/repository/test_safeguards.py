"""Safeguards that no other test covers directly: each test fails without one of them.

`python -m tests.mutations` removes them one by one to prove it.
"""

import io
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import uuid4

import pytest
import requests
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, transaction
from django.db.models import F

from connections import audit
from connections.access.actor import Actor, person_actor
from connections.change_requests import (
    approvals,
    lifecycle,
    reconciliation,
    recording,
    sending,
    states,
)
from connections.change_requests.states import Settle
from connections.datadog.responses import AttemptResult
from connections.deletions import comments, export, history, requesting
from connections.deletions.history import HistoryFilter
from connections.evidence import bundles
from connections.models import ApprovalPolicy, Attempt, Deletion, Outcome, Person, State
from connections.net.connection import Session
from sandbox import faults
from tests.datadog.actions import delete_against
from tests.datadog.servers import CONNECTION_ID, ScriptedServer, http_response, respond
from tests.deletions.conftest import RequestDeletion, credential, make_deletion

# Fixtures of another directory.
__all__ = ["credential", "make_deletion"]


def test_a_redirect_is_not_followed_even_by_a_session_that_sees_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Session, "get_redirect_target", requests.Session.get_redirect_target)
    with ScriptedServer([respond(http_response())]) as other:
        headers = {"Location": f"{other.url}/api/v2/org_connections/{CONNECTION_ID}"}
        result = delete_against(respond(http_response("307 Moved", b"", headers=headers)))
    assert result.verdict is AttemptResult.AMBIGUOUS
    assert other.connections == 0


@pytest.fixture
def unknown(make_deletion: RequestDeletion) -> Deletion:
    """A deletion whose response was lost."""
    return make_deletion(faults.RESET_AFTER_READING)


@pytest.mark.django_db
def test_a_claim_inside_another_transaction_is_refused(unknown: Deletion, ada: Person):
    actor = person_actor(person=ada)
    with transaction.atomic(), pytest.raises(RuntimeError, match="durable"):
        sending.claim([unknown], actor=actor, was_rechecked=True)


def settle(deletion: Deletion, *, actor: Actor) -> bool:
    event = audit.EventDraft(
        code=audit.EventCode.DELETION_SETTLED, sentence=audit.Sentence("Settled.")
    )
    return states.apply(
        deletion, transition=Settle(outcome=Outcome.UNRESOLVED), actor=actor, events=[event]
    )


@pytest.mark.django_db
@pytest.mark.parametrize(
    "change",
    [
        {"state": State.WAITING},
        {"epoch": F("epoch") + 1},
        {"confirmed_at": datetime(2026, 3, 1, tzinfo=UTC)},
    ],
)
def test_what_somebody_else_moved_is_not_moved(
    unknown: Deletion, ada: Person, change: dict[str, object]
):
    Deletion.objects.filter(pk=unknown.pk).update(**change)
    events = audit.events_of(subject=unknown)
    assert settle(unknown, actor=person_actor(person=ada)) is False
    assert Deletion.objects.get().outcome == ""
    assert audit.events_of(subject=unknown) == events


@pytest.mark.django_db
def test_without_its_event_nothing_moves(
    unknown: Deletion, ada: Person, monkeypatch: pytest.MonkeyPatch
):
    def fail(**event: object) -> None:
        raise DatabaseError("The record is not to be had.")

    monkeypatch.setattr(audit, "record", fail)
    with pytest.raises(DatabaseError):
        settle(unknown, actor=person_actor(person=ada))
    assert Deletion.objects.get().state == State.UNKNOWN


@pytest.mark.django_db
def test_a_404_after_a_lost_answer_is_not_called_absent_before(unknown: Deletion, ada: Person):
    deletion = Deletion.objects.get(pk=unknown.pk)
    Deletion.objects.filter(pk=unknown.pk).update(state=State.STILL_PRESENT, cause="")
    deletion.refresh_from_db()
    actor = person_actor(person=ada)
    [claimed] = sending.claim([deletion], actor=actor, was_rechecked=True)
    response = delete_against(respond(http_response("404 Not Found", b'{"errors":["gone"]}')))
    recording.record([(claimed.attempt, response)], actor=actor)
    assert Deletion.objects.get().outcome == Outcome.GONE_UNATTRIBUTED
    assert Attempt.objects.count() == 2


Act = Callable[[Deletion, Actor], object]
ACTS: dict[str, Act] = {
    "request": lambda deletion, actor: requesting.request_deletion(
        actor=actor,
        credential=deletion.credential,
        connection_id=uuid4(),
        reason="x",
        ticket="",
        request_id=deletion.request_id,
        digest="",
        confirmation="",
    ),
    "execute": lambda deletion, actor: lifecycle.execute(
        change_request=deletion, actor=actor, confirmation=""
    ),
    "check": lambda deletion, actor: reconciliation.check(change_request=deletion, actor=actor),
    "close": lambda deletion, actor: lifecycle.close(
        change_request=deletion, actor=actor, reason="x"
    ),
    "withdraw": lambda deletion, actor: lifecycle.withdraw(change_request=deletion, actor=actor),
    "approve": lambda deletion, actor: approvals.approve(
        change_request=deletion, actor=actor, digest=deletion.approval_digest
    ),
    "decline": lambda deletion, actor: approvals.decline(
        change_request=deletion, actor=actor, reason="x"
    ),
    "comment": lambda deletion, actor: comments.comment_on_deletion(
        deletion=deletion, actor=actor, text="x"
    ),
    "look": lambda deletion, actor: history.history_page(actor=actor, filters=HistoryFilter()),
    "count": lambda deletion, actor: history.count_by_day(actor=actor, filters=HistoryFilter()),
    "bundle": lambda deletion, actor: bundles.make_bundle(
        actor=actor, filters=HistoryFilter(), query="", output=io.BytesIO()
    ),
    "export": lambda deletion, actor: export.prepare_export(
        actor=actor, filters=HistoryFilter(), file_format="csv", query=""
    ),
}


@pytest.mark.django_db
@pytest.mark.parametrize("act", ACTS)
def test_the_service_itself_refuses_people_without_permission(
    unknown: Deletion, stranger: Person, act: str
):
    unknown.policy = ApprovalPolicy.ONE
    with pytest.raises(PermissionDenied):
        ACTS[act](unknown, person_actor(person=stranger))
