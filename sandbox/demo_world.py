"""The demo's Datadog: a company with orgs on three sites, the same at every start.

IDs and keys are derived from names, so that another process can compute them.
"""

import hashlib
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sandbox import faults
from sandbox.entities import READ, WRITE, AccessToken, KeyPair, Org, User, make_user
from sandbox.faults import Fault
from sandbox.world import World

US1 = "sandbox-us1"
EU1 = "sandbox-eu1"
US5 = "sandbox-us5"
SITES = (US1, EU1, US5)

_ORGS = {
    EU1: (
        "Payments EU",
        "Group SOC",
        "Claims EU",
        "Data Lake EU",
        "Fraud Detection",
        "Insurance EU",
        "Partner Portal",
        "Treasury",
        "Cards EU",
        "Collections EU",
        "Compliance EU",
        "Customer Care EU",
        "Data Science EU",
        "HR Systems",
        "Identity EU",
        "Lending EU",
        "Marketing EU",
        "Mobile Banking EU",
        "Observability EU",
        "Open Banking",
        "Platform EU",
        "Risk Engine",
    ),
    US1: (
        "Retail US",
        "Analytics",
        "Data Lake",
        "Store Operations",
        "Loyalty",
        "Contact Center",
        "Warehouse US",
        "Catalog",
        "Checkout",
        "Finance US",
        "Fulfillment",
        "Identity US",
        "Logistics US",
        "Marketplace",
        "Observability US",
        "Payments US",
        "Platform US",
        "Pricing",
        "Security US",
        "Store Devices",
    ),
    US5: (
        "Labs",
        "Labs Staging",
        "ML Platform",
        "Search",
        "Mobile",
        "Experiments",
        "Recommendations",
        "Robotics",
    ),
}
# These come first, which tests and the demo's history rely on.
_FIRST_KEY_PAIRS = ("Payments EU", "Group SOC", "Retail US", "Labs")
_WITHOUT_KEY_PAIR = frozenset(
    {"Claims EU", "Data Lake EU", "Partner Portal", "Analytics", "Data Lake", "Contact Center"}
)
_PERMISSIONS = {
    "Group SOC": (READ, WRITE, "audit_logs_read"),
    # Can list its connections, but a DELETE with its keys fails.
    "Store Devices": (READ,),
}

# This org has a key pair and an access token. A restriction policy hides one of its connections
# from the key pair's user.
_WITH_TWO_CREDENTIALS = "Robotics"
HIDDEN_FROM_KEY_PAIR = ("Robotics", "Mobile")

# The EU holding's parent org, which is the only one whose keys list other orgs (GET /api/v2/org).
_PARENT = "Group SOC"

_DANA = make_user(name="Dana Keller")
_MAREK = make_user(name="Marek Novak")
_INES = make_user(name="Ines Ferreira")
_PRIYA = make_user(name="Priya Raman")
_TOM = make_user(name="Tom Aldridge", disabled=True)
# Each created one connection.
_NILS = make_user(name="Nils Berg")
_OLGA = make_user(name="Olga Sund")
_TERRAFORM = make_user(name="terraform-org-connections", service_account=True)
_PLATFORM = make_user(name="Platform Automation", service_account=True)


@dataclass(frozen=True, kw_only=True)
class _DemoConnection:
    source: str
    sink: str
    types: str
    created_by: User
    days_ago: int


def _connection(
    source: str, sink: str, types: str, created_by: User, days_ago: int
) -> _DemoConnection:
    return _DemoConnection(
        source=source, sink=sink, types=types, created_by=created_by, days_ago=days_ago
    )


