"""The inventory: one table of all connections, even if an org's sync fails."""

import csv
import io
import json
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from django.db.models.signals import post_init
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from connections.access.actor import command_actor, person_actor
from connections.changes.acknowledgement import acknowledge_changes
from connections.core import clock
from connections.inventory import protections
from connections.inventory.inventory import build_inventory
from connections.inventory.matching import FilterFacts, InventoryFilter, KnownOrg, ListedConnection
from connections.models import (
    AuditEvent,
    Change,
    Credential,
    Deletion,
    OrgConnectionKey,
    OrgConnectionSnapshot,
    Person,
    Sync,
)
from connections.web.framework import lists
from sandbox.faults import RETURNS_500
from sandbox.server import SandboxServer
from tests.access_reviews import support as access_reviews
from tests.flows.support import Page, read, store_credential
from tests.inventory.support import link_with_text, links_in, rows_in
from tests.support.sandbox import connection_between, key_pair_of, org_named

ClientOf = Callable[[Person], Client]

URL = "/connections/"
EXPLANATION = "An org connection lets the destination org query the source org's data."


def open_list(client: Client, **filters: str) -> Page:
    """The inventory page."""
    return read(client.get(URL, filters))


def make_old(*credentials: Credential, minutes: int = 6) -> None:
    """Set the last sync of these credentials to that long ago."""
    at = timezone.now() - timedelta(minutes=minutes)
    Sync.objects.filter(credential__in=credentials).update(started_at=at)


def add_rows(credential: Credential, number: int) -> None:
    """Store snapshots of that many more connections."""
    now = timezone.now()
    OrgConnectionSnapshot.objects.bulk_create(
        OrgConnectionSnapshot(
            credential=credential,
            site=credential.site,
            connection_id=uuid4(),
            digest="",
            first_seen_at=now,
            last_seen_at=now,
            source_org_id=credential.org_id,
            source_org_name=credential.org_name,
            sink_org_id=f"sink-{index}",
            sink_org_name=f"Sink {index:04}",
            connection_types=["logs"],
        )
        for index in range(number)
    )


@pytest.mark.database
def test_a_connection_seen_from_both_sides_is_one_row_using_the_source_side(
    client_of: ClientOf, ada: Person, sandbox: SandboxServer, payments: Credential, soc: Credential
):
    page = open_list(client_of(ada))
    connection = connection_between(sandbox.world, "Payments US", "Group SOC")
    reviews = [href for href, _ in links_in(page.html) if f"connection_id={connection.id}" in href]
    confirmation = f"/deletions/new/?credential={payments.pk}&connection_id={connection.id}"
    assert reviews == [f"{confirmation}&back=%2Fconnections%2F"]
    assert "Group SOC, Payments US" in page.text


def test_it_shows_the_data_types_and_the_creator_of_each_connection(
    client_of: ClientOf, victor: Person, payments: Credential
):
    page = open_list(client_of(victor))
    assert "Payments US to Group SOC logs metrics" in page.text
    assert 'datetime="2025-08-26T' in page.html
    assert "26 Aug 2025 Dana Keller 1 : Payments US" in page.text


def test_only_people_who_can_delete_see_a_link_to_do_so(
    client_of: ClientOf, victor: Person, payments: Credential
):
    assert "Delete…" not in open_list(client_of(victor)).text


def test_an_open_deletion_replaces_the_delete_link(
    client_of: ClientOf, ada: Person, sandbox: SandboxServer, payments: Credential
):
    connection = connection_between(sandbox.world, "Payments US", "Group SOC")
    deletion = store_open_deletion(payments, UUID(connection.id), ada)
    page = open_list(client_of(ada), q="payments soc logs")
    view = link_with_text(page.html, "Unknown : deletion of Payments US to Group SOC")
    assert view == f"/deletions/{deletion.pk}/"
    assert "Delete…" not in page.text


