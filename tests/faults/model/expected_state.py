"""What really happened, recorded independently of the product, and lists that might be wrong."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from operator import itemgetter
from typing import Any
from uuid import UUID

from connections import audit
from connections.datadog.payloads import ConnectionList
from connections.datadog.responses import WriteResponse
from connections.models import (
    COMPLETED,
    AccessRequest,
    ApprovalPolicy,
    AuditEvent,
    ChangeRequest,
    Credential,
    Deletion,
    Hold,
    OrgPair,
    RequestKind,
    State,
    Step,
)
from sandbox.entities import Connection, KeyPair, Org, User
from sandbox.world import World
from tests.support.clock import SettableClock
from tests.support.fake_datadog import FakeDatadog

# The owner that access requests name.
OWNER = "SOC team"


class DiedError(Exception):
    """Simulates the end of the process, which does nothing afterwards."""


class FrozenError(Exception):
    """Simulates a process that is paused, and may continue much later.

    `response` waits in its socket; None when it has not sent its request yet.
    """

    def __init__(self, response: WriteResponse | None) -> None:
        super().__init__()
        self.response = response


class WrongListWorld(World):
    """A world whose lists can hide what exists and show what is gone."""

    def __init__(self, *, sites: tuple[str, ...], clock: SettableClock) -> None:
        super().__init__(sites=sites)
        self.clock = clock
        self.hides = False
        self.ghosts: tuple[Connection, ...] = ()
        # Every connection that was ever there, by ID.
        self.known: dict[UUID, Connection] = {}

    def add_connection(
        self,
        *,
        source_org: Org,
        sink_org: Org,
        connection_types: tuple[str, ...] = ("logs",),
        created_at: datetime | None = None,
        created_by: User | None = None,
        id: str | None = None,
    ) -> Connection:
        """Add a connection at the clock's time, unless the pair has one."""
        there = self.between(source_org.id, sink_org.id)
        added = there or super().add_connection(
            source_org=source_org,
            sink_org=sink_org,
            connection_types=connection_types,
            created_at=created_at or self.clock.at,
            created_by=created_by,
            id=id,
        )
        self.known[UUID(added.id)] = added
        return added

    def create_connection(
        self,
        *,
        source_org: Org,
        sink_org: Org,
        connection_types: tuple[str, ...],
        created_by: User,
    ) -> Connection | str:
        """Only lists are wrong, so what exists decides."""
        hides, ghosts = self.hides, self.ghosts
        self.hides, self.ghosts = False, ()
        made = super().create_connection(
            source_org=source_org,
            sink_org=sink_org,
            connection_types=connection_types,
            created_by=created_by,
        )
        self.hides, self.ghosts = hides, ghosts
        return made

    def between(self, source_id: str, sink_id: str) -> Connection | None:
        """The connection that exists between these orgs."""
        wanted = (source_id, sink_id)
        there = World.connections(self)
        return next((one for one in there if (one.source_org.id, one.sink_org.id) == wanted), None)

    def connections(self, *, org: Org | None = None) -> list[Connection]:
        """What a listing shows, which may differ from what exists."""
        if self.hides:
            return []
        there = super().connections(org=org)
        pairs = {(one.source_org.id, one.sink_org.id) for one in there}
        shown = [one for one in self.ghosts if org is None or one.involves(org)]
        return there + [one for one in shown if (one.source_org.id, one.sink_org.id) not in pairs]


@dataclass(kw_only=True)
class SentWrite:
    """One DELETE, POST or PATCH as Datadog received it; the product has an attempt for it."""

    change_request: UUID
    attempt: int
    method: str
    # Sends it with this client.
    call: Callable[[FakeDatadog], WriteResponse]
    # Does what it asks for, later; returns whether that changed anything.
    execute: Callable[[], bool]
    confirmations: int
    executed: bool = False
    is_late: bool = False
    # What the process received, if anything.
    response: WriteResponse | None = None

    @property
    def is_ambiguous(self) -> bool:
        """Whether what was recorded in time doesn't say if it was carried out."""
        return self.response is None or self.is_late or self.response.verdict == "ambiguous"

    @property
    def is_success(self) -> bool:
        """Whether Datadog confirmed it in time."""
        verdict = self.response.verdict if self.response and not self.is_late else ""
        return verdict in {"deleted", "created", "changed"}


