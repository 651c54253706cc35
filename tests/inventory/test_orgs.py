"""The list of orgs and an org's page: coverage, counts, and what access lists hide."""

import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from connections.access.actor import command_actor, person_actor
from connections.inventory.orgs import (
    OrgCoverage,
    OrgSummary,
    find_connections,
    find_org,
    list_orgs,
)
from connections.models import (
    AccessKind,
    AuditEvent,
    Credential,
    CredentialAccess,
    Deletion,
    OrgConnectionSnapshot,
    Person,
    Sync,
)
from sandbox.server import SandboxServer
from tests.credentials.support import second_pair
from tests.flows.support import Requester, read, store_credential
from tests.support.sandbox import EU, US, connection_between, org_named

ClientOf = Callable[[Person], Client]


def summaries() -> dict[str, OrgSummary]:
    """Every org by its name, as a command sees it."""
    return {org.org.name: org for org in list_orgs(actor=command_actor())}


def hide(credential: Credential, *, from_all_but: Person) -> None:
    CredentialAccess.objects.create(credential=credential, kind=AccessKind.SEE, person=from_all_but)


@pytest.mark.database
def test_it_lists_own_orgs_and_the_other_sides_of_connections(
    payments: Credential, labs: Credential
):
    found = summaries()
    assert {name: (each.coverage.value, len(each.credentials)) for name, each in found.items()} == {
        "Data Lake EU": ("no-credential", 0),
        "Group SOC": ("no-credential", 0),
        "Labs EU": ("listed", 1),
        "Payments US": ("listed", 1),
    }
    assert (found["Payments US"].connections_out, found["Payments US"].connections_in) == (1, 1)
    assert (found["Labs EU"].connections_out, found["Labs EU"].connections_in) == (1, 0)
    assert found["Group SOC"].listed_at is None


@pytest.mark.database
def test_a_connection_that_both_sides_list_counts_once(
    sandbox: SandboxServer, payments: Credential
):
    store_credential(sandbox, "Group SOC")
    soc = summaries()["Group SOC"]
    assert (soc.connections_out, soc.connections_in) == (1, 1)


@pytest.mark.database
def test_a_connection_counts_once_while_its_listings_name_different_destinations(
    payments: Credential, labs: Credential
):
    before = find_connections(actor=command_actor()).count()
    listed = OrgConnectionSnapshot.objects.get(
        credential=payments, source_org_name="Payments US", is_current=True
    )
    listed.pk, listed.credential, listed.sink_org_id = None, labs, "moved"
    listed.save(force_insert=True)
    assert summaries()["Payments US"].connections_out == 1
    assert find_connections(actor=command_actor()).count() == before


@pytest.mark.database
@pytest.mark.parametrize(
    ("is_complete", "hours", "coverage"),
    [
        (True, 23, OrgCoverage.LISTED),
        (True, 25, OrgCoverage.FAILING),
        (False, 0, OrgCoverage.FAILING),
    ],
)
def test_an_org_is_listed_only_by_a_complete_newest_sync_of_the_last_day(
    payments: Credential, is_complete: bool, hours: int, coverage: OrgCoverage
):
    complete = Sync.objects.get(credential=payments)
    at = timezone.now() - timedelta(hours=hours)
    if is_complete:
        Sync.objects.update(started_at=at)
        complete.refresh_from_db()
    else:
        Sync.objects.create(
            credential=payments, started_at=at, finished_at=at, is_complete=False, cause="forbidden"
        )
    found = summaries()["Payments US"]
    assert (found.coverage, found.listed_at) == (coverage, complete.started_at)


def test_one_of_two_credentials_is_enough(sandbox: SandboxServer, payments: Credential):
    pair = sandbox.world.add_key_pair(org=org_named(sandbox.world, "Payments US"))
    second = store_credential(sandbox, "Payments US", pair=pair, name="Second")
    now = timezone.now()
    Sync.objects.create(
        credential=second, started_at=now, finished_at=now, is_complete=False, cause="forbidden"
    )
    found = summaries()["Payments US"]
    assert found.coverage is OrgCoverage.LISTED
    assert [credential.name for credential in found.credentials] == [payments.name, "Second"]