def store_open_deletion(credential: Credential, connection_id: UUID, person: Person) -> Deletion:
    return Deletion.objects.create(
        request_id=uuid4(),
        site=credential.site,
        connection_id=connection_id,
        credential=credential,
        credential_name=credential.name,
        credential_fingerprint=credential.fingerprint,
        is_reviewed=True,
        digest="",
        reason="unused",
        policy="none",
        state="unknown",
        requested_at=timezone.now(),
        requested_by=person,
        requested_by_name=person.display_name,
        search_text="",
    )


@pytest.mark.database
def test_every_filter_is_in_the_url(
    client_of: ClientOf, victor: Person, payments: Credential, labs: Credential
):
    everyone = {"Labs EU", "Group SOC", "Payments US"}
    client = client_of(victor)
    for name, value, shown in (
        ("site", "sandbox-eu1", {"Labs EU"}),
        ("type", "audit", {"Group SOC"}),
        ("q", "soc PAYMENTS metrics", {"Payments US"}),
        ("q", "dana", everyone),
        ("q", "nobody", set()),
        # A site only by its whole name: "data" isn't about datadoghq.com.
        ("q", "sandbox-eu1", {"Labs EU"}),
        ("q", "sandbox-eu", set()),
        ("q", "payments -> soc", {"Payments US"}),
        ("q", "soc → payments", {"Group SOC"}),
        ("q", "soc → soc", set()),
        ("q", "→ soc metrics", {"Payments US"}),
        ("q", "payments →", {"Payments US"}),
        ("creator", "Dana Keller", everyone),
        ("creator", "Dana", set()),
    ):
        rows = rows_in(open_list(client, **{name: value}).html)
        assert {row.split(" → ")[0] for row in rows} == shown, value


def needs_a_look(client: Client, flag: str) -> set[str]:
    return set(rows_in(open_list(client, flag=flag).html))


@pytest.mark.database
def test_connections_that_need_a_look_are_found_by_any_reason_and_by_one(
    client_of: ClientOf, ada: Person, sandbox: SandboxServer, payments: Credential, labs: Credential
):
    client = client_of(ada)
    assert needs_a_look(client, "any") == {"Group SOC → Payments US"}
    sandbox.world.revoke(key_pair_of(sandbox.world, "Labs EU"))
    client.post("/connections/refresh/")
    to_soc = OrgConnectionSnapshot.objects.filter(sink_org_name="Group SOC")
    to_soc.update(creator_is_disabled=True)
    reasons = {
        "audit": "Group SOC → Payments US",
        "creator-disabled": "Payments US → Group SOC",
        "out-of-date": "Labs EU → Data Lake EU",
    }
    for flag, connection in reasons.items():
        assert needs_a_look(client, flag) == {connection}
    assert needs_a_look(client, "any") == set(reasons.values())
    assert needs_a_look(client, "change") == set()
    page = open_list(client, creator="disabled")
    assert rows_in(page.html) == ["Payments US → Group SOC"]
    assert "Creator: Account disabled" in page.text


@pytest.mark.database
def test_a_connection_needs_a_look_until_its_change_is_acknowledged(
    client_of: ClientOf, ada: Person, sandbox: SandboxServer, labs: Credential
):
    [connection] = [c for c in sandbox.world.connections() if c.source_org.name == "Labs EU"]
    types = ("logs", "metrics", "rum")
    sandbox.world.change_connection(connection_id=connection.id, connection_types=types)
    client = client_of(ada)
    client.post("/connections/refresh/")
    assert needs_a_look(client, "change") == {"Labs EU → Data Lake EU"}
    changes = [change.pk for change in Change.objects.filter(needs_attention=True)]
    acknowledge_changes(actor=person_actor(person=ada), change_ids=changes, note="Agreed.")
    assert needs_a_look(client, "change") == set()


