"""Moving a connection: every cell of what a DELETE, the list after it and a POST can lead to."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.db import Error as DatabaseError
from django.db import connection, transaction

from connections import audit
from connections.access.actor import WORKER, command_actor, person_actor
from connections.change_requests import (
    approvals,
    lifecycle,
    reconciliation,
    sending,
    verification,
)
from connections.core.causes import Cause
from connections.core.errors import BlockedError, ConflictError, InvalidInputError
from connections.credentials import retirement
from connections.datadog.responses import WriteResponse
from connections.inventory import protections
from connections.models import (
    AccessRequest,
    Agreement,
    ApprovalPolicy,
    AuditEvent,
    Credential,
    OrgPair,
    Person,
    RequestKind,
)
from connections.operations import due
from sandbox import faults
from sandbox.entities import Connection, User, make_user
from sandbox.faults import Fault
from sandbox.server import SandboxServer
from sandbox.world import World
from tests.support.access_requests import request_for
from tests.support.clock import SettableClock
from tests.support.sandbox import connection_between, key_pair_of, org_named

pytestmark = pytest.mark.django_db

migration = import_module("connections.migrations.0005_corrections")

WITHOUT_EFFECT: "Result" = ("no_effect", "", Cause.LISTINGS_AGREE)
DELETING, CREATING = Cause.MOVE_DELETING, Cause.MOVE_CREATING
# State, outcome and cause, as exports have them.
type Result = tuple[str, str, str]
CREATED: Result = ("settled", "created", "")


@dataclass(frozen=True, kw_only=True)
class Mover:
    """Ada moves Payments US → Group SOC to a service account's keys; Linus approves it."""

    ada: Person
    linus: Person
    pair: OrgPair
    clock: SettableClock
    world: World

    def request(self) -> AccessRequest:
        return request_for(
            actor=person_actor(person=self.ada),
            pair=self.pair,
            kind=RequestKind.MOVE,
            wanted={"owner_text": "SOC team", "purpose": "incident response"},
        )

    def approve(self, access_request: AccessRequest) -> None:
        approvals.approve(
            change_request=access_request,
            actor=person_actor(person=self.linus),
            digest=access_request.approval_digest,
            approval_round=access_request.approval_round,
        )

    def confirm(self, access_request: AccessRequest) -> AccessRequest:
        actor = person_actor(person=self.ada)
        lifecycle.execute(change_request=access_request, actor=actor, confirmation="Group SOC")
        access_request.refresh_from_db()
        return access_request

    def move(self, **answers: Fault | None) -> AccessRequest:
        """Request, approve and confirm it. `answers` are the faults of DELETE, POST and list."""
        access_request = self.request()
        if not access_request.needs_approval:
            return access_request
        self.approve(access_request)
        for name, fault in answers.items():
            if fault and name == "between":
                self.world.set_fault(fault=fault, operation="list", after=1)
            elif fault:
                self.world.set_fault(fault=fault, method=name.upper())
        return self.confirm(access_request)

    def work(self, access_request: AccessRequest, *, minutes: float = 0) -> Result:
        """What is stored once the worker has done what is due until this time has passed."""
        until = self.clock.at + timedelta(minutes=minutes)
        for _ in range(100):
            access_request.refresh_from_db()
            due_at = access_request.due_at
            if access_request.is_settled or due_at is None or due_at > until:
                break
            self.clock.at = max(self.clock.at, due_at)
            due.run_due(actor=WORKER)
        self.clock.at = max(self.clock.at, until)
        return self.stored(access_request)

    def stored(self, access_request: AccessRequest) -> Result:
        access_request.refresh_from_db()
        return access_request.state, access_request.outcome, access_request.reported_cause

    def sent(self) -> list[str]:
        """The methods of the requests that could change something, as Datadog received them."""
        return [each.method for each in self.world.requests() if each.method != "GET"]

    def found(self) -> Connection:
        return connection_between(self.world, "Payments US", "Group SOC")

    def connect(self, *types: str, by: User | None = None, at: datetime | None = None) -> None:
        """Someone else, or this user, connects the pair."""
        self.world.add_connection(
            source_org=org_named(self.world, "Payments US"),
            sink_org=org_named(self.world, "Group SOC"),
            connection_types=types,
            created_by=by,
            created_at=at or self.clock.at,
        )

    def change(self) -> None:
        """Someone else sets other data types."""
        self.world.change_connection(connection_id=self.found().id, connection_types=("audit",))

    def recreate(self) -> None:
        """Someone else deletes the connection and creates it again."""
        old = self.found().id
        self.world.remove_connection(connection_id=old)
        self.world.recreate_connection(connection_id=old)

    def is_listed(self) -> bool:
        """Whether Datadog has a connection of the pair."""
        pairs = {(each.source_org.name, each.sink_org.name) for each in self.world.connections()}
        return ("Payments US", "Group SOC") in pairs


