"""A settled deletion whose connection Datadog lists all the same: loud, and never rewritten."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from connections import audit
from connections.core.causes import Cause
from connections.models import Credential, Deletion, Outcome, State, Sync
from connections.wording.causes import cause_text
from sandbox import faults
from sandbox.entities import Connection
from sandbox.faults import Fault, rate_limited
from sandbox.server import SandboxServer
from tests.deletions.conftest import RequestDeletion
from tests.faults.responses.conftest import Watch

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def test_a_200_that_is_still_listed_is_contradicted_loudly(
    make_deletion: RequestDeletion, watch: Watch, sandbox: SandboxServer
) -> None:
    deletion = make_deletion(faults.RETURNS_200_WITHOUT_DELETING)
    page = watch.page(deletion)
    assert page.outcome["data-outcome"] == "deleted"
    assert "data-contradicted" not in page.outcome
    assert "Datadog returned 200." in page.text
    watch.work_after(deletion, seconds=61)
    watch.work_after(deletion, seconds=300)
    page = watch.page(deletion)
    assert page.outcome["data-outcome"] == "deleted"
    assert page.outcome["data-contradicted"]
    assert "Datadog reported success but still lists the connection." in page.text
    assert "Listed by Payments US" in page.text
    assert watch.is_on_overview(deletion)
    assert sandbox.world.deletes_received(str(deletion.connection_id)) == 1


@dataclass(frozen=True, kw_only=True)
class Gone:
    """A way to be settled as gone, and what its page says when Datadog lists it again."""

    outcome: Outcome
    cause: str
    headline: str


DELETED = Gone(
    outcome=Outcome.DELETED,
    cause="",
    headline="The connection was gone and is listed again.",
)
NOT_FOUND = Gone(
    outcome=Outcome.ALREADY_ABSENT,
    cause="not_found",
    headline="Datadog reported it absent (404) but still lists the connection.",
)
ABSENT_WHEN_READ = Gone(
    outcome=Outcome.ALREADY_ABSENT,
    cause="absent_when_read",
    headline="The connection was gone and is listed again.",
)
UNATTRIBUTED = Gone(
    outcome=Outcome.GONE_UNATTRIBUTED,
    cause="listings_agree",
    headline="The connection was gone and is listed again.",
)
type Settle = Callable[[Gone], Deletion]


@pytest.fixture
def there(sandbox: SandboxServer, credential: Credential) -> Connection:
    """The connection as it was before anybody deleted it."""
    [one] = [
        each
        for each in sandbox.world.connections()
        if (each.source_org.name, each.sink_org.name) == ("Payments US", "Group SOC")
    ]
    return one


@pytest.fixture
def settle(
    make_deletion: RequestDeletion, watch: Watch, sandbox: SandboxServer, there: Connection
) -> Settle:
    """A deletion that is settled as gone in this way; its connection really is gone."""

    def act(gone: Gone) -> Deletion:
        if gone is DELETED:
            deletion = make_deletion()
            assert deletion.verified_at
        elif gone is NOT_FOUND:
            deletion = make_deletion(faults.EXECUTES_THEN_404)
        elif gone is ABSENT_WHEN_READ:
            deletion = make_deletion(rate_limited(reset="7"))
            sandbox.world.clear_faults()
            sandbox.world.remove_connection(connection_id=there.id)
            watch.work_after(deletion, seconds=8)
        else:
            deletion = make_deletion(faults.EXECUTES_THEN_RESET)
            watch.work_after(deletion, seconds=36)
            watch.work_after(deletion, seconds=61)
        assert (deletion.outcome, deletion.cause) == (gone.outcome, gone.cause)
        assert deletion.contradicted_at is None
        return deletion

    return act


def reappear(sandbox: SandboxServer, there: Connection) -> None:
    """Let Datadog list it again, under the same id."""
    sandbox.world.add_connection(source_org=there.source_org, sink_org=there.sink_org, id=there.id)


@pytest.mark.parametrize(
    "gone",
    [DELETED, NOT_FOUND, ABSENT_WHEN_READ, UNATTRIBUTED],
    ids=["deleted", "not_found", "absent_when_read", "gone_unattributed"],
)
def test_a_later_inventory_that_lists_it_raises_the_alarm_and_rewrites_nothing(
    settle: Settle, watch: Watch, sandbox: SandboxServer, there: Connection, gone: Gone
) -> None:
    deletion = settle(gone)
    settled_at, verified_at = deletion.settled_at, deletion.verified_at
    assert watch.refresh_after(deletion, seconds=600).contradicted_at is None
    reappear(sandbox, there)
    watch.refresh_after(deletion, seconds=600)
    contradicted_at = deletion.contradicted_at
    assert contradicted_at == watch.clock.at
    watch.refresh_after(deletion, seconds=600)
    # The first time stays, there is one event, and the outcome is what it was.
    assert deletion.contradicted_at == contradicted_at
    codes = [event.code for event in audit.events_of(subject=deletion)]
    assert codes.count(audit.EventCode.DELETION_CONTRADICTED) == 1
    assert (deletion.outcome, deletion.cause) == (gone.outcome, gone.cause)
    assert (deletion.settled_at, deletion.verified_at) == (settled_at, verified_at)
    page = watch.page(deletion)
    assert page.outcome["data-contradicted"]
    assert gone.headline in page.text
    assert watch.is_on_overview(deletion)
    # Asking again is another deletion; this one sends nothing more.
    assert sandbox.world.deletes_executed(there.id) <= 1


def test_the_page_s_own_button_raises_the_alarm_on_the_overview_too(
    settle: Settle, watch: Watch, sandbox: SandboxServer, there: Connection
) -> None:
    deletion = settle(DELETED)
    reappear(sandbox, there)
    watch.clock.advance(seconds=600)
    watch.client.post(f"/deletions/{deletion.pk}/reconcile/")
    deletion.refresh_from_db()
    assert deletion.contradicted_at
    assert watch.is_on_overview(deletion)


def test_an_alarm_stays_on_the_page_when_it_disappears_again(
    settle: Settle, watch: Watch, sandbox: SandboxServer, there: Connection
) -> None:
    deletion = settle(DELETED)
    reappear(sandbox, there)
    watch.refresh_after(deletion, seconds=600)
    sandbox.world.remove_connection(connection_id=there.id)
    assert watch.refresh_after(deletion, seconds=600).contradicted_at
    assert watch.page(deletion).outcome["data-contradicted"]


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
def test_a_200_is_not_verified_by_a_listing_that_says_nothing(
    make_deletion: RequestDeletion, watch: Watch, sandbox: SandboxServer, fault: Fault
) -> None:
    sandbox.world.set_fault(fault=fault, operation="list", after=1)
    deletion = make_deletion()
    assert (deletion.outcome, deletion.verified_at) == (Outcome.DELETED, None)
    assert watch.work_after(deletion, seconds=61).verified_at is None
    sandbox.world.clear_faults()
    assert watch.work_after(deletion, seconds=300).verified_at == watch.clock.at
    assert deletion.contradicted_at is None


@pytest.mark.parametrize("fault", faults.CONTRADICTIONS, ids=lambda fault: fault.name)
def test_a_listing_that_contradicts_itself_settles_nothing_as_absent(
    make_deletion: RequestDeletion,
    watch: Watch,
    sandbox: SandboxServer,
    there: Connection,
    fault: Fault,
) -> None:
    sandbox.world.set_fault(fault=fault, operation="list")
    deletion = make_deletion()
    assert (deletion.state, deletion.outcome) == (State.REQUESTED, "")
    assert deletion.cause == Cause.LISTING_FAILED
    assert sandbox.world.deletes_received(there.id) == 0
    newest = Sync.objects.latest("started_at")
    assert not newest.is_complete
    assert cause_text(newest.cause) in watch.client.get("/connections/").text
