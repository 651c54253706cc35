"""Random lives of deletions: people, workers, crashes, freezes and a Datadog that lies."""

import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import ClassVar
from uuid import UUID, uuid4

from django.db import transaction
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from connections.actors import WORKER, Actor
from connections.datadog.client import Answer
from connections.models import Attempt, AuditEvent, Credential, Deletion, State
from connections.services import (
    approvals,
    audit,
    deletions,
    due,
    endings,
    org_connections,
    reconciliation,
    reviews,
    spool,
)
from connections.services.errors import ActError
from sandbox import faults
from sandbox.entities import Connection, KeyPair
from sandbox.faults import Fault
from tests.faults.model.laws import Laws, check_rest
from tests.faults.model.truth import (
    DiedError,
    FrozenError,
    Ledger,
    LyingWorld,
    ModelDatadog,
    Script,
    Sending,
)
from tests.support.clock import SettableClock
from tests.support.fake_datadog import FakeDatadog

ANSWERS: dict[str, Fault | None] = {
    "deletes": None,
    "400": faults.ANSWERS_400,
    "401": faults.ANSWERS_401,
    "403": faults.ANSWERS_403,
    "404": faults.ANSWERS_404,
    "404 by somebody else": faults.ANSWERS_404_HTML,
    "429": faults.rate_limited(reset="7"),
    "500": faults.ANSWERS_500,
    "500 after deleting": faults.EXECUTES_THEN_500,
    "302": faults.redirected(status=302),
    "cut": faults.CUT_AFTER_READING,
    "cut after deleting": faults.DELETE_THEN_CUT,
    "silence": faults.SILENCE,
    "silence after deleting": faults.EXECUTES_THEN_SILENCE,
    "half a status line": faults.HALF_STATUS_LINE,
    "200 with a cut body": faults.CUT_BODY,
    "200 without deleting": faults.ANSWERS_200_WITHOUT_DELETING,
}
LISTINGS: dict[str, Fault | None] = {
    "honest": None,
    "403": faults.ANSWERS_403,
    "html": faults.ANSWERS_200_HTML,
    "half a page": faults.HALF_A_PAGE,
    "wrong total": faults.SHIFTING_TOTAL,
    "truncated": faults.TRUNCATED_JSON,
    "another org": faults.ANOTHER_ORG,
    "cut": faults.CUT_AFTER_READING,
    "hides": None,
    "ghosts": None,
}
TROUBLES = [
    *["none"] * 6,
    "closed port",
    "dies before",
    "dies after",
    "freezes before",
    "freezes after",
    "executes late",
    "others while listing",
    "others while sending",
]
PAUSES = [8, 36, 61, 61, 61, 301, 301, 16 * 60, 25 * 3600, -3600]

answers = st.sampled_from(sorted(ANSWERS))
troubles = st.sampled_from(TROUBLES)
numbers = st.integers(min_value=0, max_value=3)
pauses = st.sampled_from(PAUSES)


class Stage:
    """What every life shares: the cast, the credentials and how Datadog is reached."""

    world: LyingWorld
    clock: SettableClock
    ada: Actor
    approvers: tuple[Actor, Actor]
    credentials: list[Credential]
    pairs: dict[UUID, KeyPair]
    connection_ids: list[UUID]
    all_connections: tuple[Connection, ...]
    # Who stands in for the client at the moment.
    open_client: Callable[[Credential], FakeDatadog]


