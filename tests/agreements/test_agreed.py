"""Whether a connection is agreed: each reason against it, how it appears and how it disappears."""

import json
import re
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client

from connections.access.actor import Actor, command_actor, person_actor
from connections.agreements.agreed import NotAgreed
from connections.core import clock
from connections.inventory.agreed_counts import count_agreed
from connections.inventory.choices import find_agreement_choices
from connections.inventory.inventory import build_inventory
from connections.inventory.matching import InventoryFilter
from connections.models import (
    AccessKind,
    Agreement,
    Credential,
    Org,
    OrgConnectionSnapshot,
    OrgPair,
    Person,
)
from connections.people.people import disable_person, enable_person
from connections.web.framework.addresses import connection_url
from sandbox.server import SandboxServer
from tests.agreements.support import agree, let_only
from tests.batches.support import draft
from tests.flows.support import read, store_credential

pytestmark = pytest.mark.django_db
ActorFor = Callable[[Person], Actor]
ClientOf = Callable[[Person], Client]


@dataclass(kw_only=True)
class Case:
    """One pair, its owner, and who acts."""

    pair: OrgPair
    owner: Person
    root: Person

    def agree(self, **terms: Any) -> None:
        agree(self.pair, actor=person_actor(person=self.root), **terms)

    def list_types(self, *types: str) -> None:
        """What the next sync of every credential stores."""
        of_pair = OrgConnectionSnapshot.objects.filter(source_org_id=self.pair.source_org_id)
        of_pair.filter(sink_org_id=self.pair.sink_org_id).update(connection_types=list(types))


def tomorrow() -> date:
    return clock.now().date() + timedelta(days=1)


def nothing(case: Case) -> None:
    pass


def agreed(case: Case) -> None:
    case.agree(owner=case.owner, owner_text="", ends_on=tomorrow())


def owner_disabled(case: Case) -> None:
    agreed(case)
    disable_person(actor=person_actor(person=case.root), person=case.owner)


def owner_enabled(case: Case) -> None:
    enable_person(actor=person_actor(person=case.root), person=case.owner)


def audit_added(case: Case) -> None:
    agreed(case)
    case.list_types("audit", "logs", "metrics")


def audit_and_owner_disabled(case: Case) -> None:
    owner_disabled(case)
    case.list_types("audit", "logs", "metrics")


def end_passed(case: Case) -> None:
    with clock.offset(-timedelta(days=3)):
        agreed(case)


# How a reason appears, what it is, and how it disappears.
TABLE = [
    (nothing, ["no_agreement"], agreed),
    (owner_disabled, ["owner_left"], owner_enabled),
    (owner_disabled, ["owner_left"], lambda case: case.agree(owner=case.root, owner_text="")),
    (owner_disabled, ["owner_left"], lambda case: case.agree(owner_text="SOC team")),
    (audit_added, ["wider"], lambda case: case.agree(connection_types="listed")),
    (audit_added, ["wider"], lambda case: case.list_types("logs")),
    (end_passed, ["ended"], lambda case: case.agree(ends_on=tomorrow())),
    (end_passed, ["ended"], lambda case: case.agree(ends_on=None)),
    (
        audit_and_owner_disabled,
        ["owner_left", "wider"],
        lambda case: case.agree(owner=None, owner_text="SOC", connection_types="listed"),
    ),
]


@pytest.mark.database
@pytest.mark.parametrize(("appears", "reasons", "disappears"), TABLE)
def test_each_reason_appears_and_disappears_wherever_the_connection_is_shown(
    appears: Callable[[Case], None],
    reasons: list[str],
    disappears: Callable[[Case], None],
    *,
    pair: OrgPair,
    ada: Person,
    root: Person,
    client_of: ClientOf,
):
    case = Case(pair=pair, owner=ada, root=root)
    client = client_of(root)
    appears(case)
    assert reasons_shown(pair) == [reasons] * 5
    assert reasons_on_pages(client, pair) == [reasons] * 3
    disappears(case)
    assert reasons_shown(pair) == [[]] * 5
    assert reasons_on_pages(client, pair) == [[]] * 3


