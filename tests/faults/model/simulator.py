"""The setup of every random sequence: people, faults, and how each action runs."""

import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID

from django.db import transaction
from hypothesis.stateful import RuleBasedStateMachine

from connections.access.actor import WORKER, Actor, command_actor
from connections.change_requests.guards import find_hold
from connections.core.errors import DomainError
from connections.datadog.responses import WriteResponse
from connections.models import (
    AuditEvent,
    ChangeRequest,
    Credential,
    OrgPair,
)
from connections.operations import due, holds
from sandbox import faults
from sandbox.entities import Connection, KeyPair
from sandbox.faults import Fault
from tests.faults.model.expected_state import (
    DiedError,
    FrozenError,
    Ledger,
    ModelDatadog,
    PlannedFaults,
    SentWrite,
    WrongListWorld,
)
from tests.faults.model.invariants import Invariants, check_final_state
from tests.support.clock import SettableClock
from tests.support.fake_datadog import FakeDatadog

RESPONSES: dict[str, Fault | None] = {
    "deletes": None,
    "400": faults.RETURNS_400,
    "401": faults.RETURNS_401,
    "403": faults.RETURNS_403,
    "404": faults.RETURNS_404,
    "404 not from Datadog": faults.RETURNS_404_HTML,
    "429": faults.rate_limited(reset="7"),
    "500": faults.RETURNS_500,
    "500 after deleting": faults.EXECUTES_THEN_500,
    "302": faults.redirected(status=302),
    "cut": faults.RESET_AFTER_READING,
    "cut after deleting": faults.EXECUTES_THEN_RESET,
    "silence": faults.NO_RESPONSE,
    "silence after deleting": faults.EXECUTES_THEN_NO_RESPONSE,
    "half a status line": faults.HALF_STATUS_LINE,
    "200 with a cut body": faults.TRUNCATED_BODY,
    "200 without deleting": faults.RETURNS_200_WITHOUT_DELETING,
    "409": faults.RETURNS_409,
    "another creates first": faults.ANOTHER_CREATES_FIRST,
    "another changes first": faults.ANOTHER_CHANGES_FIRST,
    "another deletes first": faults.ANOTHER_DELETES_FIRST,
}
LISTINGS: dict[str, Fault | None] = {
    "correct": None,
    "403": faults.RETURNS_403,
    "html": faults.RETURNS_200_HTML,
    "half a page": faults.INCOMPLETE_PAGE,
    "wrong total": faults.CHANGING_TOTAL,
    "truncated": faults.TRUNCATED_JSON,
    "errors": faults.ERRORS_LIST,
    "two counts": faults.COUNTS_DIFFER,
    "two contents": faults.CONFLICTING_COPIES,
    "repeated names": faults.DUPLICATE_NAMES,
    "another org": faults.ANOTHER_ORG,
    "cut": faults.RESET_AFTER_READING,
    "hides": None,
    "ghosts": None,
}
PLANNED_FAULTS = [
    *["none"] * 6,
    "closed port",
    "dies before",
    "dies after",
    "freezes before",
    "freezes after",
    "dies while listing",
    "executes late",
    "others while listing",
    "others while sending",
    "hold while sending",
    "lags",
]
PAUSES = [8, 36, 61, 61, 61, 301, 301, 16 * 60, 25 * 3600, -3600]


class SimulatedSetup:
    """What every run shares: people, credentials and the client that reaches Datadog."""

    world: WrongListWorld
    clock: SettableClock
    ada: Actor
    # A Viewer, who can request access.
    victor: Actor
    approvers: tuple[Actor, Actor]
    credentials: list[Credential]
    pairs: dict[UUID, KeyPair]
    connection_ids: list[UUID]
    # The pairs that access is requested for.
    org_pairs: list[OrgPair]
    all_connections: tuple[Connection, ...]
    # Makes the fake client that is used now.
    open_client: Callable[[Credential], FakeDatadog]


