"""Access requests in each state, made through the services against the Datadog simulator."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import pytest

from connections.access.actor import WORKER, person_actor
from connections.change_requests import approvals, lifecycle
from connections.inventory import syncs
from connections.models import (
    AccessOutcome,
    AccessRequest,
    ApprovalPolicy,
    Credential,
    OrgPair,
    Person,
    RequestKind,
)
from sandbox.faults import Fault
from sandbox.server import SandboxServer
from tests.flows.support import store_credential
from tests.support.access_requests import request_for
from tests.support.clock import SettableClock
from tests.support.sandbox import connection_between

RequestAccess = Callable[..., AccessRequest]
DAY = 86_400


@pytest.fixture
def credential(db: None, sandbox: SandboxServer, clock: SettableClock) -> Credential:
    """The verified credential of Payments US, synced once."""
    stored = store_credential(sandbox, "Payments US")
    clock.advance(seconds=1)
    return stored


@pytest.fixture
def listed_pair(credential: Credential) -> OrgPair:
    """Payments US → Group SOC, which are connected."""
    snapshot = credential.snapshots.get(source_org_name="Payments US", sink_org_name="Group SOC")
    return OrgPair(snapshot.site, snapshot.source_org_id, snapshot.sink_org_id)


@pytest.fixture
def free_pair(credential: Credential, listed_pair: OrgPair, sandbox: SandboxServer) -> OrgPair:
    """The same orgs, once their connection was deleted elsewhere."""
    found = connection_between(sandbox.world, "Payments US", "Group SOC")
    sandbox.world.remove_connection(connection_id=found.id)
    syncs.sync_credentials(credentials=[credential], actor=WORKER)
    return listed_pair


@pytest.fixture
def create(ada: Person, free_pair: OrgPair, sandbox: SandboxServer) -> RequestAccess:
    """Ada requests logs of Payments US for Group SOC; `fault` is how Datadog responds."""

    def act(fault: Fault | None = None) -> AccessRequest:
        if fault:
            sandbox.world.set_fault(fault=fault, method="POST")
        return request_for(
            actor=person_actor(person=ada),
            pair=free_pair,
            wanted={"types": ["logs"], "owner_text": "SOC team", "purpose": "incident response"},
        )

    return act


@pytest.fixture
def change(ada: Person, listed_pair: OrgPair, sandbox: SandboxServer) -> RequestAccess:
    """Ada requests audit events too; `fault` is how Datadog responds."""

    def act(fault: Fault | None = None) -> AccessRequest:
        if fault:
            sandbox.world.set_fault(fault=fault, method="PATCH")
        return request_for(
            actor=person_actor(person=ada),
            pair=listed_pair,
            kind=RequestKind.CHANGE,
            wanted={
                "types": ["audit", "logs"],
                "owner_text": "SOC team",
                "purpose": "incident response",
            },
        )

    return act


@dataclass(frozen=True, kw_only=True)
class End:
    """Access whose last day is over, and everything that a case needs to act on it."""

    given: AccessRequest
    credential: Credential
    sandbox: SandboxServer
    clock: SettableClock
    ada: Person
    root: Person
    monkeypatch: pytest.MonkeyPatch

    @property
    def connection_id(self) -> str:
        return str(self.given.connection_id)

    def ask(self, kind: RequestKind = RequestKind.EXTEND, **wanted: object) -> AccessRequest:
        pair = OrgPair(self.given.site, self.given.source_org_id, self.given.sink_org_id)
        return request_for(
            actor=person_actor(person=self.ada),
            pair=pair,
            kind=kind,
            wanted=wanted,  # type: ignore[arg-type]
        )

    def just_before(self, module: object, name: str, act: Callable[[], object]) -> None:
        """Act once, right before this function is called."""
        original = getattr(module, name)

        def wrapper(*args: object, **kwargs: object) -> object:
            self.monkeypatch.setattr(module, name, original)
            act()
            return original(*args, **kwargs)

        self.monkeypatch.setattr(module, name, wrapper)


@pytest.fixture
def end(
    ada: Person,
    root: Person,
    free_pair: OrgPair,
    clock: SettableClock,
    credential: Credential,
    sandbox: SandboxServer,
    monkeypatch: pytest.MonkeyPatch,
) -> End:
    """Access that was given, and whose last day was two days ago."""
    given = request_for(
        actor=person_actor(person=ada),
        pair=free_pair,
        wanted={
            "types": ["logs"],
            "owner_text": "SOC team",
            "purpose": "incident response",
            "ends_on": clock.now().date() + timedelta(days=3),
        },
    )
    assert given.outcome == AccessOutcome.CREATED
    clock.advance(seconds=60)
    syncs.sync_credentials(credentials=[credential], actor=WORKER)
    clock.advance(seconds=5 * DAY)
    return End(
        given=given,
        credential=credential,
        sandbox=sandbox,
        clock=clock,
        ada=ada,
        root=root,
        monkeypatch=monkeypatch,
    )


def approved_again(end: End, *, policy: ApprovalPolicy, by: Sequence[Person]) -> AccessRequest:
    """An extension that these people approved under this policy, and whose end has passed too."""
    end.clock.advance(seconds=-5 * DAY)
    Credential.objects.update(policy=policy)
    later = end.given.ends_on + timedelta(days=1) if end.given.ends_on else None
    extension = end.ask(ends_on=later)
    for person in by:
        actor = person_actor(person=person)
        digest = extension.approval_digest
        approvals.approve(change_request=extension, actor=actor, digest=digest)
        extension.refresh_from_db()
    actor = person_actor(person=end.ada)
    extension = lifecycle.execute(
        change_request=extension, actor=actor, confirmation=extension.sink_org_name
    )
    assert extension.outcome == AccessOutcome.EXTENDED
    end.clock.advance(seconds=5 * DAY)
    return extension
