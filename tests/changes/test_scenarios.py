"""What each kind of change reports if one credential, both sides, or two credentials of one org
list it.

Each scenario begins after complete syncs of all its credentials that list `BEFORE`.
"""

from dataclasses import dataclass, field, replace

import pytest

from connections.datadog.payloads import OrgConnection
from connections.models import Credential
from tests.changes.support import all_kinds, make_connection, make_credential, sync, with_creator
from tests.support.clock import SettableClock

pytestmark = pytest.mark.django_db

X = make_connection(1)
OTHER = make_connection(9, source="prod", sink="lab")
BEFORE = (X, OTHER)
GONE = (OTHER,)
RETYPED = (replace(X, connection_types=("logs", "metrics")), OTHER)
AUDITED = (replace(X, connection_types=("logs", "audit")), OTHER)
DISABLED = (with_creator(X, disabled=True), OTHER)
BY_EVE = (with_creator(X, id="user-eve", name="Eve"), OTHER)
MORE = (X, OTHER, make_connection(2, sink="test"))
REPLACED = (make_connection(3), OTHER)
RENAMED = tuple(
    replace(each, source_org=replace(each.source_org, name="Acme Production")) for each in BEFORE
)
RENAMED_LAB = (X, replace(OTHER, sink_org=replace(OTHER.sink_org, name="Laboratory")))

# The org of each credential, by scenario.
ONE = {"a": "prod"}
BOTH_SIDES = {"a": "prod", "b": "dev"}
SAME_ORG = {"a": "prod", "b": "prod"}

FAILED = "failed"
type Listing = tuple[OrgConnection, ...] | str


@dataclass(frozen=True)
class Scenario:
    """One row of the table: the syncs after the first ones, by credential, and the result."""

    sentence: str
    orgs: dict[str, str]
    syncs: tuple[tuple[str, Listing], ...]
    expected: list[str]
    names: dict[str, str] = field(default_factory=dict)


class Partial(tuple[OrgConnection, ...]):
    """What an incomplete sync listed."""


ALL = (
    # Nothing changes.
    Scenario("nothing changed", ONE, (("a", BEFORE),), []),
    # One credential.
    Scenario(
        "one is removed, then recreated",
        ONE,
        (("a", GONE), ("a", REPLACED)),
        ["removed", "recreated"],
    ),
    Scenario("one comes back", ONE, (("a", GONE), ("a", BEFORE)), ["removed", "appeared"]),
    Scenario("the creator is another", ONE, (("a", BY_EVE),), ["creator_changed"]),
    Scenario("a failed sync reports no removal", ONE, (("a", FAILED),), []),
    # Both sides.
    Scenario("the other side still lists it", BOTH_SIDES, (("a", GONE), ("b", BEFORE)), []),
    Scenario(
        "the other side lists it first, then lacks it",
        BOTH_SIDES,
        (("a", GONE), ("b", BEFORE), ("a", GONE), ("b", GONE)),
        ["removed"],
    ),
    Scenario("the other side fails", BOTH_SIDES, (("a", GONE), ("b", FAILED)), []),
    Scenario(
        "the other side lists a part that shows it",
        BOTH_SIDES,
        (("a", GONE), ("b", Partial(BEFORE))),
        [],
    ),
    Scenario(
        "the other side failed, then lacks it too",
        BOTH_SIDES,
        (("a", GONE), ("b", FAILED), ("b", GONE)),
        ["removed"],
    ),
    Scenario(
        "one side shows the new ID, the other fails",
        BOTH_SIDES,
        (("a", REPLACED), ("b", FAILED)),
        ["recreated"],
    ),
    Scenario(
        "both sides lack it before both show the new ID",
        BOTH_SIDES,
        (("a", GONE), ("b", GONE), ("a", REPLACED), ("b", REPLACED)),
        ["removed", "recreated"],
    ),
    Scenario(
        "an org is renamed and both sides show it",
        BOTH_SIDES,
        (("b", RENAMED), ("a", RENAMED)),
        ["org_renamed"],
        {"prod": "Acme Production"},
    ),
    Scenario(
        "only the other side shows a name while the org has a credential",
        BOTH_SIDES,
        (("b", RENAMED),),
        [],
    ),
    Scenario(
        "an org without a credential is renamed",
        {"b": "dev"},
        (("b", RENAMED),),
        ["org_renamed"],
    ),
    # Two credentials of one org that list different connections.
    Scenario(
        "one of two sees less and later more again",
        SAME_ORG,
        (("a", GONE), ("b", BEFORE), ("a", BEFORE)),
        [],
    ),
    Scenario("one of two sees more", SAME_ORG, (("a", MORE), ("b", BEFORE)), ["appeared"]),
    # Complete lists that contradict each other.
    Scenario(
        "only one side shows another type",
        BOTH_SIDES,
        (("a", RETYPED), ("b", BEFORE)) * 4,
        ["types_changed"],
    ),
    Scenario(
        "each side shows another type",
        BOTH_SIDES,
        (("a", AUDITED), ("b", RETYPED)) * 4,
        ["types_changed", "types_changed"],
    ),
    Scenario(
        "a type that only one side shows is gone",
        BOTH_SIDES,
        (("a", RETYPED), ("b", BEFORE), ("a", RETYPED), ("b", BEFORE), ("a", BEFORE)),
        ["types_changed", "types_changed"],
    ),
    Scenario(
        "both sides show fewer types",
        BOTH_SIDES,
        (("a", RETYPED), ("b", RETYPED), ("a", BEFORE), ("b", BEFORE)),
        ["types_changed", "types_changed"],
    ),
    Scenario(
        "only one side shows fewer types so far",
        BOTH_SIDES,
        (("a", RETYPED), ("b", RETYPED), ("a", BEFORE), ("b", FAILED)),
        ["types_changed"],
    ),
    Scenario(
        "only one side shows the creator as disabled",
        BOTH_SIDES,
        (("a", DISABLED), ("b", BEFORE)) * 4,
        ["creator_changed"],
    ),
    Scenario(
        "only one side shows another creator", BOTH_SIDES, (("a", BY_EVE), ("b", BEFORE)) * 4, []
    ),
    Scenario(
        "only one of two shows another name of the other org",
        SAME_ORG,
        (("a", RENAMED_LAB), ("b", BEFORE)) * 4,
        [],
    ),
    Scenario(
        "two of one org show another name of the other org",
        SAME_ORG,
        (("a", RENAMED_LAB), ("b", RENAMED_LAB)),
        ["org_renamed"],
    ),
    Scenario(
        "both sides show another creator",
        BOTH_SIDES,
        (("a", BY_EVE), ("b", BY_EVE)),
        ["creator_changed"],
    ),
)