@pytest.mark.database
def test_connections_are_filtered_by_age(client_of: ClientOf, victor: Person, labs: Credential):
    OrgConnectionSnapshot.objects.all().delete()
    ages = (3, 30, 32, 183, 366)
    add_rows(labs, len(ages) + 1)
    for index, age in enumerate(ages):
        snapshot = OrgConnectionSnapshot.objects.filter(sink_org_id=f"sink-{index}")
        at = timezone.now() - timedelta(days=age)
        snapshot.update(connection_created_at=at, sink_org_name=f"{age} days")
    client = client_of(victor)
    expected = {"31": [3, 30], "182": [3, 30, 32], "over-182": [183, 366], "over-365": [366]}
    for created, days in expected.items():
        found = set(rows_in(open_list(client, created=created).html))
        assert found == {f"Labs EU → {age} days" for age in days}


@pytest.mark.database
def test_connections_that_no_access_review_decided_on_are_found(
    client_of: ClientOf, edith: Person, payments: Credential
):
    review = access_reviews.start(edith)
    access_reviews.decide(review, edith, access_reviews.texts_of(review)[0])
    decided, undecided = [row.source_org_name for row in review.rows.all()]
    client = client_of(edith)
    for reviewed in ("never", "365"):
        [row] = rows_in(open_list(client, reviewed=reviewed).html)
        assert row.startswith(undecided)
    a_year_later = timezone.now() + timedelta(days=366)
    filters = InventoryFilter(reviewed="365")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "now", lambda: a_year_later)
        matches = build_inventory(actor=command_actor(), filters=filters).matches
    assert {listed.source_org.name for listed in matches} == {decided, undecided}


def test_an_org_is_filtered_by_site_and_id_and_the_id_shown_where_orgs_share_a_name(
    client_of: ClientOf, victor: Person, labs: Credential, payments: Credential
):
    add_rows(labs, 3)
    OrgConnectionSnapshot.objects.filter(sink_org_id="sink-1").update(sink_org_name="Sink 0002")
    client = client_of(victor)
    page = open_list(client)
    options = re.findall(r'<option value="([^"]+/sink-\d)">([^<]+)</option>', page.html)
    assert [words for _, words in options] == [
        "Sink 0000 · sandbox-eu1",
        "Sink 0002 · sandbox-eu1 · …sink-1",
        "Sink 0002 · sandbox-eu1 · …sink-2",
    ]
    page = open_list(client, org=f"{labs.site}/sink-1")
    assert rows_in(page.html) == ["Labs EU → Sink 0002 …sink-1"]
    assert "Org: Sink 0002 · sandbox-eu1 · …sink-1" in page.text
    assert rows_in(open_list(client, org="sandbox-us1/sink-1").html) == []
    assert rows_in(open_list(client, org="Sink 0002").html) == []


def test_a_chip_removes_its_filter_and_keeps_the_others(
    client_of: ClientOf, victor: Person, payments: Credential
):
    page = open_list(client_of(victor), type="logs", q="soc", sort="-created", page="1")
    removal = '<a href="/connections/?q=soc&amp;sort=-created" aria-label="Remove filter Data type'
    assert removal in page.html
    assert '<input type="hidden" name="type" value="logs">' in page.html
    assert 'href="/connections/?sort=-created">Clear filters</a>' in page.html


@pytest.mark.database
def test_a_column_sorts_the_list(
    client_of: ClientOf, victor: Person, labs: Credential, soc: Credential
):
    OrgConnectionSnapshot.objects.all().delete()
    add_rows(labs, 3)
    seen_twice = OrgConnectionSnapshot.objects.get(sink_org_id="sink-1")
    seen_twice.pk, seen_twice.credential = None, soc
    seen_twice.save(force_insert=True)
    now, of_one = timezone.now(), OrgConnectionSnapshot.objects.filter
    of_one(sink_org_id="sink-0").update(connection_created_at=now - timedelta(days=1))
    of_one(sink_org_id="sink-1").update(creator_name="Ada", connection_created_at=None)
    of_one(sink_org_id="sink-2").update(creator_name="Zoe", connection_created_at=now)
    client = client_of(victor)
    for sort, header, link, first in (
        ("", "Source", "-source", "Sink 0000"),
        ("-destination", "Destination", "destination", "Sink 0002"),
        ("created", "Created", "-created", "Sink 0001"),
        ("-creator", "Creator", "creator", "Sink 0002"),
        ("-visible", "Visible", "visible", "Sink 0001"),
    ):
        page = open_list(client, sort=sort)
        assert rows_in(page.html)[0] == f"Labs EU → {first}"
        found = re.findall(
            r'aria-sort="(\w+)"><a href="/connections/\?sort=([\w-]+)">(\w+)', page.html
        )
        direction = "descending" if sort.startswith("-") else "ascending"
        assert found == [(direction, link, header)]
        assert page.html.count("aria-sort") == 1
    default = rows_in(open_list(client).html)
    for unknown in ("x", "-", "--source", "stored_id"):
        assert rows_in(open_list(client, sort=unknown).html) == default


