"""Random sequences in which people also request, extend, restore and move access, or let it end."""

from contextlib import suppress
from datetime import date, timedelta
from uuid import UUID, uuid4

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from connections.access.actor import WORKER
from connections.access_requests import ending, requesting
from connections.access_requests.requesting import WantedTerms, complete_terms
from connections.access_requests.targets import find_target
from connections.agreements.agreed import find_agreements
from connections.agreements.setting import Terms, set_agreements
from connections.core.errors import DomainError
from connections.deletions import confirmations
from connections.deletions import requesting as deletion_requesting
from connections.inventory import protections, syncs
from connections.models import (
    AccessRequest,
    AccessState,
    AuditEvent,
    Deletion,
    MoveStep,
    OrgConnectionSnapshot,
    OrgPair,
    RequestKind,
    approval_digest_of,
)
from sandbox.entities import make_user
from tests.faults.model.expected_state import OWNER, AskedFor
from tests.faults.model.machine import DeletionMachine, numbers, planned_faults
from tests.faults.model.simulator import RESPONSES

kinds = st.sampled_from(["create", "create", "change", "change", "extend", "restore", "move"])
data_types = st.sampled_from([["audit"], ["logs"], ["audit", "logs"]])
any_response = st.sampled_from(sorted(RESPONSES))
# Access that was given is needed for what follows, so most requests work.
responses = st.sampled_from([*["deletes"] * len(RESPONSES), *sorted(RESPONSES)])
# What goes wrong, and whether that is in the second step only.
faults_of_move = st.tuples(planned_faults, st.booleans())
# What random actions seldom lead to, by the names of the functions.
SITUATIONS = (
    "list_lags",
    "hold_between_both_steps",
    "moved_with_an_end_set_by_hand",
    "post_lost",
    "someone_else_connects_after_a_lost_post",
)
# The last day, counted from today.
days = st.sampled_from([None, 0, 0, 1, 3])