def test_a_retired_credential_leaves_its_org_without_one(payments: Credential):
    Credential.objects.update(retired_at=timezone.now())
    assert set(summaries()) == {"Group SOC", "Payments US"}
    assert summaries()["Payments US"].coverage is OrgCoverage.NO_CREDENTIAL
    assert summaries()["Payments US"].connections_out == 0


@pytest.mark.parametrize("site", [US, EU])
def test_orgs_with_the_same_name_stay_apart(
    sandbox: SandboxServer, payments: Credential, labs: Credential, site: str
):
    world = sandbox.world
    twin = world.add_org(name="Payments US", site=site)
    world.add_connection(
        source_org=org_named(world, "Group SOC" if site == US else "Labs EU"), sink_org=twin
    )
    pair = world.add_key_pair(org=twin)
    store_credential(sandbox, "Payments US", pair=pair, name="Twin")
    twins = [org for org in list_orgs(actor=command_actor()) if org.org.name == "Payments US"]
    assert {(each.org.site, each.org.org_id) for each in twins} == {
        (US, payments.org_id),
        (site, twin.id),
    }
    assert {each.org.org_id: each.connections_out for each in twins} == {
        payments.org_id: 1,
        twin.id: 0,
    }


def test_the_page_marks_rows_and_filters(
    client_of: ClientOf, victor: Person, payments: Credential, labs: Credential
):
    client = client_of(victor)
    page = read(client.get("/orgs/"))
    assert page.html.count("data-org=") == 4
    assert f'data-org="{US}/{payments.org_id}" data-coverage="listed"' in page.html
    assert "4 orgs" in page.text
    filtered = read(client.get("/orgs/", {"show": "no-credential", "site": EU}))
    assert "1 of 4 orgs" in filtered.text
    assert 'name="show" value="no-credential"' in filtered.html
    assert "Data Lake EU" in filtered.text
    assert "No orgs match these filters" in read(client.get("/orgs/", {"q": "nowhere"})).text
    assert "1 of 4" in read(client.get("/orgs/", {"q": labs.org_id[-8:]})).text


def test_before_the_first_credential_the_page_says_what_to_do(
    client_of: ClientOf, victor: Person, margaret: Person
):
    assert "Add credential" in read(client_of(margaret).get("/orgs/")).text
    assert "No orgs yet" in read(client_of(victor).get("/orgs/")).text


@pytest.mark.database
def test_the_list_can_be_sorted(payments: Credential, labs: Credential):
    names = [
        [org.org.name for org in list_orgs(actor=command_actor(), sort=sort)]
        for sort in ("-org", "-in")
    ]
    assert names[0] == ["Payments US", "Labs EU", "Group SOC", "Data Lake EU"]
    assert names[1] == ["Data Lake EU", "Group SOC", "Payments US", "Labs EU"]


STEPS: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "healthy": ({}, "", "Key pair", ""),
    "approval": ({"policy": "two"}, "", "Key pair, 2 approvals", ""),
    "rejected": (
        {"last_error": {"cause": "forbidden", "http_status": 403, "errors": []}},
        "failing",
        "Keys rejected",
        "Enter the keys again",
    ),
    "down": (
        {"last_error": {"cause": "server_error", "http_status": 500, "errors": []}},
        "failing",
        "Failing",
        "",
    ),
    "unverified": ({"verified_at": None}, "failing", "Not checked", "Enter the keys again"),
    "read-only": (
        {"verification": [{"check": "permissions", "ok": False, "text": ""}]},
        "read-only",
        "Read-only",
        "Rotate keys…",
    ),
    "old": ({"keys_set_at": timezone.now() - timedelta(days=200)}, "old-keys", "", "Rotate keys…"),
}


