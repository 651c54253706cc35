"""The world of the demo: a company with orgs on three sites, always the same.

Names, ids and keys follow from each other without chance, so that another process can name a
connection or store a key pair without asking this one.
"""

import hashlib
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sandbox import faults
from sandbox.entities import READ, WRITE, KeyPair, Org, User, make_user
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
    ),
    US1: (
        "Retail US",
        "Analytics",
        "Data Lake",
        "Store Operations",
        "Loyalty",
        "Contact Center",
        "Warehouse US",
    ),
    US5: ("Labs", "Labs Staging", "ML Platform", "Search", "Mobile"),
}
_CREDENTIALS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Payments EU", (READ, WRITE)),
    ("Group SOC", (READ, WRITE, "audit_logs_read")),
    ("Retail US", (READ, WRITE)),
    ("Labs", (READ, WRITE)),
)

_DANA = make_user(name="Dana Keller")
_MAREK = make_user(name="Marek Novak")
_INES = make_user(name="Ines Ferreira")
_PRIYA = make_user(name="Priya Raman")
_TOM = make_user(name="Tom Aldridge", disabled=True)
_TERRAFORM = make_user(name="terraform-org-connections", service_account=True)
_PLATFORM = make_user(name="Platform Automation", service_account=True)


@dataclass(frozen=True, kw_only=True)
class _Plan:
    source: str
    sink: str
    types: str
    by: User
    days_ago: int


def _plan(source: str, sink: str, types: str, by: User, days_ago: int) -> _Plan:
    return _Plan(source=source, sink=sink, types=types, by=by, days_ago=days_ago)


_PLANS = (
    _plan("Payments EU", "Group SOC", "logs metrics", _TERRAFORM, 455),
    _plan("Payments EU", "Claims EU", "logs", _DANA, 212),
    _plan("Payments EU", "Data Lake EU", "logs metrics", _PLATFORM, 640),
    _plan("Payments EU", "Fraud Detection", "logs", _TERRAFORM, 88),
    _plan("Payments EU", "Partner Portal", "metrics", _TOM, 702),
    _plan("Claims EU", "Payments EU", "logs", _INES, 131),
    _plan("Data Lake EU", "Payments EU", "metrics", _PLATFORM, 533),
    _plan("Insurance EU", "Payments EU", "logs metrics", _INES, 49),
    _plan("Fraud Detection", "Payments EU", "logs", _DANA, 83),
    _plan("Treasury", "Payments EU", "metrics", _MAREK, 166),
    _plan("Group SOC", "Payments EU", "audit", _TERRAFORM, 61),
    _plan("Group SOC", "Claims EU", "audit", _TERRAFORM, 61),
    _plan("Group SOC", "Data Lake EU", "logs audit", _MAREK, 274),
    _plan("Group SOC", "Treasury", "metrics", _MAREK, 377),
    _plan("Group SOC", "Insurance EU", "logs", _TOM, 590),
    _plan("Claims EU", "Group SOC", "logs metrics audit", _TERRAFORM, 455),
    _plan("Fraud Detection", "Group SOC", "logs", _TERRAFORM, 301),
    _plan("Insurance EU", "Group SOC", "logs metrics", _TERRAFORM, 454),
    _plan("Partner Portal", "Group SOC", "logs", _DANA, 37),
    _plan("Data Lake EU", "Group SOC", "logs", _PLATFORM, 489),
    _plan("Treasury", "Group SOC", "logs audit", _TERRAFORM, 45),
    _plan("Retail US", "Analytics", "logs metrics", _TERRAFORM, 667),
    _plan("Retail US", "Data Lake", "logs", _PLATFORM, 421),
    _plan("Retail US", "Store Operations", "metrics", _PRIYA, 33),
    _plan("Retail US", "Loyalty", "logs rum", _PRIYA, 42),
    _plan("Retail US", "Contact Center", "logs", _TOM, 718),
    _plan("Analytics", "Retail US", "metrics", _PRIYA, 240),
    _plan("Data Lake", "Retail US", "logs metrics", _PLATFORM, 512),
    _plan("Store Operations", "Retail US", "logs metrics", _TERRAFORM, 178),
    _plan("Loyalty", "Retail US", "logs", _PRIYA, 96),
    _plan("Contact Center", "Retail US", "logs", _DANA, 345),
    _plan("Warehouse US", "Retail US", "metrics", _TERRAFORM, 601),
    _plan("Labs", "Labs Staging", "logs metrics", _MAREK, 34),
    _plan("Labs", "ML Platform", "metrics", _MAREK, 155),
    _plan("Labs", "Search", "logs", _INES, 266),
    _plan("Labs", "Mobile", "logs metrics audit", _PLATFORM, 398),
    _plan("Labs Staging", "Labs", "logs metrics", _MAREK, 34),
    _plan("ML Platform", "Labs", "metrics", _PLATFORM, 147),
    _plan("Search", "Labs", "logs", _INES, 310),
    _plan("Mobile", "Labs", "logs", _TOM, 575),
    # Neither end has a credential: the product cannot see these two.
    _plan("Claims EU", "Data Lake EU", "logs", _INES, 200),
    _plan("Analytics", "Data Lake", "metrics", _PLATFORM, 700),
)