_CONNECTIONS = (
    _connection("Payments EU", "Group SOC", "logs metrics", _TERRAFORM, 455),
    _connection("Payments EU", "Claims EU", "logs", _DANA, 212),
    _connection("Payments EU", "Data Lake EU", "logs metrics", _PLATFORM, 640),
    _connection("Payments EU", "Fraud Detection", "logs", _TERRAFORM, 88),
    _connection("Payments EU", "Partner Portal", "metrics", _TOM, 702),
    _connection("Claims EU", "Payments EU", "logs", _INES, 131),
    _connection("Data Lake EU", "Payments EU", "metrics", _PLATFORM, 533),
    _connection("Insurance EU", "Payments EU", "logs metrics", _INES, 49),
    _connection("Fraud Detection", "Payments EU", "logs", _DANA, 83),
    _connection("Treasury", "Payments EU", "metrics", _MAREK, 166),
    _connection("Group SOC", "Payments EU", "audit", _TERRAFORM, 61),
    _connection("Group SOC", "Claims EU", "audit", _TERRAFORM, 61),
    _connection("Group SOC", "Data Lake EU", "logs audit", _MAREK, 274),
    _connection("Group SOC", "Treasury", "metrics", _MAREK, 377),
    _connection("Group SOC", "Insurance EU", "logs", _TOM, 590),
    _connection("Claims EU", "Group SOC", "logs metrics audit", _TERRAFORM, 455),
    _connection("Fraud Detection", "Group SOC", "logs", _TERRAFORM, 301),
    _connection("Insurance EU", "Group SOC", "logs metrics", _TERRAFORM, 454),
    _connection("Partner Portal", "Group SOC", "logs", _DANA, 37),
    _connection("Data Lake EU", "Group SOC", "logs", _PLATFORM, 489),
    _connection("Treasury", "Group SOC", "logs audit", _TERRAFORM, 45),
    _connection("Retail US", "Analytics", "logs metrics", _TERRAFORM, 667),
    _connection("Retail US", "Data Lake", "logs", _PLATFORM, 421),
    _connection("Retail US", "Store Operations", "metrics", _PRIYA, 33),
    _connection("Retail US", "Loyalty", "logs rum", _PRIYA, 42),
    _connection("Retail US", "Contact Center", "logs", _TOM, 718),
    _connection("Analytics", "Retail US", "metrics", _PRIYA, 240),
    _connection("Data Lake", "Retail US", "logs metrics", _PLATFORM, 512),
    _connection("Store Operations", "Retail US", "logs metrics", _OLGA, 178),
    _connection("Loyalty", "Retail US", "logs", _PRIYA, 96),
    _connection("Contact Center", "Retail US", "logs", _DANA, 345),
    _connection("Warehouse US", "Retail US", "metrics", _TERRAFORM, 601),
    _connection("Labs", "Labs Staging", "logs metrics", _MAREK, 34),
    _connection("Labs", "ML Platform", "metrics", _MAREK, 155),
    _connection("Labs", "Search", "logs", _INES, 266),
    _connection("Labs", "Mobile", "logs metrics audit", _PLATFORM, 398),
    _connection("Labs Staging", "Labs", "logs metrics", _MAREK, 34),
    _connection("ML Platform", "Labs", "metrics", _PLATFORM, 147),
    _connection("Search", "Labs", "logs", _NILS, 310),
    _connection("Mobile", "Labs", "logs", _TOM, 575),
    # Neither org has a key pair, so Org Admin can't see these two.
    _connection("Claims EU", "Data Lake EU", "logs", _INES, 200),
    _connection("Analytics", "Data Lake", "metrics", _PLATFORM, 700),
)

# Orgs that share with most orgs of their site or the other way around, and the data types.
_HUBS = (
    ("Group SOC", "logs audit"),
    ("Compliance EU", "audit"),
    ("Observability EU", "metrics"),
    ("Data Lake EU", "logs metrics"),
    ("Security US", "logs audit"),
    ("Observability US", "metrics"),
    ("Data Lake", "logs metrics"),
    ("ML Platform", "logs metrics"),
)
# How many connections Org Admin sees: as many as an Enterprise account of 50 orgs might have.
VISIBLE_CONNECTIONS = 400


def connection_id_between(*, source: str, sink: str) -> str:
    """Return the ID of the demo's connection from one org to another."""
    return _derived_id(f"connection:{source}:{sink}")


def _demo_faults() -> dict[str, tuple[Fault, str]]:
    faults_by_orgs = (
        ("Claims EU", "Group SOC", faults.RETURNS_403, "returns 403: refused"),
        ("Insurance EU", "Payments EU", faults.RETURNS_400, "returns 400: refused"),
        ("Retail US", "Contact Center", faults.RETURNS_401, "returns 401: refused"),
        ("Payments EU", "Partner Portal", faults.rate_limited(reset="7"), "returns 429 once"),
        ("Data Lake", "Retail US", faults.RETURNS_404, "returns 404 and deletes nothing"),
        ("Treasury", "Group SOC", faults.RETURNS_404_HTML, "returns an HTML page with 404"),
        ("Retail US", "Data Lake", faults.RETURNS_500, "returns 500 and deletes nothing"),
        ("Loyalty", "Retail US", faults.EXECUTES_THEN_500, "deletes, then returns 500"),
        ("Labs", "Mobile", faults.RETURNS_502_HTML, "returns an HTML page with 502"),
        ("Group SOC", "Treasury", faults.EXECUTES_THEN_NO_RESPONSE, "deletes and never responds"),
        ("Labs", "Search", faults.NO_RESPONSE, "never responds and deletes nothing"),
        (
            "Group SOC",
            "Insurance EU",
            faults.EXECUTES_THEN_RESET,
            "deletes, then resets the TCP connection",
        ),
        ("Mobile", "Labs", faults.RESET_BEFORE_READING, "resets the TCP connection, reads nothing"),
        (
            "Warehouse US",
            "Retail US",
            faults.RETURNS_200_WITHOUT_DELETING,
            "returns 200 and deletes nothing",
        ),
        ("ML Platform", "Labs", faults.delayed(seconds=4.0), "deletes, responds 4 s later"),
        ("Search", "Labs", faults.redirected(status=303), "redirects to another URL (303)"),
    )
    return {
        connection_id_between(source=source, sink=sink): (fault, description)
        for source, sink, fault, description in faults_by_orgs
    }