def alarms() -> int:
    return AuditEvent.objects.filter(code="access_request.interrupted").count()


@pytest.fixture
def mover(
    request: pytest.FixtureRequest,
    ada: Person,
    linus: Person,
    credential: Credential,
    listed_pair: OrgPair,
    clock: SettableClock,
    sandbox: SandboxServer,
) -> Mover:
    verified = [{"check": "permissions", "ok": True}]
    policy = getattr(request, "param", ApprovalPolicy.ONE)
    Credential.objects.update(policy=policy, verification=verified)
    return Mover(ada=ada, linus=linus, pair=listed_pair, clock=clock, world=sandbox.world)


@pytest.mark.database
@pytest.mark.parametrize("mover", [ApprovalPolicy.NONE, ApprovalPolicy.ONE], indirect=True)
def test_a_move_is_one_delete_and_one_post_under_one_approval(mover: Mover):
    old = mover.found()
    moved = mover.move()
    assert mover.stored(moved) == CREATED
    assert mover.sent() == ["DELETE", "POST"]
    new = mover.found()
    assert new.created_by == key_pair_of(mover.world, "Payments US").user
    assert (str(moved.moved_from), str(moved.connection_id)) == (old.id, new.id)
    assert new.id != old.id
    assert new.connection_types == old.connection_types
    attempts = [(each.number, each.method, each.approval_round) for each in moved.attempts.all()]
    assert attempts == [(1, "DELETE", 1), (2, "POST", 1)]
    assert Agreement.objects.get().connection_types == []
    mover.clock.advance(seconds=61)
    verification.verify(change_request=moved, actor=WORKER)
    moved.refresh_from_db()
    assert moved.verified_at == mover.clock.at
    assert not alarms()


# --- The DELETE ---


@dataclass(frozen=True, kw_only=True)
class Cell:
    """The answers, what is stored at once and after some minutes, and what was sent."""

    delete: Fault | None = None
    between: Fault | None = None
    post: Fault | None = None
    first: Result = CREATED
    minutes: float = 10
    then: Result = CREATED
    sent: str = "DELETE POST"
    alarms: int = 0

    @property
    def is_still_listed(self) -> bool:
        return self.then[2] == Cause.STILL_LISTED


def unknown(step: Cause) -> Result:
    return ("unknown", "", step)


