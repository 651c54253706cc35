"""Which lists decide about a deletion whose response was lost, and about one that is settled."""

from dataclasses import dataclass

import pytest

from connections import audit
from connections.core.causes import Cause
from connections.models import Deletion, Outcome, State
from sandbox import faults
from sandbox.faults import Fault, rate_limited
from sandbox.server import SandboxServer
from tests.deletions.conftest import Observer, RequestDeletion
from tests.support.sandbox import US, connection_between

pytestmark = pytest.mark.django_db

UNUSABLE_LISTS = [faults.RETURNS_403, faults.INCOMPLETE_PAGE, *faults.CONTRADICTIONS]


def check_twice(observer: Observer, deletion: Deletion) -> Deletion:
    """The deletion after two checks that are far enough apart to decide."""
    observer.check_after(deletion, seconds=36)
    return observer.check_after(deletion, seconds=61)


# --- A lost response ---


def test_it_stays_unknown_while_lists_are_unusable(
    make_deletion: RequestDeletion, observer: Observer, sandbox: SandboxServer
):
    deletion = make_deletion(faults.EXECUTES_THEN_RESET)
    for fault in UNUSABLE_LISTS:
        sandbox.world.clear_faults()
        sandbox.world.set_fault(fault=fault, site=US, operation="list")
        assert check_twice(observer, deletion).state == State.UNKNOWN, fault.name
    sandbox.world.clear_faults()
    assert check_twice(observer, deletion).outcome == Outcome.GONE_UNATTRIBUTED
    assert sandbox.world.deletes_received(str(deletion.connection_id)) == 1


def test_it_stays_unknown_while_the_keys_belong_to_another_org(
    make_deletion: RequestDeletion, observer: Observer, sandbox: SandboxServer
):
    deletion = make_deletion(faults.RESET_AFTER_READING)
    sandbox.world.clear_faults()
    for operation in ("list", "current_user"):
        sandbox.world.set_fault(fault=faults.ANOTHER_ORG, site=US, operation=operation)
    # The other org doesn't list it either way, which proves nothing.
    sandbox.world.remove_connection(connection_id=str(deletion.connection_id))
    assert check_twice(observer, deletion).state == State.UNKNOWN


def test_a_connection_that_disappears_and_reappears_decides_nothing(
    make_deletion: RequestDeletion, observer: Observer, sandbox: SandboxServer
):
    deletion = make_deletion(faults.RESET_AFTER_READING)
    sandbox.world.clear_faults()
    there = sandbox.world.connection(connection_id=str(deletion.connection_id))
    assert there
    observer.check_after(deletion, seconds=36)
    for _ in range(2):
        sandbox.world.remove_connection(connection_id=there.id)
        assert observer.check_after(deletion, seconds=61).state == State.UNKNOWN
        sandbox.world.add_connection(
            source_org=there.source_org, sink_org=there.sink_org, id=there.id
        )
        assert observer.check_after(deletion, seconds=61).state == State.UNKNOWN
    assert observer.check_after(deletion, seconds=61).state == State.STILL_PRESENT


def test_a_check_within_35_s_of_the_attempt_does_not_count(
    make_deletion: RequestDeletion, observer: Observer
):
    deletion = make_deletion(faults.EXECUTES_THEN_RESET)
    observer.check_after(deletion, seconds=34)
    # Absent, but the DELETE might still be in progress. The next check is the first that counts.
    assert observer.work_after(deletion, seconds=61).state == State.UNKNOWN
    assert observer.work_after(deletion, seconds=61).outcome == Outcome.GONE_UNATTRIBUTED


def test_two_checks_within_60_s_decide_nothing(make_deletion: RequestDeletion, observer: Observer):
    deletion = make_deletion(faults.EXECUTES_THEN_RESET)
    for seconds in (36, 20, 20, 19):
        assert observer.check_after(deletion, seconds=seconds).state == State.UNKNOWN
    assert observer.check_after(deletion, seconds=1).outcome == Outcome.GONE_UNATTRIBUTED


# --- A settled deletion: an alarm, and nothing is rewritten ---


