"""What really happened, recorded independently of the product, and lists that might be wrong."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from connections import audit
from connections.datadog.payloads import ConnectionList
from connections.datadog.responses import WriteResponse
from connections.models import ApprovalPolicy, Attempt, Deletion, State
from sandbox.entities import Connection, KeyPair, Org
from sandbox.world import World
from tests.support.clock import SettableClock
from tests.support.fake_datadog import FakeDatadog


class DiedError(Exception):
    """Simulates the end of the process, which does nothing afterwards."""


class FrozenError(Exception):
    """Simulates a process that is paused, and may continue much later.

    `response` waits in its socket; None when it has not sent its DELETE yet.
    """

    def __init__(self, response: WriteResponse | None) -> None:
        super().__init__()
        self.response = response


class WrongListWorld(World):
    """A world whose lists can hide what exists and show what is gone."""

    def __init__(self, *, sites: tuple[str, ...]) -> None:
        super().__init__(sites=sites)
        self.hides = False
        self.ghosts: tuple[Connection, ...] = ()

    def connections(self, *, org: Org | None = None) -> list[Connection]:
        """What a listing shows, which may differ from what exists."""
        if self.hides:
            return []
        there = super().connections(org=org)
        ids = {one.id for one in there}
        shown = [one for one in self.ghosts if org is None or one.involves(org)]
        return there + [one for one in shown if one.id not in ids]


@dataclass(kw_only=True)
class SentDelete:
    """One DELETE as Datadog received it; the product has an attempt for it."""

    deletion: UUID
    attempt: int
    confirmations: int
    executed: bool = False
    is_late: bool = False
    # What the process received, if anything.
    response: WriteResponse | None = None

    @property
    def is_ambiguous(self) -> bool:
        """Whether what was recorded in time doesn't say if it was carried out."""
        return self.response is None or self.is_late or self.response.verdict == "ambiguous"


@dataclass(kw_only=True)
class LateExecution:
    """A DELETE that Datadog carries out after the process stopped waiting."""

    at: datetime
    connection_id: str
    sent: SentDelete


@dataclass(kw_only=True)
class Ledger:
    """Everything that reached Datadog, and what its complete listings showed."""

    sent: list[SentDelete] = field(default_factory=list)
    late: list[LateExecution] = field(default_factory=list)
    listed_as_absent: set[UUID] = field(default_factory=set)
    listed_as_present: set[UUID] = field(default_factory=set)

    def statuses_in_time(self, deletion: UUID) -> list[int | None]:
        """The statuses that were recorded while the claim of their attempt still stood."""
        deletes = self.of(deletion)
        return [
            delete.response.http_status
            for delete in deletes
            if delete.response and not delete.is_late
        ]

    def late_statuses(self, deletion: UUID) -> list[int | None]:
        """The statuses that were recorded after their claim had expired."""
        deletes = self.of(deletion)
        return [
            delete.response.http_status for delete in deletes if delete.response and delete.is_late
        ]

    def of(self, deletion: UUID) -> list[SentDelete]:
        """The DELETEs of one deletion."""
        return [one for one in self.sent if one.deletion == deletion]


@dataclass(kw_only=True)
class PlannedFaults:
    """What goes wrong around the next DELETE, besides what Datadog does with it."""

    dies_before: bool = False
    dies_after: bool = False
    freezes_before: bool = False
    freezes_after: bool = False
    executes_late: timedelta | None = None
    # What others do while this process waits for a list, or for the response to its DELETE.
    while_listing: Callable[[], None] | None = None
    while_sending: Callable[[], None] | None = None
    # The keys belong to another org, so a missing connection proves nothing.
    other_org: bool = False


