"""One deletion from the review to its outcome, against real sockets, without JavaScript."""

from sandbox.server import SandboxServer
from tests.flows.support import REASON, Desk


def test_a_deletion_is_reviewed_confirmed_and_proved(desk: Desk, sandbox: SandboxServer) -> None:
    page = desk.delete(ticket="SEC-212")

    assert "Deleted, and gone from Datadog’s list." in page.text
    assert page.outcome["data-state"] == "settled"
    assert page.outcome["data-outcome"] == "deleted"
    deletion = desk.deletion()
    assert deletion.reason == REASON
    assert deletion.verified_at is not None
    assert sandbox.world.deletes_received(desk.connection.id) == 1
    assert sandbox.world.deletes_executed(desk.connection.id) == 1
