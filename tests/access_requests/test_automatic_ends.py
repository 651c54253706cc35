"""What Org Admin deletes by itself at an end: no more than was approved, and one after the other.

Everything else waits for people, who are told why.
"""

from collections.abc import Callable
from datetime import date, timedelta

import pytest
from django.db import IntegrityError, transaction
from django.test import Client

from connections.access.actor import WORKER, command_actor, person_actor
from connections.access_requests import ending
from connections.agreements.setting import set_agreements
from connections.change_requests import approvals, lifecycle
from connections.inventory import syncs
from connections.models import (
    AccessOutcome,
    AccessRequest,
    ApprovalPolicy,
    Credential,
    Deletion,
    OrgPair,
    Outcome,
    Person,
    RequestKind,
    State,
)
from connections.operations.worker import Worker
from sandbox import faults
from sandbox.server import SandboxServer
from tests.access_requests.conftest import DAY, End, approved_again
from tests.access_requests.test_ending import causes_of_alerts
from tests.flows.support import store_credential
from tests.support.access_requests import request_for
from tests.support.clock import SettableClock
from tests.support.sandbox import connection_between, org_named

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def assert_waits_for_people(cause: str) -> Deletion:
    """Also later: it leaves the queue."""
    ending.end_due(actor=WORKER)
    deletion = Deletion.objects.get()
    assert (deletion.state, deletion.automatic, deletion.confirmed_at) == ("requested", True, None)
    assert causes_of_alerts() == [cause]
    assert not AccessRequest.objects.exclude(end_due_at=None).exists()
    return deletion


# --- How many people approved it ----------------------------------------------------------------

NONE, ONE, TWO = ApprovalPolicy.NONE, ApprovalPolicy.ONE, ApprovalPolicy.TWO


@pytest.mark.parametrize(
    ("then", "now", "is_automatic"),
    [
        (NONE, NONE, True),
        (NONE, ONE, False),
        (ONE, NONE, True),
        (ONE, ONE, True),
        (ONE, TWO, False),
        (TWO, ONE, True),
        (TWO, TWO, True),
    ],
)
def test_it_needs_as_many_approvals_as_the_orgs_require_that_day(
    end: End, linus: Person, then: ApprovalPolicy, now: ApprovalPolicy, *, is_automatic: bool
):
    approvers = [linus, end.root][: then.approvals_needed]
    if approvers:
        approved_again(end, policy=then, by=approvers)
    # The strictest policy of both orgs counts.
    other = store_credential(end.sandbox, "Group SOC")
    Credential.objects.update(policy=NONE)
    Credential.objects.filter(pk=other.pk).update(policy=now)
    end.clock.advance(seconds=1)
    if not is_automatic:
        deletion = assert_waits_for_people("approvals_missing")
    else:
        ending.end_due(actor=WORKER)
        deletion = Deletion.objects.get()
        assert (deletion.outcome, causes_of_alerts()) == (Outcome.DELETED, [])
    # The policy of that day, with which people, or the verifier of a bundle, compare it.
    assert deletion.policy == now


def test_the_database_counts_the_approvals_of_the_access(end: End, linus: Person):
    Credential.objects.update(policy=ONE)
    deletion = assert_waits_for_people("approvals_missing")
    rows = Deletion.objects.filter(pk=deletion.pk)
    sending = {"confirmed_at": end.clock.at, "state": State.SENDING}
    with pytest.raises(IntegrityError, match="needs more approvals"), transaction.atomic():
        rows.update(**sending)
    with pytest.raises(IntegrityError, match="can't be changed"), transaction.atomic():
        rows.update(automatic=None)


def test_the_database_accepts_the_approvals_of_the_access_for_one_attempt(end: End, linus: Person):
    approved_again(end, policy=ONE, by=[linus])
    end.sandbox.world.set_fault(fault=faults.EXECUTES_THEN_RESET, method="DELETE")
    ending.end_due(actor=WORKER)
    deletion = Deletion.objects.get()
    assert (deletion.state, deletion.policy, deletion.approval_round) == ("unknown", ONE, 2)
    assert deletion.lacks_approvals
    rows = Deletion.objects.filter(pk=deletion.pk)
    with pytest.raises(IntegrityError, match="needs more approvals"), transaction.atomic():
        rows.update(state=State.SENDING)


def test_one_that_lists_still_show_needs_approvals_to_be_sent_again(end: End, linus: Person):
    approved_again(end, policy=ONE, by=[linus])
    end.sandbox.world.set_fault(fault=faults.RETURNS_200_WITHOUT_DELETING, method="DELETE")
    ending.end_due(actor=WORKER)
    assert Deletion.objects.get().outcome == Outcome.DELETED
    end.clock.advance(hours=1)
    ending.end_due(actor=WORKER)
    again = Deletion.objects.get(settled_at=None)
    assert (again.policy, again.lacks_approvals) == (ONE, True)
    assert causes_of_alerts() == ["later_listing"]
    assert end.sandbox.world.deletes_received(end.connection_id) == 1


