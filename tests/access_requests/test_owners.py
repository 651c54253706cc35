"""The owner of access is notified before it changes or ends, and again afterwards."""

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import pytest
from django.test import Client
from pytest_django import Settings

from connections.access.actor import WORKER, command_actor, person_actor
from connections.access_requests.requesting import WantedTerms
from connections.agreements.accepting import refuse_agreement
from connections.agreements.agreed import find_agreements
from connections.batches import running
from connections.change_requests import approvals, lifecycle, reconciliation
from connections.deletions.confirmations import (
    changes_of_deletion,
    changes_of_target,
    find_target,
)
from connections.models import (
    AccessKind,
    AccessRequest,
    ApprovalPolicy,
    Batch,
    ChangeRequest,
    Credential,
    Deletion,
    Notification,
    OrgPair,
    Person,
    RequestKind,
)
from connections.notifications.messages import build_message
from sandbox import faults
from sandbox.server import SandboxServer
from tests.agreements.support import agree, let_only, pair_between
from tests.batches import support as batches
from tests.evidence.support import verified
from tests.flows.support import store_credential
from tests.support.access_requests import request_for
from tests.support.clock import SettableClock
from tests.support.deletions import request_deletion
from tests.support.people import make_person
from tests.support.sandbox import connection_between, org_named

pytestmark = [pytest.mark.django_db, pytest.mark.database(every=4)]
type ClientOf = Callable[[Person], Client]

KINDS = ("change", "extend", "move", "delete")


@pytest.fixture(autouse=True)
def _mail(settings: Settings) -> None:
    settings.HAS_MAIL = True


class Case:
    """Payments US → Group SOC, for which Victor answers, who can only see."""

    def __init__(
        self, pair: OrgPair, credential: Credential, sandbox: SandboxServer, clock: SettableClock
    ) -> None:
        self.pair, self.credential, self.sandbox, self.clock = pair, credential, sandbox, clock
        self.connection_id = connection_between(sandbox.world, "Payments US", "Group SOC").id

    def answered_by(self, owner: Person) -> None:
        ends_on = self.clock.now().date() + timedelta(days=30)
        agree(self.pair, actor=command_actor(), owner=owner, owner_text="", ends_on=ends_on)
        Notification.objects.all().delete()
        self.clock.advance(seconds=1)

    def ask(
        self, kind: str, person: Person, policy: ApprovalPolicy = ApprovalPolicy.NONE
    ) -> ChangeRequest:
        checked = [{"check": "permissions", "ok": True}]
        Credential.objects.update(policy=policy, verification=checked)
        actor = person_actor(person=person)
        if kind == "delete":
            return request_deletion(
                actor=actor, credential=self.credential, connection_id=self.connection_id
            )
        wanted: WantedTerms = {}
        if kind == "change":
            wanted["types"] = ["logs"]
        if kind == "extend":
            wanted["ends_on"] = self.clock.now().date() + timedelta(days=60)
        return request_for(actor=actor, pair=self.pair, kind=RequestKind(kind), wanted=wanted)


@pytest.fixture
def case(
    listed_pair: OrgPair,
    credential: Credential,
    sandbox: SandboxServer,
    clock: SettableClock,
    victor: Person,
) -> Case:
    case = Case(listed_pair, credential, sandbox, clock)
    case.answered_by(victor)
    return case


def steps_told(person: Person) -> list[str]:
    """The steps of which the person was notified, once for each message."""
    rows = Notification.objects.filter(person=person).order_by("event_seq")
    return [code.partition(".")[2] for code in rows.values_list("code", flat=True)]


def sentence_for(person: Person, step: str) -> str:
    return build_message(
        Notification.objects.get(person=person, code__endswith=f".{step}")
    ).sentence


@pytest.mark.parametrize("kind", KINDS)
def test_the_owner_is_notified_while_it_can_still_be_declined(
    case: Case, ada: Person, linus: Person, victor: Person, kind: str
):
    asked = case.ask(kind, ada, ApprovalPolicy.ONE)
    assert asked.state == "requested"
    assert (steps_told(victor), steps_told(linus)) == (["requested"], ["requested"])
    assert sentence_for(victor, "requested").endswith(" You answer for this access.")
    assert "You answer" not in sentence_for(linus, "requested")