@dataclass(kw_only=True)
class LateExecution:
    """A request that Datadog carries out after the process stopped waiting."""

    at: datetime
    sent: SentWrite


@dataclass(frozen=True, kw_only=True)
class AskedFor:
    """What a person asked for, as the page showed it, by the model alone."""

    kind: str
    pair: OrgPair
    # The connection that was shown, "" if there was none.
    connection_id: str
    types: list[str]
    ends_on: date | None
    # The columns of the agreement that it names. The others stay as agreed.
    named: frozenset[str]
    approval_digest: str


@dataclass(kw_only=True)
class Ledger:
    """Everything that reached Datadog, and what its complete listings showed."""

    sent: list[SentWrite] = field(default_factory=list)
    late: list[LateExecution] = field(default_factory=list)
    # For each complete list without the connection, how many requests had been sent by then.
    listed_as_absent: dict[UUID, list[int]] = field(default_factory=dict)
    listed_as_present: set[UUID] = field(default_factory=set)
    # What the newest complete list of each org showed.
    newest_lists: dict[str, set[UUID]] = field(default_factory=dict)
    # Each connection's data types in some list.
    listed_types: set[tuple[UUID, tuple[str, ...]]] = field(default_factory=set)
    # The connections that our POSTs created.
    created: set[UUID] = field(default_factory=set)
    # By the ID of the form.
    asked_for: dict[UUID, AskedFor] = field(default_factory=dict)
    # What a person set in a pair's agreement, by the number of its event.
    edits: dict[OrgPair, dict[int, dict[str, Any]]] = field(default_factory=dict)

    def statuses_in_time(self, change_request: UUID, method: str = "") -> list[int | None]:
        """The statuses that were recorded while the claim of their attempt still stood."""
        return [
            sent.response.http_status
            for sent in self.of(change_request, method)
            if sent.response and not sent.is_late
        ]

    def late_statuses(self, change_request: UUID) -> list[int | None]:
        """The statuses that were recorded after their claim had expired."""
        return [
            sent.response.http_status
            for sent in self.of(change_request)
            if sent.response and sent.is_late
        ]

    def of(self, change_request: UUID, method: str = "") -> list[SentWrite]:
        """What was sent for one deletion or access request, or in one step of a move."""
        sent = [one for one in self.sent if one.change_request == change_request]
        return [one for one in sent if method in {"", one.method}]


@dataclass(kw_only=True)
class PlannedFaults:
    """What goes wrong around the next request, besides what Datadog does with it."""

    dies_before: bool = False
    dies_after: bool = False
    freezes_before: bool = False
    freezes_after: bool = False
    dies_listing: bool = False
    executes_late: timedelta | None = None
    # What others do while this process waits for a list, or for the response to its request.
    while_listing: Callable[[], None] | None = None
    while_sending: Callable[[], None] | None = None
    # The keys belong to another org, so a missing connection proves nothing.
    other_org: bool = False
    # Lists still show what a DELETE has removed.
    lags: bool = False
    # Nothing goes wrong until a DELETE has left, so it does in the second step of a move.
    is_postponed: bool = False