# --- Whether someone saw the connection ---------------------------------------------------------


@pytest.fixture
def request_until_today(
    ada: Person, free_pair: OrgPair, clock: SettableClock
) -> Callable[[], AccessRequest]:
    """Ada requests access that ends today."""

    def act() -> AccessRequest:
        return request_for(
            actor=person_actor(person=ada),
            pair=free_pair,
            wanted={
                "types": ["logs"],
                "owner_text": "SOC team",
                "purpose": "incident response",
                "ends_on": clock.at.date(),
            },
        )

    return act


def connect_elsewhere(sandbox: SandboxServer) -> str:
    orgs = [org_named(sandbox.world, name) for name in ("Payments US", "Group SOC")]
    added = sandbox.world.add_connection(
        source_org=orgs[0], sink_org=orgs[1], connection_types=("logs",)
    )
    return added.id


def test_a_connection_that_others_created_waits_for_people(
    request_until_today: Callable[[], AccessRequest],
    credential: Credential,
    sandbox: SandboxServer,
    clock: SettableClock,
    client_of: Callable[[Person], Client],
    ada: Person,
):
    connection_id = connect_elsewhere(sandbox)
    given = request_until_today()
    assert given.outcome == AccessOutcome.ALREADY_EXISTS
    page = client_of(ada).get(f"/access-requests/{given.pk}/").text
    assert "people decide about its deletion" in page
    syncs.sync_credentials(credentials=[credential], actor=WORKER)
    clock.advance(seconds=DAY)
    deletion = assert_waits_for_people("connection_not_seen")
    assert sandbox.world.deletes_received(connection_id) == 0
    page = client_of(ada).get(f"/deletions/{deletion.pk}/").text
    assert "no one who approved the access saw this connection" in page


def test_a_connection_that_only_might_be_ours_waits_for_people(
    request_until_today: Callable[[], AccessRequest],
    credential: Credential,
    sandbox: SandboxServer,
    clock: SettableClock,
):
    sandbox.world.set_fault(fault=faults.RESET_AFTER_READING, method="POST")
    given = request_until_today()
    connection_id = connect_elsewhere(sandbox)
    worker = Worker()
    for _ in range(4):
        clock.advance(seconds=70)
        worker.run_due_requests()
    given.refresh_from_db()
    assert given.outcome == AccessOutcome.EXISTS_UNATTRIBUTED
    syncs.sync_credentials(credentials=[credential], actor=WORKER)
    clock.advance(seconds=DAY)
    assert_waits_for_people("connection_not_seen")
    assert sandbox.world.deletes_received(connection_id) == 0


def test_the_page_of_closed_access_says_what_happens_on_its_last_day(
    end: End, client_of: Callable[[Person], Client]
):
    end.clock.advance(seconds=-5 * DAY)
    page = client_of(end.ada).get(f"/access-requests/{end.given.pk}/").text
    assert f"Org Admin deletes this connection after {end.given.ends_on:%-d %b %Y}." in page


# --- An earlier end, set by hand ----------------------------------------------------------------


def set_an_earlier_end(end: End) -> None:
    """Ada sets an end 2 days before the approved one, while the access lasts."""
    assert end.given.ends_on
    end.clock.advance(seconds=-5 * DAY)
    set_agreements(
        actor=person_actor(person=end.ada),
        pairs=[OrgPair(end.given.site, end.given.source_org_id, end.given.sink_org_id)],
        terms={"ends_on": end.given.ends_on - timedelta(days=2)},
    )


@pytest.fixture
def early(end: End) -> Deletion:
    """The deletion on the day after that end."""
    set_an_earlier_end(end)
    end.clock.advance(seconds=2 * DAY)
    ending.end_due(actor=WORKER)
    return Deletion.objects.get()


def test_it_is_looked_at_again_once_a_list_shows_the_connection_again(end: End):
    set_an_earlier_end(end)
    world, credentials = end.sandbox.world, [end.credential]
    listed = connection_between(world, "Payments US", "Group SOC")
    world.remove_connection(connection_id=listed.id)
    end.clock.advance(seconds=2 * DAY)
    syncs.sync_credentials(credentials=credentials, actor=WORKER)
    ending.end_due(actor=WORKER)
    assert not Deletion.objects.exists()
    world.add_connection(source_org=listed.source_org, sink_org=listed.sink_org, id=listed.id)
    end.clock.advance(seconds=60)
    syncs.sync_credentials(credentials=credentials, actor=WORKER)
    ending.end_due(actor=WORKER)
    assert (Deletion.objects.get().state, causes_of_alerts()) == ("requested", ["end_set_by_hand"])


def test_an_earlier_end_set_by_hand_makes_a_deletion_that_waits_for_people(
    early: Deletion, end: End
):
    assert (early.state, early.automatic, causes_of_alerts()) == (
        State.REQUESTED,
        True,
        ["end_set_by_hand"],
    )
    assert end.sandbox.world.deletes_received(end.connection_id) == 0