def test_few_connections_of_one_org_have_a_search_and_little_else(
    client_of: ClientOf, ada: Person, labs: Credential
):
    add_rows(labs, 11)
    client = client_of(ada)
    page = open_list(client)
    assert EXPLANATION in page.text
    assert 'name="q"' in page.html
    assert page.text.count("Delete…") == 12
    assert "More" not in page.text
    for field in ("type", "org", "creator", "connection"):
        assert f'name="{field}"' not in page.html
    add_rows(labs, 1)
    assert 'name="connection"' in open_list(client).html
    assert 'name="type"' in open_list(client, type="logs").html
    add_rows(labs, 13)
    page = open_list(client)
    assert EXPLANATION not in page.text
    assert 'name="type"' in page.html
    assert "Matrix" not in page.text


def test_an_id_that_no_sync_lists_can_be_deleted_by_id(
    client_of: ClientOf, ada: Person, victor: Person, labs: Credential
):
    unlisted = str(uuid4())
    page = open_list(client_of(ada), q=unlisted)
    assert link_with_text(page.html, "Delete by ID…") == f"/deletions/new/?connection_id={unlisted}"
    protect_url = f"/connections/protect/?connection_id={unlisted}"
    assert link_with_text(page.html, "Protect by ID…") == protect_url
    assert "Delete by ID…" not in open_list(client_of(ada), q=unlisted, type="logs").text
    assert "Delete by ID…" not in open_list(client_of(victor), q=unlisted).text


def test_what_a_connection_is_is_said_until_the_person_has_requested_a_deletion(
    client_of: ClientOf, ada: Person, victor: Person, labs: Credential
):
    store_open_deletion(labs, uuid4(), ada)
    assert EXPLANATION not in open_list(client_of(ada)).text
    assert EXPLANATION in open_list(client_of(victor)).text


@pytest.mark.parametrize(("orgs", "has_matrix"), [(4, False), (5, True)])
def test_the_matrix_appears_with_the_fifth_org(
    client_of: ClientOf, ada: Person, labs: Credential, orgs: int, has_matrix: bool
):
    for number in range(1, orgs):
        labs.pk, labs.org_id, labs.name = uuid4(), str(uuid4()), f"Labs {number}"
        labs.fingerprint = f"{number:064}"
        labs.save(force_insert=True)
    assert ("Matrix" in open_list(client_of(ada)).text) == has_matrix


def test_the_box_of_each_row_has_the_facts_to_warn_of(
    client_of: ClientOf,
    ada: Person,
    linus: Person,
    sandbox: SandboxServer,
    payments: Credential,
    labs: Credential,
):
    def key_of(source: str, sink: str) -> OrgConnectionKey:
        connection = connection_between(sandbox.world, source, sink)
        return OrgConnectionKey(site=payments.site, connection_id=UUID(connection.id))

    outgoing, incoming = key_of("Payments US", "Group SOC"), key_of("Group SOC", "Payments US")
    actor = person_actor(person=linus)
    protections.protect_connection(actor=actor, key=incoming, reason="It must stay.")
    store_open_deletion(payments, outgoing.connection_id, ada)
    client = client_of(ada)
    for key, facts in ((incoming, "protected audit"), (outgoing, "open")):
        add_rows(labs, 10)
        box = f'value="{key.reference}" form="selection" data-facts="{facts}"'
        assert box in open_list(client).html