REFUSED: Result = ("settled", "refused", Cause.FORBIDDEN)
GONE: Result = ("settled", "gone", Cause.NOT_FOUND)
WAITING: Result = ("waiting", "", CREATING)
INTERRUPTED: Result = ("approved", "", CREATING)
LIMITED = faults.rate_limited(reset="7")
CELLS = {
    "delete refused": Cell(delete=faults.RETURNS_403, first=REFUSED, then=REFUSED, sent="DELETE"),
    "delete 404": Cell(delete=faults.ANOTHER_DELETES_FIRST, first=GONE, then=GONE, sent="DELETE"),
    "delete lost before": Cell(
        delete=faults.RESET_AFTER_READING,
        first=unknown(DELETING),
        then=WITHOUT_EFFECT,
        sent="DELETE",
    ),
    "delete lost after": Cell(
        delete=faults.EXECUTES_THEN_RESET,
        first=unknown(DELETING),
    ),
    "delete 500 after": Cell(delete=faults.EXECUTES_THEN_500, first=unknown(DELETING)),
    "delete without effect": Cell(
        delete=faults.RETURNS_200_WITHOUT_DELETING,
        first=WAITING,
        minutes=61,
        then=("settled", "not_sent", Cause.STILL_LISTED),
        sent="DELETE",
        alarms=2,
    ),
    "list incomplete": Cell(
        between=faults.INCOMPLETE_PAGE, first=WAITING, then=WAITING, sent="DELETE"
    ),
    "lists refused for 16 minutes": Cell(
        between=faults.RETURNS_403,
        first=WAITING,
        minutes=16,
        then=INTERRUPTED,
        sent="DELETE",
        alarms=1,
    ),
    "lists refused for an hour": Cell(
        between=faults.RETURNS_403,
        first=WAITING,
        minutes=61,
        then=("settled", "not_sent", Cause.ACCESS_GONE),
        sent="DELETE",
        alarms=2,
    ),
    "post refused": Cell(post=faults.RETURNS_403, first=INTERRUPTED, then=INTERRUPTED, alarms=1),
    "post without destination": Cell(
        post=faults.RETURNS_404, first=INTERRUPTED, then=INTERRUPTED, alarms=1
    ),
    "post refused, an hour later": Cell(
        post=faults.RETURNS_403,
        first=INTERRUPTED,
        minutes=61,
        then=("settled", "refused", Cause.ACCESS_GONE),
        alarms=2,
    ),
    "post 409": Cell(post=faults.RETURNS_409, first=INTERRUPTED, then=INTERRUPTED, alarms=1),
    "post 409, an hour later": Cell(
        post=faults.RETURNS_409,
        first=INTERRUPTED,
        minutes=61,
        then=("settled", "refused", Cause.ACCESS_GONE),
        alarms=2,
    ),
    "post limited": Cell(
        post=LIMITED, first=WAITING, minutes=0.1, then=WAITING, sent="DELETE POST"
    ),
    "post lost before": Cell(
        post=faults.RESET_AFTER_READING, first=unknown(CREATING), then=INTERRUPTED, alarms=2
    ),
    "post lost before, an hour later": Cell(
        post=faults.RESET_AFTER_READING,
        first=unknown(CREATING),
        minutes=80,
        then=WITHOUT_EFFECT,
        alarms=3,
    ),
    "post lost after": Cell(
        post=faults.EXECUTES_THEN_RESET,
        first=unknown(CREATING),
        then=("settled", "created", Cause.LISTINGS_AGREE),
        alarms=1,
    ),
}


@pytest.mark.database(every=4)
@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_each_answer_leads_to_what_is_true(mover: Mover, cell: Cell):
    moved = mover.move(delete=cell.delete, between=cell.between, post=cell.post)
    assert mover.stored(moved) == cell.first
    assert mover.work(moved, minutes=cell.minutes) == cell.then
    assert " ".join(mover.sent()) == cell.sent
    assert alarms() == cell.alarms
    is_deleted = (moved.removed_at is not None and not cell.is_still_listed) or cell.then == GONE
    assert mover.is_listed() == (not is_deleted or cell.then[1] == "created")
    assert Agreement.objects.exists() == (cell.then[1] == "created")