@pytest.mark.parametrize("kind", KINDS)
def test_without_approval_the_owner_is_notified_when_it_is_sent_and_when_it_is_done(
    case: Case, ada: Person, victor: Person, kind: str
):
    assert case.ask(kind, ada).is_settled
    assert steps_told(victor) == ["requested", "settled"]


def test_a_former_owner_learns_who_answers_now(
    case: Case, ada: Person, grace: Person, victor: Person
):
    request_for(
        actor=person_actor(person=ada),
        pair=case.pair,
        kind=RequestKind.CHANGE,
        wanted={"types": ["logs"], "owner": grace},
    )
    assert steps_told(victor) == steps_told(grace) == ["requested", "settled"]
    assert sentence_for(victor, "settled").endswith("You answered for this access until now.")
    assert "answer" not in sentence_for(grace, "requested")


def test_what_changed_nothing_is_not_announced_as_done(
    case: Case, ada: Person, linus: Person, victor: Person
):
    asked = case.ask("delete", ada, ApprovalPolicy.ONE)
    actor = person_actor(person=linus)
    approvals.decline(change_request=asked, actor=actor, reason="Needed.")
    case.sandbox.world.set_fault(fault=faults.RETURNS_403, method="DELETE")
    assert case.ask("delete", ada).is_settled
    assert steps_told(victor) == ["requested", "requested"]


def test_an_owner_who_approves_gets_one_message(case: Case, ada: Person, linus: Person):
    case.answered_by(linus)
    case.ask("change", ada, ApprovalPolicy.ONE)
    assert steps_told(linus) == ["requested"]


@pytest.mark.parametrize("kind", KINDS)
def test_who_asks_for_what_they_answer_for_gets_no_message(case: Case, ada: Person, kind: str):
    case.answered_by(ada)
    case.ask(kind, ada)
    assert steps_told(ada) == []


@pytest.mark.parametrize("kind", KINDS)
def test_an_owner_who_cant_see_it_learns_nothing(
    case: Case, ada: Person, root: Person, victor: Person, kind: str
):
    actor = person_actor(person=root)
    let_only(ada, credential=case.credential, kind=AccessKind.SEE, actor=actor)
    case.ask(kind, ada)
    assert steps_told(victor) == []


def test_an_owner_from_whom_the_orgs_connection_is_hidden_learns_nothing(
    free_pair: OrgPair, credential: Credential, sandbox: SandboxServer, ada: Person, victor: Person
):
    agree(free_pair, actor=command_actor(), owner=victor, connection_types=["logs"])
    root = make_person("root", is_administrator=True)
    let_only(ada, credential=credential, kind=AccessKind.SEE, actor=person_actor(person=root))
    # These never listed the connection.
    keys = sandbox.world.add_key_pair(org=org_named(sandbox.world, "Payments US"))
    twin = store_credential(sandbox, "Payments US", name="Twin", pair=keys)
    store_credential(sandbox, "Group SOC")
    Notification.objects.all().delete()
    request_for(
        actor=person_actor(person=ada),
        pair=free_pair,
        wanted={"types": ["logs"], "owner": ada, "purpose": "x"},
        credential=twin,
    )
    assert steps_told(victor) == []


def only_alerts(case: Case, owner: Person, root: Person) -> None:
    Person.objects.filter(pk=owner.pk).update(wants_only_alerts=True)


def only_alerts_and_no_approver(case: Case, owner: Person, root: Person) -> None:
    only_alerts(case, owner, root)
    Person.objects.exclude(pk__in=[owner.pk, root.pk]).update(is_active=False)


def with_text(case: Case, owner: Person, root: Person) -> None:
    agree(case.pair, actor=command_actor(), owner=owner, owner_text="SOC team")
    Notification.objects.all().delete()


def without_address(case: Case, owner: Person, root: Person) -> None:
    Person.objects.filter(pk=owner.pk).update(email="")


def hidden(case: Case, owner: Person, root: Person) -> None:
    actor = person_actor(person=root)
    let_only(root, credential=case.credential, kind=AccessKind.SEE, actor=actor)


def as_it_is(case: Case, owner: Person, root: Person) -> None:
    pass


