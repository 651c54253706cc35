"""What failed stays on the overview until it is resolved, or until a person acknowledges it."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.db import Error as DatabaseError
from django.test import Client
from django.urls import reverse

from connections.access.actor import WORKER, person_actor
from connections.access_requests import ending
from connections.batches.running import run_due
from connections.core.typed_text import MAX_REASON_LENGTH
from connections.inventory import syncs
from connections.models import (
    AccessKind,
    AuditEvent,
    Credential,
    CredentialAccess,
    Deletion,
    EventCode,
    Person,
    ProblemAcknowledgement,
)
from connections.operations import due
from connections.web.overview.kinds import SOURCES
from sandbox import faults
from sandbox.server import SandboxServer
from tests.access_requests.conftest import (
    End,
    RequestAccess,
    create,
    credential,
    end,
    free_pair,
    listed_pair,
)
from tests.access_requests.test_ending import another_id
from tests.access_requests.test_moving import Mover, mover
from tests.batches.support import add_connections, draft, request, sync_now
from tests.flows.support import store_credential
from tests.support.clock import SettableClock
from tests.support.deletions import request_deletion
from tests.web.overview.test_overview import others, yours

__all__ = ["create", "credential", "end", "free_pair", "listed_pair", "mover"]
ClientOf = Callable[[Person], Client]


def acknowledge(client: Client, kind: str, subject: object, **values: str) -> Any:
    return client.post(f"/problems/{kind}/{subject}/acknowledge/", values)


def acknowledged() -> list[dict[str, object]]:
    """What the events about acknowledgements say."""
    events = AuditEvent.objects.filter(code=EventCode.PROBLEM_ACKNOWLEDGED).order_by("seq")
    return [event.details for event in events]


@pytest.fixture
def refused(credential: Credential, ada: Person, sandbox: SandboxServer) -> Deletion:
    """A deletion that Datadog refused: Payments US → Group SOC."""
    sandbox.world.set_fault(fault=faults.RETURNS_403, method="DELETE")
    snapshot = credential.snapshots.get(is_current=True, sink_org_name="Group SOC")
    deletion = request_deletion(
        actor=person_actor(person=ada),
        credential=credential,
        connection_id=snapshot.connection_id,
    )
    assert deletion.outcome == "refused"
    sandbox.world.clear_faults()
    return deletion


LINE = "Failed (403): Payments US to Group SOC, Requested by Ada, Request again…"


def test_a_refused_deletion_stays_until_someone_acknowledges_it(
    refused: Deletion, client_of: ClientOf, ada: Person, edith: Person
):
    assert LINE in yours(ada, client_of)
    page = client_of(edith).get("/").text
    assert f'action="/problems/refused/{refused.pk}/acknowledge/"' in page

    response = acknowledge(client_of(edith), "refused", refused.pk, note="keys were revoked")

    assert (response.status_code, response["Location"]) == (303, "/")
    assert LINE not in yours(ada, client_of)
    [details] = acknowledged()
    assert (details["problem"], details["note"]) == ("refused", "keys were revoked")


def test_a_refused_deletion_is_resolved_by_requesting_it_again_or_once_the_connection_is_gone(
    refused: Deletion,
    client_of: ClientOf,
    ada: Person,
    credential: Credential,
    sandbox: SandboxServer,
):
    sandbox.world.remove_connection(connection_id=str(refused.connection_id))
    assert LINE in yours(ada, client_of)
    syncs.sync_credentials(credentials=[credential], actor=WORKER)
    assert LINE not in yours(ada, client_of)


def test_the_first_acknowledgement_stands(
    refused: Deletion, client_of: ClientOf, ada: Person, edith: Person
):
    acknowledge(client_of(edith), "refused", refused.pk, note="first")
    response = acknowledge(client_of(ada), "refused", refused.pk, note="second")
    assert response.status_code == 303
    assert ProblemAcknowledgement.objects.get().note == "first"
    assert len(acknowledged()) == 1
    with pytest.raises(DatabaseError, match="can't be changed"):
        ProblemAcknowledgement.objects.update(note="other")


def test_a_note_that_is_too_long_stores_nothing(
    refused: Deletion, client_of: ClientOf, edith: Person
):
    client = client_of(edith)
    acknowledge(client, "refused", refused.pk, note="x" * (MAX_REASON_LENGTH + 1))
    assert "A note can have at most" in client.get("/").text
    assert acknowledged() == []


def test_only_problems_that_exist_can_be_acknowledged(
    refused: Deletion, client_of: ClientOf, edith: Person
):
    client = client_of(edith)
    for kind, subject in (
        ("failed", refused.pk),
        ("unknown", refused.pk),
        ("refused", uuid4()),
    ):
        assert acknowledge(client, kind, subject).status_code == 404
    assert acknowledged() == []


def test_who_can_do_nothing_about_a_problem_sees_it_and_can_not_acknowledge_it(
    refused: Deletion, client_of: ClientOf, victor: Person
):
    assert LINE in others(victor, client_of)
    assert "/acknowledge/" not in client_of(victor).get("/").text
    assert acknowledge(client_of(victor), "refused", refused.pk).status_code == 403
    assert acknowledged() == []


def test_all_that_failed_of_a_bulk_deletion_is_one_line_and_one_acknowledgement(
    credential: Credential,
    client_of: ClientOf,
    ada: Person,
    sandbox: SandboxServer,
):
    keys = add_connections(sandbox, 2)
    sync_now(credential)
    batch = request(draft(ada, keys), ada)
    sandbox.world.set_fault(fault=faults.RETURNS_403, method="DELETE")
    run_due(actor=WORKER)
    [line] = [each for each in yours(ada, client_of) if "View deletions" in each]
    assert line.startswith("2 of 2 failed: ")
    client = client_of(ada)

    response = acknowledge(client, "refused", batch.pk, entry="deletion-list")

    assert response["Location"] == "/deletions/?needs=you"
    assert len(acknowledged()) == 2
    assert not [each for each in yours(ada, client_of) if "View deletions" in each]


def test_of_a_bulk_deletion_someone_acknowledges_what_they_can_act_on(
    credential: Credential,
    client_of: ClientOf,
    ada: Person,
    grace: Person,
    sandbox: SandboxServer,
):
    labs = store_credential(sandbox, "Labs EU")
    keys = add_connections(sandbox, 1) + add_connections(sandbox, 1, source="Labs EU")
    sync_now(credential, labs)
    batch = request(draft(ada, keys), ada)
    sandbox.world.set_fault(fault=faults.RETURNS_403, method="DELETE")
    run_due(actor=WORKER)
    CredentialAccess.objects.create(credential=labs, kind=AccessKind.USE, person=ada)

    response = acknowledge(client_of(grace), "refused", batch.pk)

    assert response.status_code == 303
    [stored] = ProblemAcknowledgement.objects.all()
    assert Deletion.objects.get(pk=stored.subject_id).credential == credential
    # What is left isn't hers.
    assert acknowledge(client_of(grace), "refused", batch.pk).status_code == 303
    assert ProblemAcknowledgement.objects.count() == 1


ACCESS_LINE = "Payments US to Group SOC, Ada requested access: “quarterly report”"


def test_a_failed_access_request_stays_until_someone_acknowledges_it(
    create: RequestAccess, client_of: ClientOf, ada: Person
):
    failed = create(faults.RETURNS_400)
    [line] = [each for each in yours(ada, client_of) if ACCESS_LINE in each]
    assert line.endswith(", Request again…")

    acknowledge(client_of(ada), "failed", failed.pk)

    assert not [each for each in yours(ada, client_of) if ACCESS_LINE in each]


def test_a_failed_access_request_is_resolved_by_a_newer_one(
    create: RequestAccess,
    client_of: ClientOf,
    ada: Person,
    sandbox: SandboxServer,
    clock: SettableClock,
):
    create(faults.RETURNS_400)
    sandbox.world.clear_faults()
    clock.advance(seconds=1)

    create()

    assert not [each for each in yours(ada, client_of) if ACCESS_LINE in each]


def test_access_that_did_not_end_is_a_line_with_the_reason(end: End, client_of: ClientOf):
    another_id(end)
    ending.end_due(actor=WORKER)

    [line] = [each for each in yours(end.ada, client_of) if each.startswith("Not ended")]
    assert (
        line
        == f"Not ended: Payments US to Group SOC, {ending.why_text('another_connection')}, Extend…"
    )

    acknowledge(client_of(end.ada), "not_ended", end.given.pk)
    assert not [each for each in yours(end.ada, client_of) if each.startswith("Not ended")]


def test_what_has_not_happened_yet_can_not_be_acknowledged_in_advance(
    end: End, client_of: ClientOf
):
    another_id(end)
    client = client_of(end.ada)
    assert acknowledge(client, "not_ended", end.given.pk).status_code == 404

    ending.end_due(actor=WORKER)

    assert [each for each in yours(end.ada, client_of) if each.startswith("Not ended")]


def test_each_list_of_what_waits_can_be_opened(
    credential: Credential, root: Person, client_of: ClientOf
):
    client = client_of(root)
    for source in SOURCES:
        page = client.get(reverse(source.list_name, query=source.filters))
        bar = page.context.get("bar")
        assert not (bar and [chip for chip in bar.chips if chip.is_unusable]), source


def test_a_move_that_left_a_pair_without_its_connection_is_listed_as_interrupted(
    mover: Mover, client_of: ClientOf
):
    moved = mover.move(post=faults.RETURNS_409)
    mover.work(moved, minutes=61)
    assert (moved.outcome, mover.is_listed()) == ("refused", False)
    client = client_of(mover.ada)
    assert f'action="/problems/interrupted/{moved.pk}/acknowledge/"' in client.get("/").text

    acknowledge(client, "interrupted", moved.pk)

    assert acknowledged()[0]["problem"] == "interrupted"
    assert f"/access-requests/{moved.pk}/" not in client.get("/").text


def test_access_that_lists_contradict_is_a_line(
    create: RequestAccess,
    credential: Credential,
    ada: Person,
    client_of: ClientOf,
    clock: SettableClock,
):
    created = create(faults.RETURNS_200_WITHOUT_DELETING)
    for seconds in (61, 300):
        clock.advance(seconds=seconds)
        sync_now(credential)
        due.run_due(actor=WORKER)
    created.refresh_from_db()
    assert (created.outcome, bool(created.contradicted_at)) == ("created", True)
    client = client_of(ada)
    assert f'action="/problems/contradicted/{created.pk}/acknowledge/"' in client.get("/").text

    assert acknowledge(client, "failed", created.pk).status_code == 404
