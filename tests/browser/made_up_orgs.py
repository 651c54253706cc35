"""A company with any number of orgs, all on one site, for pictures of the matrix."""

from datetime import UTC, datetime
from itertools import islice, product

from connections.access.actor import WORKER, command_actor
from connections.core.datadog_keys import KeyPair
from connections.core.secret import Secret
from connections.credentials import lifecycle
from connections.inventory import syncs
from connections.models import Role
from sandbox.demo_world import US1
from sandbox.entities import Org, make_user
from sandbox.world import World
from tests.support.people import make_person

_AREAS = (
    "Analytics",
    "Billing",
    "Card Issuing",
    "Claims",
    "Cloud Platform",
    "Customer Support",
    "Data Lake",
    "Developer Portal",
    "E-Commerce",
    "Executive Reporting and Controlling",
    "Finance Systems",
    "Fraud Detection",
    "Group SOC",
    "Identity",
    "Labs",
    "Mobile Apps",
    "Observability",
)
_PLACES = ("US", "EU", "Asia Pacific", "Latin America", "Staging", "Sandbox")
_TYPES = (("logs",), ("metrics",), ("logs", "metrics"), ("logs", "audit"), ("audit", "rum", "llm"))
_CREATORS = ("svc-terraform", "Ada Lovelace", "Priya Raman")
# One connection in so many appears after the first syncs.
_NEW = 9
# One org in so many collects from all others.
_COLLECTOR = 5


def make_world() -> World:
    """A simulator without orgs."""
    return World(sites=(US1,))


def build_orgs(world: World, *, count: int) -> None:
    """Add the orgs, their credentials and connections. Some change after the first sync."""
    make_person("operator", Role.OPERATOR)
    names = (f"{area} {place}" for place, area in product(_PLACES, _AREAS))
    orgs = [world.add_org(name=name, site=US1) for name in islice(names, count)]
    pairs = [(a, b) for a in range(count) for b in range(count) if _is_connected(a, b)]
    for number, (a, b) in enumerate(pairs):
        if number % _NEW:
            _add_connection(world, number, source=orgs[a], sink=orgs[b])
    for org in orgs:
        pair = world.add_key_pair(org=org)
        keys = KeyPair(api_key=Secret(pair.api_key), application_key=Secret(pair.application_key))
        lifecycle.add_credential(actor=command_actor(), name=org.name, site=US1, keys=keys)
    for number, (a, b) in enumerate(pairs):
        if number % _NEW == 0:
            _add_connection(world, number, source=orgs[a], sink=orgs[b])
    syncs.sync_orgs(actor=WORKER)


def _is_connected(source: int, sink: int) -> bool:
    if source == sink:
        return False
    return sink % _COLLECTOR == 2 or (source * 7 + sink * 13) % 11 == 0


def _add_connection(world: World, number: int, *, source: Org, sink: Org) -> None:
    creator = _CREATORS[number % len(_CREATORS)]
    world.add_connection(
        source_org=source,
        sink_org=sink,
        connection_types=_TYPES[(number * 7 + number // 5) % len(_TYPES)],
        created_by=make_user(name=creator, service_account=creator.startswith("svc-")),
        created_at=datetime(2026, 3, 1, tzinfo=UTC),
    )