@pytest.mark.parametrize(
    ("change", "policy", "is_told"),
    [
        (as_it_is, ApprovalPolicy.ONE, True),
        (as_it_is, ApprovalPolicy.NONE, True),
        # What others have to approve is an alert.
        (only_alerts, ApprovalPolicy.ONE, True),
        (only_alerts, ApprovalPolicy.NONE, False),
        (only_alerts_and_no_approver, ApprovalPolicy.ONE, False),
        (with_text, ApprovalPolicy.ONE, True),
        (without_address, ApprovalPolicy.ONE, False),
        (hidden, ApprovalPolicy.ONE, False),
    ],
)
def test_a_deletion_says_that_its_owner_is_notified_exactly_if_an_email_is_queued(
    case: Case,
    root: Person,
    linus: Person,
    victor: Person,
    change: Callable[[Case, Person, Person], None],
    policy: ApprovalPolicy,
    is_told: bool,
):
    change(case, victor, root)
    case.clock.advance(seconds=1)
    Credential.objects.update(policy=policy)
    actor, now = person_actor(person=root), case.clock.now()
    target = find_target(
        actor=actor, credential=case.credential, connection_id=UUID(case.connection_id)
    )
    before = changes_of_target(target, actor=actor, now=now)
    asked = case.ask("delete", root, policy)
    assert isinstance(asked, Deletion)
    assert (steps_told(victor)[:1] == ["requested"]) == is_told
    told = "The owner is notified."
    if not is_told:
        told = "Org Admin doesn't email this owner: tell them yourself."
    assert before is not None
    assert [note.text for note in before.notes] == [told]
    after = changes_of_deletion(asked, actor=actor)
    assert after is not None
    assert [note.text for note in after.notes] == ["" if asked.is_settled else told]


def test_the_owner_learns_that_a_move_interrupts_access(case: Case, ada: Person, victor: Person):
    case.sandbox.world.set_fault(fault=faults.RETURNS_403, method="POST")
    case.ask("move", ada)
    assert "interrupted" in steps_told(victor)


# --- Pages --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["change", "delete"])
def test_an_approver_reads_that_they_answer_for_it(
    case: Case, ada: Person, linus: Person, client_of: ClientOf, kind: str
):
    case.answered_by(linus)
    asked = case.ask(kind, ada, ApprovalPolicy.ONE)
    is_deletion = isinstance(asked, Deletion)
    address = f"/{'deletions' if is_deletion else 'access-requests'}/{asked.pk}/"
    client, words = client_of(linus), "You answer for this access."
    assert words in client.get(address).text
    assert words in client.get("/").text
    assert words not in client_of(ada).get(address).text
    lifecycle.withdraw(change_request=asked, actor=person_actor(person=ada))
    assert words not in client.get(address).text


@pytest.mark.parametrize("kind", ["change", "delete"])
def test_the_overview_of_an_owner_who_can_only_see_has_the_request(
    case: Case, ada: Person, victor: Person, client_of: ClientOf, kind: str
):
    case.ask(kind, ada, ApprovalPolicy.ONE)
    page = client_of(victor).get("/").text
    assert "You answer for this access. Ada" in page


# --- Bulk deletions -----------------------------------------------------------------------------


def plan(case: Case, ada: Person, sandbox: SandboxServer, policy: ApprovalPolicy) -> Batch:
    """Three connections of Payments US, and two of them are Victor's."""
    added = batches.add_connections(sandbox, 2)
    batches.sync_now(case.credential)
    pair = pair_between(sandbox, "Payments US", "Partner 0")
    agree(pair, actor=command_actor(), owner=Person.objects.get(username="victor"))
    Notification.objects.all().delete()
    Credential.objects.update(policy=policy)
    listed = f"{case.pair.site}/{case.connection_id}"
    return batches.draft(ada, [*added, listed])


