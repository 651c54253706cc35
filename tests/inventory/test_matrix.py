"""The matrix: source orgs down, destination orgs across, one site at a time."""

import re
from collections.abc import Callable
from datetime import timedelta
from html import unescape
from typing import Any
from uuid import UUID, uuid4, uuid5

import pytest
from django.test import Client
from django.utils import timezone

from connections.access.actor import command_actor
from connections.inventory.matching import InventoryFilter
from connections.inventory.matrix import MAX_ORGS, build_matrix
from connections.models import Change, Credential, OrgConnectionSnapshot, Person
from connections.web.inventory import matrix as matrix_view
from sandbox.server import SandboxServer
from tests.changes.support import make_connection, make_deletion
from tests.flows.support import Page, read, store_credential
from tests.inventory.support import rows_in
from tests.support.sandbox import EU, US, org_named

ClientOf = Callable[[Person], Client]

PAYMENTS_TO_SOC = "Payments US to Group SOC: logs and metrics, created by Dana Keller"
_CELL = re.compile(r'<a href="([^"]*)" aria-label="((?!Remove filter)[^"]*)"([^>]*)>(.*?)</a>')
_HEAD = re.compile(r'<th scope="(row|col)"[^>]*>(.*?)</th>', re.DOTALL)


def open_matrix(client: Client, **filters: str) -> Page:
    """The matrix page."""
    return read(client.get("/connections/", {"view": "matrix", **filters}))


def cells_in(page: Page) -> list[tuple[str, str, str]]:
    """The address, the label and the letters of each cell with a connection."""
    cells = []
    for url, label, _, html in _CELL.findall(page.html):
        letters = re.sub(r"<[^>]+>", "", html)
        # So that voice control finds it.
        assert label.startswith(f"{letters.strip()}: ")
        cells.append((unescape(url), unescape(label.removeprefix(f"{letters.strip()}: ")), letters))
    return cells


def heads_in(page: Page, scope: str) -> list[str]:
    """The org names at the rows ("row") or columns ("col")."""
    texts = [
        re.sub(r"<[^>]+>", "", text).strip()
        for kind, text in _HEAD.findall(page.html)
        if kind == scope
    ]
    return [text for text in texts if text != "Total"]


def add_connections(credential: Credential, pairs: list[tuple[int, int]]) -> None:
    """Store a connection for each pair of numbered orgs."""
    now = timezone.now()
    OrgConnectionSnapshot.objects.bulk_create(
        OrgConnectionSnapshot(
            credential=credential,
            site=credential.site,
            connection_id=uuid4(),
            digest="",
            first_seen_at=now,
            last_seen_at=now,
            source_org_id=str(uuid5(UUID(int=1), str(source))),
            source_org_name=f"Org {source:03}",
            sink_org_id=str(uuid5(UUID(int=1), str(sink))),
            sink_org_name=f"Org {sink:03}",
            connection_types=[["logs"], ["metrics", "audit"], ["logs", "metrics"]][sink % 3],
        )
        for source, sink in pairs
    )


def test_each_cell_names_its_orgs_and_data_types_and_links_to_the_connection(
    client_of: ClientOf, victor: Person, payments: Credential
):
    client = client_of(victor)
    page = open_matrix(client)
    assert heads_in(page, "row") == heads_in(page, "col") == ["Group SOC", "Payments US"]
    assert [(label, letters) for _, label, letters in cells_in(page)] == [
        ("Group SOC to Payments US: audit, created by Dana Keller", "  A"),
        ("Payments US to Group SOC: logs and metrics, created by Dana Keller", "LM "),
    ]
    listed = read(client.get(cells_in(page)[1][0]))
    assert rows_in(listed.html) == ["Payments US → Group SOC"]


@pytest.mark.database
def test_a_cell_with_several_connections_links_to_the_list_of_them(
    client_of: ClientOf, victor: Person, payments: Credential
):
    second = OrgConnectionSnapshot.objects.get(sink_org_name="Group SOC")
    second.pk, second.connection_id, second.connection_types = None, uuid4(), ["rum", "logs"]
    second.creator_name = "Eve"
    second.save()
    client = client_of(victor)
    url, label, letters = cells_in(open_matrix(client))[1]
    assert (label, letters) == (
        "Payments US to Group SOC: logs, metrics and rum, 2 connections, "
        "created by Dana Keller and Eve",
        "LM +1",
    )
    listed = read(client.get(url))
    assert "2 of 3 connections" in listed.text