@pytest.mark.parametrize(("values", "part", "text", "step"), STEPS.values(), ids=STEPS.keys())
def test_a_row_shows_its_worst_credential_and_the_next_step(
    client_of: ClientOf,
    sandbox: SandboxServer,
    margaret: Person,
    payments: Credential,
    values: dict[str, Any],
    part: str,
    text: str,
    step: str,
):
    Credential.objects.update(**values)
    client = client_of(margaret)
    row = row_of(client.get("/orgs/"), payments)
    assert text in row
    for label in ("Enter the keys again", "Rotate keys…"):
        assert (label in row) == (label == step)
    for other in ("failing", "read-only", "old-keys"):
        shown = client.get("/orgs/", {"show": other})
        assert (f'data-org="{US}/{payments.org_id}"' in read(shown).html) == (other == part)

    store_credential(
        sandbox, "Payments US", pair=second_pair(sandbox, "Payments US"), name="Second"
    )
    row = row_of(client.get("/orgs/"), payments)
    assert "2 credentials" in row
    assert text in row or text.startswith("Key pair")
    assert (f"/credentials/{payments.pk}/rotate/" in row) == bool(step)


def row_of(response: Any, credential: Credential) -> str:
    """The row of the credential's org."""
    html: str = read(response).html
    return html.split(f'data-org="{US}/{credential.org_id}"')[1].split("</tr>")[0]


def test_failing_read_only_and_unknown_orgs_come_first(payments: Credential, labs: Credential):
    Credential.objects.filter(pk=payments.pk).update(
        verification=[{"check": "permissions", "ok": False}]
    )
    Credential.objects.filter(pk=labs.pk).update(verification_cause="forbidden")
    names = [org.org.name for org in list_orgs(actor=command_actor(), sort="credential")]
    assert names == ["Labs EU", "Payments US", "Data Lake EU", "Group SOC"]


def test_a_credential_whose_org_is_unknown_and_retired_ones_are_listed(
    client_of: ClientOf, margaret: Person, payments: Credential, labs: Credential
):
    Credential.objects.filter(pk=labs.pk).update(
        org_id="", verified_at=None, verification_cause="server_error"
    )
    Credential.objects.filter(pk=payments.pk).update(retired_at=timezone.now())
    page = read(client_of(margaret).get("/orgs/"))
    assert f'data-org="{EU}/" data-coverage="failing"' in page.html
    assert f"{labs.name} org not known yet" in page.text
    assert f"/credentials/{labs.pk}/rotate/" in page.html
    assert "Retired credentials: 1" in page.text
    assert f"/credentials/{payments.pk}/" in page.html
    assert client_of(margaret).get("/credentials/").headers["Location"] == "/orgs/"


@pytest.mark.database
def test_hidden_credentials_are_not_counted_and_their_orgs_not_named(
    client_of: ClientOf,
    sandbox: SandboxServer,
    ada: Person,
    victor: Person,
    payments: Credential,
    labs: Credential,
):
    soc = store_credential(sandbox, "Group SOC")
    world = sandbox.world
    world.add_connection(
        source_org=org_named(world, "Group SOC"), sink_org=world.add_org(name="Secret", site=US)
    )
    client_of(ada).post("/connections/refresh/")
    hide(soc, from_all_but=ada)
    hide(labs, from_all_but=ada)
    found = {org.org.name: org for org in list_orgs(actor=person_actor(person=victor))}
    assert set(found) == {"Payments US", "Group SOC"}
    assert found["Group SOC"].credentials == []
    assert found["Group SOC"].connections_out == 1
    page = read(client_of(victor).get("/orgs/"))
    assert "No credential you can see" in page.text
    assert "Secret" not in page.text
    everything = list_orgs(actor=person_actor(person=ada))
    assert {each.org.name for each in everything} == {
        "Payments US",
        "Group SOC",
        "Labs EU",
        "Data Lake EU",
        "Secret",
    }


@pytest.mark.database
def test_an_orgs_page_shows_both_directions_credentials_and_deletions(
    client_of: ClientOf, sandbox: SandboxServer, ada: Person, payments: Credential
):
    connection = connection_between(sandbox.world, "Payments US", "Group SOC")
    Requester(client=client_of(ada), credential=payments, connection=connection).delete()
    deletion = Deletion.objects.get()
    client_of(ada).post("/connections/refresh/")
    Credential.objects.update(keys_set_at=timezone.now() - timedelta(days=800))
    page = read(client_of(ada).get(f"/orgs/{US}/{payments.org_id}/"))
    assert re.search(r"Keys Stored \d+ \w+ 20\d\d Rotation due", page.text)
    incoming = connection_between(sandbox.world, "Group SOC", "Payments US")
    assert f'data-connection="{US}/{incoming.id}"' in page.html
    assert f"/deletions/{deletion.pk}/" in page.html
    assert f"/credentials/{payments.pk}/" in page.html
    assert "0 orgs can query Payments US" in page.text
    assert "Payments US can query 1 org" in page.text
    assert f"Removed by {deletion.requested_by_name}" in page.text


