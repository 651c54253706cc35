"""Who learns what becomes of an access request."""

import json
from datetime import date
from urllib.parse import urlsplit

import pytest
from pytest_django import Settings

from connections.access.actor import WORKER, person_actor
from connections.access_requests import ending
from connections.change_requests import approvals
from connections.inventory import syncs
from connections.models import (
    AccessKind,
    AccessOutcome,
    AccessRequest,
    ApprovalPolicy,
    Credential,
    Notification,
    OrgPair,
    Person,
)
from connections.notifications.messages import build_message
from connections.notifications.titles import notification_title
from connections.operations import due
from sandbox import faults
from sandbox.server import SandboxServer
from tests.access_requests.test_evidence import approve_and_confirm
from tests.agreements.support import let_only
from tests.support.access_requests import request_for
from tests.support.clock import SettableClock

pytestmark = [pytest.mark.django_db, pytest.mark.database(every=4)]


@pytest.fixture(autouse=True)
def _set(settings: Settings) -> None:
    settings.HAS_MAIL = True
    settings.WEBHOOK_URL = "https://hooks.example.org/in"


def notified(step: str) -> set[str]:
    """Who gets mail about this step; the webhook gets it too."""
    rows = Notification.objects.filter(code=f"access_request.{step}")
    assert rows.filter(channel=Notification.Channel.WEBHOOK).exists()
    people = rows.filter(channel=Notification.Channel.MAIL)
    return set(people.values_list("person__username", flat=True))


def ask(pair: OrgPair, *, by: Person, owner: Person, ends_on: date | None = None) -> AccessRequest:
    return request_for(
        actor=person_actor(person=by),
        pair=pair,
        wanted={
            "types": ["logs"],
            "owner": owner,
            "purpose": "incident response",
            "ends_on": ends_on,
        },
    )


@pytest.fixture
def requested(free_pair: OrgPair, ada: Person, linus: Person, victor: Person) -> AccessRequest:
    """Ada requested access that needs one approval, with Victor as owner."""
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    return ask(free_pair, by=ada, owner=victor)


def test_approvers_and_the_owner_learn_of_a_request(requested: AccessRequest):
    assert notified("requested") == {"linus", "victor"}
    row = Notification.objects.get(code="access_request.requested", person__username="linus")
    message = build_message(row)
    assert message.subject == "Org Admin: Approval needed: Payments US → Group SOC"
    assert urlsplit(message.url).path == f"/access-requests/{requested.pk}/"
    assert message.rows[0] == (
        "Group SOC gets access to Payments US's logs. "
        "These orgs aren't connected, and nothing is agreed."
    )
    assert "Owner: Victor" in message.rows
    webhook = build_message(Notification.objects.get(code=row.code, person=None))
    data = json.loads(webhook.as_json())["data"]
    assert {name: data[name] for name in ("kind", "types_before", "types_after", "ends_on")} == {
        "kind": "create",
        "types_before": [],
        "types_after": ["logs"],
        "ends_on": None,
    }
    assert (data["connection_id"], data["approvals_needed"]) == (None, 1)


def test_requester_and_owner_learn_that_it_was_approved_and_given(
    requested: AccessRequest, ada: Person, linus: Person
):
    created = approve_and_confirm(requested, approver=linus, by=ada)
    assert created.outcome == AccessOutcome.CREATED
    assert notified("approved") == {"ada", "victor"}
    # Ada confirmed it, so she saw what happened.
    assert notified("settled") == {"linus", "victor"}
    title = build_message(
        Notification.objects.get(code="access_request.settled", person__username="victor")
    ).title
    assert title == "Access request: created"


def test_requester_and_owner_learn_that_it_was_declined(requested: AccessRequest, linus: Person):
    actor = person_actor(person=linus)
    approvals.decline(change_request=requested, actor=actor, reason="Not needed.")
    assert notified("declined") == {"ada", "victor"}


def test_an_unknown_result_is_announced_like_that_of_a_deletion(
    requested: AccessRequest, ada: Person, linus: Person, sandbox: SandboxServer
):
    sandbox.world.set_fault(fault=faults.EXECUTES_THEN_RESET, method="POST")
    approve_and_confirm(requested, approver=linus, by=ada)
    assert notified("unknown") == {"linus", "victor"}


def test_whoever_can_confirm_learns_of_what_a_viewer_requested(
    free_pair: OrgPair, ada: Person, linus: Person, victor: Person
):
    ask(free_pair, by=victor, owner=victor)
    assert notified("requested") == {"ada"}


def test_whoever_can_confirm_learns_of_the_last_approval_only(
    free_pair: OrgPair, ada: Person, linus: Person, root: Person, victor: Person
):
    Credential.objects.update(policy=ApprovalPolicy.TWO)
    access_request = ask(free_pair, by=victor, owner=victor)
    assert notified("requested") == {"linus", "root"}
    for approver, expected in ((linus, False), (root, True)):
        digest = access_request.approval_digest
        actor = person_actor(person=approver)
        approvals.approve(change_request=access_request, actor=actor, digest=digest)
        assert ("ada" in notified("approved")) == expected


def test_a_message_is_dropped_once_the_request_is_hidden_from_its_reader(
    requested: AccessRequest, credential: Credential, ada: Person, root: Person
):
    row = Notification.objects.get(code="access_request.requested", person__username="victor")
    let_only(ada, credential=credential, kind=AccessKind.SEE, actor=person_actor(person=root))
    with pytest.raises(AccessRequest.DoesNotExist):
        build_message(row)


@pytest.mark.parametrize(("kind", "label"), [("move", "moved"), ("create", "created")])
def test_the_title_of_a_message_says_what_was_done(kind: str, label: str):
    title = notification_title(
        "access_request.settled", details={"outcome": "created", "kind": kind}
    )
    assert title == f"Access request: {label}"


@pytest.mark.parametrize("is_covered", [True, False])
def test_requester_and_owner_get_one_message_about_the_end(
    free_pair: OrgPair,
    sandbox: SandboxServer,
    credential: Credential,
    ada: Person,
    grace: Person,
    linus: Person,
    root: Person,
    victor: Person,
    clock: SettableClock,
    is_covered: bool,
):
    created = ask(free_pair, by=ada, owner=victor, ends_on=clock.now().date())
    clock.advance(seconds=1)
    syncs.sync_credentials(credentials=[credential], actor=WORKER)
    due.run_due(actor=WORKER)
    clock.advance(hours=24)
    if not is_covered:
        Credential.objects.update(policy=ApprovalPolicy.ONE)
        sandbox.world.change_connection(
            connection_id=str(created.connection_id), connection_types=("audit",)
        )
    Notification.objects.all().delete()
    ending.end_due(actor=WORKER)
    due.run_due(actor=WORKER)
    told = {
        (row.code, row.person.username)
        for row in Notification.objects.exclude(person=None).exclude(code="changes.detected")
        if row.person
    }
    # Linus and Root can approve it, and Root is an administrator.
    alerted = {("access_request.not_ended", name) for name in ("ada", "root", "victor")}
    asked = {("deletion.requested", name) for name in ("linus", "root")}
    done = {("deletion.settled", name) for name in ("ada", "victor")}
    assert told == (done if is_covered else alerted | asked)
    webhook = Notification.objects.filter(person=None).values_list("code", flat=True)
    assert f"access_request.{'' if is_covered else 'not_'}ended" in webhook
    if not is_covered:
        row = Notification.objects.get(code="access_request.not_ended", person=victor)
        assert "people must decide" in build_message(row).sentence
        assert "data types differ from those approved" in build_message(row).sentence