@pytest.mark.parametrize("fault", UNUSABLE_LISTS, ids=lambda fault: fault.name)
def test_a_200_is_not_verified_by_an_unusable_list(
    make_deletion: RequestDeletion, observer: Observer, sandbox: SandboxServer, fault: Fault
):
    sandbox.world.set_fault(fault=fault, operation="list", after=1)
    deletion = make_deletion()
    assert (deletion.outcome, deletion.verified_at) == (Outcome.DELETED, None)
    assert observer.work_after(deletion, seconds=61).verified_at is None
    sandbox.world.clear_faults()
    assert observer.work_after(deletion, seconds=300).verified_at == observer.clock.at
    assert deletion.contradicted_at is None


@dataclass(frozen=True, kw_only=True)
class Gone:
    """How a deletion settles as gone, and its page's headline when Datadog lists it again."""

    fault: Fault | None
    waits: tuple[int, ...]  # seconds before each pass of the worker
    outcome: Outcome
    cause: str
    headline: str = "The connection was gone and is listed again"


WAYS = (
    Gone(fault=None, waits=(0,), outcome=Outcome.DELETED, cause=""),
    Gone(
        fault=faults.EXECUTES_THEN_404,
        waits=(),
        outcome=Outcome.ALREADY_ABSENT,
        cause=Cause.NOT_FOUND,
        headline="Not found (404), but Datadog still lists it",
    ),
    Gone(
        fault=rate_limited(reset="7"),
        waits=(8,),
        outcome=Outcome.ALREADY_ABSENT,
        cause=Cause.ABSENT_WHEN_READ,
    ),
    Gone(
        fault=faults.EXECUTES_THEN_RESET,
        waits=(36, 61),
        outcome=Outcome.GONE_UNATTRIBUTED,
        cause=Cause.LISTINGS_AGREE,
    ),
)


@pytest.mark.parametrize("gone", WAYS, ids=lambda gone: f"{gone.outcome} {gone.cause}".strip())
def test_a_later_sync_that_lists_it_raises_the_alarm_and_rewrites_nothing(
    make_deletion: RequestDeletion, observer: Observer, sandbox: SandboxServer, gone: Gone
):
    world = sandbox.world
    original = connection_between(world, "Payments US", "Group SOC")
    deletion = make_deletion(gone.fault)
    world.clear_faults()
    if world.connection(connection_id=original.id):
        world.remove_connection(connection_id=original.id)
    for seconds in gone.waits:
        observer.work_after(deletion, seconds=seconds)
    settled = (deletion.outcome, deletion.cause, deletion.settled_at, deletion.verified_at)
    assert settled[:2] == (gone.outcome, gone.cause)
    assert observer.sync_after(deletion, seconds=600).contradicted_at is None
    world.add_connection(source_org=original.source_org, sink_org=original.sink_org, id=original.id)
    observer.sync_after(deletion, seconds=600)
    contradicted_at = deletion.contradicted_at
    assert contradicted_at == observer.clock.at
    assert gone.headline in observer.page(deletion).text
    assert observer.is_on_overview(deletion)
    # The first time is kept, also once it disappears again, and there is one event.
    observer.sync_after(deletion, seconds=600)
    world.remove_connection(connection_id=original.id)
    observer.sync_after(deletion, seconds=600)
    assert deletion.contradicted_at == contradicted_at
    codes = [event.code for event in audit.events_of(subject=deletion)]
    assert codes.count(audit.EventCode.DELETION_CONTRADICTED) == 1
    assert settled == (
        deletion.outcome,
        deletion.cause,
        deletion.settled_at,
        deletion.verified_at,
    )
    assert observer.page(deletion).outcome["data-contradicted"]
    assert world.deletes_executed(original.id) <= 1


def test_a_check_from_the_page_raises_the_alarm_on_the_overview(
    make_deletion: RequestDeletion, observer: Observer, sandbox: SandboxServer
):
    original = connection_between(sandbox.world, "Payments US", "Group SOC")
    deletion = observer.work_after(make_deletion(), seconds=0)
    assert deletion.verified_at
    sandbox.world.add_connection(
        source_org=original.source_org, sink_org=original.sink_org, id=original.id
    )
    observer.clock.advance(seconds=600)
    observer.client.post(f"/deletions/{deletion.pk}/reconcile/")
    deletion.refresh_from_db()
    assert deletion.contradicted_at
    assert observer.is_on_overview(deletion)