class Simulator(RuleBasedStateMachine):
    """Runs actions while planned faults happen; each run is rolled back at its end."""

    setup: ClassVar[SimulatedSetup]

    def __init__(self) -> None:
        super().__init__()
        setup = self.setup
        self.savepoint = transaction.atomic()
        self.savepoint.__enter__()
        # As Django's own tests do: a durable transaction can begin inside.
        transaction.get_connection().atomic_blocks[-1]._from_testcase = True
        setup.world.reset()
        setup.world.hides, setup.world.ghosts = False, ()
        setup.world.known = {UUID(one.id): one for one in setup.all_connections}
        self.clock = setup.clock
        setup.world.now = self.clock.now
        self.started_at = self.clock.at
        self.ledger = Ledger()
        self.script = PlannedFaults()
        self.invariant_checks = Invariants(ledger=self.ledger)
        self.copies: list[ChangeRequest] = []
        self.frozen: list[tuple[Any, SentWrite, WriteResponse | None]] = []
        self.listing = "correct"
        self.is_closed = False
        # Whether faults wait for the second step of a move.
        self.is_postponed = False
        setup.open_client = self.client

    def teardown(self) -> None:
        """Check the final state of the run, then roll everything back."""
        try:
            # A run that failed already would only fail differently here.
            if sys.exc_info()[0] is None:
                self._check_final_state()
        finally:
            self.clock.at = self.started_at
            transaction.set_rollback(True)
            self.savepoint.__exit__(None, None, None)

    def _check_final_state(self) -> None:
        """List correctly until nothing is due automatically."""
        self.set_listing("correct")
        self.release()
        for seconds in (61, 61, 61, 25 * 3600, 25 * 3600, 61, 3700, 3700):
            self.let_time_pass(seconds)
            self.run_action(self.work, response="deletes", fault="none")
        self.invariant_checks.check()
        check_final_state(world=self.setup.world, ledger=self.ledger)

    # --- How Datadog is reached

    def client(self, credential: Credential) -> ModelDatadog:
        """The fake client with this credential's keys."""
        datadog = ModelDatadog(
            self.setup.world,
            pair=self.setup.pairs[credential.pk],
            ledger=self.ledger,
            script=self.script,
            clock=self.clock,
        )
        datadog.is_closed = self.is_closed and not self.script.is_postponed
        return datadog

    def run_action(self, action: Callable[[], object], *, response: str, fault: str) -> None:
        """Run one action while this fault happens. A refused action counts like any other."""
        world = self.setup.world
        world.clear_faults()
        of_list, of_write = LISTINGS[self.listing], RESPONSES[response]
        if of_list:
            world.set_fault(fault=of_list, operation="list")
        if of_list is faults.ANOTHER_ORG:
            world.set_fault(fault=of_list, operation="current_user")
        if of_write:
            of_first_step = [] if self.is_postponed else ["delete"]
            for operation in (*of_first_step, "create", "update"):
                world.set_fault(fault=of_write, operation=operation)
        self._set_script(fault)
        with suppress(DomainError, DiedError):
            try:
                action()
            except FrozenError as frozen:
                sent = self.ledger.sent[-1]
                attempt = self.attempt_of(sent)
                self.frozen.append((attempt, sent, frozen.response))
        self._set_script("none")

    def _set_script(self, fault: str) -> None:
        script = self.script
        script.dies_before = fault == "dies before"
        script.dies_after = fault == "dies after"
        script.freezes_before = fault == "freezes before"
        script.freezes_after = fault == "freezes after"
        script.dies_listing = fault == "dies while listing"
        script.is_postponed = self.is_postponed
        script.executes_late = timedelta(seconds=33) if fault == "executes late" else None
        script.while_listing = self._others_work if fault == "others while listing" else None
        script.while_sending = {
            "others while sending": self._others_work,
            "hold while sending": self.hold,
        }.get(fault)
        script.lags = fault == "lags"
        script.other_org = self.listing == "another org"
        self.is_closed = fault == "closed port"

    @staticmethod
    def attempt_of(sent: SentWrite) -> Any:
        """The recorded attempt of what was sent."""
        for kind in due.KINDS:
            change_request = kind._default_manager.filter(pk=sent.change_request).first()
            if change_request:
                return change_request.attempts.get(pk=sent.attempt)
        raise AssertionError

    def work(self) -> None:
        """What a worker does."""
        due.run_due(actor=WORKER)

    def _others_work(self) -> None:
        """Another worker runs a minute later, while this process still waits for Datadog."""
        self.let_time_pass(61)
        self.work()

    @staticmethod
    def hold() -> None:
        """An administrator puts Org Admin on hold."""
        if not find_hold():
            holds.put_on_hold(actor=command_actor(), reason="maintenance")

    @staticmethod
    def release() -> None:
        """An administrator releases the hold, and the clock with it."""
        if find_hold():
            held = holds.find_held_work()
            holds.release_holds(actor=command_actor(), digest=held.digest)

    def let_time_pass(self, seconds: float) -> None:
        """Move the clock; what Datadog carries out late is carried out when its time comes."""
        self.clock.advance(seconds=seconds)
        # Lists that lagged behind a DELETE show its effect now.
        self.set_listing(self.listing)
        for late in [one for one in self.ledger.late if one.at <= self.clock.at]:
            self.ledger.late.remove(late)
            if late.sent.execute():
                late.sent.executed = True

    def pick(self, number: int, *, stale: bool) -> Any:
        """A request as it is now, or as it was read a while ago. None if there is none."""
        if stale:
            return self.copies.pop(number % len(self.copies)) if self.copies else None
        # Not sorted by time, which can stand still or go back, nor by ID, because a run must be
        # repeatable.
        asked = AuditEvent.objects.filter(code__endswith=".requested").order_by("-seq")
        newest = list(asked.values_list("subject_type", "subject_id")[:4])
        if not newest:
            return None
        noun, pk = newest[number % len(newest)]
        [kind] = [kind for kind in due.KINDS if kind.noun == noun]
        return kind._default_manager.get(pk=pk)

    def set_listing(self, listing: str) -> None:
        """How Datadog lists from now on."""
        world = self.setup.world
        self.listing = listing
        world.hides = listing == "hides"
        world.ghosts = self.setup.all_connections if listing == "ghosts" else ()
