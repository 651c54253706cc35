"""A settled deletion whose connection is still listed raises an alarm and is never rewritten."""

from collections.abc import Callable
from dataclasses import dataclass
from html import unescape

import pytest

from connections import audit
from connections.core.causes import Cause, cause_text
from connections.models import Credential, Deletion, Outcome, State, Sync
from sandbox import faults
from sandbox.entities import Connection
from sandbox.faults import Fault, rate_limited
from sandbox.server import SandboxServer
from tests.deletions.conftest import RequestDeletion
from tests.faults.responses.conftest import Observer

pytestmark = pytest.mark.django_db


def test_a_200_for_a_connection_that_is_still_listed_is_flagged_as_contradicted(
    make_deletion: RequestDeletion, observer: Observer, sandbox: SandboxServer
):
    deletion = make_deletion(faults.RETURNS_200_WITHOUT_DELETING)
    page = observer.page(deletion)
    assert page.outcome["data-outcome"] == "deleted"
    assert "data-contradicted" not in page.outcome
    assert "Checking that Datadog no longer lists it…" in page.text
    observer.work_after(deletion, seconds=61)
    observer.work_after(deletion, seconds=300)
    page = observer.page(deletion)
    assert page.outcome["data-outcome"] == "deleted"
    assert page.outcome["data-contradicted"]
    assert "Deleted, but Datadog still lists it" in page.text
    assert "Listed by Payments US" in page.text
    assert observer.is_on_overview(deletion)
    assert sandbox.world.deletes_received(str(deletion.connection_id)) == 1


@dataclass(frozen=True, kw_only=True)
class Gone:
    """How a deletion settles as gone, and its page's headline when Datadog lists it again."""

    outcome: Outcome
    cause: str
    headline: str


DELETED = Gone(
    outcome=Outcome.DELETED,
    cause="",
    headline="The connection was gone and is listed again",
)
NOT_FOUND = Gone(
    outcome=Outcome.ALREADY_ABSENT,
    cause="not_found",
    headline="Not found (404), but Datadog still lists it",
)
ABSENT_BEFORE_SENDING = Gone(
    outcome=Outcome.ALREADY_ABSENT,
    cause="absent_when_read",
    headline="The connection was gone and is listed again",
)
UNATTRIBUTED = Gone(
    outcome=Outcome.GONE_UNATTRIBUTED,
    cause="listings_agree",
    headline="The connection was gone and is listed again",
)
type Settle = Callable[[Gone], Deletion]


@pytest.fixture
def original(sandbox: SandboxServer, credential: Credential) -> Connection:
    """The connection as it was before the deletion."""
    [one] = [
        connection
        for connection in sandbox.world.connections()
        if (connection.source_org.name, connection.sink_org.name) == ("Payments US", "Group SOC")
    ]
    return one


@pytest.fixture
def settle(
    make_deletion: RequestDeletion, observer: Observer, sandbox: SandboxServer, original: Connection
) -> Settle:
    """Settles a deletion as gone in the given way; its connection is really gone."""

    def settle_as(gone: Gone) -> Deletion:
        if gone is DELETED:
            deletion = observer.work_after(make_deletion(), seconds=0)
            assert deletion.verified_at
        elif gone is NOT_FOUND:
            deletion = make_deletion(faults.EXECUTES_THEN_404)
        elif gone is ABSENT_BEFORE_SENDING:
            deletion = make_deletion(rate_limited(reset="7"))
            sandbox.world.clear_faults()
            sandbox.world.remove_connection(connection_id=original.id)
            observer.work_after(deletion, seconds=8)
        else:
            deletion = make_deletion(faults.EXECUTES_THEN_RESET)
            observer.work_after(deletion, seconds=36)
            observer.work_after(deletion, seconds=61)
        assert (deletion.outcome, deletion.cause) == (gone.outcome, gone.cause)
        assert deletion.contradicted_at is None
        return deletion

    return settle_as