class ModelDatadog(FakeDatadog):
    """The fake client, which fills the ledger and follows the planned faults."""

    world: WrongListWorld

    def __init__(
        self,
        world: WrongListWorld,
        *,
        pair: KeyPair,
        ledger: Ledger,
        script: PlannedFaults,
        clock: SettableClock,
    ) -> None:
        super().__init__(world, pair=pair)
        self.ledger = ledger
        self.script = script
        self.clock = clock

    def delete_org_connection(
        self, *, connection_id: str, deadline_seconds: float = 30
    ) -> WriteResponse:
        deletions = Deletion.objects.filter(connection_id=connection_id, state=State.SENDING)
        moves = AccessRequest.objects.filter(moved_from=connection_id, state=State.SENDING)
        [change_request] = [each for rows in (deletions, moves) for each in rows]
        if isinstance(change_request, AccessRequest):
            self._require_reviewed(change_request, connection_id=connection_id)
        sent = self._enter(
            change_request,
            method="DELETE",
            call=lambda datadog: FakeDatadog.delete_org_connection(
                datadog, connection_id=connection_id
            ),
            execute=lambda: self.world.remove_connection(connection_id=connection_id),
        )
        if isinstance(change_request, Deletion) and not change_request.confirmed_by_id:
            require_covered(change_request, ledger=self.ledger, today=self.clock.at.date())
        return self._let_leave(sent)

    def create_org_connection(
        self, *, sink_org_id: str, connection_types: Sequence[str], deadline_seconds: float = 30
    ) -> WriteResponse:
        types = tuple(connection_types)
        [access_request] = AccessRequest.objects.filter(
            source_org_id=self.pair.org.id, sink_org_id=sink_org_id, state=State.SENDING
        )
        asked_for = self._require_as_asked_for(access_request, types=types)
        assert asked_for.kind in {"create", "restore", "move"}
        if asked_for.kind == RequestKind.MOVE:
            self._require_removed(access_request, connection_id=UUID(asked_for.connection_id))
        # The list just before showed no connection of the pair, unless it was wrong.
        assert self.world.hides or not self.world.between(self.pair.org.id, sink_org_id)

        def execute() -> bool:
            sink = self.world.orgs[sink_org_id]
            made = self.world.create_connection(
                source_org=self.pair.org,
                sink_org=sink,
                connection_types=types,
                created_by=self.pair.user,
            )
            if isinstance(made, str):
                return False
            self.ledger.created.add(UUID(made.id))
            return True

        return self._let_leave(
            self._enter(
                access_request,
                method="POST",
                call=lambda datadog: FakeDatadog.create_org_connection(
                    datadog, sink_org_id=sink_org_id, connection_types=types
                ),
                execute=execute,
            )
        )

    def update_org_connection(
        self, *, connection_id: str, connection_types: Sequence[str], deadline_seconds: float = 30
    ) -> WriteResponse:
        types = tuple(connection_types)
        [access_request] = AccessRequest.objects.filter(
            connection_id=connection_id, state=State.SENDING
        )
        asked_for = self._require_as_asked_for(access_request, types=types)
        assert (asked_for.kind, asked_for.connection_id) == ("change", connection_id)

        def execute() -> bool:
            changed = self.world.change_connection(
                connection_id=connection_id, connection_types=types
            )
            return changed is not None

        return self._let_leave(
            self._enter(
                access_request,
                method="PATCH",
                call=lambda datadog: FakeDatadog.update_org_connection(
                    datadog, connection_id=connection_id, connection_types=types
                ),
                execute=execute,
            )
        )

    def _let_leave(self, sent: SentWrite) -> WriteResponse:
        """Apply the planned faults."""
        self.clock.advance(seconds=0.25)
        if self.script.is_postponed:
            self.script.is_postponed = False
            sent.response = self.carry_out(sent)
            return sent.response
        action, self.script.while_sending = self.script.while_sending, None
        if action:
            action()
        if self.script.dies_before:
            raise DiedError
        if self.script.freezes_before:
            raise FrozenError(None)
        response = self.carry_out(sent)
        if self.script.dies_after:
            raise DiedError
        if self.script.freezes_after:
            raise FrozenError(response)
        sent.response = response
        return response

    def carry_out(self, sent: SentWrite) -> WriteResponse:
        """Let it reach Datadog; returns the response, not yet received by the process."""
        known = set(self.world.known)
        there = World.connections(self.world)
        before = len(self.world.requests())
        response = sent.call(self)
        sent.executed = any(request.executed for request in self.world.requests()[before:])
        if sent.executed:
            ours = self.pair.user.id
            self.ledger.created |= {
                made
                for made, connection in self.world.known.items()
                if made not in known and connection.created_by.id == ours
            }
        if self.script.lags and sent.executed and sent.method == "DELETE":
            left = {connection.id for connection in World.connections(self.world)}
            self.world.ghosts = tuple(one for one in there if one.id not in left)
        if self.script.executes_late and response.verdict == "ambiguous" and not sent.executed:
            at = self.clock.at + self.script.executes_late
            self.ledger.late.append(LateExecution(at=at, sent=sent))
        return response

    def list_org_connections(
        self, *, deadline_seconds: float = 10, page_size: int = 1000
    ) -> ConnectionList:
        """Like the fake client's method. Records what a complete list shows."""
        if threading.current_thread() is threading.main_thread():
            # No two things happen at the same moment, so that a run can be repeated.
            self.clock.advance(seconds=0.25)
            if not self.script.is_postponed:
                self._go_wrong_while_listing()
        listing = super().list_org_connections(page_size=page_size)
        listed = {UUID(connection.id) for connection in listing.org_connections}
        self.ledger.listed_as_present |= listed
        self.ledger.listed_types |= {
            (UUID(connection.id), tuple(sorted(connection.connection_types)))
            for connection in listing.org_connections
        }
        if listing.is_complete and not self.script.other_org:
            self.ledger.newest_lists[self.pair.org.id] = listed
            known = self.world.known
            ours = {each for each in known if known[each].involves(self.pair.org)}
            for absent in ours - listed:
                absences = self.ledger.listed_as_absent.setdefault(absent, [])
                absences.append(len(self.ledger.sent))
        return listing

    def _go_wrong_while_listing(self) -> None:
        action, self.script.while_listing = self.script.while_listing, None
        if action:
            action()
        if self.script.dies_listing:
            raise DiedError

    def _require_reviewed(self, access_request: AccessRequest, *, connection_id: str) -> None:
        """A move deletes what was shown and approved, and nothing after its POST."""
        types = tuple(access_request.types_after)
        asked_for = self._require_as_asked_for(access_request, types=types)
        assert (asked_for.kind, asked_for.connection_id) == ("move", connection_id)
        assert not self.ledger.of(access_request.pk, "POST")
        there = self.world.between(self.pair.org.id, access_request.sink_org_id)
        if there and there.id == connection_id:
            assert sorted(there.connection_types) == asked_for.types

    def _require_removed(self, access_request: AccessRequest, *, connection_id: UUID) -> None:
        """The DELETE of a move certainly worked, and not so long ago that the approvals lapsed.

        The list right before the POST shows that too.
        """
        assert connection_id not in self.ledger.newest_lists[self.pair.org.id]
        deletes = self.ledger.of(access_request.pk, "DELETE")
        before = self.ledger.sent.index(deletes[-1])
        absences = self.ledger.listed_as_absent.get(connection_id, [])
        # Two lists agreed, and there is the one right before the POST.
        is_shown = sum(after > before for after in absences) >= 3
        assert is_shown or 200 in self.ledger.statuses_in_time(access_request.pk, "DELETE")
        events = {event.code: event for event in audit.events_of(subject=access_request)}
        removed_at = events["access_request.removed"].at
        is_in_time = self.clock.at - removed_at <= timedelta(minutes=76)
        assert is_in_time or "access_request.no_effect" in events

    def _require_as_asked_for(
        self, access_request: AccessRequest, *, types: tuple[str, ...]
    ) -> AskedFor:
        """What was asked for, which is what is sent and what was approved."""
        asked_for = self.ledger.asked_for[access_request.request_id]
        assert asked_for.pair == pair_of(access_request)
        assert asked_for.pair.source_org_id == self.pair.org.id
        assert asked_for.types == sorted(types)
        for event in audit.events_of(subject=access_request):
            if event.code == audit.EventCode.ACCESS_REQUEST_APPROVED:
                assert event.details["digest"] == asked_for.approval_digest
        deletions = Deletion.objects.filter(**asked_for.pair._asdict(), settled_at=None)
        assert not deletions.exists()
        return asked_for

    def _enter(
        self,
        change_request: ChangeRequest,
        *,
        method: str,
        call: Callable[[FakeDatadog], WriteResponse],
        execute: Callable[[], bool],
    ) -> SentWrite:
        """Check what must be recorded before a request leaves."""
        attempt = change_request.attempts.get(epoch=change_request.epoch)
        assert (attempt.verdict, attempt.answered_at) == ("", None)
        approvers = approvers_in_current_round(change_request)
        assert len(approvers) >= approvals_needed_by(change_request)
        confirmations = confirmations_of(change_request)
        earlier = self.ledger.of(change_request.pk, method)
        # What worked isn't sent again.
        assert not any(one.is_success for one in earlier)
        held = require_confirmed_during_hold(change_request)
        # A person confirmed again after each request that might have been carried out, and during a
        # hold after each one.
        earlier = [one for one in earlier if held or one.is_ambiguous]
        assert all(one.confirmations < confirmations for one in earlier)
        sent = SentWrite(
            change_request=change_request.pk,
            attempt=attempt.pk,
            method=method,
            confirmations=confirmations,
            call=call,
            execute=execute,
        )
        self.ledger.sent.append(sent)
        return sent