class ModelDatadog(FakeDatadog):
    """The fake client, which fills the ledger and follows the planned faults."""

    def __init__(
        self,
        world: World,
        *,
        pair: KeyPair,
        ledger: Ledger,
        script: PlannedFaults,
        clock: SettableClock,
        ids: Callable[[], set[UUID]],
    ) -> None:
        super().__init__(world, pair=pair)
        self.ledger = ledger
        self.script = script
        self.clock = clock
        self.ids = ids

    def delete_org_connection(
        self, *, connection_id: str, deadline_seconds: float = 30
    ) -> WriteResponse:
        """Check that it was allowed to leave, then apply the planned faults."""
        self.clock.advance(seconds=0.25)
        sent = self._enter(UUID(connection_id))
        action, self.script.while_sending = self.script.while_sending, None
        if action:
            action()
        if self.script.dies_before:
            raise DiedError
        if self.script.freezes_before:
            raise FrozenError(None)
        response = self.carry_out(sent, connection_id=connection_id)
        if self.script.dies_after:
            raise DiedError
        if self.script.freezes_after:
            raise FrozenError(response)
        sent.response = response
        return response

    def carry_out(self, sent: SentDelete, *, connection_id: str) -> WriteResponse:
        """Let the DELETE reach Datadog; returns the response, not yet received by the process."""
        before = self.world.deletes_executed(connection_id)
        response = super().delete_org_connection(connection_id=connection_id)
        sent.executed = self.world.deletes_executed(connection_id) > before
        if self.script.executes_late and response.verdict == "ambiguous" and not sent.executed:
            at = self.clock.at + self.script.executes_late
            self.ledger.late.append(LateExecution(at=at, connection_id=connection_id, sent=sent))
        return response

    def list_org_connections(
        self, *, deadline_seconds: float = 10, page_size: int = 1000
    ) -> ConnectionList:
        """Like the fake client's method. Records what a complete list shows."""
        if threading.current_thread() is threading.main_thread():
            # No two things happen at the same moment, so that a run can be repeated.
            self.clock.advance(seconds=0.25)
            action, self.script.while_listing = self.script.while_listing, None
            if action:
                action()
        listing = super().list_org_connections(page_size=page_size)
        listed = {UUID(connection.id) for connection in listing.org_connections}
        self.ledger.listed_as_present |= listed
        if listing.is_complete and not self.script.other_org:
            self.ledger.listed_as_absent |= self.ids() - listed
        return listing

    def _enter(self, connection_id: UUID) -> SentDelete:
        """Check what must be recorded before a DELETE leaves."""
        [deletion] = Deletion.objects.filter(connection_id=connection_id, state=State.SENDING)
        attempt = Attempt.objects.get(deletion=deletion, epoch=deletion.epoch)
        assert (attempt.verdict, attempt.answered_at) == ("", None)
        assert (
            len(approvers_in_current_round(deletion))
            >= ApprovalPolicy(deletion.policy).approvals_needed
        )
        confirmations = confirmations_of(deletion)
        earlier = [attempt for attempt in self.ledger.of(deletion.pk) if attempt.is_ambiguous]
        # A person confirmed again after each DELETE that might have been carried out.
        assert all(one.confirmations < confirmations for one in earlier)
        sent = SentDelete(deletion=deletion.pk, attempt=attempt.pk, confirmations=confirmations)
        self.ledger.sent.append(sent)
        return sent


def approvers_in_current_round(deletion: Deletion) -> set[str]:
    """Who approved it since it was last unknown, declined or lapsed, by the audit log alone."""
    names: set[str] = set()
    for event in audit.events_of(subject=deletion):
        ends = {
            audit.EventCode.DELETION_UNKNOWN,
            audit.EventCode.DELETION_DECLINED,
            audit.EventCode.DELETION_APPROVALS_LAPSED,
        }
        if event.code in ends:
            names = set()
        elif event.code == audit.EventCode.DELETION_APPROVED:
            names.add(event.actor_name)
    return names - {"Ada"}


def confirmations_of(deletion: Deletion) -> int:
    """How often a person confirmed it, by the audit log."""
    codes = [event.code for event in audit.events_of(subject=deletion)]
    return codes.count(audit.EventCode.DELETION_CONFIRMED)
