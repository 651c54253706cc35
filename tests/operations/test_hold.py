"""While Org Admin is on hold, it changes nothing by itself; afterwards it does what was due."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import ERROR, INFO, WARNING
from django.core.exceptions import PermissionDenied
from django.core.management import CommandError, call_command
from django.db import Error as DatabaseError
from django.db import connection, transaction
from django.test import Client
from pytest_django import Settings

from connections.access.actor import WORKER, Actor, command_actor, person_actor
from connections.access_reviews.repeating import change_repetition
from connections.audit import checkpoints
from connections.change_requests import approvals, failpoints, lifecycle, sending, states
from connections.change_requests.guards import find_hold
from connections.change_requests.sending import ClaimedAttempt
from connections.core.errors import ConflictError, InvalidInputError
from connections.datadog.responses import WriteResponse
from connections.evidence.records import kind_of
from connections.inventory import protections
from connections.models import (
    AccessOutcome,
    AccessRequest,
    AccessReview,
    ApprovalPolicy,
    AuditEvent,
    Credential,
    Deletion,
    EventCode,
    Hold,
    Notification,
    OrgPair,
    Outcome,
    Person,
    RequestKind,
    State,
)
from connections.notifications.messages import build_message
from connections.operations import heartbeats, holds, kept_checkpoint
from connections.operations.checks import run_all_checks
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
from tests.support.people import make_person
from tests.support.sandbox import connection_between

__all__ = ["credential", "free_pair", "listed_pair"]
pytestmark = pytest.mark.django_db

ClientOf = Callable[[Person], Client]
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
    holds.put_on_hold(actor=command_actor(), reason="We look first.")


def release() -> None:
    holds.release_holds(actor=command_actor(), digest=holds.find_held_work().digest)


def recorded(code: str) -> bool:
    return AuditEvent.objects.filter(code=code).exists()


# --- What Org Admin does by itself --------------------------------------------------------------


def end_access(on: Installation) -> Callable[[], bool]:
    on.give_access()
    sync_now(on.credential)
    return lambda: Deletion.objects.exists()


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


@pytest.mark.database
@pytest.mark.parametrize(("prepare", "seconds"), ACTIONS.values(), ids=ACTIONS)
def test_nothing_starts_by_itself_until_the_hold_is_released(
    installation: Installation,
    prepare: Callable[[Installation], Callable[[], bool]],
    seconds: float,
):
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


@pytest.mark.database
@pytest.mark.parametrize(
    "moment", [(failpoints, "hit"), (states, "lock_unchanged")], ids=lambda m: m[1]
)
@pytest.mark.parametrize(
    "name", ["end of access", "DELETE after a 429", "POST of a move", "rows of a bulk deletion"]
)
def test_a_hold_that_is_put_on_just_before_the_claim_counts(
    installation: Installation,
    name: str,
    moment: tuple[Any, str],
    monkeypatch: pytest.MonkeyPatch,
):
    """Also while the claim waits for a lock."""
    original = getattr(*moment)
    prepare, seconds = ACTIONS[name]
    prepare(installation)
    writes = installation.writes()
    installation.clock.advance(seconds=seconds)

    def act(*args: Any, **named: Any) -> Any:
        if find_hold() is None:
            installation.clock.advance(seconds=0.001)
            put_on_hold()
        return original(*args, **named)

    with monkeypatch.context() as patch:
        patch.setattr(*moment, act)
        installation.work(seconds=1)
    assert find_hold()
    assert installation.writes() == writes
    release()
    installation.work(seconds=61)
    installation.work(seconds=15 * 60 if seconds >= DAYS else 1)
    assert installation.writes() > writes


# --- What people do -----------------------------------------------------------------------------


def test_what_a_person_confirms_is_sent_once(installation: Installation):
    put_on_hold()
    installation.clock.advance(seconds=1)
    repeat_a_delete(installation)
    installation.work(seconds=61)
    assert installation.writes() == 1


def test_a_move_that_a_person_confirms_is_sent_whole(installation: Installation):
    put_on_hold()
    installation.clock.advance(seconds=1)
    installation.confirm_move(installation.approved_move())
    assert installation.writes() == 2


def test_a_bulk_deletion_that_a_person_confirms_is_sent(installation: Installation):
    put_on_hold()
    installation.clock.advance(seconds=1)
    is_done = rows_of_a_bulk_deletion(installation)
    installation.work(seconds=1)
    assert is_done()


@pytest.mark.database
def test_what_was_claimed_before_is_sent_and_recorded(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
):
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


@pytest.mark.database
def test_a_hold_can_only_be_released(installation: Installation):
    put_on_hold()
    for change in (
        "DELETE FROM connections_hold",
        "UPDATE connections_hold SET reason = 'Another.', released_at = put_on_at",
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


@pytest.mark.database
def test_a_verification_notices_every_change_of_a_hold(
    installation: Installation, subtests: pytest.Subtests
):
    put_on_hold()
    release()
    assert_each_stored_column_counts(kind_of("hold"), Hold.objects.get().pk, subtests)


@pytest.mark.database
def test_a_hold_of_a_kind_is_put_on_once(installation: Installation):
    put_on_hold()
    with pytest.raises(ConflictError):
        put_on_hold()
    assert AuditEvent.objects.filter(code=EventCode.SERVICE_HELD).count() == 1


@pytest.mark.parametrize("name", ["ada", "linus", "edith"])
def test_only_administrators_put_it_on_and_release_it(installation: Installation, name: str):
    actor = person_actor(person=getattr(installation, name))
    with pytest.raises(PermissionDenied):
        holds.put_on_hold(actor=actor, reason="Mine.")
    put_on_hold()
    with pytest.raises(PermissionDenied):
        holds.release_holds(actor=actor, digest="")
    with pytest.raises(PermissionDenied):
        holds.release_holds(actor=WORKER, digest="")


def test_a_hold_needs_a_reason(installation: Installation):
    with pytest.raises(InvalidInputError):
        holds.put_on_hold(actor=command_actor(), reason=" ")


# --- What waits, and the release ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("prepare", "name", "seconds"),
    [
        (end_access, "end", 5 * DAYS),
        (repeat_a_delete, "request", 61),
        (rows_of_a_bulk_deletion, "batch", 1),
        (repeated_review, "review", 32 * DAYS),
    ],
)
def test_the_page_lists_what_the_release_starts(
    installation: Installation,
    client_of: ClientOf,
    root: Person,
    prepare: Callable[[Installation], Callable[[], bool]],
    name: str,
    seconds: float,
):
    prepare(installation)
    put_on_hold()
    installation.clock.advance(seconds=seconds)
    assert f"data-{name}=" in html(client_of(root).get("/hold/"))


@pytest.mark.database
def test_a_release_of_another_list_than_the_one_read_is_refused(
    installation: Installation, client_of: ClientOf, root: Person
):
    put_on_hold()
    client = client_of(root)
    seen = holds.find_held_work().digest
    rows_of_a_bulk_deletion(installation)
    response = client.post("/hold/release/", {"digest": seen})
    assert (response.status_code, find_hold() is None) == (409, False)
    assert "data-batch=" in html(response)
    now = holds.find_held_work().digest
    assert client.post("/hold/release/", {"digest": now}).status_code == 303
    assert find_hold() is None


def test_every_page_says_that_it_is_on_hold(
    installation: Installation, client_of: ClientOf, root: Person
):
    client = client_of(installation.ada)
    assert 'id="hold"' not in html(client.get("/"))
    put_on_hold()
    assert "We look first." in html(client.get("/deletions/"))
    assert client.get("/readyz").status_code == 200
    link = "See what's waiting and release it"
    administrator = client_of(root)
    assert link in html(administrator.get("/"))
    assert link not in html(administrator.get("/hold/"))


def test_an_administrator_puts_it_on_hold_and_is_notified_of_others(
    installation: Installation, client_of: ClientOf, root: Person, settings: Settings
):
    settings.HAS_MAIL = True
    chief = make_person("chief", is_administrator=True)
    client = client_of(root)
    assert client.post("/hold/", {"reason": ""}).status_code == 422
    assert client.post("/hold/", {"reason": "Suspicious."}).status_code == 303
    assert client.post("/hold/", {"reason": "Again."}).status_code == 409
    assert [each.person for each in Notification.objects.filter(code="service.held")] == [chief]
    message = build_message(Notification.objects.get(code="service.held"))
    assert message.path == "/hold/"


def test_doctor_fails_while_it_is_on(installation: Installation):
    put_on_hold()
    [found] = [each for each in run_all_checks() if each.obj == "hold"]
    assert found.level == ERROR
    release()
    [found] = [each for each in run_all_checks() if each.obj == "hold"]
    assert found.level == INFO


def html(response: Any) -> str:
    return str(response.content.decode())


def run(*arguments: str) -> int:
    try:
        call_command(*arguments)
    except CommandError as error:
        return error.returncode
    except SystemExit as error:
        return int(error.code or 0)
    return 0


def test_the_commands(installation: Installation, capsys: pytest.CaptureFixture[str]):
    is_done = rows_of_a_bulk_deletion(installation)
    assert run("release_hold", "--yes") == 3
    assert run("hold", "--reason", "We look first.") == 0
    assert run("hold", "--reason", "Again.") == 3
    assert run("release_hold") == 2
    assert "Send 2 rows of the bulk deletion" in capsys.readouterr().out
    assert find_hold()
    assert run("release_hold", "--yes") == 0
    assert find_hold() is None
    installation.work(seconds=1)
    assert is_done()


# --- An older database --------------------------------------------------------------------------


@pytest.fixture
def restored(installation: Installation) -> Installation:
    """Access that was extended, and then the database of before. Its old last day has passed.

    A worker had kept the checkpoint that was made with the extension.
    """
    end_access(installation)
    checkpoints.make_checkpoint()
    backup = transaction.savepoint_create()
    ends_on = installation.clock.now().date() + timedelta(days=30)
    extension = request_for(
        actor=installation.actor,
        pair=installation.pair,
        kind=RequestKind.EXTEND,
        wanted={"ends_on": ends_on},
    )
    assert extension.outcome == AccessOutcome.EXTENDED
    kept_checkpoint.compare_and_keep()
    transaction.savepoint_rollback(backup)
    installation.clock.advance(seconds=5 * DAYS)
    return installation


def is_deleted(on: Installation) -> bool:
    on.work(seconds=61)
    on.work(seconds=16 * 60)
    return Deletion.objects.filter(epoch__gt=0).exists()


@pytest.mark.database
def test_a_restored_database_deletes_nothing_that_was_extended_since(restored: Installation):
    kept_checkpoint.get_path().unlink()
    assert run("after_restore") == 0
    assert not is_deleted(restored)
    release()
    assert is_deleted(restored)


def test_no_worker_of_the_backup_counts_as_running(installation: Installation):
    heartbeats.record_heartbeat(name="one", host="here", process_id=1)
    assert run("after_restore") == 0
    assert heartbeats.last_seen_at() is None


@pytest.mark.database
def test_a_restore_does_not_decide_that_access_stays(installation: Installation):
    alert_that_access_did_not_end(installation)
    installation.work(seconds=5 * DAYS)
    assert Deletion.objects.get().state == State.REQUESTED
    assert run("after_restore") == 0
    assert Deletion.objects.get().outcome == Outcome.UNRESOLVED
    release()
    installation.work(seconds=3600)
    assert Deletion.objects.filter(state=State.REQUESTED).exists()


@pytest.mark.database
def test_a_worker_puts_an_older_database_on_hold_before_it_does_anything(restored: Installation):
    assert not is_deleted(restored)
    hold = find_hold()
    assert hold is not None
    assert hold.kind == Hold.Kind.OLDER_DATABASE
    assert AuditEvent.objects.filter(code=EventCode.SERVICE_HELD).count() == 1


def test_after_the_release_the_database_counts_for_every_worker(restored: Installation):
    path = kept_checkpoint.get_path()
    of_another_worker = path.read_bytes()
    assert not is_deleted(restored)
    release()
    assert is_deleted(restored)
    path.write_bytes(of_another_worker)
    restored.work(seconds=61)
    assert find_hold() is None
    assert path.read_bytes() != of_another_worker


@pytest.mark.database
def test_a_database_that_is_restored_again_is_put_on_hold_again(restored: Installation):
    checkpoints.make_checkpoint()
    again = transaction.savepoint_create()
    restored.work(seconds=61)
    release()
    request_deletion(
        actor=restored.actor,
        credential=restored.credential,
        connection_id=restored.connection_id(),
    )
    restored.work(seconds=61)
    transaction.savepoint_rollback(again)
    restored.work(seconds=61)
    assert find_hold()


def test_a_release_also_counts_for_a_checkpoint_with_a_time_in_the_future(restored: Installation):
    path = kept_checkpoint.get_path()
    document = json.loads(path.read_bytes())
    path.write_text(json.dumps(document | {"made_at": "2099-01-01T00:00:00+00:00"}))
    restored.work(seconds=61)
    release()
    restored.work(seconds=61)
    assert find_hold() is None


def test_a_hold_by_hand_is_released_without_accepting_an_older_database(restored: Installation):
    put_on_hold()
    restored.clock.advance(seconds=1)
    release()
    restored.work(seconds=61)
    assert find_hold()


def test_the_checkpoint_of_another_installation_says_nothing(restored: Installation):
    path = kept_checkpoint.get_path()
    document = json.loads(path.read_bytes())
    _, _, rest = document["note"].partition("\n")
    path.write_text(json.dumps(document | {"note": f"another.example/log\n{rest}"}))
    restored.work(seconds=61)
    assert find_hold() is None


@pytest.mark.parametrize("text", ["", "{}", '{"note": "x", "made_at": "y"}', "[]"])
def test_doctor_says_without_a_kept_checkpoint_that_workers_cannot_tell(
    installation: Installation, text: str
):
    installation.give_access()
    checkpoints.make_checkpoint()
    path = kept_checkpoint.get_path()
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)

    def level() -> int:
        return next(each.level for each in run_all_checks() if each.obj == "kept checkpoint")

    assert level() == WARNING
    installation.work(seconds=61)
    assert level() == INFO


def test_a_worker_that_cannot_keep_the_checkpoint_works_on(
    installation: Installation, settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    settings.KEPT_CHECKPOINT_FILE = tmp_path / "file" / "newest_checkpoint.json"
    (tmp_path / "file").touch()
    is_done = rows_of_a_bulk_deletion(installation)
    checkpoints.make_checkpoint()
    installation.work(seconds=1)
    assert is_done()
    assert "can't be kept" in caplog.text