def pair_of(change_request: ChangeRequest) -> OrgPair:
    return OrgPair(change_request.site, change_request.source_org_id, change_request.sink_org_id)


def approvals_needed_by(change_request: ChangeRequest) -> int:
    """For access, the most that a credential of either org requires."""
    if isinstance(change_request, Deletion):
        return ApprovalPolicy(change_request.policy).approvals_needed
    orgs = {change_request.source_org_id, change_request.sink_org_id}
    policies = Credential.objects.filter(org_id__in=orgs, retired_at=None)
    return max(ApprovalPolicy(each.policy).approvals_needed for each in policies)


def require_covered(deletion: Deletion, *, ledger: Ledger, today: date) -> None:
    """What no person confirmed is the end of access that was approved, exactly as approved."""
    ended = AccessRequest.objects.get(deletion=deletion)
    assert ended == newest_completed(pair_of(deletion))
    assert ended.connection_id == deletion.connection_id
    assert sorted(deletion.connection_types) == ended.types_after
    assert ended.outcome in {"created", "changed", "extended"}
    assert len(approvers_of_access(deletion)) >= approvals_needed_by(ended)
    asked_for = ledger.asked_for[ended.request_id]
    assert asked_for.ends_on
    assert asked_for.ends_on < today


def require_confirmed_during_hold(change_request: ChangeRequest) -> bool:
    """While a hold is on, a person has confirmed since what is sent. Return whether one is on."""
    if not Hold.objects.filter(released_at=None).exists():
        return False
    held = AuditEvent.objects.filter(code="service.held").latest("seq")
    confirmed = [
        event
        for event in audit.events_of(subject=change_request)
        if event.code == change_request.event_code(Step.CONFIRMED) and event.actor_kind == "person"
    ]
    assert confirmed[-1].seq > held.seq
    return True