def test_a_post_that_worked_without_effect_is_told_at_once_and_not_sent_again(mover: Mover):
    moved = mover.move(post=Fault(name="nothing", executes=False, status=200, body="{}"))
    assert (mover.stored(moved), alarms()) == (CREATED, 0)
    mover.clock.advance(seconds=2)
    verification.verify(change_request=moved, actor=WORKER)
    mover.clock.advance(seconds=60)
    verification.verify(change_request=moved, actor=WORKER)
    sentences = [
        event.sentence
        for event in audit.events_of(subject=moved)
        if event.code == audit.EventCode.ACCESS_REQUEST_INTERRUPTED
    ]
    assert len(sentences) == 1
    assert "might have been interrupted since" in sentences[0]
    assert (mover.stored(moved), mover.sent()) == (CREATED, ["DELETE", "POST"])


# --- What others do between the DELETE and the POST ---


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        (("logs", "metrics"), ("settled", "already_exists", "")),
        (("audit",), ("settled", "stale", Cause.CHANGED_WHEN_READ)),
    ],
)
def test_what_others_connect_meanwhile_is_not_claimed(
    mover: Mover, types: tuple[str, ...], expected: Result
):
    moved = mover.move(between=faults.RETURNS_403)
    mover.world.clear_faults()
    mover.connect(*types)
    assert mover.work(moved, minutes=2) == expected
    assert (mover.sent(), alarms()) == (["DELETE"], 0)


def test_a_list_that_lags_behind_the_delete_is_read_again(mover: Mover):
    old = mover.found()
    moved = mover.move(delete=faults.RETURNS_200_WITHOUT_DELETING)
    mover.world.remove_connection(connection_id=old.id)
    assert mover.work(moved, minutes=1) == CREATED


# --- Confirming the POST again ---


def test_the_keys_that_the_post_needs_are_not_erased(mover: Mover, credential: Credential):
    moved = mover.move(post=faults.RETURNS_403)
    with pytest.raises(ConflictError, match="is approved"):
        retirement.retire_credential(
            actor=command_actor(), credential=credential, confirmation=credential.name
        )
    assert mover.stored(moved) == INTERRUPTED


def test_within_an_hour_the_post_is_confirmed_again_without_new_approvals(mover: Mover):
    moved = mover.move(post=faults.RETURNS_403)
    mover.world.clear_faults()
    mover.clock.advance(minutes=59)
    assert mover.stored(mover.confirm(moved)) == CREATED
    assert mover.sent() == ["DELETE", "POST", "POST"]
    assert {each.approval_round for each in moved.attempts.all()} == {1}


def test_a_list_before_the_second_post_shows_that_the_first_one_worked(mover: Mover):
    moved = mover.move(post=faults.RESET_AFTER_READING)
    sent_at = mover.clock.at
    assert mover.work(moved, minutes=10) == INTERRUPTED
    owner = key_pair_of(mover.world, "Payments US").user
    mover.connect("logs", "metrics", by=owner, at=sent_at)
    found = mover.found()
    assert mover.stored(mover.confirm(moved)) == ("settled", "created", Cause.CHANGED_WHEN_READ)
    assert str(moved.connection_id) == found.id
    assert mover.sent() == ["DELETE", "POST"]


@pytest.mark.database
def test_after_an_hour_the_post_needs_new_approvals(mover: Mover):
    moved = mover.move(post=faults.RESET_AFTER_READING)
    assert mover.work(moved, minutes=80) == WITHOUT_EFFECT
    mover.world.clear_faults()
    with pytest.raises(ConflictError, match="needs approval again"):
        mover.confirm(moved)
    mover.approve(moved)
    assert mover.stored(mover.confirm(moved)) == CREATED
    assert [each.approval_round for each in moved.attempts.all()] == [1, 1, 2]


@pytest.mark.database
def test_a_delete_without_effect_needs_new_approvals(mover: Mover):
    moved = mover.move(delete=faults.RESET_AFTER_READING)
    assert mover.work(moved, minutes=10) == WITHOUT_EFFECT
    mover.world.clear_faults()
    with pytest.raises(ConflictError, match="needs approval again"):
        mover.confirm(moved)
    mover.approve(moved)
    assert mover.stored(mover.confirm(moved)) == CREATED
    rounds = [(each.method, each.approval_round) for each in moved.attempts.all()]
    assert rounds == [("DELETE", 1), ("DELETE", 2), ("POST", 2)]