def test_one_site_is_shown_at_a_time_first_the_one_with_the_most_connections(
    client_of: ClientOf, victor: Person, payments: Credential, labs: Credential
):
    client = client_of(victor)
    assert "Labs EU" not in heads_in(open_matrix(client), "row")
    europe = open_matrix(client, site=EU)
    assert heads_in(europe, "row") == ["Labs EU"]
    assert heads_in(europe, "col") == ["Data Lake EU"]
    of_org = open_matrix(client, org=f"{EU}/{labs.org_id}")
    assert heads_in(of_org, "row") == ["Labs EU"]


def test_orgs_with_the_same_name_get_rows_of_their_own(
    client_of: ClientOf, victor: Person, payments: Credential
):
    add_connections(payments, [(1, 2), (3, 2)])
    OrgConnectionSnapshot.objects.filter(source_org_name="Org 003").update(
        source_org_name="Org 001"
    )
    rows = [head for head in heads_in(open_matrix(client_of(victor)), "row") if "Org 001" in head]
    ids = [str(uuid5(UUID(int=1), number)) for number in ("1", "3")]
    assert sorted(rows) == sorted(f"Org 001 …{each[-8:]}" for each in ids)


@pytest.mark.database(every=4)
@pytest.mark.parametrize(
    ("filters", "labels"),
    [
        ({"type": "audit"}, ["Group SOC to Payments US: audit, created by Dana Keller"]),
        ({"q": "metrics"}, [PAYMENTS_TO_SOC]),
        ({"source": "soc"}, ["Group SOC to Payments US: audit, created by Dana Keller"]),
        (
            {"destination": "soc"},
            ["Payments US to Group SOC: logs and metrics, created by Dana Keller"],
        ),
        ({"source": "soc", "destination": "soc"}, []),
        ({"protected": "yes"}, []),
        ({"source": "nobody"}, []),
    ],
)
def test_the_filters_of_the_list_apply_and_leave_out_empty_rows_and_columns(
    client_of: ClientOf,
    victor: Person,
    payments: Credential,
    filters: dict[str, str],
    labels: list[str],
):
    page = open_matrix(client_of(victor), **filters)
    assert [label for _, label, _ in cells_in(page)] == labels
    assert len(heads_in(page, "row")) == len(labels)
    assert "Clear filters" in page.text


def test_the_list_has_the_same_filters_by_source_and_destination(
    client_of: ClientOf, victor: Person, payments: Credential
):
    page = read(client_of(victor).get("/connections/", {"source": payments.org_id}))
    assert "1 of 2 connections" in page.text
    assert "Source: Payments US" in page.text


def test_totals_count_connections(payments: Credential):
    add_connections(payments, [(1, 2), (1, 3), (2, 3)])
    matrix = build_matrix(actor=command_actor(), filters=InventoryFilter())
    first = str(uuid5(UUID(int=1), "1"))
    third = str(uuid5(UUID(int=1), "3"))
    assert (matrix.outgoing[first], matrix.incoming[third], matrix.matches) == (2, 2, 5)


def add_change(kind: Change.Kind, *, days: int, number: int = 1, **values: Any) -> Change:
    """Store a change of the connection from Payments US to Group SOC, so many days ago."""
    snapshot = OrgConnectionSnapshot.objects.filter(sink_org_name="Group SOC").earliest("pk")
    at = timezone.now() - timedelta(days=days)
    return Change.objects.create(
        number=number,
        kind=kind,
        site=US,
        connection_id=snapshot.connection_id,
        source_org_id=snapshot.source_org_id,
        sink_org_id=snapshot.sink_org_id,
        earliest_at=at,
        detected_at=at,
        recorded_at=at,
        search_text="",
        **values,
    )


@pytest.mark.database
@pytest.mark.parametrize(("days", "is_marked"), [(6, True), (8, False)])
def test_a_change_within_the_last_7_days_is_marked(
    client_of: ClientOf, victor: Person, payments: Credential, days: int, is_marked: bool
):
    add_change(Change.Kind.TYPES_CHANGED, days=days)
    page = open_matrix(client_of(victor))
    _, label, _ = cells_in(page)[1]
    assert label.endswith(". Narrowed 6 days ago") is is_marked
    assert page.html.count('class="is-changed"') == int(is_marked)


