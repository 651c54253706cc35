"""On the day after its end, approved access is deleted as it was approved, or people decide.

Never anything else, and never silently nothing.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.core.cache import cache
from django.db import IntegrityError, connection, transaction
from django.test import Client

from connections.access.actor import WORKER, person_actor
from connections.access_requests import ending
from connections.audit import EventCode
from connections.change_requests import approvals, lifecycle, sending
from connections.change_requests.guards import find_hold
from connections.core.errors import ConflictError, UnavailableError
from connections.credentials.retirement import retire_credential
from connections.deletions import break_glass, requesting
from connections.inventory import fetching, protections, syncs
from connections.models import (
    COMPLETED,
    AccessOutcome,
    AccessRequest,
    Approval,
    ApprovalPolicy,
    AuditEvent,
    Credential,
    Deletion,
    OrgPair,
    Outcome,
    Person,
    RequestKind,
    State,
)
from connections.operations import due
from sandbox import faults
from tests.access_requests.conftest import DAY, End, RequestAccess, approved_again
from tests.flows.support import store_credential
from tests.operations.test_hold import put_on_hold, release
from tests.support.access_requests import request_for
from tests.support.at_once import at_once
from tests.support.clock import SettableClock
from tests.support.deletions import request_deletion

pytestmark = pytest.mark.django_db


# --- The table of what can have happened --------------------------------------------------------


def nothing(end: End) -> None:
    """The connection is as it was approved."""


def other_types(end: End) -> None:
    end.sandbox.world.change_connection(
        connection_id=end.connection_id, connection_types=("audit", "logs")
    )


def protected(end: End) -> None:
    actor = person_actor(person=end.ada)
    protections.protect_connection(actor=actor, key=end.given.key, reason="under investigation")


def protected_while_sending(end: End) -> None:
    end.just_before(sending, "claim", lambda: protected(end))


def another_id(end: End) -> None:
    end.sandbox.world.remove_connection(connection_id=end.connection_id)
    assert end.sandbox.world.recreate_connection(connection_id=end.connection_id)


def gone(end: End) -> None:
    end.sandbox.world.remove_connection(connection_id=end.connection_id)


def credential_retired(end: End) -> None:
    retire_credential(
        actor=person_actor(person=end.root),
        credential=end.credential,
        confirmation=end.credential.name,
    )


def other_orgs_credential(end: End) -> None:
    store_credential(end.sandbox, "Group SOC")
    end.clock.advance(seconds=1)


def retired_for_the_other_orgs(end: End) -> None:
    other_orgs_credential(end)
    credential_retired(end)


def retired_while_sending(end: End) -> None:
    other_orgs_credential(end)
    end.just_before(sending, "claim", lambda: credential_retired(end))


def keys_revoked(end: End) -> None:
    end.sandbox.world.set_fault(fault=faults.RETURNS_403, method="GET")


def list_incomplete(end: End) -> None:
    end.sandbox.world.set_fault(fault=faults.INCOMPLETE_PAGE, method="GET")


def refused(end: End) -> None:
    end.sandbox.world.set_fault(fault=faults.RETURNS_403, method="DELETE")


def response_lost(end: End) -> None:
    end.sandbox.world.set_fault(fault=faults.EXECUTES_THEN_RESET, method="DELETE")


def list_too_slow(end: End) -> None:
    """Both times that it is read."""
    claim, left = sending.claim, [1, 2]

    def claim_late(*args: Any, **kwargs: Any) -> Any:
        if left:
            left.pop()
            end.clock.advance(seconds=11)
        return claim(*args, **kwargs)

    end.monkeypatch.setattr(sending, "claim", claim_late)


def crashed_before_sending(end: End) -> None:
    def crash() -> None:
        raise UnavailableError("killed", cause="client_failure")

    end.just_before(sending, "claim", crash)


def unsent_request(end: End) -> None:
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    assert not end.ask(RequestKind.CHANGE, types=["logs", "metrics"], ends_on=None).epoch
    Credential.objects.update(policy=ApprovalPolicy.NONE)


def approved_request(end: End) -> None:
    unsent_request(end)
    request = AccessRequest.objects.get(settled_at=None)
    approvals.approve(
        change_request=request,
        actor=person_actor(person=end.root),
        digest=request.approval_digest,
    )


def rate_limited_request(end: End) -> None:
    end.sandbox.world.set_fault(fault=faults.rate_limited(), method="PATCH")
    asked = end.ask(RequestKind.CHANGE, types=["logs", "metrics"], ends_on=None)
    assert asked.state == State.WAITING


def request_without_effect(end: End) -> None:
    unknown_request(end)
    AccessRequest.objects.filter(state=State.UNKNOWN).update(state=AccessRequest.no_effect)


def unknown_request(end: End) -> None:
    end.sandbox.world.set_fault(fault=faults.RESET_AFTER_READING, method="PATCH")
    assert (
        end.ask(RequestKind.CHANGE, types=["logs", "metrics"], ends_on=None).state == State.UNKNOWN
    )


def sending_request(end: End) -> None:
    unknown_request(end)
    AccessRequest.objects.filter(state=State.UNKNOWN).update(state=State.SENDING)


def extended(end: End) -> None:
    later = end.clock.now().date() + timedelta(days=30)
    assert end.ask(ends_on=later).outcome == AccessOutcome.EXTENDED


def extended_meanwhile(end: End) -> None:
    end.just_before(requesting, "request_at_end", lambda: extended(end))


def clock_set_back_before_the_end(end: End) -> None:
    end.clock.advance(seconds=-3 * DAY)
    # Also if a worker looks at it then.
    AccessRequest.objects.update(end_due_at=end.clock.at)


def clock_set_back_meanwhile(end: End) -> None:
    # Half an hour into the day after, and then half an hour before it.
    at = end.clock.now().replace(hour=0, minute=30)
    end.clock.at = at - timedelta(days=1)
    end.just_before(requesting, "request_at_end", lambda: end.clock.advance(hours=-1))


def clock_jumped_ahead(end: End) -> None:
    end.clock.advance(hours=1)


def days_of_outage(end: End) -> None:
    """No worker ran."""
    end.clock.advance(seconds=9 * DAY)


COVERED, WAITING = (State.SETTLED, Outcome.DELETED), (State.REQUESTED, "")
NOT_SENT, UNKNOWN = (State.SETTLED, Outcome.NOT_SENT), (State.UNKNOWN, "")
REFUSED, STALLED = (State.SETTLED, Outcome.REFUSED), (State.REQUESTED, "")
WITHDRAWN = (State.SETTLED, Outcome.WITHDRAWN)
type Found = tuple[str, str]


# What happened; the deletions after a pass, and the alerts; the deletions after a third pass, an
# hour later, and how many DELETEs Datadog executed by then.
CASES: list[tuple[Callable[[End], None], list[Found], list[str], list[Found], int]] = [
    (nothing, [COVERED], [], [COVERED], 1),
    (days_of_outage, [COVERED], [], [COVERED], 1),
    (clock_jumped_ahead, [COVERED], [], [COVERED], 1),
    (clock_set_back_before_the_end, [], [], [], 0),
    (clock_set_back_meanwhile, [], [], [COVERED], 1),
    (other_types, [WAITING], ["changed_when_read"], [WAITING], 0),
    (protected, [WAITING], ["connection_protected"], [WAITING], 0),
    (
        protected_while_sending,
        [NOT_SENT],
        ["connection_protected"],
        [NOT_SENT, WAITING],
        0,
    ),
    (another_id, [], ["another_connection"], [], 0),
    (gone, [], [], [], 0),
    (credential_retired, [], ["credential_retired"], [], 0),
    (retired_for_the_other_orgs, [COVERED], [], [COVERED], 1),
    (retired_while_sending, [WITHDRAWN], ["credential_retired"], [WITHDRAWN, COVERED], 1),
    (other_orgs_credential, [COVERED], [], [COVERED], 1),
    (keys_revoked, [], ["listing_failed"], [], 0),
    (list_incomplete, [], ["listing_failed"], [], 0),
    (refused, [REFUSED], [], [REFUSED, WAITING], 0),
    (response_lost, [UNKNOWN], [], [UNKNOWN], 1),
    (crashed_before_sending, [STALLED], ["client_failure"], [COVERED], 1),
    (list_too_slow, [STALLED], ["list_too_slow"], [COVERED], 1),
    (unsent_request, [COVERED], [], [COVERED], 1),
    (approved_request, [COVERED], [], [COVERED], 1),
    (rate_limited_request, [], [], [], 0),
    (unknown_request, [], [], [], 0),
    (request_without_effect, [], [], [], 0),
    (sending_request, [], [], [], 0),
    (extended, [], [], [], 0),
    (extended_meanwhile, [], [], [], 0),
]


@pytest.mark.database
def test_a_worker_that_stands_still_before_its_claim_deletes_nothing_that_was_widened(end: End):
    def stand_still() -> None:
        end.clock.advance(seconds=11)
        other_types(end)

    end.just_before(sending, "claim", stand_still)
    ending.end_due(actor=WORKER)
    assert Deletion.objects.get().outcome == "stale"
    assert end.sandbox.world.deletes_received(end.connection_id) == 0


@pytest.mark.database(every=4)
@pytest.mark.parametrize(
    ("case", "first", "alerts", "then", "deletes"), CASES, ids=[case[0].__name__ for case in CASES]
)
def test_it_deletes_what_was_approved_or_people_decide(
    end: End,
    case: Callable[[End], None],
    first: Sequence[Found],
    alerts: Sequence[str],
    then: Sequence[Found],
    deletes: int,
):
    case(end)
    ending.end_due(actor=WORKER)
    assert (found(), causes_of_alerts()) == (first, alerts)
    # The next pass, 15 minutes later, makes no other deletion.
    end.clock.advance(minutes=15)
    ending.end_due(actor=WORKER)
    assert (len(found()), causes_of_alerts()) == (len(first), alerts)
    end.clock.advance(minutes=46)
    ending.end_due(actor=WORKER)
    assert found() == then
    world = end.sandbox.world
    assert world.deletes_executed(end.connection_id) == deletes
    ids = {each.id for each in world.connections()} - {end.connection_id}
    assert not any(map(world.deletes_executed, ids))
    is_waited_for = AccessRequest.objects.filter(settled_at=None).exists()
    if world.connection(connection_id=end.connection_id) and not is_waited_for:
        newest = AccessRequest.objects.filter(outcome__in=COMPLETED).latest("requested_at")
        is_over = newest.ends_on is not None and newest.ends_on < end.clock.now().date()
        assert causes_of_alerts() or not is_over
    for deletion in Deletion.objects.all():
        assert (deletion.requested_by, deletion.requested_by_name) == (None, "Org Admin")
        assert deletion.reason == end.given.reason


def found() -> list[Found]:
    """The deletions that there are, oldest first."""
    rows = Deletion.objects.order_by("requested_at")
    return list(rows.values_list("state", "outcome"))


def causes_of_alerts() -> list[str]:
    events = AuditEvent.objects.filter(code=EventCode.ACCESS_REQUEST_NOT_ENDED)
    return [event.details["cause"] for event in events.order_by("seq")]


@pytest.mark.parametrize(
    ("case", "then", "alerts"),
    [
        (nothing, [COVERED], []),
        (other_types, [WAITING], ["changed_when_read"]),
        (gone, [], []),
        (extended, [], []),
    ],
    ids=["nothing", "other_types", "gone", "extended"],
)
def test_on_hold_nothing_ends_and_after_the_release_what_is_due_then(
    end: End, case: Callable[[End], None], then: Sequence[Found], alerts: Sequence[str]
):
    put_on_hold()
    for _ in range(2):
        ending.end_due(actor=WORKER)
        end.clock.advance(seconds=DAY)
    assert (found(), causes_of_alerts()) == ([], [])
    case(end)
    release()
    ending.end_due(actor=WORKER)
    assert (found(), causes_of_alerts()) == (then, alerts)
    assert end.sandbox.world.deletes_received(end.connection_id) == then.count(COVERED)


def test_what_waits_for_people_when_a_hold_is_put_on_waits_on(end: End, grace: Person):
    other_types(end)
    ending.end_due(actor=WORKER)
    put_on_hold()
    end.clock.advance(seconds=DAY)
    for _ in range(2):
        ending.end_due(actor=WORKER)
        due.run_due(actor=WORKER)
        assert found() == [WAITING]
        if find_hold():
            release()
    # What people confirm is sent, also while a hold is on.
    put_on_hold()
    end.clock.advance(seconds=1)
    assert confirm(Deletion.objects.get(), by=grace).outcome == Outcome.DELETED


def test_another_connection_in_its_place_is_reported_once_a_day(end: End):
    another_id(end)
    for alerts in (1, 1, 2):
        ending.end_due(actor=WORKER)
        assert causes_of_alerts() == ["another_connection"] * alerts
        end.clock.advance(seconds=DAY / 2)


def test_what_was_left_unsent_waits_for_people_if_it_has_changed_since(end: End):
    crashed_before_sending(end)
    ending.end_due(actor=WORKER)
    assert found() == [STALLED]
    other_types(end)
    end.clock.advance(minutes=16)
    ending.end_due(actor=WORKER)
    assert found() == [NOT_SENT]
    end.clock.advance(hours=1)
    ending.end_due(actor=WORKER)
    assert found() == [NOT_SENT, WAITING]
    assert end.sandbox.world.deletes_received(end.connection_id) == 0


def test_a_delete_that_is_not_sent_in_time_is_requested_again_an_hour_later(end: End):
    end.sandbox.world.set_fault(fault=faults.rate_limited(reset="60"), method="DELETE")
    ending.end_due(actor=WORKER)
    while Deletion.objects.get().settled_at is None:
        end.clock.advance(minutes=2)
        due.run_due(actor=WORKER)
    assert found() == [NOT_SENT]
    end.sandbox.world.clear_faults()
    ending.end_due(actor=WORKER)
    assert found() == [NOT_SENT]
    end.clock.advance(hours=1)
    ending.end_due(actor=WORKER)
    assert found() == [NOT_SENT, COVERED]


def test_a_deletion_that_a_person_requested_is_waited_for(end: End, linus: Person):
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    deletion = request_deletion(
        actor=person_actor(person=end.ada),
        credential=end.credential,
        connection_id=UUID(end.connection_id),
    )
    Credential.objects.update(policy=ApprovalPolicy.NONE)
    ending.end_due(actor=WORKER)
    assert (found(), causes_of_alerts()) == ([WAITING], [])
    lifecycle.withdraw(change_request=deletion, actor=person_actor(person=end.ada))
    end.clock.advance(minutes=16)
    ending.end_due(actor=WORKER)
    assert found() == [WITHDRAWN, COVERED]


def test_a_rate_limit_on_the_day_after_is_reported_once_it_has_lasted_an_hour(end: End):
    end.clock.at = end.clock.now().replace(hour=0, minute=1) - timedelta(days=1)
    end.sandbox.world.set_fault(fault=faults.rate_limited(reset="7"), method="GET")
    for _ in range(58):
        assert ending.end_due(actor=WORKER) == [end.given]
        end.clock.advance(minutes=1)
    assert causes_of_alerts() == []
    end.clock.advance(minutes=2)
    ending.end_due(actor=WORKER)
    assert causes_of_alerts() == ["rate_limited"]
    end.sandbox.world.clear_faults()
    end.clock.advance(minutes=15)
    ending.end_due(actor=WORKER)
    assert found() == [COVERED]


def test_other_data_types_that_change_again_are_shown_again(end: End):
    other_types(end)
    ending.end_due(actor=WORKER)
    end.sandbox.world.change_connection(
        connection_id=end.connection_id, connection_types=("audit", "logs", "metrics")
    )
    syncs.sync_credentials(credentials=[end.credential], actor=WORKER)
    ending.end_due(actor=WORKER)
    [outdated] = Deletion.objects.all()
    assert outdated.outcome == Outcome.STALE
    end.clock.advance(hours=1)
    ending.end_due(actor=WORKER)
    [waiting] = Deletion.objects.filter(settled_at=None)
    assert waiting.connection_types == ["audit", "logs", "metrics"]
    gone(end)
    syncs.sync_credentials(credentials=[end.credential], actor=WORKER)
    ending.end_due(actor=WORKER)
    waiting.refresh_from_db()
    assert waiting.outcome == Outcome.ALREADY_ABSENT


# --- People decide ------------------------------------------------------------------------------


def delete_it(end: End) -> None:
    ending.end_due(actor=WORKER)
    assert Deletion.objects.exists()


def change_it(end: End) -> None:
    changed = end.ask(RequestKind.CHANGE, types=["audit", "logs"], ends_on=None)
    assert changed.outcome == AccessOutcome.CHANGED


@pytest.mark.parametrize("act", [delete_it, change_it])
def test_what_followed_contradicts_no_access_that_was_never_verified(
    end: End, act: Callable[[End], None]
):
    assert end.given.verified_at is None
    act(end)
    due.run_due(actor=WORKER)
    end.given.refresh_from_db()
    verification = end.given.verified_at, end.given.contradicted_at, end.given.due_at
    assert verification == (None, None, None)


@pytest.mark.parametrize(
    ("approved_by", "sentence"),
    [(0, "No approval was required."), (1, "The access request covers this deletion.")],
)
def test_page_and_record_say_whether_someone_approved_the_deletion(
    end: End, client_of: Callable[[Person], Client], linus: Person, approved_by: int, sentence: str
):
    if approved_by:
        approved_again(end, policy=ApprovalPolicy.ONE, by=[linus])
    ending.end_due(actor=WORKER)
    deletion = Deletion.objects.get()
    assert (deletion.outcome, deletion.automatic) == (Outcome.DELETED, True)
    assert deletion.policy == (ApprovalPolicy.ONE if approved_by else ApprovalPolicy.NONE)
    confirmed = AuditEvent.objects.get(
        code=EventCode.DELETION_CONFIRMED, subject_id=str(deletion.pk)
    )
    assert confirmed.sentence.endswith(sentence)
    page = client_of(linus).get(f"/deletions/{deletion.pk}/").text
    assert ("Its approval covers this deletion." in page) == bool(approved_by)
    assert ("No approval was required." in page) == (not approved_by)


def test_a_refused_deletion_explains_nothing(end: End):
    end.sandbox.world.set_fault(fault=faults.RETURNS_403, method="DELETE")
    ending.end_due(actor=WORKER)
    assert Deletion.objects.get().outcome == Outcome.REFUSED
    end.sandbox.world.remove_connection(connection_id=end.connection_id)
    due.run_due(actor=WORKER)
    end.given.refresh_from_db()
    assert end.given.contradicted_at == end.clock.at


@pytest.fixture
def waiting(end: End, request: pytest.FixtureRequest) -> Deletion:
    """A deletion of other data types than approved, which needs one approval."""
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    other_types(end)
    ending.end_due(actor=WORKER)
    end.clock.advance(seconds=30 * DAY)
    due.run_due(actor=WORKER)
    [deletion] = Deletion.objects.all()
    # It doesn't expire.
    assert (deletion.state, deletion.policy) == (State.REQUESTED, ApprovalPolicy.ONE)
    return deletion


def approve(deletion: Deletion, *, by: Person) -> None:
    actor = person_actor(person=by)
    approvals.approve(change_request=deletion, actor=actor, digest=deletion.approval_digest)


def confirm(deletion: Deletion, *, by: Person) -> Deletion:
    deletion.refresh_from_db()
    actor = person_actor(person=by)
    return lifecycle.execute(change_request=deletion, actor=actor, confirmation="Payments US")


@pytest.mark.database
def test_an_approver_approves_and_any_operator_confirms(
    waiting: Deletion, linus: Person, grace: Person, end: End
):
    with pytest.raises(ConflictError, match="still needs approval"):
        confirm(waiting, by=grace)
    approve(waiting, by=linus)
    assert confirm(waiting, by=grace).outcome == Outcome.DELETED
    assert end.sandbox.world.deletes_executed(end.connection_id) == 1


def test_whoever_approved_it_does_not_confirm_it_alone(
    waiting: Deletion, root: Person, ada: Person
):
    approve(waiting, by=root)
    with pytest.raises(ConflictError, match="someone who didn't approve it"):
        confirm(waiting, by=root)
    # Ada, who had requested the access, is as good as any other.
    assert confirm(waiting, by=ada).outcome == Outcome.DELETED


def test_a_protected_connection_can_be_approved_and_deleted_once_it_is_unprotected(
    waiting: Deletion, ada: Person, grace: Person, linus: Person, root: Person, end: End
):
    protected(end)
    with pytest.raises(ConflictError, match="protected"):
        approve(waiting, by=linus)
    protection = protections.find_protection(waiting.key)
    assert protection
    protections.remove_protection(
        actor=person_actor(person=root), protection=protection, reason="closed"
    )
    approve(waiting, by=linus)
    assert confirm(waiting, by=grace).outcome == Outcome.DELETED


@pytest.mark.database
def test_the_database_counts_no_approval_by_who_confirms(waiting: Deletion, linus: Person):
    approve(waiting, by=linus)
    rows = Deletion.objects.filter(pk=waiting.pk)
    for confirmed_by, is_refused in ((linus, True), (None, False)):
        with (
            pytest.raises(IntegrityError, match="needs more approvals")
            if is_refused
            else nullcontext(),
            transaction.atomic(),
        ):
            rows.update(state=State.SENDING, confirmed_by=confirmed_by)


@pytest.mark.database
def test_an_approval_of_it_names_no_requester(waiting: Deletion, ada: Person, linus: Person):
    of = {
        "deletion": waiting,
        "approver": linus,
        "approver_name": "Linus",
        "decided_at": waiting.requested_at,
    }
    digest = waiting.approval_digest
    with pytest.raises(IntegrityError, match="must match"), transaction.atomic():
        Approval.objects.create(**of, decision="approved", digest=digest, requester=ada)
    Approval.objects.create(**of, decision="approved", digest=digest)


def waits_for(page: Any) -> str:
    """How many deletions wait for the reader."""
    [item] = [each for each in page.context["nav"].items if each.label == "Deletions"]
    return str(item.count) if item.is_waiting else ""


@pytest.mark.parametrize("policy", [ApprovalPolicy.NONE, ApprovalPolicy.ONE])
def test_each_page_says_that_it_waits_for_people(
    end: End,
    grace: Person,
    linus: Person,
    client_of: Callable[[Person], Client],
    policy: ApprovalPolicy,
):
    Credential.objects.update(policy=policy)
    other_types(end)
    ending.end_due(actor=WORKER)
    end.clock.advance(seconds=3 * DAY)
    deletion = Deletion.objects.get()
    url = f"/deletions/{deletion.pk}/"
    steps = [(grace, "Confirm…", "An Operator who can use the Payments US credential must confirm")]
    if policy == ApprovalPolicy.ONE:
        steps.insert(0, (linus, "Decide…", "Org Admin requests your approval"))
    for person, action, headline in steps:
        client = client_of(person)
        page = client.get(url)
        assert waits_for(page) == "1"
        assert headline in page.text
        assert "It was for logs, and the connection has other data types" in page.text
        [item] = [each for each in client.get("/").context["first"] if each.url == url]
        assert item.action == action
        if action == "Decide…":
            assert "Doesn't expire" in page.text
            approve(deletion, by=linus)
            # The numbers in the navigation are up to 15 seconds old.
            cache.clear()
            assert waits_for(client.get(url)) == ""
    exported = client_of(end.root).get("/deletions/export/?format=csv").getvalue()
    assert b",Org Admin," in exported
    given = client_of(grace).get(f"/access-requests/{end.given.pk}/")
    assert given.context["outcome"]["deletion_url"] == url


@pytest.mark.parametrize("act", ["decline", "withdraw"])
def test_what_people_decided_to_keep_is_left_to_them(
    waiting: Deletion, linus: Person, end: End, act: str
):
    actor = person_actor(person=linus)
    if act == "decline":
        approvals.decline(change_request=waiting, actor=actor, reason="Still needed.")
    else:
        lifecycle.withdraw(change_request=waiting, actor=actor)
    end.clock.advance(seconds=DAY)
    ending.end_due(actor=WORKER)
    assert Deletion.objects.count() == 1
    # It can be given a later end, after which it ends again.
    extension = end.ask(ends_on=end.clock.now().date() + timedelta(days=1))
    assert extension.state == State.REQUESTED


@pytest.mark.database
def test_break_glass_of_it_gets_a_late_approval(waiting: Deletion, grace: Person, linus: Person):
    grace.has_break_glass = True
    grace.save()
    broken = break_glass.break_glass(
        deletion=waiting,
        actor=person_actor(person=grace),
        break_glass_reason="Data leaks to the wrong org right now.",
        confirmation="Payments US",
    )
    assert broken.outcome == Outcome.DELETED
    break_glass.approve_late(deletion=broken, actor=person_actor(person=linus), note="Checked.")
    assert not broken.lacks_late_approval


def test_what_a_person_confirmed_is_not_sent_later_by_itself(end: End, grace: Person):
    other_types(end)
    ending.end_due(actor=WORKER)
    list_incomplete(end)
    unsent = confirm(Deletion.objects.get(), by=grace)
    assert (unsent.state, unsent.cause) == (State.REQUESTED, "listing_failed")
    end.sandbox.world.clear_faults()
    # Also if the end is looked at again.
    AccessRequest.objects.update(end_due_at=end.clock.at)
    ending.end_due(actor=WORKER)
    due.run_due(actor=WORKER)
    assert end.sandbox.world.deletes_received(end.connection_id) == 0
    assert confirm(unsent, by=grace).outcome == Outcome.DELETED


@pytest.mark.database
def test_approvals_that_expire_are_asked_for_again(waiting: Deletion, linus: Person, end: End):
    approve(waiting, by=linus)
    end.clock.advance(seconds=DAY + 60)
    due.run_due(actor=WORKER)
    waiting.refresh_from_db()
    assert waiting.outcome == Outcome.EXPIRED
    end.clock.advance(hours=1)
    ending.end_due(actor=WORKER)
    assert Deletion.objects.get(settled_at=None).state == State.REQUESTED


# --- Workers and the clock ----------------------------------------------------------------------


def assert_deleted_once(end: End) -> None:
    deletion = Deletion.objects.get()
    assert (deletion.outcome, deletion.attempts.count()) == (Outcome.DELETED, 1)
    assert end.sandbox.world.deletes_received(end.connection_id) == 1
    events = AuditEvent.objects.filter(code=EventCode.ACCESS_REQUEST_ENDED)
    assert (events.count(), causes_of_alerts()) == (1, [])


@pytest.mark.database
@pytest.mark.parametrize(
    ("module", "name"),
    [(fetching, "fetch"), (requesting, "request_at_end"), (sending, "send"), (sending, "claim")],
)
def test_a_second_worker_between_two_steps_of_the_first_changes_nothing(
    end: End, module: object, name: str
):
    end.just_before(module, name, lambda: ending.end_due(actor=WORKER))
    ending.end_due(actor=WORKER)
    assert_deleted_once(end)


@pytest.mark.database
@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one writer at a time.")
@pytest.mark.django_db(transaction=True)
def test_two_workers_at_once_delete_once(end: End):
    at_once([lambda: ending.end_due(actor=WORKER)] * 3)
    assert_deleted_once(end)


@pytest.mark.database
def test_one_that_cannot_end_delays_no_other(end: End, root: Person):
    other = store_credential(end.sandbox, "Labs EU")
    end.clock.advance(seconds=1)
    snapshot = other.snapshots.filter(source_org_name="Labs EU").first()
    assert snapshot
    changed = request_for(
        actor=person_actor(person=root),
        pair=OrgPair(snapshot.site, snapshot.source_org_id, snapshot.sink_org_id),
        kind=RequestKind.CHANGE,
        wanted={
            "types": ["traces"],
            "owner_text": "Labs",
            "purpose": "tests",
            "ends_on": end.clock.now().date(),
        },
    )
    assert changed.outcome == AccessOutcome.CHANGED
    end.clock.advance(seconds=2 * DAY)
    another_id(end)
    assert ending.end_due(actor=WORKER) == [end.given, changed]
    assert Deletion.objects.get().connection_id == changed.connection_id


@pytest.mark.database
def test_access_without_an_end_stays(create: RequestAccess, clock: SettableClock):
    create()
    clock.advance(seconds=400 * DAY)
    assert ending.end_due(actor=WORKER) == []