def test_an_owner_gets_one_message_about_their_part_of_a_bulk_deletion_and_its_end(
    case: Case, ada: Person, linus: Person, victor: Person, client_of: ClientOf
):
    batch = batches.request(plan(case, ada, case.sandbox, ApprovalPolicy.ONE), ada)
    assert steps_told(victor) == ["requested"]
    assert sentence_for(victor, "requested") == (
        "Ada requested the bulk deletion of 3 connections. It is to delete 2 connections that you "
        "answer for."
    )
    told = Notification.objects.get(person=linus, code="batch.requested")
    assert build_message(told).rows == (
        "Group SOC loses access to logs and metrics of Payments US.",
        "Partner 0 loses access to logs of Payments US.",
        "Partner 1 loses access to logs of Payments US.",
        "Owners: no one 1, SOC team 1, Victor 1",
        "Dashboards and notebooks using them might break. No data is deleted.",
    )
    page = client_of(victor).get(f"/deletions/batches/{batch.pk}/").text
    assert "You answer for 2 of these connections." in page
    batches.execute(batches.approve(batch, linus), ada)
    case.clock.advance(seconds=1)
    running.run_due(actor=WORKER)
    assert steps_told(victor) == ["requested", "finished"]
    assert sentence_for(victor, "finished").endswith(
        "It deleted 2 connections that you answer for."
    )


def test_an_owner_who_sees_only_a_part_learns_only_of_that(
    case: Case, ada: Person, root: Person, victor: Person
):
    actor = person_actor(person=root)
    other = store_credential(case.sandbox, "Labs EU")
    let_only(ada, credential=other, kind=AccessKind.SEE, actor=actor)
    pair = pair_between(case.sandbox, "Labs EU", "Data Lake EU")
    hidden = connection_between(case.sandbox.world, "Labs EU", "Data Lake EU")
    agree(pair, actor=command_actor(), owner=victor)
    Notification.objects.all().delete()
    listed = f"{case.pair.site}/{case.connection_id}"
    batches.request(batches.draft(ada, [listed, f"{pair.site}/{hidden.id}"]), ada)
    [row] = Notification.objects.filter(person=victor)
    message = build_message(row)
    assert (message.about, message.path, message.rows) == ("1 connection", "/deletions/", ())
    assert message.sentence == (
        "Ada requested a bulk deletion. It is to delete 1 connection that you answer for."
    )


def test_who_answers_for_nothing_in_a_bulk_deletion_learns_nothing(
    case: Case, ada: Person, victor: Person, grace: Person
):
    case.answered_by(grace)
    added = batches.add_connections(case.sandbox, 1)
    batches.sync_now(case.credential)
    batches.request(batches.draft(ada, added), ada)
    assert AccessRequest.objects.count() == 0
    assert steps_told(victor) == steps_told(grace) == []


def refused_by(owner: Person, case: Case) -> None:
    agree(case.pair, actor=command_actor(), owner=owner, owner_text="")
    version = find_agreements([case.pair])[case.pair].version
    actor = person_actor(person=owner)
    refuse_agreement(actor=actor, pair=case.pair, version=version, reason="Not mine")
    case.clock.advance(seconds=1)


def test_an_owner_who_checks_what_became_of_a_request_accepts_nothing(
    case: Case, ada: Person, grace: Person
):
    refused_by(grace, case)
    case.sandbox.world.set_fault(fault=faults.EXECUTES_THEN_NO_RESPONSE, method="PATCH")
    asked = case.ask("change", ada)
    assert asked.state == "unknown"
    for _ in range(2):
        case.clock.advance(seconds=70)
        reconciliation.check(change_request=asked, actor=person_actor(person=grace))
        asked.refresh_from_db()
    assert asked.is_settled
    newest = find_agreements([case.pair])[case.pair]
    assert (newest.owner, newest.set_by, newest.accepted_at) == (grace, ada, None)


def test_an_owner_who_confirms_anothers_request_accepts_nothing(
    case: Case, ada: Person, linus: Person, grace: Person
):
    refused_by(grace, case)
    asked = case.ask("change", ada, ApprovalPolicy.ONE)
    approver = person_actor(person=linus)
    approvals.approve(change_request=asked, actor=approver, digest=asked.approval_digest)
    confirmer = person_actor(person=grace)
    lifecycle.execute(change_request=asked, actor=confirmer, confirmation=asked.sink_org_name)
    newest = find_agreements([case.pair])[case.pair]
    assert (newest.owner, newest.set_by, newest.accepted_at) == (grace, ada, None)
    assert verified()[0] == 0