class AccessMachine(DeletionMachine):
    """Access requests and deletions of three pairs, and everything that can be done to them."""

    def __init__(self) -> None:
        super().__init__()
        self.synced_at = self.clock.at

    # --- What people do

    @initialize(pair=numbers, types=data_types, ends=days, response=responses, fault=planned_faults)
    def begin(
        self, pair: int, types: list[str], ends: int | None, response: str, fault: str
    ) -> None:
        """Something is always requested first, approved where needed, and confirmed."""
        kind = "change" if self._listed(pair) else "create"
        self.request_access(
            pair=pair,
            kind=kind,
            types=types,
            ends=ends,
            views=False,
            response=response,
            fault=fault,
        )
        for who in (False, True):
            self.decide(which=0, who=who, stale=False, agrees=1)
        if self.ledger.asked_for and not self.ledger.sent:
            self.confirm(which=0, stale=False, unread=False, response=response, fault=fault)

    def _listed(self, pair: int) -> OrgConnectionSnapshot | None:
        wanted = self.setup.org_pairs[pair % len(self.setup.org_pairs)]
        rows = OrgConnectionSnapshot.objects.filter(**wanted._asdict(), is_current=True)
        return rows.order_by("-last_seen_at").first()

    def _in_days(self, count: int | None) -> date | None:
        return None if count is None else self.clock.at.date() + timedelta(days=count)

    @rule(
        pair=numbers,
        kind=kinds,
        types=data_types,
        ends=days,
        views=st.booleans(),
        response=responses,
        fault=planned_faults,
    )
    def request_access(
        self,
        pair: int,
        kind: str,
        types: list[str],
        ends: int | None,
        views: bool,
        response: str,
        fault: str,
    ) -> None:
        """A Viewer or an Operator requests it, who can also confirm it."""
        actor = self.setup.victor if views else self.setup.ada
        of_pair = self.setup.org_pairs[pair % len(self.setup.org_pairs)]
        wanted = self._wanted(kind=kind, pair=of_pair, types=types, ends=ends)
        restored = None
        if kind == "restore":
            of_it = Deletion.objects.filter(**of_pair._asdict(), settled_at__isnull=False)
            restored = of_it.order_by("-requested_at").first()
        with suppress(DomainError):
            target = find_target(
                actor=actor, kind=RequestKind(kind), pair=of_pair, restored_from=restored
            )
            terms = complete_terms(target, wanted, reason="quarterly report", ticket="")
            digest, request_id = target.digest_of(terms), uuid4()
            form_digest = target.form_digest
            self.ledger.asked_for[request_id] = AskedFor(
                kind=kind,
                pair=of_pair,
                connection_id=str(target.snapshot.connection_id) if target.snapshot else "",
                types=list(terms.types),
                ends_on=terms.ends_on,
                named=_named_columns(wanted),
                approval_digest=approval_digest_of(digest=digest, reason=terms.reason, ticket=""),
            )
            self.run_action(
                lambda: requesting.request_access(
                    actor=actor,
                    kind=RequestKind(kind),
                    pair=of_pair,
                    wanted=wanted,
                    reason="quarterly report",
                    ticket="",
                    request_id=request_id,
                    digest=form_digest,
                    confirmation=target.text_to_type if target.is_sent_at_once else None,
                    restored_from=restored,
                ),
                response=response,
                fault=fault,
            )

    def _wanted(
        self, *, kind: str, pair: OrgPair, types: list[str], ends: int | None
    ) -> WantedTerms:
        """What the form names."""
        wanted: WantedTerms = {"owner_text": OWNER, "purpose": "incident response"}
        wanted["ends_on"] = self._in_days(ends)
        agreement = find_agreements([pair]).get(pair)
        if kind == "move" and agreement:
            return {}
        if kind == "extend" and agreement and agreement.ends_on and ends is not None:
            wanted["ends_on"] = agreement.ends_on + timedelta(days=ends)
        if kind not in {"extend", "move"}:
            wanted["types"] = types
        return wanted

    @rule(pair=numbers, kind=kinds, types=data_types, ends=days, response=responses)
    def request_approve_and_confirm(
        self, pair: int, kind: str, types: list[str], ends: int | None, response: str
    ) -> None:
        self.request_access(
            pair=pair,
            kind=kind,
            types=types,
            ends=ends,
            views=True,
            response=response,
            fault="none",
        )
        for who in (False, True):
            self.decide(which=0, who=who, stale=False, agrees=1)
        self.confirm(which=0, stale=False, unread=False, response=response, fault="none")

    @rule(pair=numbers, types=data_types, ends=days, response=responses)
    def delete_and_restore(
        self, pair: int, types: list[str], ends: int | None, response: str
    ) -> None:
        self.request(which=pair, credential=0, response=response, fault="none")
        for who in (False, True):
            self.decide(which=0, who=who, stale=False, agrees=1)
        self.confirm(which=0, stale=False, unread=False, response=response, fault="none")
        self.time_passes_without_faults(seconds=61)
        self.request_approve_and_confirm(
            pair=pair, kind="restore", types=types, ends=ends, response=response
        )

    @rule(pair=numbers, types=data_types, count=st.integers(min_value=0, max_value=2))
    def extend_and_let_it_end(self, pair: int, types: list[str], count: int) -> None:
        kind = "change" if self._listed(pair) else "create"
        self.request_approve_and_confirm(
            pair=pair, kind=kind, types=types, ends=0, response="deletes"
        )
        self.time_passes_without_faults(seconds=61)
        for _ in range(count):
            self.request_approve_and_confirm(
                pair=pair, kind="extend", types=types, ends=1, response="deletes"
            )
        self.days_pass(count=1, response="deletes", fault="none")

    @initialize(pair=numbers, types=data_types, response=any_response, fault=faults_of_move)
    def move_first(
        self, pair: int, types: list[str], response: str, fault: tuple[str, bool]
    ) -> None:
        self.move(pair=pair, types=types, response=response, fault=fault)
        self.unknown_deletions_are_checked_again()

    @rule(pair=numbers, types=data_types, response=any_response, fault=faults_of_move)
    def move(self, pair: int, types: list[str], response: str, fault: tuple[str, bool]) -> None:
        """What someone else created is moved. Something goes wrong, at once or after the DELETE."""
        self._let_someone_else_connect(pair, types=types)
        self.request_access(
            pair=pair,
            kind="move",
            types=types,
            ends=None,
            views=True,
            response=response,
            fault="none",
        )
        for who in (False, True):
            self.decide(which=0, who=who, stale=False, agrees=1)
        planned, self.is_postponed = fault
        self.confirm(which=0, stale=False, unread=False, response=response, fault=planned)
        self.is_postponed = False

    # --- What they seldom lead to

    @rule(name=st.sampled_from(SITUATIONS), pair=numbers, types=data_types)
    def situation(self, name: str, pair: int, types: list[str]) -> None:
        getattr(self, f"_{name}")(pair, types)

    def _list_lags(self, pair: int, types: list[str]) -> None:
        """The list after the DELETE of a move still shows the old connection."""
        self.move(pair=pair, types=types, response="deletes", fault=("lags", False))
        self.time_passes_without_faults(seconds=61)

    def _hold_between_both_steps(self, pair: int, types: list[str]) -> None:
        self.release()
        fault = ("hold while sending", False)
        self.move(pair=pair, types=types, response="deletes", fault=fault)
        self.time_passes_without_faults(seconds=61)

    def _moved_with_an_end_set_by_hand(self, pair: int, types: list[str]) -> None:
        self.edit_an_agreement(pair=pair, types=types, ends=3)
        self.move(pair=pair, types=types, response="deletes", fault=("none", False))

    def _post_lost(self, pair: int, types: list[str]) -> None:
        """It never arrives, so lists show no effect, and only people can have it sent again."""
        self._lose_post(pair, types)
        self.unknown_deletions_are_checked_again()

    def _someone_else_connects_after_a_lost_post(self, pair: int, types: list[str]) -> None:
        """What a list then shows is as requested, but isn't ours."""
        self._lose_post(pair, types)
        of_pair = self.setup.org_pairs[pair % len(self.setup.org_pairs)]
        self.someone_else_connects(of_pair, types=tuple(types))
        self.unknown_deletions_are_checked_again()

    def _lose_post(self, pair: int, types: list[str]) -> None:
        world, of_pair = self.setup.world, self.setup.org_pairs[pair % len(self.setup.org_pairs)]
        there = world.between(of_pair.source_org_id, of_pair.sink_org_id)
        if there:
            world.remove_connection(connection_id=there.id)
        self._sync_correctly()
        self.request_approve_and_confirm(
            pair=pair, kind="create", types=types, ends=None, response="cut"
        )

    def _let_someone_else_connect(self, pair: int, *, types: list[str]) -> None:
        """The pair has a connection that our keys' owner didn't create, and every list shows it."""
        world, of_pair = self.setup.world, self.setup.org_pairs[pair % len(self.setup.org_pairs)]
        there = world.between(of_pair.source_org_id, of_pair.sink_org_id)
        if there and UUID(there.id) in self.ledger.created:
            world.remove_connection(connection_id=there.id)
        self.someone_else_connects(of_pair, types=tuple(types))
        self._sync_correctly()

    def _sync_correctly(self) -> None:
        self.set_listing("correct")
        self.run_action(
            lambda: syncs.sync_credentials(credentials=self.setup.credentials, actor=WORKER),
            response="deletes",
            fault="none",
        )

    def _find_interrupted(self) -> list[AccessRequest]:
        """A move whose POST can be confirmed again."""
        rows = AccessRequest.objects.filter(step=MoveStep.POST, state=AccessState.APPROVED)
        # In this order, because a run must be repeatable.
        by_pair = [rows.filter(**pair._asdict()) for pair in self.setup.org_pairs]
        return [move for moves in by_pair for move in moves][:1]

    @precondition(lambda self: self._find_interrupted())
    @rule(response=responses, fault=planned_faults)
    def confirm_the_post_again(self, response: str, fault: str) -> None:
        self.copies = [*self._find_interrupted()]
        self.confirm(which=0, stale=True, unread=False, response=response, fault=fault)

    @rule(which=numbers, credential=numbers, response=responses, fault=planned_faults)
    def request(self, which: int, credential: int, response: str, fault: str) -> None:
        """The deletion of what a pair has now."""
        listed = self._listed(which)
        if listed is None:
            return
        ada = self.setup.ada
        shown = confirmations.find_target(
            actor=ada, credential=listed.credential, connection_id=listed.connection_id
        )
        self.run_action(
            lambda: deletion_requesting.request_deletion(
                actor=ada,
                credential=listed.credential,
                connection_id=listed.connection_id,
                reason="contract ended",
                ticket="",
                request_id=uuid4(),
                digest=shown.digest,
                confirmation=shown.text_to_type,
            ),
            response=response,
            fault=fault,
        )

    @rule(pair=numbers, types=data_types, ends=days)
    def edit_an_agreement(self, pair: int, types: list[str], ends: int | None) -> None:
        of_pair = self.setup.org_pairs[pair % len(self.setup.org_pairs)]
        with suppress(DomainError):
            terms: Terms = {"owner_text": "another team", "ends_on": self._in_days(ends)}
            terms["connection_types"] = types
            done = set_agreements(
                actor=self.setup.ada, pairs=[of_pair], terms={**terms, "purpose": "fraud alerts"}
            )
            if done.new:
                newest = AuditEvent.objects.latest("seq")
                self.ledger.edits.setdefault(of_pair, {})[newest.seq] = dict(terms)

    @rule(pair=numbers)
    def protect_or_unprotect(self, pair: int) -> None:
        listed = self._listed(pair)
        if listed is None:
            return
        key = listed.key
        protection = protections.find_protection(key)
        with suppress(DomainError):
            if protection is None:
                protections.protect_connection(actor=self.setup.ada, key=key, reason="audit")
            else:
                protections.remove_protection(
                    actor=self.setup.approvers[0], protection=protection, reason="done"
                )

    # --- What happens by itself

    def work(self) -> None:
        super().work()
        if abs(self.clock.at - self.synced_at) > timedelta(minutes=15):
            self.synced_at = self.clock.at
            syncs.sync_credentials(credentials=self.setup.credentials, actor=WORKER)
        ending.end_due(actor=WORKER)

    @precondition(lambda self: self.ledger.asked_for)
    @rule(count=st.integers(min_value=1, max_value=4), response=responses, fault=planned_faults)
    def days_pass(self, count: int, response: str, fault: str) -> None:
        self.let_time_pass(count * 86400)
        self.run_action(self.work, response=response, fault=fault)

    # --- What others do to the world

    @rule(which=numbers, act=numbers)
    def someone_else_changes_the_connection(self, which: int, act: int) -> None:
        world = self.setup.world
        pair = self.setup.org_pairs[which % len(self.setup.org_pairs)]
        there = world.between(pair.source_org_id, pair.sink_org_id)
        types = (("audit",), ("logs",), ("metrics",), ("audit", "logs"))[act]
        if there is None:
            self.someone_else_connects(pair, types=types)
        elif act % 2:
            world.remove_connection(connection_id=there.id)
            if act == 3:
                world.recreate_connection(connection_id=there.id)
        else:
            world.change_connection(connection_id=there.id, connection_types=types)

    def someone_else_connects(self, pair: OrgPair, *, types: tuple[str, ...]) -> None:
        """Unless the pair is connected."""
        world = self.setup.world
        world.add_connection(
            source_org=world.orgs[pair.source_org_id],
            sink_org=world.orgs[pair.sink_org_id],
            connection_types=types,
            created_by=make_user(name="Dana Keller"),
        )


def _named_columns(wanted: WantedTerms) -> frozenset[str]:
    """The columns of an agreement that these terms name."""
    columns = {"types": "connection_types", "ends_on": "ends_on", "owner_text": "owner_text"}
    return frozenset(column for name, column in columns.items() if name in wanted)
