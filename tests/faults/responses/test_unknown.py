"""Which lists can decide a deletion whose response was lost."""

from uuid import UUID

import pytest

from connections import audit
from connections.access.actor import person_actor
from connections.change_requests import lifecycle
from connections.core.errors import ConflictError
from connections.deletions import confirmations
from connections.models import Deletion, Outcome, Person, State
from sandbox import faults
from sandbox.faults import Fault
from sandbox.server import SandboxServer
from tests.deletions.conftest import RequestDeletion
from tests.faults.responses.conftest import Observer
from tests.support.sandbox import US

pytestmark = pytest.mark.django_db

# A connection missing from one of these may still exist.
UNUSABLE_LISTS = [
    faults.RETURNS_403,
    faults.RETURNS_200_HTML,
    faults.INCOMPLETE_PAGE,
    faults.CHANGING_TOTAL,
    faults.TRUNCATED_JSON,
    faults.NOT_AN_OBJECT,
    faults.TRUNCATED_BODY,
    faults.RETURNS_500,
    *faults.CONTRADICTIONS,
]


def check_twice(observer: Observer, deletion: Deletion) -> Deletion:
    """The deletion after two checks that are far enough apart to decide."""
    observer.check_after(deletion, seconds=36)
    return observer.check_after(deletion, seconds=61)


def codes_of(deletion: Deletion) -> list[str]:
    return [event.code for event in audit.events_of(subject=deletion)]


@pytest.mark.parametrize("fault", UNUSABLE_LISTS, ids=lambda fault: fault.name)
def test_it_stays_unknown_while_lists_are_unusable(
    make_deletion: RequestDeletion, observer: Observer, sandbox: SandboxServer, fault: Fault
):
    deletion = make_deletion(faults.EXECUTES_THEN_RESET)
    sandbox.world.set_fault(fault=fault, site=US, operation="list")
    check_twice(observer, deletion)
    assert (deletion.state, deletion.outcome) == (State.UNKNOWN, "")
    assert codes_of(deletion).count(audit.EventCode.DELETION_CHECKED) >= 1
    page = observer.page(deletion)
    assert page.outcome["data-state"] == "unknown"
    assert (
        "Outcome unknown. The DELETE was sent and might have worked. Never resent automatically."
        in page.text
    )
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
    for _ in range(3):
        assert check_twice(observer, deletion).state == State.UNKNOWN


def test_a_single_complete_list_decides_nothing(
    make_deletion: RequestDeletion, observer: Observer, sandbox: SandboxServer
):
    deletion = make_deletion(faults.EXECUTES_THEN_RESET)
    assert observer.work_after(deletion, seconds=36).state == State.UNKNOWN
    sandbox.world.set_fault(fault=faults.RETURNS_403, site=US, operation="list")
    assert observer.work_after(deletion, seconds=61).state == State.UNKNOWN
    sandbox.world.clear_faults()
    assert observer.work_after(deletion, seconds=61).outcome == Outcome.GONE_UNATTRIBUTED


def test_a_connection_that_disappears_and_reappears_decides_nothing(
    make_deletion: RequestDeletion, observer: Observer, sandbox: SandboxServer
):
    deletion = make_deletion(faults.RESET_AFTER_READING)
    sandbox.world.clear_faults()
    there = sandbox.world.connection(connection_id=str(deletion.connection_id))
    assert there
    observer.check_after(deletion, seconds=36)
    for _ in range(3):
        sandbox.world.remove_connection(connection_id=there.id)
        assert observer.check_after(deletion, seconds=61).state == State.UNKNOWN
        sandbox.world.add_connection(
            source_org=there.source_org, sink_org=there.sink_org, id=there.id
        )
        assert observer.check_after(deletion, seconds=61).state == State.UNKNOWN
    assert observer.check_after(deletion, seconds=61).state == State.STILL_PRESENT


def test_an_id_in_upper_case_is_the_same_connection(
    make_deletion: RequestDeletion, observer: Observer, sandbox: SandboxServer
):
    deletion = make_deletion(faults.RESET_AFTER_READING)
    sandbox.world.clear_faults()
    there = sandbox.world.connection(connection_id=str(deletion.connection_id))
    assert there
    sandbox.world.remove_connection(connection_id=there.id)
    sandbox.world.add_connection(
        source_org=there.source_org, sink_org=there.sink_org, id=there.id.upper()
    )
    assert check_twice(observer, deletion).state == State.STILL_PRESENT


def test_a_list_with_a_duplicate_connection_is_unusable(
    make_deletion: RequestDeletion, observer: Observer, sandbox: SandboxServer
):
    deletion = make_deletion(faults.EXECUTES_THEN_RESET)
    other = next(
        connection
        for connection in sandbox.world.connections()
        if UUID(connection.id) != deletion.connection_id
    )
    # Two entries with one id: the count is right, but one connection is missing.
    sandbox.world.add_connection(
        source_org=other.source_org,
        sink_org=other.sink_org,
        id=other.id.upper(),
        connection_types=other.connection_types,
        created_by=other.created_by,
        created_at=other.created_at,
    )
    for _ in range(3):
        assert check_twice(observer, deletion).state == State.UNKNOWN
    assert deletion.cause_details["last_check"]["cause"] == "too_few"


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


def test_a_change_after_a_lost_response_makes_it_stale_and_the_attempt_stays_visible(
    make_deletion: RequestDeletion, observer: Observer, sandbox: SandboxServer, ada: Person
):
    deletion = make_deletion(faults.RESET_AFTER_READING)
    sandbox.world.clear_faults()
    assert check_twice(observer, deletion).state == State.STILL_PRESENT
    sandbox.world.change_connection(
        connection_id=str(deletion.connection_id), connection_types=("audit",)
    )
    actor = person_actor(person=ada)
    text = confirmations.confirmation_text(deletion, actor=actor)
    lifecycle.execute(change_request=deletion, actor=actor, confirmation=text)
    assert (deletion.outcome, deletion.cause) == (Outcome.STALE, "changed_when_read")
    assert sandbox.world.deletes_received(str(deletion.connection_id)) == 1
    page = observer.page(deletion)
    assert page.outcome["data-outcome"] == "stale"
    assert "No new DELETE was sent." in page.text
    assert "Attempt 1 might have worked." in page.text


def test_a_deletion_that_might_have_worked_cannot_be_withdrawn(
    make_deletion: RequestDeletion, observer: Observer, sandbox: SandboxServer, ada: Person
):
    deletion = make_deletion(faults.RESET_AFTER_READING)
    sandbox.world.clear_faults()
    assert check_twice(observer, deletion).state == State.STILL_PRESENT
    sandbox.world.set_fault(fault=faults.rate_limited(reset="7"), site=US)
    actor = person_actor(person=ada)
    text = confirmations.confirmation_text(deletion, actor=actor)
    deletion = lifecycle.execute(change_request=deletion, actor=actor, confirmation=text)
    assert deletion.state == State.WAITING
    with pytest.raises(ConflictError):
        lifecycle.withdraw(change_request=deletion, actor=actor)
