"""The demo's groups, owners and agreements: nearly every connection is agreed."""

from datetime import timedelta

from connections.access.actor import Actor, command_actor
from connections.agreements.setting import LISTED, Terms, set_agreements
from connections.core import clock
from connections.inventory.inventory import current_snapshots
from connections.inventory.org_details import OrgDetails, set_org_details
from connections.inventory.rate_limits import OrgKey
from connections.models import Org, OrgPair, Person
from connections.people import people
from orgadmin.demo.access_requests import ENDS_TODAY
from orgadmin.demo.world import DemoWorld, ago

# By words in an org's name.
_GROUPS = {
    "acquired 2025": ("Loyalty", "Marketplace", "Open Banking", "Partner"),
    "shared services": ("SOC", "Data", "Identity", "Observability", "Platform", "Security"),
    "research": ("Labs", "ML", "Experiments", "Robotics", "Recommendations", "Search", "Mobile"),
    "production": ("",),
}
_PURPOSES = {
    "SOC": "Threat detection in the group's security center",
    "Security": "Threat detection in the group's security center",
    "Data": "Joins with business data in the lake",
    "Observability": "Dashboards of the platform team",
    "Compliance": "Evidence for the yearly audit",
    "": "Shared dashboards during incidents",
}
_LEFT = "Leo Brandt"


def agree_on_most(world: DemoWorld) -> None:
    """Set groups, owners and agreements. Each reason not to be agreed occurs."""
    operator = world.actor("operator")
    with ago(days=12, hours=7):
        leo = people.add_person(
            actor=command_actor(),
            username="leo",
            email="leo@example.com",
            roles=[],
            is_administrator=False,
        )
        leo.first_name, leo.last_name = _LEFT.split()
        leo.save(update_fields=["first_name", "last_name"])
    with ago(days=12, hours=6):
        _set_groups(world, actor=operator)
        _set_agreements(world, leo, actor=operator)
    with ago(days=12, hours=5):
        people.disable_person(actor=world.actor("administrator"), person=leo)


def _set_groups(world: DemoWorld, *, actor: Actor) -> None:
    orgs = {OrgKey(site=org.site, org_id=org.org_id): org.name for org in Org.objects.all()}
    for group, words in _GROUPS.items():
        keys = [key for key, name in orgs.items() if any(word in name for word in words)]
        details: OrgDetails = {"group": group}
        if group == "shared services":
            details["owner"] = world.people["approver"]
        set_org_details(actor=command_actor(), orgs=keys, details=details)
        orgs = {key: name for key, name in orgs.items() if key not in keys}


def _set_agreements(world: DemoWorld, leo: Person, *, actor: Actor) -> None:
    names = {org.org_id: org.name for org in Org.objects.all()}
    columns = ("site", "source_org_id", "sink_org_id")
    rows = current_snapshots(actor=actor).values_list(*columns).distinct().order_by(*columns)
    pairs = sorted(
        (OrgPair(*row) for row in rows),
        key=lambda pair: _names_of(pair, names),
    )
    today = clock.now().date()
    # One of each kind that isn't agreed today, one that ends in two days, and one that is extended.
    without, left, narrow, ended, ending, *others = pairs[3::17][:5] + [
        pair for pair in pairs if pair not in pairs[3::17][:5]
    ]
    del without
    exceptions: list[tuple[OrgPair, Terms]] = [
        (left, {"owner": leo}),
        (narrow, {"owner": world.people["viewer"], "connection_types": ["metrics"]}),
        (ended, {"owner": world.people["operator"], "ends_on": today + timedelta(days=5)}),
        (ending, {"owner": world.people["operator"], "ends_on": today + timedelta(days=14)}),
    ]
    [extended] = [pair for pair in others if _names_of(pair, names) == ENDS_TODAY]
    others.remove(extended)
    exceptions.append(
        (extended, {"owner": world.people["approver"], "ends_on": today + timedelta(days=10)})
    )
    for pair, terms in exceptions:
        _agree([pair], terms, names, actor=actor)
    for number, owner in enumerate(("operator", "approver", "viewer", "")):
        terms = {"owner": world.people[owner]} if owner else {"owner_text": "Platform guild"}
        if number % 2:
            terms["ends_on"] = today + timedelta(days=90 * number)
        _agree(others[number::4], terms, names, actor=actor)


def _names_of(pair: OrgPair, names: dict[str, str]) -> tuple[str, str]:
    return names[pair.source_org_id], names[pair.sink_org_id]


def _agree(pairs: list[OrgPair], terms: Terms, names: dict[str, str], *, actor: Actor) -> None:
    purposes = {
        pair: next(
            purpose for word, purpose in _PURPOSES.items() if word in names[pair.sink_org_id]
        )
        for pair in pairs
    }
    for purpose in dict.fromkeys(purposes.values()):
        values: Terms = {"connection_types": LISTED, **terms, "purpose": purpose}
        of_purpose = [pair for pair in pairs if purposes[pair] == purpose]
        set_agreements(actor=actor, pairs=of_purpose, terms=values)
