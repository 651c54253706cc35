"""What lists and responses mean for the kinds that differ little from a create or a change."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import pytest

from connections.access.actor import WORKER, person_actor
from connections.core.causes import Cause
from connections.inventory import syncs
from connections.models import (
    COMPLETED,
    AccessRequest,
    Agreement,
    Credential,
    OrgPair,
    Person,
    RequestKind,
)
from sandbox import faults
from sandbox.faults import Fault
from sandbox.server import SandboxServer
from tests.access_requests.test_contract import (
    Happening,
    Result,
    Sender,
    as_wanted,
    gone,
    nothing,
    others,
    ours,
    unlistable,
)
from tests.agreements.support import agree
from tests.support.access_requests import request_for
from tests.support.clock import SettableClock
from tests.support.deletions import request_deletion
from tests.support.sandbox import connection_between

pytestmark = [pytest.mark.django_db, pytest.mark.database(every=4)]

type MakeSender = Callable[[str], Sender]


@pytest.fixture
def make_sender(
    ada: Person,
    clock: SettableClock,
    sandbox: SandboxServer,
    credential: Credential,
    listed_pair: OrgPair,
) -> MakeSender:
    """Ada extends the agreed end of a connection, or restores one that was deleted here."""
    actor = person_actor(person=ada)
    end = clock.at.date() + timedelta(days=10)

    def extend(fault: Fault | None = None) -> AccessRequest:
        del fault
        later = end + timedelta(days=10)
        return request_for(
            actor=actor, pair=listed_pair, kind=RequestKind.EXTEND, wanted={"ends_on": later}
        )

    def make(kind: str) -> Sender:
        if kind == "extend":
            agree(listed_pair, actor=actor, ends_on=end)
            return Sender(method="PATCH", request=extend, person=ada, clock=clock, sandbox=sandbox)
        removed = connection_between(sandbox.world, "Payments US", "Group SOC").id
        deletion = request_deletion(actor=actor, credential=credential, connection_id=removed)
        syncs.sync_credentials(credentials=[credential], actor=WORKER)

        def restore(fault: Fault | None = None) -> AccessRequest:
            if fault:
                sender.answer(fault)
            return request_for(
                actor=actor,
                pair=listed_pair,
                kind=RequestKind.RESTORE,
                restored_from=deletion,
                wanted={"types": ["logs"], "owner_text": "SOC team", "purpose": "alerts"},
            )

        sender = Sender(method="POST", request=restore, person=ada, clock=clock, sandbox=sandbox)
        return sender

    return make


def replaced(sender: Sender) -> None:
    """Someone else deletes it and creates it again."""
    found = connection_between(sender.world, "Payments US", "Group SOC")
    sender.world.remove_connection(connection_id=found.id)
    sender.world.recreate_connection(connection_id=found.id)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What happens before a request, how Datadog answers it, and what happens afterwards."""

    kind: str
    before: Happening = nothing
    fault: Fault | None = None
    after: Happening = nothing
    expected: Result
    sent: int = 0

    def __str__(self) -> str:
        names = (self.before.__name__, getattr(self.fault, "name", ""), self.after.__name__)
        return "-".join([self.kind, *(name for name in names if name and name != "nothing")])


AGREE = Cause.LISTINGS_AGREE
LOST = faults.RESET_AFTER_READING
CELLS = [
    Cell(kind="extend", expected=("settled", "extended", "")),
    Cell(kind="extend", before=others, expected=("settled", "stale", Cause.CHANGED_WHEN_READ)),
    Cell(kind="extend", before=gone, expected=("settled", "stale", Cause.ABSENT_WHEN_READ)),
    Cell(kind="extend", before=replaced, expected=("settled", "stale", Cause.ABSENT_WHEN_READ)),
    Cell(kind="extend", before=unlistable, expected=("requested", "", Cause.LISTING_FAILED)),
    Cell(kind="restore", expected=("settled", "created", ""), sent=1),
    Cell(kind="restore", before=as_wanted, expected=("settled", "already_exists", "")),
    Cell(kind="restore", before=others, expected=("settled", "stale", Cause.CHANGED_WHEN_READ)),
    Cell(kind="restore", before=unlistable, expected=("requested", "", Cause.LISTING_FAILED)),
    Cell(
        kind="restore",
        fault=faults.RETURNS_403,
        expected=("settled", "refused", Cause.FORBIDDEN),
        sent=1,
    ),
    Cell(
        kind="restore",
        fault=faults.RETURNS_404,
        expected=("settled", "refused", Cause.DESTINATION_NOT_FOUND),
        sent=1,
    ),
    Cell(
        kind="restore",
        fault=faults.ANOTHER_CREATES_FIRST,
        expected=("settled", "already_exists", Cause.CONFLICT),
        sent=1,
    ),
    Cell(kind="restore", fault=LOST, expected=("no_effect", "", AGREE), sent=1),
    Cell(
        kind="restore",
        fault=faults.EXECUTES_THEN_RESET,
        expected=("settled", "created", AGREE),
        sent=1,
    ),
    Cell(kind="restore", fault=LOST, after=ours, expected=("settled", "created", AGREE), sent=1),
    Cell(
        kind="restore",
        fault=LOST,
        after=as_wanted,
        expected=("settled", "exists_unattributed", AGREE),
        sent=1,
    ),
]


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_each_cell(make_sender: MakeSender, cell: Cell):
    sender = make_sender(cell.kind)
    agreed = Agreement.objects.count()
    cell.before(sender)
    access_request = sender.request(cell.fault)
    if access_request.state == "unknown":
        sender.answer(None)
        cell.after(sender)
        sender.check_twice(access_request)
    access_request.refresh_from_db()
    stored = (access_request.state, access_request.outcome, access_request.cause)
    assert stored == cell.expected
    requests = sender.world.requests(method="POST") + sender.world.requests(method="PATCH")
    assert len(requests) == cell.sent
    is_completed = access_request.outcome in COMPLETED
    assert Agreement.objects.count() == agreed + is_completed
    if is_completed:
        agreement = Agreement.objects.latest("version")
        assert (agreement.ends_on, agreement.connection_types) == (
            access_request.ends_on,
            access_request.types_after,
        )
