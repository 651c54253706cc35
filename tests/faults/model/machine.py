"""Random sequences of actions: people, workers, crashes, pauses and wrong lists.

The rules of `DeletionMachine` about requests that exist apply to access requests too.
"""

from contextlib import suppress
from uuid import uuid4

from django.core.exceptions import PermissionDenied
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from connections.access.actor import WORKER
from connections.change_requests import approvals, lifecycle, reconciliation
from connections.change_requests.actions import action_of
from connections.change_requests.guards import find_hold
from connections.change_requests.saved_responses import record_or_save
from connections.core.errors import DomainError
from connections.deletions import confirmations, requesting
from connections.inventory import syncs
from connections.models import ChangeRequest, State
from connections.operations import due
from tests.faults.model.simulator import LISTINGS, PAUSES, PLANNED_FAULTS, RESPONSES, Simulator

responses = st.sampled_from(sorted(RESPONSES))
planned_faults = st.sampled_from(PLANNED_FAULTS)
numbers = st.integers(min_value=0, max_value=3)
pauses = st.sampled_from(PAUSES)


class DeletionMachine(Simulator):
    """Deletions of two connections, and everything that can be done to them."""

    # --- What people do

    @initialize(credential=numbers, response=responses, fault=planned_faults)
    def begin(self, credential: int, response: str, fault: str) -> None:
        """Something is always sent first: requested, approved where needed, confirmed."""
        self.request(which=0, credential=credential, response=response, fault=fault)
        for who in (False, True):
            self.decide(which=0, who=who, stale=False, agrees=1)
        if not self.ledger.sent:
            self.confirm(which=0, stale=False, unread=False, response=response, fault=fault)

    @rule(which=numbers, credential=numbers, response=responses, fault=planned_faults)
    def request(self, which: int, credential: int, response: str, fault: str) -> None:
        setup = self.setup
        chosen = setup.credentials[credential % len(setup.credentials)]
        wanted = setup.connection_ids[which % len(setup.connection_ids)]
        shown = confirmations.find_target(actor=setup.ada, credential=chosen, connection_id=wanted)
        self.run_action(
            lambda: requesting.request_deletion(
                actor=setup.ada,
                credential=chosen,
                connection_id=wanted,
                reason="contract ended",
                ticket="",
                request_id=uuid4(),
                digest=shown.digest,
                confirmation=shown.text_to_type,
            ),
            response=response,
            fault=fault,
        )

    @precondition(lambda self: self.invariant_checks.remembered)
    @rule(
        which=numbers,
        stale=st.booleans(),
        unread=st.booleans(),
        response=responses,
        fault=planned_faults,
    )
    def confirm(self, which: int, stale: bool, unread: bool, response: str, fault: str) -> None:
        change_request = self.pick(which, stale=stale)
        if change_request:
            text = action_of(change_request).confirmation_text(change_request, actor=self.setup.ada)
            self.run_action(
                lambda: lifecycle.execute(
                    change_request=change_request,
                    actor=self.setup.ada,
                    confirmation=text,
                    skip_recheck=unread,
                ),
                response=response,
                fault=fault,
            )

    @precondition(lambda self: State.STILL_PRESENT in self.invariant_checks.states)
    @rule(approvers=st.integers(min_value=0, max_value=2), response=responses, fault=planned_faults)
    def confirm_what_had_no_effect(self, approvers: int, response: str, fault: str) -> None:
        for who in (False, True)[:approvers]:
            self.copies = self._find_without_effect()
            self.decide(which=0, who=who, stale=True, agrees=1)
        self.copies = self._find_without_effect()
        self.confirm(which=0, stale=True, unread=False, response=response, fault=fault)

    @staticmethod
    def _find_without_effect() -> list[ChangeRequest]:
        """One request that had no effect."""
        rows = (kind._default_manager.filter(state=kind.no_effect) for kind in due.KINDS)
        return [row for each in rows for row in each[:1]][:1]

    @precondition(lambda self: self.invariant_checks.states & {State.UNKNOWN, State.SENDING})
    @rule()
    def unknown_deletions_are_checked_again(self) -> None:
        for seconds in (61, 61, 61):
            self.time_passes_without_faults(seconds=seconds)

    @precondition(lambda self: self.invariant_checks.remembered)
    @rule(
        which=numbers, who=st.booleans(), stale=st.booleans(), agrees=st.sampled_from([1, 1, 1, 0])
    )
    def decide(self, which: int, who: bool, stale: bool, agrees: int) -> None:
        change_request = self.pick(which, stale=stale)
        if not change_request:
            return
        actor = self.setup.approvers[who]
        with suppress(DomainError):
            if agrees:
                approvals.approve(
                    change_request=change_request,
                    actor=actor,
                    digest=change_request.approval_digest,
                    approval_round=change_request.approval_round,
                )
            else:
                approvals.decline(change_request=change_request, actor=actor, reason="no")

    @precondition(lambda self: self.invariant_checks.remembered)
    @rule(which=numbers, stale=st.booleans(), ends=st.booleans())
    def end(self, which: int, stale: bool, ends: bool) -> None:
        change_request = self.pick(which, stale=stale)
        if not change_request:
            return
        act = lifecycle.close if ends else lifecycle.withdraw
        # She withdraws only what she requested.
        with suppress(DomainError, PermissionDenied):
            act(change_request=change_request, actor=self.setup.ada, reason="enough")

    @precondition(lambda self: self.invariant_checks.remembered)
    @rule(which=numbers, stale=st.booleans())
    def check_with_datadog(self, which: int, stale: bool) -> None:
        change_request = self.pick(which, stale=stale)
        if change_request:
            self.run_action(
                lambda: reconciliation.check(change_request=change_request, actor=self.setup.ada),
                response="deletes",
                fault="none",
            )

    # --- What happens by itself

    @rule(seconds=pauses, response=responses, fault=planned_faults)
    def time_passes(self, seconds: int, response: str, fault: str) -> None:
        self.let_time_pass(seconds)
        self.run_action(self.work, response=response, fault=fault)

    @rule(seconds=pauses)
    def time_passes_without_faults(self, seconds: int) -> None:
        self.time_passes(seconds=seconds, response="deletes", fault="none")

    @rule(seconds=pauses)
    def no_worker_runs_for_a_while(self, seconds: int) -> None:
        self.let_time_pass(seconds)

    @rule(holds=numbers)
    def hold_or_release(self, holds: int) -> None:
        if find_hold():
            self.release()
        elif holds == 0:
            self.hold()

    @rule(refreshes=st.booleans())
    def every_org_is_synced_or_checked(self, refreshes: bool) -> None:
        def refresh() -> None:
            syncs.sync_credentials(credentials=self.setup.credentials[:2], actor=WORKER)

        def reconcile() -> None:
            due.reconcile_all(actor=WORKER)

        self.run_action(refresh if refreshes else reconcile, response="deletes", fault="none")

    @precondition(lambda self: self.copies)
    @rule(which=numbers, response=responses)
    def process_an_old_copy(self, which: int, response: str) -> None:
        change_request = self.pick(which, stale=True)
        if change_request:
            self.run_action(
                lambda: due.run_request(change_request=change_request, actor=WORKER),
                response=response,
                fault="none",
            )

    @precondition(lambda self: self.invariant_checks.remembered)
    @rule(which=numbers)
    def keep_a_copy_of_a_deletion(self, which: int) -> None:
        change_request = self.pick(which, stale=False)
        if change_request:
            self.copies = [*self.copies[-3:], change_request]

    @precondition(lambda self: self.frozen)
    @rule(which=numbers, response=responses)
    def thaw(self, which: int, response: str) -> None:
        """A paused process continues, however late it is."""
        attempt, sent, received = self.frozen.pop(which % len(self.frozen))

        def go_on() -> None:
            client = self.client(attempt.change_request.credential)
            sent.response = received or client.carry_out(sent)
            record_or_save([(attempt, sent.response)], actor=WORKER)

        self.run_action(go_on, response=response, fault="none")

    # --- What others do to the world, and what Datadog says of it

    @rule(listing=st.sampled_from([*["correct"] * len(LISTINGS), *LISTINGS]))
    def listings_change(self, listing: str) -> None:
        self.set_listing(listing)

    @rule(which=numbers, act=numbers)
    def someone_else_changes_the_connection(self, which: int, act: int) -> None:
        wanted = str(self.setup.connection_ids[which % 2])
        if act == 0:
            self.setup.world.remove_connection(connection_id=wanted)
        elif act == 1:
            self.setup.world.change_connection(
                connection_id=wanted, connection_types=("audit", str(which))
            )

    @invariant()
    def the_invariants_hold(self) -> None:
        self.invariant_checks.check()