def test_a_failing_org_is_said_once_and_its_older_rows_are_out_of_date(
    client_of: ClientOf, ada: Person, sandbox: SandboxServer, payments: Credential, labs: Credential
):
    client = client_of(ada)
    assert "Synced just now" in open_list(client).text
    sandbox.world.revoke(key_pair_of(sandbox.world, "Labs EU"))
    client.post("/connections/refresh/")
    page = open_list(client)
    assert link_with_text(page.html, "1 org failing") == "/orgs/?show=failing"
    assert {"Labs EU → Data Lake EU", "Payments US → Group SOC"} <= set(rows_in(page.html))
    assert page.text.count("out of date") == 1


def test_an_org_with_two_credentials_counts_as_one(
    client_of: ClientOf, ada: Person, sandbox: SandboxServer, labs: Credential
):
    org = key_pair_of(sandbox.world, "Labs EU").org
    pair = sandbox.world.add_key_pair(org=org)
    store_credential(sandbox, "Labs EU", pair=pair, name="Labs EU again")
    client = client_of(ada)
    client.post("/connections/refresh/")
    assert "1 org synced." in open_list(client).text


def test_a_refresh_syncs_again_and_returns_to_the_same_place(
    client_of: ClientOf, ada: Person, sandbox: SandboxServer, labs: Credential
):
    client = client_of(ada)
    [connection] = [c for c in sandbox.world.connections() if c.source_org.name == "Labs EU"]
    sandbox.world.remove_connection(connection_id=connection.id)
    place = "site=sandbox-eu1&sort=-created&page=2"
    response = client.post("/connections/refresh/", {"filters": f"evil=1&{place}"})
    assert response.status_code == 303
    assert response["Location"] == f"/connections/?{place}"
    assert "1 org synced." in open_list(client).text
    assert not OrgConnectionSnapshot.objects.filter(is_current=True).exists()


@pytest.mark.parametrize(
    ("silent", "says"),
    [
        (
            ["Labs EU"],
            "1 org synced, 1 failed. Labs EU: Datadog had an internal failure (5xx). "
            "Older data is shown.",
        ),
        (
            ["Labs EU", "Payments US"],
            "Sync failed. Labs EU and Payments US: Datadog had an internal failure (5xx). "
            "Older data is shown.",
        ),
    ],
)
def test_a_refresh_says_which_orgs_failed_to_sync_and_why(
    client_of: ClientOf,
    ada: Person,
    sandbox: SandboxServer,
    payments: Credential,
    labs: Credential,
    silent: list[str],
    says: str,
):
    for name in silent:
        org = org_named(sandbox.world, name)
        sandbox.world.set_fault(fault=RETURNS_500, org=org, operation="list")
    client = client_of(ada)
    client.post("/connections/refresh/")
    assert says in open_list(client).text


def test_recently_synced_orgs_are_not_synced_again_automatically(
    client_of: ClientOf, ada: Person, sandbox: SandboxServer, payments: Credential, labs: Credential
):
    make_old(labs)
    before = Sync.objects.count()
    client_of(ada).post("/connections/refresh/", {"only_stale": "1"})
    assert Sync.objects.count() == before + 1
    assert Sync.objects.first().credential == labs  # type: ignore[union-attr]


def test_an_outdated_page_syncs_automatically_if_the_person_can_refresh(
    client_of: ClientOf, ada: Person, victor: Person, labs: Credential
):
    assert "hx-trigger" not in open_list(client_of(ada)).html
    make_old(labs)
    assert 'hx-trigger="load"' in open_list(client_of(ada)).html
    assert "hx-trigger" not in open_list(client_of(victor)).html
    assert not open_list(client_of(victor)).has_form_to("/connections/refresh/")


def test_htmx_gets_only_the_inventory_fragment(client_of: ClientOf, ada: Person, labs: Credential):
    headers = {"HX-Request": "true", "HX-Target": "list"}
    html = client_of(ada).get(URL, headers=headers).content.decode()
    assert html.lstrip().startswith('<div id="list">')
    assert "<html" not in html