class Lives(RuleBasedStateMachine):
    """Deletions of two connections, and everything that can be done to them."""

    stage: ClassVar[Stage]

    def __init__(self) -> None:
        super().__init__()
        stage = self.stage
        self.savepoint = transaction.atomic()
        self.savepoint.__enter__()
        # As Django's own tests do: a durable transaction may begin in here.
        transaction.get_connection().atomic_blocks[-1]._from_testcase = True
        stage.world.reset()
        stage.world.hides, stage.world.ghosts = False, ()
        self.clock = stage.clock
        self.started_at = self.clock.at
        self.ledger = Ledger()
        self.script = Script()
        self.laws = Laws(ledger=self.ledger)
        self.copies: list[Deletion] = []
        self.frozen: list[tuple[Attempt, Sending, Answer | None]] = []
        self.listing = "honest"
        self.is_closed = False
        stage.open_client = self._client

    def teardown(self) -> None:
        """Bring the life to its end, then take everything back."""
        try:
            # What has failed already would only fail differently here.
            if sys.exc_info()[0] is None:
                self._bring_to_rest()
        finally:
            self.clock.at = self.started_at
            transaction.set_rollback(True)
            self.savepoint.__exit__(None, None, None)

    def _bring_to_rest(self) -> None:
        """Let an honest Datadog be asked until nothing is due by itself any more."""
        self.listings_change("honest")
        for seconds in (61, 61, 61, 25 * 3600, 25 * 3600, 61, 3700, 3700):
            self._let_time_pass(seconds)
            self._play(lambda: due.work_off(actor=WORKER), answer="deletes", trouble="none")
        self.laws.check()
        present = {one.id for one in self.stage.world.connections()}
        check_rest(present=present, ledger=self.ledger)

    # --- How Datadog is reached

    def _client(self, credential: Credential) -> ModelDatadog:
        client = ModelDatadog(
            self.stage.world,
            pair=self.stage.pairs[credential.pk],
            ledger=self.ledger,
            script=self.script,
            clock=self.clock,
            ids=lambda: set(self.stage.connection_ids),
        )
        client.is_closed = self.is_closed
        return client

    def _play(self, act: Callable[[], object], *, answer: str, trouble: str) -> None:
        """Do one act while this goes wrong; a refused act is as good as any other."""
        world = self.stage.world
        world.clear_faults()
        fault = LISTINGS[self.listing]
        if fault:
            world.set_fault(fault=fault, operation="list")
        if fault is faults.ANOTHER_ORG:
            world.set_fault(fault=fault, operation="current_user")
        answered_by = ANSWERS[answer]
        if answered_by:
            world.set_fault(fault=answered_by, operation="delete")
        self._set_script(trouble)
        with suppress(ActError, DiedError):
            try:
                act()
            except FrozenError as frozen:
                sending = self.ledger.sendings[-1]
                attempt = Attempt.objects.get(pk=sending.attempt)
                self.frozen.append((attempt, sending, frozen.answer))
        self._set_script("none")

    def _set_script(self, trouble: str) -> None:
        script = self.script
        script.dies_before = trouble == "dies before"
        script.dies_after = trouble == "dies after"
        script.freezes_before = trouble == "freezes before"
        script.freezes_after = trouble == "freezes after"
        script.executes_late = timedelta(seconds=33) if trouble == "executes late" else None
        script.while_listing = self._others_work if trouble == "others while listing" else None
        script.while_sending = self._others_work if trouble == "others while sending" else None
        script.other_org = self.listing == "another org"
        self.is_closed = trouble == "closed port"

    def _others_work(self) -> None:
        """Another worker passes a minute later, while this process still waits for Datadog."""
        self._let_time_pass(61)
        due.work_off(actor=WORKER)

    def _let_time_pass(self, seconds: float) -> None:
        self.clock.advance(seconds=seconds)
        for late in [one for one in self.ledger.late if one.at <= self.clock.at]:
            self.ledger.late.remove(late)
            if self.stage.world.remove_connection(connection_id=late.connection_id):
                late.sending.executed = True

    def _pick(self, number: int, *, stale: bool) -> Deletion | None:
        """A deletion as it is, or as somebody read it a while ago."""
        if stale:
            return self.copies.pop(number % len(self.copies)) if self.copies else None
        # Not by time, which may stand still or go back, nor by id: a life must be repeatable.
        asked = AuditEvent.objects.filter(code=audit.Code.DELETION_REQUESTED).order_by("-seq")
        newest = list(asked.values_list("subject_id", flat=True)[:4])
        return Deletion.objects.get(pk=newest[number % len(newest)]) if newest else None

    # --- What people do

    @initialize(credential=numbers, answer=answers, trouble=troubles)
    def begin(self, credential: int, answer: str, trouble: str) -> None:
        """Something is always sent first: asked for, approved where it must be, confirmed."""
        self.ask(which=0, credential=credential, answer=answer, trouble=trouble)
        for who in (False, True):
            self.decide(which=0, who=who, stale=False, agrees=1)
        if not self.ledger.sendings:
            self.confirm(which=0, stale=False, unread=False, answer=answer, trouble=trouble)

    @rule(which=numbers, credential=numbers, answer=answers, trouble=troubles)
    def ask(self, which: int, credential: int, answer: str, trouble: str) -> None:
        stage = self.stage
        chosen = stage.credentials[credential % len(stage.credentials)]
        wanted = stage.connection_ids[which % len(stage.connection_ids)]
        shown = reviews.review(actor=stage.ada, credential=chosen, connection_id=wanted)
        self._play(
            lambda: deletions.request_deletion(
                actor=stage.ada,
                credential=chosen,
                connection_id=wanted,
                reason="contract ended",
                ticket="",
                request_id=uuid4(),
                digest=shown.digest,
                confirmation=shown.text_to_type,
            ),
            answer=answer,
            trouble=trouble,
        )

    @precondition(lambda self: self.laws.remembered)
    @rule(
        which=numbers,
        stale=st.booleans(),
        unread=st.booleans(),
        answer=answers,
        trouble=troubles,
    )
    def confirm(self, which: int, stale: bool, unread: bool, answer: str, trouble: str) -> None:
        deletion = self._pick(which, stale=stale)
        if deletion:
            text = reviews.confirmation_text(deletion)
            self._play(
                lambda: deletions.execute_deletion(
                    deletion=deletion,
                    actor=self.stage.ada,
                    confirmation=text,
                    without_reading=unread,
                ),
                answer=answer,
                trouble=trouble,
            )

    @precondition(lambda self: State.STILL_PRESENT in self.laws.states)
    @rule(answer=answers, trouble=troubles)
    def confirm_what_had_no_effect(self, answer: str, trouble: str) -> None:
        deletion = Deletion.objects.filter(state=State.STILL_PRESENT).first()
        self.copies = [deletion] if deletion else []
        self.confirm(which=0, stale=True, unread=False, answer=answer, trouble=trouble)

    @precondition(lambda self: self.laws.states & {State.UNKNOWN, State.SENDING})
    @rule()
    def the_doubtful_are_looked_at_again(self) -> None:
        for seconds in (61, 61, 61):
            self.time_passes_without_trouble(seconds=seconds)

    @precondition(lambda self: self.laws.remembered)
    @rule(
        which=numbers, who=st.booleans(), stale=st.booleans(), agrees=st.sampled_from([1, 1, 1, 0])
    )
    def decide(self, which: int, who: bool, stale: bool, agrees: int) -> None:
        deletion = self._pick(which, stale=stale)
        if not deletion:
            return
        actor = self.stage.approvers[who]
        with suppress(ActError):
            if agrees:
                approvals.approve_deletion(
                    deletion=deletion, actor=actor, digest=deletion.approval_digest
                )
            else:
                approvals.decline_deletion(deletion=deletion, actor=actor, reason="no")

    @precondition(lambda self: self.laws.remembered)
    @rule(which=numbers, stale=st.booleans(), ends=st.booleans())
    def end(self, which: int, stale: bool, ends: bool) -> None:
        deletion = self._pick(which, stale=stale)
        if not deletion:
            return
        act = endings.close_deletion if ends else endings.withdraw_deletion
        with suppress(ActError):
            act(deletion=deletion, actor=self.stage.ada, reason="enough")

    @precondition(lambda self: self.laws.remembered)
    @rule(which=numbers, stale=st.booleans())
    def check_with_datadog(self, which: int, stale: bool) -> None:
        deletion = self._pick(which, stale=stale)
        if deletion:
            self._play(
                lambda: reconciliation.check_deletion(deletion=deletion, actor=self.stage.ada),
                answer="deletes",
                trouble="none",
            )

    # --- What happens by itself

    @rule(seconds=pauses, answer=answers, trouble=troubles)
    def time_passes(self, seconds: int, answer: str, trouble: str) -> None:
        self._let_time_pass(seconds)
        self._play(lambda: due.work_off(actor=WORKER), answer=answer, trouble=trouble)

    @rule(seconds=pauses)
    def time_passes_without_trouble(self, seconds: int) -> None:
        self.time_passes(seconds=seconds, answer="deletes", trouble="none")

    @rule(seconds=pauses)
    def nobody_works_for_a_while(self, seconds: int) -> None:
        self._let_time_pass(seconds)

    @rule(refreshes=st.booleans())
    def everything_is_read_again(self, refreshes: bool) -> None:
        def refresh() -> None:
            org_connections.refresh_credentials(
                credentials=self.stage.credentials[:2], actor=WORKER
            )

        def reconcile() -> None:
            due.reconcile_all(actor=WORKER)

        self._play(refresh if refreshes else reconcile, answer="deletes", trouble="none")

    @precondition(lambda self: self.copies)
    @rule(which=numbers, answer=answers)
    def work_on_what_was_read_long_ago(self, which: int, answer: str) -> None:
        deletion = self._pick(which, stale=True)
        if deletion:
            self._play(
                lambda: due.work_on(deletion=deletion, actor=WORKER), answer=answer, trouble="none"
            )

    @precondition(lambda self: self.laws.remembered)
    @rule(which=numbers)
    def read_a_deletion_and_hold_it(self, which: int) -> None:
        deletion = self._pick(which, stale=False)
        if deletion:
            self.copies = [*self.copies[-3:], deletion]

    @precondition(lambda self: self.frozen)
    @rule(which=numbers, answer=answers)
    def thaw(self, which: int, answer: str) -> None:
        """A frozen process goes on where it stood, however late it is."""
        attempt, sending, said = self.frozen.pop(which % len(self.frozen))

        def go_on() -> None:
            deletion = attempt.deletion
            client = self._client(deletion.credential)
            sending.said = said or client.carry_out(
                sending, connection_id=str(deletion.connection_id)
            )
            spool.record(attempt=attempt, answer=sending.said, actor=WORKER)

        self._play(go_on, answer=answer, trouble="none")

    # --- What others do to the world, and what Datadog says of it

    @rule(listing=st.sampled_from([*["honest"] * len(LISTINGS), *LISTINGS]))
    def listings_change(self, listing: str) -> None:
        world = self.stage.world
        self.listing = listing
        world.hides = listing == "hides"
        world.ghosts = self.stage.all_connections if listing == "ghosts" else ()

    @rule(which=numbers, act=numbers)
    def somebody_else_acts(self, which: int, act: int) -> None:
        wanted = str(self.stage.connection_ids[which % 2])
        if act == 0:
            self.stage.world.remove_connection(connection_id=wanted)
        elif act == 1:
            self.stage.world.change_connection(
                connection_id=wanted, connection_types=("audit", str(which))
            )

    @invariant()
    def the_laws_hold(self) -> None:
        self.laws.check()