def test_a_delete_that_is_only_known_to_have_worked_hours_later_is_not_followed(mover: Mover):
    moved = mover.move(delete=faults.EXECUTES_THEN_RESET)
    mover.world.set_fault(fault=faults.RETURNS_403, operation="list")
    mover.work(moved, minutes=70)
    mover.world.clear_faults()
    assert mover.work(moved, minutes=120) == ("settled", "gone", Cause.LISTINGS_AGREE)
    assert (mover.sent(), alarms()) == (["DELETE"], 1)


def test_a_connection_that_is_gone_long_after_a_delete_is_not_created(mover: Mover):
    """Nothing is sent for a confirmation that is hours old, but everyone is told."""
    moved = mover.move(delete=faults.RESET_AFTER_READING)
    assert mover.work(moved, minutes=10) == WITHOUT_EFFECT
    mover.world.remove_connection(connection_id=mover.found().id)
    assert mover.work(moved, minutes=70) == ("settled", "gone", Cause.LATER_LISTING)
    assert (mover.sent(), alarms()) == (["DELETE"], 1)


# --- Late responses, and processes that end ---


@pytest.mark.database
def test_a_late_200_to_the_delete_is_followed_by_one_post(
    mover: Mover, monkeypatch: pytest.MonkeyPatch
):
    send_claimed = sending.send_claimed

    def wait(claimed: sending.ClaimedAttempt) -> WriteResponse:
        response = send_claimed(claimed)
        mover.clock.advance(seconds=61)
        other = AccessRequest.objects.get()
        assert reconciliation.expire_lost_claim(change_request=other, actor=WORKER)
        monkeypatch.setattr(sending, "send_claimed", send_claimed)
        return response

    monkeypatch.setattr(sending, "send_claimed", wait)
    moved = mover.move()
    assert mover.stored(moved) == unknown(DELETING)
    assert mover.work(moved, minutes=5) == CREATED
    assert mover.sent() == ["DELETE", "POST"]


@pytest.mark.database
def test_two_processes_send_one_post(mover: Mover):
    moved = mover.move(between=faults.RETURNS_403)
    mover.world.clear_faults()
    other = AccessRequest.objects.get()
    moved.refresh_from_db()
    sending.send(change_request=other, actor=WORKER)
    sending.send(change_request=moved, actor=WORKER)
    assert mover.sent() == ["DELETE", "POST"]


# --- Whose keys ---


def test_only_keys_of_a_service_account_that_can_write_move(
    mover: Mover, subtests: pytest.Subtests
):
    for values, words in (
        ({"key_owner_is_service_account": False, "person_can_create": True}, "belong to a person"),
        ({"key_owner_is_service_account": None}, "It isn't known yet"),
        ({"verification": [{"check": "permissions", "ok": False}]}, "lacks org_connections_write"),
        ({"verification": []}, "lacks org_connections_write"),
    ):
        with subtests.test(str(values)), transaction.atomic():
            Credential.objects.update(**values)
            with pytest.raises(InvalidInputError) as refused:
                mover.request()
            assert words in refused.value.fields["credential"]
            transaction.set_rollback(True)


@pytest.mark.parametrize(
    ("owner", "cause"),
    [
        ({"permissions": ("org_connections_read",)}, Cause.WRITE_NOT_GRANTED),
        ({"user": make_user(name="Dana Keller")}, Cause.CREATOR_IS_PERSON),
    ],
    ids=["role", "person"],
)
def test_the_list_before_the_delete_also_reads_what_the_keys_can_do(
    mover: Mover, owner: dict[str, Any], cause: Cause
):
    access_request = mover.request()
    mover.approve(access_request)
    pair = key_pair_of(mover.world, "Payments US")
    mover.world.revoke(pair)
    mover.world.add_key_pair(
        org=pair.org, api_key=pair.api_key, application_key=pair.application_key, **owner
    )
    assert mover.stored(mover.confirm(access_request)) == ("settled", "not_sent", cause)
    assert not mover.sent()