@pytest.mark.database(every=10)
@pytest.mark.parametrize("scenario", ALL, ids=lambda scenario: scenario.sentence)
def test_a_scenario_reports(scenario: Scenario, clock: SettableClock):
    credentials: dict[str, Credential] = {}
    for name, org_id in scenario.orgs.items():
        credentials[name] = make_credential(name, org_id=org_id)
        sync(credentials[name], *BEFORE)
        clock.advance(minutes=1)
    clock.advance(minutes=15)
    for name, listing in scenario.syncs:
        credential = credentials[name]
        listed = () if isinstance(listing, str) else listing
        is_complete = not isinstance(listing, (str, Partial))
        own_name = scenario.names.get(credential.org_id, "")
        sync(credential, *listed, is_complete=is_complete, own_name=own_name)
        clock.advance(minutes=1)
    assert all_kinds() == scenario.expected


KINDS: dict[str, tuple[OrgConnection, ...]] = {
    "appeared": MORE,
    "removed": GONE,
    "recreated": REPLACED,
    "types_changed": RETYPED,
    "creator_changed": DISABLED,
    "org_renamed": RENAMED,
}
# The org of each credential, and those that never list what changes.
CREDENTIALS: dict[str, tuple[dict[str, str], set[str]]] = {
    "one credential": (ONE, set()),
    "both sides": (BOTH_SIDES, set()),
    "two of one org that differ": (SAME_ORG, {"b"}),
}


@pytest.mark.parametrize("who", CREDENTIALS)
@pytest.mark.parametrize("kind", KINDS)
def test_incomplete_syncs_report_nothing_and_the_next_complete_ones_report_it_once(
    kind: str, who: str, clock: SettableClock
):
    orgs, partial = CREDENTIALS[who]
    credentials = {name: make_credential(name, org_id=org_id) for name, org_id in orgs.items()}
    expected: list[str] = []
    for listing, is_complete in ((BEFORE, True), (KINDS[kind], False), (KINDS[kind], True)):
        names = {org.id: org.name for each in listing for org in (each.source_org, each.sink_org)}
        for name, credential in credentials.items():
            shown = [each for each in listing if name not in partial or each.id == OTHER.id]
            own_name = names.get(orgs[name], "")
            sync(credential, *shown, is_complete=is_complete, own_name=own_name)
            clock.advance(minutes=1)
        clock.advance(minutes=15)
        expected = [kind] if listing is not BEFORE and is_complete else []
        assert all_kinds() == expected
    for name, credential in credentials.items():
        shown = [each for each in listing if name not in partial or each.id == OTHER.id]
        assert sync(credential, *shown, own_name=names.get(orgs[name], "")) == []