def test_the_response_to_a_refresh_never_triggers_another(
    client_of: ClientOf, ada: Person, labs: Credential, key_ring_file: Path
):
    make_old(labs)
    key_ring_file.unlink()
    headers = {"HX-Request": "true", "HX-Target": "list"}
    requested = {"only_stale": "1", "reload": "1"}
    client = client_of(ada)
    response = client.post("/connections/refresh/", requested, headers=headers)
    assert response.status_code == 303
    page = read(client.get(response["Location"], headers=headers))
    assert "hx-trigger" not in page.html
    assert "Nothing was synced. The key ring that decrypts stored keys is missing" in page.text
    assert str(key_ring_file) not in page.html


def test_the_first_sync_returns_the_whole_page_with_its_filters(
    client_of: ClientOf, ada: Person, labs: Credential
):
    make_old(labs)
    requested = {"only_stale": "1", "reload": "1"}
    response = client_of(ada).post(
        "/connections/refresh/", requested, headers={"HX-Request": "true"}
    )
    assert response["HX-Refresh"] == "true"


def test_a_credential_that_was_never_verified_is_named_and_not_synced(
    client_of: ClientOf, ada: Person, labs: Credential
):
    Sync.objects.all().delete()
    Credential.objects.update(org_id="", verified_at=None)
    client = client_of(ada)
    client.post("/connections/refresh/")
    page = open_list(client)
    assert "Nothing was synced: Datadog accepts no credential's keys." in page.text
    assert "Not synced yet" in page.text
    assert link_with_text(page.html, "1 credential not checked") == "/orgs/?show=failing"
    assert not Sync.objects.exists()


@pytest.mark.parametrize(
    ("person", "says"), [("margaret", "Add a credential"), ("ada", "Ask Root")]
)
def test_with_no_credential_it_says_what_to_do(
    request: pytest.FixtureRequest, client_of: ClientOf, root: Person, person: str, says: str
):
    client = client_of(request.getfixturevalue(person))
    for filters in ({}, {"source": "Payments"}):
        page = open_list(client, **filters)
        assert "No orgs yet" in page.text
        assert EXPLANATION in page.text
        assert says in page.text


def test_an_org_without_connections_shows_its_last_sync(
    client_of: ClientOf, ada: Person, sandbox: SandboxServer
):
    [connection] = [c for c in sandbox.world.connections() if c.source_org.name == "Labs EU"]
    sandbox.world.remove_connection(connection_id=connection.id)
    store_credential(sandbox, "Labs EU")
    page = open_list(client_of(ada))
    assert "No org connections" in page.text
    assert EXPLANATION in page.text
    assert "Synced just now" in page.text