def test_a_list_that_lagged_before_the_worker_stopped_proves_nothing_later(mover: Mover):
    old = mover.found()
    moved = mover.move(delete=faults.RETURNS_200_WITHOUT_DELETING)
    mover.world.remove_connection(connection_id=old.id)
    mover.clock.advance(minutes=20)
    assert mover.work(moved) == INTERRUPTED
    assert alarms() == 1
    mover.world.clear_faults()
    assert mover.stored(mover.confirm(moved)) == CREATED


def test_a_person_who_lost_the_right_while_a_list_lags_stops_the_post_with_an_alarm(mover: Mover):
    old = mover.found()
    moved = mover.move(delete=faults.RETURNS_200_WITHOUT_DELETING)
    mover.world.remove_connection(connection_id=old.id)
    mover.linus.groups.clear()
    assert mover.work(moved, minutes=2) == INTERRUPTED
    assert (mover.sent(), alarms()) == (["DELETE"], 1)


def test_keys_withdrawn_after_the_delete_end_in_an_alarm(mover: Mover):
    moved = mover.move(between=faults.RETURNS_403)
    mover.world.clear_faults()
    mover.world.revoke(key_pair_of(mover.world, "Payments US"))
    assert mover.work(moved, minutes=16) == INTERRUPTED
    assert mover.work(moved, minutes=61) == ("settled", "not_sent", Cause.ACCESS_GONE)
    assert (mover.sent(), alarms()) == (["DELETE"], 2)


def test_a_person_who_lost_the_right_stops_the_post_with_an_alarm(mover: Mover):
    moved = mover.move(between=faults.RETURNS_403)
    mover.world.clear_faults()
    mover.linus.groups.clear()
    assert mover.work(moved, minutes=2) == INTERRUPTED
    moved.refresh_from_db()
    assert moved.cause == Cause.PERSON_LOST_RIGHT
    assert (mover.sent(), alarms()) == (["DELETE"], 1)


# --- Before sending ---


def test_a_protected_connection_is_not_moved(mover: Mover):
    access_request = mover.request()
    key = access_request.key
    protections.protect_connection(actor=person_actor(person=mover.linus), key=key, reason="audit")
    with pytest.raises(ConflictError, match="protected"):
        mover.approve(access_request)
    lifecycle.withdraw(change_request=access_request, actor=person_actor(person=mover.ada))
    with pytest.raises(BlockedError, match="audit"):
        mover.request()


def test_a_connection_that_was_protected_after_the_approval_is_not_moved(mover: Mover):
    access_request = mover.request()
    mover.approve(access_request)
    actor = person_actor(person=mover.linus)
    protections.protect_connection(actor=actor, key=access_request.key, reason="audit")
    with pytest.raises(BlockedError, match="protected"):
        mover.confirm(access_request)
    assert not mover.sent()


def test_keys_that_can_no_longer_write_move_nothing(mover: Mover):
    access_request = mover.request()
    mover.approve(access_request)
    Credential.objects.update(verification=[{"check": "permissions", "ok": False}])
    with pytest.raises(BlockedError, match="lacks org_connections_write"):
        mover.confirm(access_request)
    assert not mover.sent()


def unlistable(mover: Mover) -> None:
    mover.world.set_fault(fault=faults.INCOMPLETE_PAGE, operation="list")


@pytest.mark.parametrize(
    ("happening", "expected"),
    [
        (Mover.change, ("settled", "stale", Cause.CHANGED_WHEN_READ)),
        (Mover.recreate, ("settled", "stale", Cause.ABSENT_WHEN_READ)),
        (unlistable, ("approved", "", Cause.LISTING_FAILED)),
    ],
)
def test_only_the_reviewed_connection_is_deleted(
    mover: Mover, happening: Callable[[Mover], None], expected: Result
):
    access_request = mover.request()
    mover.approve(access_request)
    happening(mover)
    assert mover.stored(mover.confirm(access_request)) == expected
    assert not mover.sent()