def _generated_connections() -> list[_DemoConnection]:
    """Return as many additional connections as VISIBLE_CONNECTIONS needs, chosen by their hash."""
    listed = {(connection.source, connection.sink) for connection in _CONNECTIONS}
    hidden = sum({source, sink} <= _WITHOUT_KEY_PAIR for source, sink in listed)
    number = VISIBLE_CONNECTIONS - (len(listed) - hidden)
    pairs = {
        (source, sink)
        for names in _ORGS.values()
        for source in names
        for sink in names
        if source != sink and not {source, sink} <= _WITHOUT_KEY_PAIR
    }
    hubs = dict(_HUBS)
    # Connections to hubs first, because a hash alone would spread them evenly, unlike a real
    # company.
    chosen = sorted(
        pairs - listed, key=lambda pair: (pair[1] not in hubs, _hex(f"order:{pair}", 8))
    )
    return [
        _generated_connection(source, sink, types=hubs.get(sink))
        for source, sink in chosen[:number]
    ]


def _generated_connection(source: str, sink: str, *, types: str | None) -> _DemoConnection:
    number = int(_hex(f"connection:{source}:{sink}", 12), 16)
    creators = (_TERRAFORM, _PLATFORM, _TERRAFORM, _DANA, _MAREK, _INES, _PRIYA, _TOM)
    return _connection(
        source,
        sink,
        types or ("logs", "metrics", "logs metrics")[number % 3],
        creators[number // 3 % len(creators)],
        20 + number // 24 % 690,
    )


def demo_world(*, now: datetime | None = None) -> World:
    """Return the demo's world, whose connections were created before `now` (today by default)."""
    today = now or datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    world = World(sites=SITES)
    orgs = {
        name: world.add_org(
            name=name, site=site, id=_derived_id(f"org:{name}"), public_id=_hex(f"org:{name}", 9)
        )
        for site, names in _ORGS.items()
        for name in names
    }
    others = (name for name in orgs if name not in _WITHOUT_KEY_PAIR | set(_FIRST_KEY_PAIRS))
    for name in _ORGS[EU1]:
        if name != _PARENT:
            world.set_parent(org=orgs[name], parent=orgs[_PARENT])
    for name in (*_FIRST_KEY_PAIRS, *others):
        permissions = _PERMISSIONS.get(name, (READ, WRITE))
        _add_key_pair(world=world, org=orgs[name], permissions=permissions)
    world.add_access_token(
        org=orgs[_WITH_TWO_CREDENTIALS],
        user=make_user(name="Robotics Automation", service_account=True),
        access_token=f"ddsat_{_hex(f'access token:{_WITH_TWO_CREDENTIALS}', 40)}",
    )
    for connection in (*_CONNECTIONS, *_generated_connections()):
        connection_id = connection_id_between(source=connection.source, sink=connection.sink)
        # Each is created at a different time of day, in microseconds as in Datadog's responses.
        microseconds = int(connection_id.replace("-", "")[:12], 16) % 86_400_000_000
        world.add_connection(
            id=connection_id,
            source_org=orgs[connection.source],
            sink_org=orgs[connection.sink],
            connection_types=tuple(connection.types.split()),
            created_at=today - timedelta(days=connection.days_ago, microseconds=microseconds),
            created_by=connection.created_by,
        )
    for connection_id, (fault, _) in DEMO_FAULTS.items():
        times = 1 if fault.status == 429 else None
        world.set_fault(connection_id=connection_id, fault=fault, times=times)
    return world


def demo_key_pairs() -> list[KeyPair]:
    """Return the demo's key pairs, which Org Admin stores as credentials."""
    return demo_world().key_pairs()


def demo_access_token() -> AccessToken:
    """Return the access token of the org that has two credentials."""
    [token] = demo_world().access_tokens()
    return token


def _add_key_pair(*, world: World, org: Org, permissions: tuple[str, ...]) -> None:
    source, sink = HIDDEN_FROM_KEY_PAIR
    # Datadog has an old and a new format of application keys.
    has_old_format = org.name in ("Payments EU", "Retail US")
    world.add_key_pair(
        org=org,
        permissions=permissions,
        api_key=_hex(f"api key:{org.name}", 32),
        application_key=_hex(f"application key:{org.name}", 40)
        if has_old_format
        else f"ddapp_{_hex(f'application key:{org.name}', 34)}",
        user=make_user(name=f"{org.name} Org Admin", service_account=True),
        unlisted=[connection_id_between(source=source, sink=sink)]
        if org.name == _WITH_TWO_CREDENTIALS
        else (),
    )


def _hex(text: str, digits: int) -> str:
    return hashlib.sha256(f"sandbox:{text}".encode()).hexdigest()[:digits]


def _derived_id(text: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"sandbox:{text}"))


DEMO_FAULTS: dict[str, tuple[Fault, str]] = _demo_faults()
"""The fault of each connection's DELETE, by connection ID, with a description."""