def newest_completed(pair: OrgPair) -> AccessRequest | None:
    """The access request that last gave the pair access."""
    return next((each for _, each in reversed(completed_requests(pair))), None)


def completed_requests(pair: OrgPair) -> list[tuple[int, AccessRequest]]:
    """The access requests that gave the pair access, approved as they had to be, in order.

    Each with the number of its last event.
    """
    settled = AuditEvent.objects.filter(code="access_request.settled")
    events = dict(settled.values_list("subject_id", "seq"))
    completed = [
        each
        for each in AccessRequest.objects.filter(**pair._asdict(), outcome__in=COMPLETED)
        if each.epoch
        or len(approvers_in_current_round(each)) >= ApprovalPolicy(each.policy).approvals_needed
    ]
    return sorted(((events[str(each.pk)], each) for each in completed), key=itemgetter(0))


def approvers_in_current_round(change_request: ChangeRequest) -> set[str]:
    """Who approved it since it was last unknown, declined or lapsed, by the audit log alone."""
    names = set[str]()
    if isinstance(change_request, Deletion) and change_request.automatic:
        names |= set() if change_request.confirmed_by_id else approvers_of_access(change_request)
    for event in audit.events_of(subject=change_request):
        step = event.code.partition(".")[2]
        if step in {round_ends_in(change_request), "declined", "approvals_lapsed"}:
            names = set()
        elif step == "approved":
            names.add(event.actor_name)
    return names - {change_request.requested_by_name}


def round_ends_in(change_request: ChangeRequest) -> str:
    """The state that needs new approvals. Those of a move are for both of its steps."""
    is_move = isinstance(change_request, AccessRequest) and change_request.kind == RequestKind.MOVE
    return "no_effect" if is_move else "unknown"


def approvers_of_access(deletion: Deletion) -> set[str]:
    """Who approved the access that this deletion ends, by the audit log alone."""
    ended = AccessRequest.objects.get(deletion=deletion)
    events = audit.events_of(subject=ended)
    approved = [event for event in events if event.code == "access_request.approved"]
    return {event.actor_name for event in approved}


def confirmations_of(change_request: ChangeRequest) -> int:
    """How often a person confirmed it, by the audit log."""
    codes = [event.code for event in audit.events_of(subject=change_request)]
    return codes.count(change_request.event_code(Step.CONFIRMED))