def test_it_is_sent_by_itself_if_it_is_still_open_on_the_approved_day(early: Deletion, end: End):
    end.clock.advance(seconds=2 * DAY)
    ending.end_due(actor=WORKER)
    early.refresh_from_db()
    assert (early.outcome, early.attempts.count()) == (Outcome.DELETED, 1)
    assert end.sandbox.world.deletes_executed(end.connection_id) == 1


def test_on_the_approved_day_it_goes_on_waiting_if_something_else_was_approved(
    early: Deletion, end: End
):
    Credential.objects.update(policy=ONE)
    end.clock.advance(seconds=2 * DAY)
    ending.end_due(actor=WORKER)
    early.refresh_from_db()
    assert (early.state, early.confirmed_at) == (State.REQUESTED, None)
    assert causes_of_alerts() == ["end_set_by_hand", "approvals_missing"]


def test_what_people_kept_on_the_earlier_day_ends_on_the_approved_one(early: Deletion, end: End):
    lifecycle.withdraw(change_request=early, actor=person_actor(person=end.root))
    end.clock.advance(hours=2)
    ending.end_due(actor=WORKER)
    assert Deletion.objects.count() == 1
    end.clock.advance(seconds=2 * DAY)
    ending.end_due(actor=WORKER)
    assert Deletion.objects.latest("requested_at").outcome == Outcome.DELETED


def test_an_end_set_by_hand_can_be_moved_back_to_the_approved_day(end: End):
    end.clock.advance(seconds=-5 * DAY)
    given, pair = end.given, OrgPair(end.given.site, end.given.source_org_id, end.given.sink_org_id)
    assert given.ends_on

    def due_on(ends_on: date) -> date:
        set_agreements(actor=command_actor(), pairs=[pair], terms={"ends_on": ends_on})
        given.refresh_from_db()
        assert given.end_due_at
        return given.end_due_at.date()

    for day in (given.ends_on - timedelta(days=2), given.ends_on):
        assert due_on(day) == day + timedelta(days=1)


# --- Every credential that can send -------------------------------------------------------------


def test_every_credential_is_tried_before_people_are_asked(end: End):
    store_credential(end.sandbox, "Group SOC")
    end.clock.advance(seconds=1)
    world = end.sandbox.world
    world.set_fault(fault=faults.RETURNS_403, org=org_named(world, "Payments US"))
    for _ in range(2):
        ending.end_due(actor=WORKER)
        end.clock.advance(seconds=1)
    found = Deletion.objects.order_by("requested_at").values_list("credential_name", "outcome")
    assert list(found) == [("Payments US", "refused"), ("Group SOC", "deleted")]
    assert causes_of_alerts() == []


def test_people_are_asked_once_datadog_refused_every_credential(end: End):
    store_credential(end.sandbox, "Group SOC")
    end.clock.advance(seconds=1)
    end.sandbox.world.set_fault(fault=faults.RETURNS_403)
    for _ in range(3):
        ending.end_due(actor=WORKER)
    assert list(Deletion.objects.values_list("outcome", flat=True)) == ["refused", "refused"]
    end.clock.advance(hours=1)
    ending.end_due(actor=WORKER)
    assert Deletion.objects.get(settled_at=None).state == State.REQUESTED
    assert causes_of_alerts() == ["forbidden"]


def test_a_credential_that_cannot_write_is_left_out(end: End):
    end.credential.verification = [{"check": "permissions", "ok": False}]
    end.credential.save()
    ending.end_due(actor=WORKER)
    assert (Deletion.objects.count(), causes_of_alerts()) == (0, ["write_not_granted"])
    store_credential(end.sandbox, "Group SOC")
    end.clock.advance(minutes=16)
    ending.end_due(actor=WORKER)
    assert Deletion.objects.get().outcome == Outcome.DELETED


# --- The queue ----------------------------------------------------------------------------------


def test_the_queue_is_left_when_people_decide_and_joined_when_they_have(end: End, linus: Person):
    Credential.objects.update(policy=ONE)
    deletion = assert_waits_for_people("approvals_missing")
    approvals.approve(
        change_request=deletion,
        actor=person_actor(person=linus),
        digest=deletion.approval_digest,
    )
    end.clock.advance(seconds=DAY + 60)
    Worker().run_due_requests()
    deletion.refresh_from_db()
    assert deletion.outcome == Outcome.EXPIRED
    end.given.refresh_from_db()
    assert deletion.settled_at
    assert end.given.end_due_at == deletion.settled_at + timedelta(minutes=55)


def test_a_later_request_takes_the_place_of_the_end(end: End):
    end.clock.advance(seconds=-5 * DAY)
    later = end.clock.now().date() + timedelta(days=90)
    extension = end.ask(RequestKind.EXTEND, ends_on=later)
    end.given.refresh_from_db()
    assert extension.end_due_at
    assert (end.given.end_due_at, extension.end_due_at.date()) == (None, later + timedelta(days=1))