def reasons_on_pages(client: Client, pair: OrgPair) -> list[list[str]]:
    """The reasons in the list of agreements, on the connection's page and in the matrix."""
    html = client.get("/agreements/").content.decode()
    row = html.partition(f'name="pair" value="{pair.reference}"')[0]
    listed = re.findall(r'data-reasons="([^"]*)"', row)[-1]
    of_pair = OrgConnectionSnapshot.objects.filter(sink_org_id=pair.sink_org_id).latest("id")
    page = client.get(connection_url(of_pair.key)).content.decode()
    said = {
        "no_agreement": "No one answers for this access.",
        "owner_left": "<strong>Owner left.</strong>",
        "wider": " agreed.</strong>",
        "ended": "<strong>Ended.</strong>",
    }
    matrix = client.get("/connections/?view=matrix").content.decode()
    [cell] = re.findall(r'aria-label="[^"]*Payments US to Group SOC: ([^"]*)"', matrix)
    # Before the first agreement, nothing is marked.
    has_none = not Agreement.objects.exists()
    marked = [reason for reason in NotAgreed if reason.label.lower() in cell]
    return [
        listed.split(),
        [reason for reason in said if said[reason] in page],
        ["no_agreement"] if has_none and not marked else marked,
    ]


def reasons_shown(pair: OrgPair) -> list[list[str]]:
    """The reasons in the inventory, its filter, the overview, the command and --not-agreed."""
    counts = count_agreed(actor=command_actor(), today=clock.now().date())
    # The other connection has no agreement.
    counted = counts.reasons - Counter([NotAgreed.NO_AGREEMENT])
    assert counts.agreed == counts.total - 1 - bool(counted)
    inventory = build_inventory(actor=command_actor(), filters=InventoryFilter())
    [row] = [each for each in inventory.load_rows(inventory.matches) if pair_of(each) == pair]
    not_agreed = build_inventory(actor=command_actor(), filters=InventoryFilter(agreed="no"))
    found = [each for each in not_agreed.load_rows(not_agreed.matches) if pair_of(each) == pair]
    agreed = build_inventory(actor=command_actor(), filters=InventoryFilter(agreed="yes"))
    assert len(agreed.matches) + len(not_agreed.matches) == inventory.total
    return [
        list(row.reasons),
        [reason for each in found for reason in each.reasons],
        [reason for reason in NotAgreed if counted[reason]],
        *(listed_reasons(pair, *flags) for flags in ([], ["--not-agreed"])),
    ]


def pair_of(row: Any) -> OrgPair:
    snapshot = row.snapshot
    return OrgPair(snapshot.site, snapshot.source_org_id, snapshot.sink_org_id)


def listed_reasons(pair: OrgPair, *flags: str) -> list[str]:
    out = StringIO()
    with suppress(SystemExit):
        call_command("list_org_connections", "--stored", "--json", *flags, stdout=out)
    rows = json.loads(out.getvalue())["org_connections"]
    of_pair = [
        row
        for row in rows
        if (row["source_org"]["id"], row["sink_org"]["id"]) == (pair[1], pair[2])
    ]
    assert all(row["agreed"] == (not row["reasons"]) for row in of_pair)
    return [reason for row in of_pair for reason in row["reasons"]]