def connection_id_between(*, source: str, sink: str) -> str:
    """Give the id of the demo's connection from one org to another."""
    return _derived_id(f"connection:{source}:{sink}")


def _faults() -> dict[str, tuple[Fault, str]]:
    planned = (
        ("Claims EU", "Group SOC", faults.ANSWERS_403, "answers 403: refused"),
        ("Insurance EU", "Payments EU", faults.ANSWERS_400, "answers 400: refused"),
        ("Retail US", "Contact Center", faults.ANSWERS_401, "answers 401: refused"),
        ("Payments EU", "Partner Portal", faults.rate_limited(reset="7"), "answers 429 once"),
        ("Treasury", "Group SOC", faults.ANSWERS_404, "answers 404 though it is still listed"),
        ("Data Lake", "Retail US", faults.ANSWERS_404_HTML, "answers an HTML page with 404"),
        ("Retail US", "Data Lake", faults.ANSWERS_500, "answers 500 and deletes nothing"),
        ("Loyalty", "Retail US", faults.EXECUTES_THEN_500, "deletes, then answers 500"),
        ("Labs", "Mobile", faults.ANSWERS_502_HTML, "answers an HTML page with 502"),
        ("Group SOC", "Treasury", faults.EXECUTES_THEN_SILENCE, "deletes and never answers"),
        ("Labs", "Search", faults.SILENCE, "never answers and deletes nothing"),
        ("Group SOC", "Insurance EU", faults.DELETE_THEN_CUT, "deletes, then drops the connection"),
        ("Mobile", "Labs", faults.CUT_BEFORE_READING, "drops the connection without reading"),
        (
            "Warehouse US",
            "Retail US",
            faults.ANSWERS_200_WITHOUT_DELETING,
            "answers 200 and deletes nothing",
        ),
        ("ML Platform", "Labs", faults.delayed(seconds=4.0), "deletes, answers 4 s later"),
        ("Search", "Labs", faults.redirected(status=303), "sends the client elsewhere (303)"),
    )
    return {
        connection_id_between(source=source, sink=sink): (fault, sentence)
        for source, sink, fault, sentence in planned
    }


def demo_world(*, now: datetime | None = None) -> World:
    """Build the world; the connections' ages count back from `now` (default: today, midnight)."""
    today = now or datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    world = World(sites=SITES)
    orgs = {
        name: world.add_org(
            name=name, site=site, id=_derived_id(f"org:{name}"), public_id=_hex(f"org:{name}", 9)
        )
        for site, names in _ORGS.items()
        for name in names
    }
    for name, permissions in _CREDENTIALS:
        _add_key_pair(world=world, org=orgs[name], permissions=permissions)
    for plan in _PLANS:
        connection_id = connection_id_between(source=plan.source, sink=plan.sink)
        # A time of the day for each, to the microsecond, as Datadog gives it.
        of_the_day = int(connection_id.replace("-", "")[:12], 16) % 86_400_000_000
        world.add_connection(
            id=connection_id,
            source_org=orgs[plan.source],
            sink_org=orgs[plan.sink],
            connection_types=tuple(plan.types.split()),
            created_at=today - timedelta(days=plan.days_ago, microseconds=of_the_day),
            created_by=plan.by,
        )
    for connection_id, (fault, _) in DEMO_FAULTS.items():
        times = 1 if fault.status == 429 else None
        world.set_fault(connection_id=connection_id, fault=fault, times=times)
    return world


def demo_key_pairs() -> list[KeyPair]:
    """Give the four key pairs of the demo, for storing them as credentials."""
    return demo_world().key_pairs()


def _add_key_pair(*, world: World, org: Org, permissions: tuple[str, ...]) -> None:
    # Application keys come in two forms; the demo has both.
    old = org.name in ("Payments EU", "Retail US")
    world.add_key_pair(
        org=org,
        permissions=permissions,
        api_key=_hex(f"api key:{org.name}", 32),
        application_key=_hex(f"application key:{org.name}", 40)
        if old
        else f"ddapp_{_hex(f'application key:{org.name}', 34)}",
        user=make_user(name=f"{org.name} Org Admin", service_account=True),
    )


def _hex(text: str, digits: int) -> str:
    return hashlib.sha256(f"sandbox:{text}".encode()).hexdigest()[:digits]


def _derived_id(text: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"sandbox:{text}"))


DEMO_FAULTS: dict[str, tuple[Fault, str]] = _faults()
"""What happens to the DELETE of a connection, by its id, with a sentence for the person."""