def test_a_failed_check_is_never_skipped(mover: Mover):
    access_request = mover.request()
    mover.approve(access_request)
    mover.world.set_fault(fault=faults.INCOMPLETE_PAGE, operation="list")
    mover.confirm(access_request)
    lifecycle.execute(
        change_request=access_request,
        actor=person_actor(person=mover.ada),
        confirmation="Group SOC",
        skip_recheck=True,
    )
    assert mover.stored(access_request) == ("approved", "", Cause.LISTING_FAILED)
    assert not mover.sent()


# --- What the database refuses ---


@pytest.mark.database
def test_the_database_refuses_what_no_service_does(mover: Mover, subtests: pytest.Subtests):
    moved = mover.move(between=faults.RETURNS_403)
    table = AccessRequest._meta.db_table
    for columns, words in {
        "removed_at = NULL, step = 'DELETE'": "Only a DELETE",
        "step = 'DELETE'": "follows from when its connection was deleted",
        "removed_at = '2030-01-01 00:00:00+00:00'": "Only a DELETE",
        "moved_from = NULL": "What was requested is kept",
        "approval_round = 2, state = 'unknown'": "covers one attempt",
    }.items():
        with subtests.test(columns), pytest.raises(DatabaseError, match=words):
            run(f"UPDATE {table} SET {columns}")  # noqa: S608 - our own words
    # The old connection is deleted, so only a POST is left.
    delete = moved.attempts.get()
    delete.pk, delete.number, delete.epoch = None, 2, 2
    with pytest.raises(DatabaseError, match="It must be what was requested"), transaction.atomic():
        delete.save(force_insert=True)


@pytest.mark.database
def test_the_database_lets_no_post_precede_the_delete(mover: Mover):
    access_request = mover.request()
    mover.approve(access_request)
    removed = "removed_at = requested_at, step = 'POST'"
    with pytest.raises(DatabaseError, match="Only a DELETE removes a connection"):
        run(f"UPDATE {AccessRequest._meta.db_table} SET {removed}")  # noqa: S608
    with pytest.raises(DatabaseError, match="What was requested is kept"):
        run(f"UPDATE {AccessRequest._meta.db_table} SET connection_id = request_id")  # noqa: S608
    values = {"number": 1, "epoch": 1, "was_rechecked": True, "claimed_at": mover.clock.at}
    for method in ("POST", "PATCH"):
        with pytest.raises(DatabaseError, match="what was requested"), transaction.atomic():
            access_request.attempts.create(method=method, **values)
    access_request.attempts.create(method="DELETE", verdict="refused", **values)
    with pytest.raises(DatabaseError, match="Only a DELETE removes a connection"):
        run(
            f"UPDATE {AccessRequest._meta.db_table} "  # noqa: S608
            f"SET {removed}, state = 'waiting'"
        )


@pytest.mark.database
def test_a_move_that_was_open_at_the_upgrade_goes_on(mover: Mover):
    moved = mover.move(post=faults.RETURNS_403)
    table = AccessRequest._meta.db_table
    of_table = f" ON {table}" if connection.vendor == "postgresql" else ""
    run(f"DROP TRIGGER {table}_step_update{of_table}")
    old = """step = '', cause = 'move_creating', cause_details = '{"cause": "forbidden"}'"""
    run(f"UPDATE {table} SET {old}")  # noqa: S608 - our own words
    migration.store_steps(apps, None)
    assert mover.stored(moved) == INTERRUPTED
    assert moved.reason_code == Cause.FORBIDDEN
    mover.world.clear_faults()
    assert mover.stored(mover.confirm(moved)) == CREATED


def run(statement: str) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