def test_a_cell_names_its_last_change_and_a_deletion_only_to_who_can_see_it(
    client_of: ClientOf, ada: Person, victor: Person, payments: Credential, sandbox: SandboxServer
):
    add_change(Change.Kind.APPEARED, days=3, after={"connection_types": ["audit"]})
    soc = store_credential(sandbox, "Group SOC")
    deletion = make_deletion(soc, make_connection())
    add_change(Change.Kind.RECREATED, days=2, number=2, deletion=deletion)
    soc.access.create(kind="see", person=ada)
    for person, title in ((ada, "Recreated after deletion"), (victor, "Recreated")):
        [label] = [each for _, each, _ in cells_in(open_matrix(client_of(person))) if "ago" in each]
        assert label.endswith(f"Dana Keller. {title} 2 days ago")


@pytest.mark.database(every=2)
@pytest.mark.parametrize(("days", "count"), [("1", 0), ("7", 1), ("30", 1), ("2", 0)])
def test_connections_are_filtered_by_when_they_changed(
    client_of: ClientOf, victor: Person, payments: Credential, days: str, count: int
):
    add_change(Change.Kind.TYPES_CHANGED, days=3)
    client = client_of(victor)
    assert len(cells_in(open_matrix(client, changed=days))) == count
    # A value that the filter doesn't offer lists nothing, as in every list.
    rows = read(client.get("/connections/", {"changed": days})).html.count('<td class="cell-id')
    assert rows == count


def test_connections_are_filtered_by_a_disabled_creator(
    client_of: ClientOf, victor: Person, payments: Credential
):
    add_connections(payments, [(1, 2)])
    to_soc = OrgConnectionSnapshot.objects.filter(sink_org_name="Group SOC")
    to_soc.update(creator_is_disabled=True)
    [(_, label, _)] = cells_in(open_matrix(client_of(victor), creator="disabled"))
    assert label.startswith("Payments US to Group SOC")


def test_org_names_are_escaped(client_of: ClientOf, victor: Person, payments: Credential):
    name = '"><script>alert(1)</script>'
    for column in ("source_org_name", "sink_org_name"):
        OrgConnectionSnapshot.objects.filter(**{column: "Group SOC"}).update(**{column: name})
    page = open_matrix(client_of(victor))
    assert f"Payments US to {name}: logs and metrics, created by Dana Keller" in [
        label for _, label, _ in cells_in(page)
    ]
    assert "<script>alert" not in page.html


def test_beyond_100_orgs_it_asks_for_a_filter(
    client_of: ClientOf, victor: Person, payments: Credential
):
    add_connections(payments, [(number, 0) for number in range(1, MAX_ORGS + 2)])
    client = client_of(victor)
    page = open_matrix(client)
    assert "Too many orgs for a matrix" in page.text
    assert "<table" not in page.html
    fifth = str(uuid5(UUID(int=1), "5"))
    assert heads_in(open_matrix(client, source=fifth), "row") == ["Org 005"]


def test_without_connections_it_says_so(client_of: ClientOf, victor: Person):
    assert "No connections" in open_matrix(client_of(victor)).text


def test_sync_now_returns_to_the_matrix(client_of: ClientOf, ada: Person, payments: Credential):
    response = client_of(ada).post("/connections/refresh/", {"filters": f"site={US}&view=matrix"})
    assert response.headers["Location"] == f"/connections/?site={US}&view={matrix_view.MATRIX}"


@pytest.mark.database
def test_a_hidden_connection_is_in_no_cell_and_no_total(
    client_of: ClientOf, sandbox: SandboxServer, ada: Person, victor: Person, payments: Credential
):
    soc = store_credential(sandbox, "Group SOC")
    world = sandbox.world
    world.add_connection(
        source_org=org_named(world, "Group SOC"), sink_org=world.add_org(name="Secret", site=US)
    )
    client_of(ada).post("/connections/refresh/")
    soc.access.create(kind="see", person=ada)
    page = open_matrix(client_of(victor))
    assert "Secret" not in page.text
    assert len(cells_in(page)) == 2
    assert len(cells_in(open_matrix(client_of(ada)))) == 3
