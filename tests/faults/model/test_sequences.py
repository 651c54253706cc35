"""Random sequences of everything that can happen to a deletion or an access request.

They keep the invariants.

`SEQUENCES` in the environment is the number of sequences, `SEQUENCES_SEED` their seed.
"""

import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from uuid import UUID

import pytest
from django.conf import settings as django_settings
from django.utils import timezone
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from connections.access.actor import Actor, command_actor
from connections.core.datadog_keys import KeyPair
from connections.core.secret import Secret
from connections.inventory import syncs
from connections.models import ApprovalPolicy, Credential, OrgPair, Person, Role
from sandbox.entities import Org, make_user
from tests.faults.model.access_machine import SITUATIONS, AccessMachine
from tests.faults.model.expected_state import WrongListWorld
from tests.faults.model.machine import DeletionMachine
from tests.faults.model.simulator import SimulatedSetup, Simulator
from tests.support.clock import SettableClock
from tests.support.fake_datadog import FakeDatadog
from tests.support.people import make_person
from tests.support.sandbox import US
from tests.support.sweeps import ON_POSTGRESQL, TAKES_ALL

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.database,
    pytest.mark.slow,
    pytest.mark.sweep,
]

STEPS_PER_SEQUENCE = 20


def number_of_sequences() -> int:
    """Sequences to try: what a test run has time for, or more."""
    return int(os.environ.get("SEQUENCES", "200" if TAKES_ALL else "2" if ON_POSTGRESQL else "5"))


def seed_of_sequences() -> int:
    """The seed: the same sequences each time, unless others are requested."""
    own = "20260302" if django_settings.DATABASE_IS_SQLITE else "20260303"
    return int(os.environ.get("SEQUENCES_SEED", own))


def make_world(*, clock: SettableClock) -> WrongListWorld:
    """Payments and Group SOC, which share in both directions; a third org knows neither."""
    world = WrongListWorld(sites=(US,), clock=clock)
    world.add_org(name="Elsewhere", site=US)
    payments = world.add_org(name="Payments", site=US)
    soc = world.add_org(name="Group SOC", site=US)
    return _connect(
        world, credentials_of=(payments, soc, payments), pairs=((payments, soc), (soc, payments))
    )


def make_access_world(*, clock: SettableClock) -> WrongListWorld:
    """Three orgs with a credential each and one without; two of three pairs are connected."""
    world = WrongListWorld(sites=(US,), clock=clock)
    partner = world.add_org(name="Partner", site=US)
    orgs = [world.add_org(name=name, site=US) for name in ("Payments", "Group SOC", "Labs")]
    payments, _, labs = orgs
    return _connect(world, credentials_of=orgs, pairs=((payments, partner), (labs, payments)))


def _connect(
    world: WrongListWorld, *, credentials_of: Sequence[Org], pairs: Sequence[tuple[Org, Org]]
) -> WrongListWorld:
    for org in credentials_of:
        world.add_key_pair(org=org)
    for source, sink in pairs:
        world.add_connection(
            source_org=source,
            sink_org=sink,
            created_at=datetime(2025, 8, 26, tzinfo=UTC),
            created_by=make_user(name="Dana Keller"),
        )
    world.save_state()
    return world


@pytest.fixture(params=[pytest.param(DeletionMachine, marks=pytest.mark.smoke), AccessMachine])
def machine(
    request: pytest.FixtureRequest,
    clock: SettableClock,
    ada: Person,
    linus: Person,
    victor: Person,
    actor_for: Callable[[Person], Actor],
    monkeypatch: pytest.MonkeyPatch,
) -> type[Simulator]:
    """What runs the sequences. Three credentials, one of each policy, have been read once."""
    made = SimulatedSetup()
    with_access = request.param is AccessMachine
    made.world, made.clock = (make_access_world if with_access else make_world)(clock=clock), clock
    made.ada, made.victor = actor_for(ada), actor_for(victor)
    made.approvers = (actor_for(linus), actor_for(make_person("lea", Role.APPROVER)))
    made.all_connections = tuple(made.world.connections())
    made.connection_ids = [UUID(connection.id) for connection in made.all_connections]
    made.credentials, made.pairs = [], {}
    for pair, policy in zip(made.world.key_pairs(), ApprovalPolicy, strict=True):
        credential = Credential(
            name=f"{pair.org.name}, {policy}",
            site=US,
            policy=policy,
            org_id=pair.org.id,
            org_name=pair.org.name,
            keys_set_at=timezone.now(),
            created_at=timezone.now(),
            verified_at=timezone.now(),
            key_owner_id=pair.user.id,
            key_owner_is_service_account=True,
            verification=[{"check": "permissions", "ok": True}],
        )
        credential.seal_keys(
            KeyPair(api_key=Secret(pair.api_key), application_key=Secret(pair.application_key))
        )
        credential.save()
        made.credentials.append(credential)
        made.pairs[credential.pk] = pair
    monkeypatch.setattr(
        "connections.inventory.fetching.open_client",
        lambda *, credential, write_by=None: made.open_client(credential),
    )
    monkeypatch.setattr(Simulator, "setup", made, raising=False)
    made.open_client = lambda credential: FakeDatadog(made.world, pair=made.pairs[credential.pk])
    syncs.sync_credentials(credentials=made.credentials, actor=command_actor())
    if with_access:
        partner, payments, soc, labs = made.world.orgs
        pairs = ((payments, partner), (soc, partner), (labs, payments))
        made.org_pairs = [OrgPair(US, *pair) for pair in pairs]
    machine: type[Simulator] = request.param
    return machine


def test_no_sequence_of_actions_breaks_an_invariant(machine: type[Simulator]):
    count, first = number_of_sequences(), seed_of_sequences()
    # pytest shows it when the test fails.
    print(f"{count} sequences of {STEPS_PER_SEQUENCE} steps, SEQUENCES_SEED={first}")  # noqa: T201
    run_state_machine_as_test(
        seed(first)(machine),
        settings=settings(
            max_examples=count,
            stateful_step_count=STEPS_PER_SEQUENCE,
            deadline=None,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("machine", [AccessMachine], indirect=True)
@pytest.mark.parametrize("situation", SITUATIONS)
def test_no_situation_breaks_an_invariant(machine: type[AccessMachine], situation: str):
    run = machine()
    try:
        # The pairs have a credential of each policy.
        for pair in range(3):
            run.situation(name=situation, pair=pair, types=["logs"])
            run.invariant_checks.check()
    finally:
        run.teardown()
