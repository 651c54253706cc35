"""While Org Admin is on hold, it changes nothing by itself; afterwards it does what was due."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import pytest
from django.core.exceptions import PermissionDenied
from django.db import Error as DatabaseError
from django.db import connection, transaction

from connections.access.actor import WORKER, Actor, command_actor, person_actor
from connections.access_reviews.repeating import change_repetition
from connections.change_requests import approvals, lifecycle, sending
from connections.change_requests.sending import ClaimedAttempt
from connections.core.errors import InvalidInputError
from connections.datadog.responses import WriteResponse
from connections.evidence.records import kind_of
from connections.inventory import protections
from connections.models import (
    AccessRequest,
    AccessReview,
    ApprovalPolicy,
    AuditEvent,
    Credential,
    Deletion,
    EventCode,
    Hold,
    OrgPair,
    Outcome,
    Person,
    RequestKind,
    State,
)
from connections.operations import holds
from connections.operations.worker import Worker
from sandbox import faults
from sandbox.server import SandboxServer
from tests.access_requests.conftest import credential, free_pair, listed_pair
from tests.access_reviews.support import start
from tests.batches.support import add_connections, draft, request, sync_now
from tests.evidence.columns import assert_each_stored_column_counts
from tests.support.access_requests import request_for
from tests.support.clock import SettableClock
from tests.support.deletions import request_deletion
from tests.support.sandbox import connection_between

__all__ = ["credential", "free_pair", "listed_pair"]
pytestmark = [pytest.mark.django_db, pytest.mark.database]

TERMS = {"types": ["logs"], "owner_text": "SOC team", "purpose": "incident response"}


@dataclass(frozen=True, kw_only=True)
class Installation:
    """What the cases act on."""

    ada: Person
    linus: Person
    edith: Person
    credential: Credential
    pair: OrgPair
    clock: SettableClock
    sandbox: SandboxServer

    @property
    def actor(self) -> Actor:
        return person_actor(person=self.ada)

    def work(self, *, seconds: float) -> None:
        """Let time pass and a worker do all that is due then."""
        self.clock.advance(seconds=seconds)
        Worker().work_once()

    def connection_id(self) -> str:
        return connection_between(self.sandbox.world, "Payments US", "Group SOC").id

    def writes(self) -> int:
        """How many requests that change something Datadog received."""
        return sum(each.method != "GET" for each in self.sandbox.world.requests())

    def give_access(self) -> None:
        """Access that is given for three days."""
        self.sandbox.world.remove_connection(connection_id=self.connection_id())
        sync_now(self.credential)
        ends_on = self.clock.now().date() + timedelta(days=3)
        request_for(actor=self.actor, pair=self.pair, wanted=TERMS | {"ends_on": ends_on})  # type: ignore[arg-type]

    def approved_move(self) -> AccessRequest:
        verified = [{"check": "permissions", "ok": True}]
        Credential.objects.update(policy=ApprovalPolicy.ONE, verification=verified)
        move = request_for(
            actor=self.actor,
            pair=self.pair,
            kind=RequestKind.MOVE,
            wanted={"owner_text": "SOC team", "purpose": "incident response"},
        )
        approvals.approve(
            change_request=move,
            actor=person_actor(person=self.linus),
            digest=move.approval_digest,
            approval_round=move.approval_round,
        )
        return move

    def confirm_move(self, move: AccessRequest) -> None:
        lifecycle.execute(change_request=move, actor=self.actor, confirmation="Group SOC")


@pytest.fixture
def installation(
    ada: Person,
    linus: Person,
    edith: Person,
    credential: Credential,
    listed_pair: OrgPair,
    clock: SettableClock,
    sandbox: SandboxServer,
) -> Installation:
    """An installation with one connection and one credential."""
    return Installation(
        ada=ada,
        linus=linus,
        edith=edith,
        credential=credential,
        pair=listed_pair,
        clock=clock,
        sandbox=sandbox,
    )


def put_on_hold() -> None:
    assert holds.put_on_hold(kind=Hold.Kind.BY_HAND, reason="We look first.", actor=command_actor())


def release() -> None:
    holds.release_holds(actor=command_actor())


def recorded(code: str) -> bool:
    return AuditEvent.objects.filter(code=code).exists()


# --- What Org Admin does by itself --------------------------------------------------------------


def end_access(on: Installation) -> Callable[[], bool]:
    on.give_access()
    return lambda: Deletion.objects.filter(outcome=Outcome.DELETED).exists()


def alert_that_access_did_not_end(on: Installation) -> Callable[[], bool]:
    on.give_access()
    sync_now(on.credential)
    snapshot = on.credential.snapshots.get(is_current=True, sink_org_name="Group SOC")
    root = Person.objects.create_superuser("chief")
    protections.protect_connection(
        actor=person_actor(person=root), key=snapshot.key, reason="Audit."
    )
    return lambda: recorded("access_request.not_ended")


def repeat_a_delete(on: Installation) -> Callable[[], bool]:
    on.sandbox.world.set_fault(fault=faults.rate_limited(reset="7"), method="DELETE")
    deletion = request_deletion(
        actor=on.actor, credential=on.credential, connection_id=on.connection_id()
    )
    assert deletion.state == State.WAITING
    on.sandbox.world.clear_faults()
    return lambda: Deletion.objects.filter(outcome=Outcome.DELETED).exists()


def post_of_a_move(on: Installation) -> Callable[[], bool]:
    move = on.approved_move()
    on.sandbox.world.set_fault(fault=faults.INCOMPLETE_PAGE, operation="list", after=1)
    on.confirm_move(move)
    on.sandbox.world.clear_faults()
    assert on.writes() == 1
    return lambda: recorded("access_request.settled")


def rows_of_a_bulk_deletion(on: Installation) -> Callable[[], bool]:
    connections = add_connections(on.sandbox, 2)
    sync_now(on.credential)
    request(draft(on.ada, connections), on.ada)
    return lambda: Deletion.objects.filter(outcome=Outcome.DELETED).count() == 2


def repeated_review(on: Installation) -> Callable[[], bool]:
    edith = person_actor(person=on.edith)
    change_repetition(review=start(on.edith, days=7), actor=edith, repeat_months=1)
    return lambda: AccessReview.objects.exclude(repeats=None).exists()


DAYS = 86_400.0
# Each with the time after which it is due.
ACTIONS: dict[str, tuple[Callable[[Installation], Callable[[], bool]], float]] = {
    "end of access": (end_access, 5 * DAYS),
    "alert that access did not end": (alert_that_access_did_not_end, 5 * DAYS),
    "DELETE after a 429": (repeat_a_delete, 61),
    "POST of a move": (post_of_a_move, 61),
    "rows of a bulk deletion": (rows_of_a_bulk_deletion, 1),
    "repeated review": (repeated_review, 32 * DAYS),
}


@pytest.mark.parametrize(("prepare", "seconds"), ACTIONS.values(), ids=ACTIONS)
def test_nothing_starts_by_itself_until_the_hold_is_released(
    installation: Installation,
    prepare: Callable[[Installation], Callable[[], bool]],
    seconds: float,
) -> None:
    is_done = prepare(installation)
    put_on_hold()
    writes = installation.writes()
    installation.work(seconds=seconds)
    installation.work(seconds=61)
    assert not is_done()
    assert installation.writes() == writes
    release()
    installation.work(seconds=61)
    installation.work(seconds=15 * 60 if seconds >= DAYS else 61)
    assert is_done()


# --- What people do -----------------------------------------------------------------------------


def test_what_a_person_confirms_is_sent_once(installation: Installation) -> None:
    put_on_hold()
    installation.clock.advance(seconds=1)
    repeat_a_delete(installation)
    installation.work(seconds=61)
    assert installation.writes() == 1


def test_a_move_that_a_person_confirms_is_sent_whole(installation: Installation) -> None:
    put_on_hold()
    installation.clock.advance(seconds=1)
    installation.confirm_move(installation.approved_move())
    assert installation.writes() == 2


def test_a_bulk_deletion_that_a_person_confirms_is_sent(installation: Installation) -> None:
    put_on_hold()
    installation.clock.advance(seconds=1)
    is_done = rows_of_a_bulk_deletion(installation)
    installation.work(seconds=1)
    assert is_done()


def test_what_was_claimed_before_is_sent_and_recorded(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = sending.send_claimed

    def put_on_hold_and_send(claimed: ClaimedAttempt) -> WriteResponse:
        put_on_hold()
        return send(claimed)

    monkeypatch.setattr(sending, "send_claimed", put_on_hold_and_send)
    deletion = request_deletion(
        actor=installation.actor,
        credential=installation.credential,
        connection_id=installation.connection_id(),
    )
    assert deletion.outcome == Outcome.DELETED


# --- The hold itself ----------------------------------------------------------------------------


def test_a_hold_can_only_be_released(installation: Installation) -> None:
    put_on_hold()
    for change in (
        "DELETE FROM connections_hold",
        "UPDATE connections_hold SET reason = 'Another.'",
        "UPDATE connections_hold SET released_at = NULL",
    ):
        with (
            pytest.raises(DatabaseError, match="only be released"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(change)
    release()
    with pytest.raises(DatabaseError, match="only be released"), transaction.atomic():
        Hold.objects.update(released_at=None)


def test_a_verification_notices_every_change_of_a_hold(
    installation: Installation, subtests: pytest.Subtests
) -> None:
    put_on_hold()
    release()
    assert_each_stored_column_counts(kind_of("hold"), Hold.objects.get().pk, subtests)


def test_a_hold_of_a_kind_is_put_on_once(installation: Installation) -> None:
    put_on_hold()
    assert not holds.put_on_hold(kind=Hold.Kind.BY_HAND, reason="Again.", actor=command_actor())
    assert AuditEvent.objects.filter(code=EventCode.SERVICE_HELD).count() == 1


@pytest.mark.parametrize("name", ["ada", "linus", "edith"])
def test_only_administrators_put_it_on_and_release_it(
    installation: Installation, name: str
) -> None:
    actor = person_actor(person=getattr(installation, name))
    with pytest.raises(PermissionDenied):
        holds.put_on_hold(kind=Hold.Kind.BY_HAND, reason="Mine.", actor=actor)
    put_on_hold()
    with pytest.raises(PermissionDenied):
        holds.release_holds(actor=actor)
    with pytest.raises(PermissionDenied):
        holds.release_holds(actor=WORKER)


def test_a_hold_needs_a_reason(installation: Installation) -> None:
    with pytest.raises(InvalidInputError):
        holds.put_on_hold(kind=Hold.Kind.BY_HAND, reason=" ", actor=command_actor())