def test_not_agreed_exits_with_10_while_a_connection_is_not_agreed(
    pair: OrgPair, root: Person, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as ended:
        call_command("list_org_connections", "--stored", "--not-agreed")
    assert ended.value.code == 10
    for listed in build_inventory(actor=command_actor(), filters=InventoryFilter()).matches:
        agree(OrgPair(*listed.pair), actor=command_actor(), owner=root, owner_text="")
    capsys.readouterr()
    call_command("list_org_connections", "--stored", "--not-agreed", "--json")
    assert json.loads(capsys.readouterr().out)["org_connections"] == []
    # A failed sync wins.
    store_credential_without_sync = Credential.objects.create(
        name="Labs", site="sandbox-eu1", created_at=clock.now(), keys_set_at=clock.now()
    )
    assert store_credential_without_sync.org_id == ""
    with pytest.raises(SystemExit) as ended:
        call_command("list_org_connections", "--stored", "--not-agreed")
    assert ended.value.code == 1


def test_the_command_prints_the_agreement(
    pair: OrgPair, ada: Person, capsys: pytest.CaptureFixture[str]
):
    agreement = agree(pair, actor=command_actor(), owner=ada, ends_on=date(2099, 1, 31))
    call_command("list_org_connections", "--stored", "--json")
    rows = json.loads(capsys.readouterr().out)["org_connections"]
    [found] = [row["agreement"] for row in rows if row["agreement"]]
    assert found == {
        "owner": "ada",
        "owner_text": "SOC team",
        "purpose": "Fraud alerts",
        "ticket": "",
        "ends_on": "2099-01-31",
        "connection_types": ["logs", "metrics"],
        "set_by": command_actor().name,
        "set_at": agreement.set_at.isoformat(),
    }


@pytest.mark.database
def test_where_credentials_list_other_data_types_the_newest_counts(
    pair: OrgPair, payments: Credential, sandbox: SandboxServer
):
    soc = store_credential(sandbox, "Group SOC")
    agree(pair, actor=command_actor())
    of_pair = OrgConnectionSnapshot.objects.filter(
        source_org_id=pair.source_org_id, sink_org_id=pair.sink_org_id
    )
    of_pair.filter(credential=soc).update(connection_types=["audit"])
    for credential, expected in {payments: 0, soc: 1}.items():
        of_pair.filter(credential=credential).update(last_seen_at=clock.now())
        counts = count_agreed(actor=command_actor(), today=clock.now().date())
        assert counts.reasons[NotAgreed.WIDER] == expected
        not_agreed = InventoryFilter(agreed="no")
        listed = build_inventory(actor=command_actor(), filters=not_agreed)
        assert counts.total - counts.agreed == len(listed.matches)


@pytest.mark.database
def test_connections_can_be_filtered_by_owner_end_and_group(
    pair: OrgPair, ada: Person, grace: Person
):
    end = clock.now().date() + timedelta(days=7)
    agree(pair, actor=command_actor(), owner=ada, owner_text="", ends_on=end)
    Org.objects.filter(org_id=pair.sink_org_id).update(group="acquired 2026")

    def matching(**filters: Any) -> set[OrgPair]:
        chosen = InventoryFilter(**filters)
        matches = build_inventory(actor=command_actor(), filters=chosen).matches
        return {OrgPair(*listed.pair) for listed in matches}

    assert matching(owner=("ada", "nobody")) == {pair}
    assert matching(owner=("grace",)) == matching(owner=("nobody",)) == set()
    assert (matching(ends_within="7"), matching(ends_within="6")) == ({pair}, set())
    assert pair in matching(group=("acquired 2026",))
    assert all(pair.sink_org_id in each for each in matching(group=("acquired 2026",)))
    assert matching(group=("production",)) == set()
    ends = build_inventory(actor=command_actor(), filters=InventoryFilter(), sort="ends").matches
    assert OrgPair(*ends[0].pair) == pair
    ends = build_inventory(actor=command_actor(), filters=InventoryFilter(), sort="-ends").matches
    assert OrgPair(*ends[-1].pair) == pair


@pytest.mark.database
def test_owners_and_groups_to_choose_are_those_of_visible_connections(
    pair: OrgPair,
    payments: Credential,
    sandbox: SandboxServer,
    *,
    ada: Person,
    grace: Person,
    root: Person,
    actor_for: ActorFor,
):
    store_credential(sandbox, "Labs EU")
    nothing = find_agreement_choices(actor=actor_for(grace))
    assert (nothing.has_agreements, nothing.owners, nothing.groups) == (False, [], [])
    Org.objects.filter(org_id=pair.source_org_id).update(group="production")
    agree(pair, actor=command_actor(), owner=ada)
    seen = find_agreement_choices(actor=actor_for(grace))
    assert seen.has_agreements
    assert (seen.owners, seen.groups) == ([("ada", "Ada")], ["production"])
    let_only(ada, credential=payments, kind=AccessKind.SEE, actor=person_actor(person=root))
    limited, listed = (Person.objects.get(pk=person.pk) for person in (grace, ada))
    assert find_agreement_choices(actor=actor_for(limited)) == nothing
    assert find_agreement_choices(actor=actor_for(listed)) == seen
    today = clock.now().date()
    assert count_agreed(actor=actor_for(listed), today=today).agreed == 1
    assert count_agreed(actor=actor_for(limited), today=today).agreed == 0


def test_an_org_page_and_a_plan_show_what_was_agreed(
    pair: OrgPair, ada: Person, client_of: ClientOf
):
    agree(pair, actor=command_actor(), owner=ada, owner_text="", purpose="Fraud alerts")
    page = read(client_of(ada).get(f"/orgs/{pair.site}/{pair.source_org_id}/"))
    assert "1 not agreed" in page.text
    link = f"/connections/?site={pair.site}&destination={pair.source_org_id}&agreed=no"
    assert page.link("1 not agreed") == link
    connections = OrgConnectionSnapshot.objects.filter(sink_org_id=pair.sink_org_id)
    plan = draft(ada, [connections.latest("id").key.reference])
    shown = read(client_of(ada).get(f"/deletions/batches/{plan.pk}/"))
    assert "Ada" in shown.text
    assert "Fraud alerts" in shown.text


def test_owner_and_end_are_columns_once_there_is_an_agreement(
    pair: OrgPair, ada: Person, client_of: ClientOf
):
    client = client_of(ada)
    before = read(client.get("/connections/?agreed=no"))
    assert ("Owner" in before.text, "Agreement: Not agreed" in before.text) == (False, True)
    end = clock.now().date() + timedelta(days=7)
    agree(pair, actor=command_actor(), owner=ada, owner_text="", ends_on=end)
    after = read(client.get("/connections/")).text
    assert "Owner" in after
    assert "Ada in 7 days" in after
    assert "No agreement None" not in after
    mine = client.get("/connections/?owner=ada").context
    assert [chip.value_label for chip in mine["bar"].chips] == ["Mine"]
    assert len(mine["rows"]) == 1


def test_the_overview_begins_with_how_many_are_agreed_and_links_the_reasons(
    pair: OrgPair, root: Person, client_of: ClientOf
):
    client = client_of(root)
    agree(pair, actor=command_actor(), connection_types=["rum"])
    page = read(client.get("/"))
    assert "0 of 2 connections agreed" in page.text
    assert page.link("1 no agreement") == "/agreements/?reason=no_agreement"
    assert page.link("1 wider than agreed") == "/agreements/?reason=wider"
    for listed in build_inventory(actor=command_actor(), filters=InventoryFilter()).matches:
        agree(OrgPair(*listed.pair), actor=command_actor(), connection_types="listed")
    assert "All 2 connections agreed" in read(client.get("/")).text


def test_a_connections_page_has_each_version_and_who_set_it(
    pair: OrgPair, ada: Person, root: Person, client_of: ClientOf
):
    actor = person_actor(person=root)
    agree(pair, actor=actor, owner=ada, owner_text="", ends_on=date(2099, 1, 31))
    agree(pair, actor=actor, owner=root, owner_text="", purpose="Audit", ends_on=None)
    agree(pair, actor=actor, purpose="Audit", ticket="SEC-1", connection_types=["logs"])
    agree(pair, actor=actor, purpose="Audit", ends_on=date(2099, 2, 1))
    snapshot = OrgConnectionSnapshot.objects.filter(sink_org_id=pair.sink_org_id).latest("id")
    page = read(client_of(ada).get(connection_url(snapshot.key)))
    versions = [
        "Agreed: logs and metrics until 31 Jan 2099 Owner Ada Purpose “Fraud alerts” by Root",
        "Owner Ada → Root End 31 Jan 2099 → no end Purpose “Fraud alerts” → “Audit” by Root",
        "Owner Root → Root and SOC team Data types logs and metrics → logs "
        "Ticket none → SEC-1 by Root",
        "End no end → 1 Feb 2099 by Root",
    ]
    places = [page.text.index(version) for version in versions]
    assert places[3] < places[2] < places[1] < page.text.index("All 4 versions") < places[0]
    assert "Set owner and purpose…" in page.text