@pytest.mark.database
def test_pages_have_no_gaps_or_overlaps(
    client_of: ClientOf, victor: Person, labs: Credential, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(lists, "PAGE_SIZE", 4)
    add_rows(labs, 9)
    client = client_of(victor)
    page, seen = open_list(client), []
    for _ in range(3):
        seen += rows_in(page.html)
        following = [href for href, text in links_in(page.html) if text == "Next page ›"]
        if following:
            page = read(client.get(following[0]))
    assert len(seen) == len(set(seen)) == 10
    assert seen == sorted(seen, key=str.casefold)


@pytest.mark.parametrize(
    ("place", "is_last"), [("x", False), ("0", True), ("-1", True), ("99", True)]
)
def test_an_invalid_page_number_shows_the_first_or_last_page(
    client_of: ClientOf,
    victor: Person,
    labs: Credential,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    is_last: bool,
):
    monkeypatch.setattr(lists, "PAGE_SIZE", 4)
    add_rows(labs, 9)
    first = rows_in(open_list(client_of(victor), page=place).html)[0]
    assert first == ["Labs EU → Data Lake EU", "Labs EU → Sink 0007"][is_last]


@pytest.mark.database
def test_more_connections_cost_no_more_queries_and_no_more_model_instances(
    client_of: ClientOf,
    ada: Person,
    payments: Credential,
    soc: Credential,
    django_assert_num_queries: DjangoAssertNumQueries,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(lists, "PAGE_SIZE", 4)
    add_rows(payments, 60)
    client = client_of(ada)
    # The numbers in the navigation are in the cache from then on.
    client.get("/settings/")
    made: list[object] = []

    def count(**signal: object) -> None:
        made.append(signal["instance"])

    post_init.connect(count, sender=OrgConnectionSnapshot)
    try:
        with django_assert_num_queries(16):
            client.get(URL, {"q": "sink", "type": "logs", "sort": "-created"})
    finally:
        post_init.disconnect(count, sender=OrgConnectionSnapshot)
    assert len(made) == 4


def export(client: Client, **query: str) -> str:
    response = client.get("/connections/export/", query)
    assert response.status_code == 200
    return response.getvalue().decode()


@pytest.mark.database
def test_an_export_contains_exactly_the_filtered_rows_and_their_sync_times(
    client_of: ClientOf, edith: Person, payments: Credential, labs: Credential
):
    rows = json.loads(export(client_of(edith), format="json", site="sandbox-eu1"))
    [row] = rows
    assert row["source_org"]["name"] == "Labs EU"
    assert row["seen_by"] == ["Labs EU"]
    assert (
        row["as_of"]
        == OrgConnectionSnapshot.objects.get(site="sandbox-eu1").last_seen_at.isoformat()
    )


def test_no_exported_cell_is_a_formula(client_of: ClientOf, edith: Person, labs: Credential):
    OrgConnectionSnapshot.objects.update(source_org_name="=HYPERLINK(1)")
    text = export(client_of(edith), format="csv")
    [row] = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")))
    assert row["source_org"] == "'=HYPERLINK(1)"


def test_an_export_is_recorded_with_its_filter_and_named_by_its_time(
    client_of: ClientOf, edith: Person, labs: Credential
):
    response = client_of(edith).get("/connections/export/?format=csv&type=logs")
    # Before the first byte of the body is read.
    event = AuditEvent.objects.get(code="export.started")
    details = {"what": "org_connections", "format": "csv", "filter": "type=logs"}
    assert details.items() <= event.details.items()
    assert event.actor_name == "Edith"
    assert f"org-connections-{timezone.now():%Y%m%dT}" in response["Content-Disposition"]
    response.close()


@pytest.mark.database
def test_the_filter_by_org_has_the_name_from_the_newest_sync_that_listed_the_org(
    payments: Credential, soc: Credential
):
    now, both_list = timezone.now(), uuid4()
    listed = [
        (payments, both_list, "Old name", 3),
        (payments, uuid4(), "Old name", 2),
        (soc, both_list, "New name", 1),
    ]
    for credential, connection_id, name, minutes in listed:
        at = now - timedelta(minutes=minutes)
        OrgConnectionSnapshot.objects.create(
            credential=credential,
            site=payments.site,
            connection_id=connection_id,
            first_seen_at=at,
            last_seen_at=at,
            source_org_id="renamed",
            source_org_name=name,
            connection_types=["logs"],
        )
    inventory = build_inventory(actor=command_actor(), filters=InventoryFilter())
    assert [org.name for org in inventory.orgs if org.org_id == "renamed"] == ["New name"]


@pytest.mark.database
@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("0B7E3C1A", True),
        ("3c1a-0000", True),
        ("group 0b7e", True),
        ("3c1a0000", False),
        ("0b7e3c1a-0000-4000-8000-00000000beef-", False),
        ("group 0b7f", False),
    ],
)
def test_words_of_a_search_can_be_part_of_the_id_as_pages_show_it(text: str, is_found: bool):
    listed = ListedConnection(
        site="datadoghq.eu",
        hex_id="0b7e3c1a00004000800000000000beef",
        snapshot_id=1,
        source_org=KnownOrg("datadoghq.eu", "", "Payments EU"),
        sink_org=KnownOrg("datadoghq.eu", "", "Group SOC"),
        types_text='["logs"]',
    )
    found = InventoryFilter(text=text).select([listed], facts=FilterFacts())
    assert bool(found) == is_found