def test_sync_now_on_an_orgs_page_syncs_that_org_only(
    client_of: ClientOf, ada: Person, payments: Credential, labs: Credential
):
    before = Sync.objects.filter(credential=labs).count()
    org = f"{US}/{payments.org_id}"
    response = client_of(ada).post("/connections/refresh/", {"org": org})
    assert (response.status_code, response.headers["Location"]) == (303, f"/orgs/{org}/")
    assert Sync.objects.filter(credential=payments).count() == 2
    assert Sync.objects.filter(credential=labs).count() == before
    missing = client_of(ada).post("/connections/refresh/", {"org": f"{US}/{uuid4()}"})
    assert missing.status_code == 404


@pytest.mark.database
@pytest.mark.parametrize("url", ["/connections/refresh/", "/deletions/batches/"])
def test_an_org_whose_id_no_database_can_store_is_refused(
    client_of: ClientOf, ada: Person, url: str
):
    assert client_of(ada).post(url, {"org": f"{US}/\0"}).status_code == 400


def test_an_orgs_page_counts_orgs_and_not_connections(
    client_of: ClientOf, sandbox: SandboxServer, ada: Person, payments: Credential
):
    connection = connection_between(sandbox.world, "Payments US", "Group SOC")
    sandbox.world.add_connection(source_org=connection.source_org, sink_org=connection.sink_org)
    client_of(ada).post("/connections/refresh/")
    page = read(client_of(ada).get(f"/orgs/{US}/{payments.org_id}/"))
    assert "1 org can query Payments US" in page.text


def test_an_unknown_org_is_not_found(client_of: ClientOf, ada: Person, payments: Credential):
    assert client_of(ada).get(f"/orgs/{US}/{uuid4()}/").status_code == 404
    assert client_of(ada).get(f"/orgs/{EU}/{payments.org_id}/").status_code == 404
    assert find_org(actor=command_actor(), site=EU, org_id=payments.org_id) is None
    # Only a request for an org that is hidden from the person is recorded.
    assert not AuditEvent.objects.filter(code="access.refused").exists()


def test_an_id_that_is_no_uuid_is_shown_without_a_link(
    client_of: ClientOf, ada: Person, payments: Credential
):
    OrgConnectionSnapshot.objects.filter(sink_org_name="Group SOC").update(sink_org_id="../x")
    page = read(client_of(ada).get("/orgs/"))
    assert f'data-org="{US}/../x"' in page.html
    assert 'href="/orgs/sandbox-us1/..' not in page.html
    assert client_of(ada).get("/connections/", {"view": "matrix", "site": US}).status_code == 200


def test_the_list_filters_by_site_and_words(
    client_of: ClientOf, victor: Person, payments: Credential
):
    client = client_of(victor)
    payments_org = f'data-org="{US}/{payments.org_id}"'
    for query, is_found in (
        ({"site": US, "q": f"US {payments.name.upper()}"}, True),
        ({"q": US}, True),
        ({"site": "nowhere"}, False),
        ({"q": "soc"}, False),
    ):
        assert (payments_org in read(client.get("/orgs/", query)).html) == is_found


def test_the_command_prints_one_document(capsys: pytest.CaptureFixture[str], payments: Credential):
    call_command("list_orgs", "--json")
    [payments_org] = [
        org for org in json.loads(capsys.readouterr().out)["orgs"] if org["id"] == payments.org_id
    ]
    assert payments_org == {
        "id": payments.org_id,
        "site": US,
        "name": "Payments US",
        "coverage": "listed",
        "credentials": [payments.name],
        "listed_at": Sync.objects.get(credential=payments).started_at.isoformat(),
        "connections_in": 1,
        "connections_out": 1,
        "group": None,
        "owner": None,
    }
    call_command("list_orgs")
    assert "Payments US  listed  1 in, 1 out" in capsys.readouterr().out