def reappear(sandbox: SandboxServer, original: Connection) -> None:
    """Make Datadog list it again, with the same id."""
    sandbox.world.add_connection(
        source_org=original.source_org, sink_org=original.sink_org, id=original.id
    )


@pytest.mark.parametrize(
    "gone",
    [DELETED, NOT_FOUND, ABSENT_BEFORE_SENDING, UNATTRIBUTED],
    ids=["deleted", "not_found", "absent_when_read", "gone_unattributed"],
)
def test_a_later_sync_that_lists_it_raises_the_alarm_and_rewrites_nothing(
    settle: Settle, observer: Observer, sandbox: SandboxServer, original: Connection, gone: Gone
):
    deletion = settle(gone)
    settled_at, verified_at = deletion.settled_at, deletion.verified_at
    assert observer.sync_after(deletion, seconds=600).contradicted_at is None
    reappear(sandbox, original)
    observer.sync_after(deletion, seconds=600)
    contradicted_at = deletion.contradicted_at
    assert contradicted_at == observer.clock.at
    observer.sync_after(deletion, seconds=600)
    # The first time is kept, there is one event, and the outcome is unchanged.
    assert deletion.contradicted_at == contradicted_at
    codes = [event.code for event in audit.events_of(subject=deletion)]
    assert codes.count(audit.EventCode.DELETION_CONTRADICTED) == 1
    assert (deletion.outcome, deletion.cause) == (gone.outcome, gone.cause)
    assert (deletion.settled_at, deletion.verified_at) == (settled_at, verified_at)
    page = observer.page(deletion)
    assert page.outcome["data-contradicted"]
    assert gone.headline in page.text
    assert observer.is_on_overview(deletion)
    # A new request would be another deletion; this one sends nothing more.
    assert sandbox.world.deletes_executed(original.id) <= 1


def test_a_check_from_the_page_raises_the_alarm_on_the_overview(
    settle: Settle, observer: Observer, sandbox: SandboxServer, original: Connection
):
    deletion = settle(DELETED)
    reappear(sandbox, original)
    observer.clock.advance(seconds=600)
    observer.client.post(f"/deletions/{deletion.pk}/reconcile/")
    deletion.refresh_from_db()
    assert deletion.contradicted_at
    assert observer.is_on_overview(deletion)


def test_an_alarm_stays_on_the_page_when_the_connection_disappears_again(
    settle: Settle, observer: Observer, sandbox: SandboxServer, original: Connection
):
    deletion = settle(DELETED)
    reappear(sandbox, original)
    observer.sync_after(deletion, seconds=600)
    sandbox.world.remove_connection(connection_id=original.id)
    assert observer.sync_after(deletion, seconds=600).contradicted_at
    assert observer.page(deletion).outcome["data-contradicted"]


@pytest.mark.parametrize(
    "fault",
    [
        faults.INCOMPLETE_PAGE,
        faults.CHANGING_TOTAL,
        faults.TRUNCATED_JSON,
        faults.RETURNS_403,
        *faults.CONTRADICTIONS,
    ],
    ids=lambda fault: fault.name,
)
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


@pytest.mark.parametrize("fault", faults.CONTRADICTIONS, ids=lambda fault: fault.name)
def test_a_contradictory_list_does_not_settle_a_deletion_as_absent(
    make_deletion: RequestDeletion,
    observer: Observer,
    sandbox: SandboxServer,
    original: Connection,
    fault: Fault,
):
    sandbox.world.set_fault(fault=fault, operation="list")
    deletion = make_deletion()
    assert (deletion.state, deletion.outcome) == (State.REQUESTED, "")
    assert deletion.cause == Cause.LISTING_FAILED
    assert sandbox.world.deletes_received(original.id) == 0
    newest = Sync.objects.latest("started_at")
    assert not newest.is_complete
    page = observer.client.get(f"/credentials/{deletion.credential_id}/")
    assert cause_text(newest.cause) in unescape(page.text)
