"""Search everywhere: what finds what, for whom."""

from collections.abc import Callable
from urllib.parse import urlencode
from uuid import uuid4

import pytest
from django.test import Client

from connections.access.actor import command_actor, person_actor
from connections.access_reviews.deleting import plan_deletions
from connections.batches.drafts import create_draft_from_org
from connections.inventory import syncs
from connections.inventory.matching import KnownOrg
from connections.models import (
    AccessKind,
    Credential,
    CredentialAccess,
    OrgConnectionSnapshot,
    Person,
    Role,
)
from connections.web.framework.addresses import connection_url
from connections.web.search import page
from connections.web.search.page import Hit
from sandbox.server import SandboxServer
from tests.access_reviews.support import decide, start, texts_of
from tests.agreements.support import agree, pair_between
from tests.batches.support import REASON, request
from tests.flows.support import read, store_credential
from tests.support.people import make_person
from tests.support.sandbox import connection_between
from tests.web.overview.test_overview import add_deletion

pytestmark = pytest.mark.django_db

ClientOf = Callable[[Person], Client]


@pytest.fixture
def labs(sandbox: SandboxServer) -> Credential:
    return store_credential(sandbox, "Labs EU")


def names_found(client: Client, text: str) -> dict[str, list[str]]:
    """The names of the hits, by the title of their group, in order."""
    groups = client.get("/search/", {"q": text}).context["groups"]
    return {group.title: [hit.name for hit in group.hits] for group in groups}


def only_hit(client: Client, text: str, title: str) -> Hit:
    """The one hit in the group with this title."""
    groups = client.get("/search/", {"q": text}).context["groups"]
    [hit] = next(group.hits for group in groups if group.title == title)
    assert isinstance(hit, Hit)
    return hit


def test_an_arrow_finds_the_connection_and_both_orgs(
    client_of: ClientOf, ada: Person, labs: Credential
):
    for text in ("Labs EU → lake", "labs eu -> lake"):
        found = names_found(client_of(ada), text)
        assert found["Connections"] == ["Labs EU → Data Lake EU"]
        assert set(found["Orgs"]) == {"Labs EU", "Data Lake EU"}
    page = client_of(ada).get("/search/", {"q": "Labs EU → lake"})
    [other_way_round] = page.context["unconnected"]
    assert (other_way_round.name, other_way_round.is_reverse) == ("Data Lake EU → Labs EU", True)
    assert "kind=create&amp;source=" in page.text
    assert not client_of(ada).get("/search/", {"q": "Labs EU lake"}).context["unconnected"]


@pytest.mark.parametrize("text", ["ops-4181", "contract ended", "labs → payments"])
def test_a_deletion_is_found_by_ticket_reason_and_pair(
    text: str, client_of: ClientOf, ada: Person, labs: Credential
):
    deletion = add_deletion(
        *(labs,),
        by=ada,
        source_org_name="Labs EU",
        ticket="OPS-4181",
        reason="The contract ended",
        search_text="the contract ended\nops-4181\nlabs eu\npayments eu",
    )
    client = client_of(ada)
    hit = only_hit(client, text, "Deletions")
    assert (hit.name, hit.url) == ("Labs EU → Group SOC", f"/deletions/{deletion.pk}/")
    assert (hit.facts, hit.by) == ("OPS-4181 · “The contract ended”", deletion.requested_by_name)
    assert (hit.status, hit.at) == (deletion, deletion.requested_at)
    assert f'href="{hit.url}"' in client.get("/search/", {"q": text}).text


@pytest.mark.database
def test_an_agreement_is_found_by_owner_purpose_ticket_and_orgs(
    client_of: ClientOf, ada: Person, root: Person, labs: Credential, sandbox: SandboxServer
):
    pair = pair_between(sandbox, "Labs EU", "Data Lake EU")
    agree(pair, actor=command_actor(), purpose="Old words")
    terms = {"owner": ada, "owner_text": "SOC team", "purpose": "Fraud alerts", "ticket": "SEC-1"}
    agree(pair, actor=command_actor(), **terms)
    snapshot = OrgConnectionSnapshot.objects.get(
        credential=labs, sink_org_id=pair.sink_org_id, source_org_id=pair.source_org_id
    )
    client = client_of(ada)
    for text in ("ada fraud", "soc team", "sec-1", "lake alerts"):
        [group] = [
            group
            for group in client.get("/search/", {"q": text}).context["groups"]
            if group.title == "Agreements"
        ]
        [hit] = group.hits
        assert (hit.name, hit.url) == ("Labs EU → Data Lake EU", connection_url(snapshot.key))
        assert (hit.facts, hit.by) == ("SEC-1 · Fraud alerts", "Owner SOC team")
    # The connection of the two orgs says it already.
    assert only_hit(client, "labs eu → data lake eu", "Connections").facts.endswith(
        "owner SOC team"
    )
    for text in ("old words", "linus", "fraud nothing", "labs eu → data lake eu"):
        assert "Agreements" not in names_found(client, text)
    # Without a connection, the list has it.
    OrgConnectionSnapshot.objects.update(is_current=False)
    shown = client.get("/search/", {"q": "fraud"}).text
    assert f'href="/agreements/?{urlencode({"q": "Labs EU → Data Lake EU"})}"' in shown
    CredentialAccess.objects.create(credential=labs, kind=AccessKind.SEE, person=root)
    assert names_found(client_of(Person.objects.get(pk=ada.pk)), "fraud") == {}


def test_people_and_pages_are_found_only_by_those_who_can_open_them(
    client_of: ClientOf, ada: Person, root: Person
):
    assert "People" not in names_found(client_of(ada), "ada")
    assert names_found(client_of(root), "ada")["People"] == [ada.display_name]
    for number in range(6):
        make_person(f"zoe{number}", Role.VIEWER)
    assert len(names_found(client_of(root), "zoe")["People"]) == 6
    assert names_found(client_of(ada), "notif") == {}
    assert names_found(client_of(root), "notif") == {"Pages": ["Notifications"]}


def test_what_can_be_started_is_found_by_those_who_can(
    client_of: ClientOf, ada: Person, margaret: Person, root: Person
):
    assert names_found(client_of(ada), "by id") == {"Actions": ["Delete by ID…", "Protect by ID…"]}
    assert names_found(client_of(margaret), "by id") == {"Actions": ["Protect by ID…"]}
    assert names_found(client_of(margaret), "import cred") == {"Actions": ["Import credentials…"]}
    assert names_found(client_of(root), "add person") == {"Actions": ["Add a person…"]}


def test_the_parts_of_lists_are_found_by_name_with_how_many_they_have(
    client_of: ClientOf, ada: Person, victor: Person, labs: Credential, sandbox: SandboxServer
):
    client = client_of(ada)
    listed = client.get("/agreements/?reason=no_agreement").text.count("data-agreed=")
    for text in ("no agreement", "agreements no agr"):
        hit = next(
            hit
            for group in client.get("/search/", {"q": text}).context["groups"]
            for hit in group.hits
            if hit.name == "Agreements: No agreement"
        )
        assert (hit.url, hit.by) == ("/agreements/?reason=no_agreement", str(listed))
    add_deletion(labs, by=ada, outcome="declined", state="settled")
    for text, name, url in (
        ("declined", "Deletions: Declined", "/deletions/?status=declined"),
        ("no cred", "Orgs: No credential", "/orgs/?show=no-credential"),
    ):
        hit = only_hit(client, text, "Lists")
        assert (hit.name, hit.url, int(hit.by) > 0) == (name, url, True)
    # Nothing was widened yet, and the title alone names no part.
    assert "Lists" not in names_found(client, "widened")
    assert "Lists" not in names_found(client, "deletions")
    connection = connection_between(sandbox.world, "Labs EU", "Data Lake EU")
    types = ("logs", "metrics", "audit")
    sandbox.world.change_connection(connection_id=connection.id, connection_types=types)
    syncs.sync_credentials(credentials=[labs], actor=command_actor())
    hit = only_hit(client, "widened", "Lists")
    assert (hit.name, hit.by) == ("Changes: Types changed", "1")
    CredentialAccess.objects.create(credential=labs, kind=AccessKind.SEE, person=ada)
    assert names_found(client_of(victor), "widened") == {}


def test_what_an_access_list_hides_is_not_found(
    client_of: ClientOf, ada: Person, root: Person, labs: Credential
):
    deletion = add_deletion(labs, by=root, ticket="OPS-9", search_text="ops-9")
    assert names_found(client_of(ada), "labs")
    assert names_found(client_of(ada), "ops-9")
    CredentialAccess.objects.create(credential=labs, kind=AccessKind.SEE, person=root)
    for text in ("labs", "ops-9", str(deletion.pk)):
        assert names_found(client_of(ada), text) == {}
    assert "No deletions yet" in client_of(ada).get("/deletions/").text


def test_the_exact_name_comes_first(client_of: ClientOf, ada: Person, labs: Credential):
    assert next(iter(names_found(client_of(ada), "labs eu"))) == "Orgs"
    assert next(iter(names_found(client_of(ada), "settings"))) == "Pages"


def test_orgs_whose_name_starts_so_come_first(client_of: ClientOf, ada: Person, labs: Credential):
    client = client_of(ada)
    found = names_found(client, "la")
    assert next(iter(found)) == "Orgs"
    # The others only contain it.
    assert found["Orgs"][:2] == ["Labs EU", "Data Lake EU"]


def test_the_link_to_all_connections_counts_them(
    client_of: ClientOf, ada: Person, sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(page, "MOST", 1)
    store_credential(sandbox, "Group SOC")
    client = client_of(ada)
    total = client.get("/connections/", {"q": "soc"}).text.count("data-connection=")
    assert f"All {total} matching connections" in client.get("/search/", {"q": "soc"}).text


def test_an_id_that_finds_nothing_can_be_deleted_by_whoever_can_delete(
    client_of: ClientOf, ada: Person, victor: Person
):
    missing = {"q": str(uuid4())}
    link = f'href="/deletions/new/?connection_id={missing["q"]}"'
    assert link in client_of(ada).get("/search/", missing).text
    assert link not in client_of(victor).get("/search/", missing).text


def test_matches_are_marked_and_foreign_text_is_escaped(
    client_of: ClientOf, ada: Person, labs: Credential
):
    add_deletion(labs, by=ada, reason="<b>OPS</b> & co", search_text="<b>ops</b> & co")
    text = client_of(ada).get("/search/", {"q": "<b>ops"}).text
    assert "<mark>&lt;b&gt;OPS</mark>&lt;/b&gt; &amp; co" in text


def test_htmx_gets_only_the_results(client_of: ClientOf, ada: Person):
    text = client_of(ada).get("/search/", {"q": "settings"}, headers={"HX-Request": "true"}).text
    assert text.lstrip().startswith("<div data-results-of=")
    assert "<html" not in text


def test_one_letter_or_nothing_says_what_can_be_found(client_of: ClientOf, ada: Person):
    for text in ("", "x", "\0", "%", "🔥", "“x”"):
        page = read(client_of(ada).get("/search/", {"q": text})).text
        assert "Type at least 2 characters." in page
        assert ("is too short" in page) == (text not in {"", "\0"})


@pytest.mark.parametrize("text", ['"Labs EU"', "“labs” eu", "\u202eLabs\u200fEU", "Labs\u200b EU"])
def test_quotes_and_invisible_marks_are_ignored(
    client_of: ClientOf, ada: Person, labs: Credential, text: str
):
    assert "Labs EU" in names_found(client_of(ada), text)["Orgs"]
    listed = client_of(ada).get("/connections/", {"q": text}).text
    assert "data-connection=" in listed
    assert client_of(ada).get("/orgs/", {"q": text}).text.count("data-org=") == 1


def test_bulk_deletions_and_access_reviews_are_found(
    client_of: ClientOf,
    ada: Person,
    edith: Person,
    victor: Person,
    labs: Credential,
    monkeypatch: pytest.MonkeyPatch,
):
    review = start(edith)
    decide(review, ada, *texts_of(review)[:1], decision="delete")
    of_review = plan_deletions(review=review, actor=person_actor(person=ada)).batch
    org = KnownOrg(site=labs.site, org_id=labs.org_id, name=labs.org_name)
    of_org = create_draft_from_org(actor=person_actor(person=ada), org=org)
    client = client_of(ada)
    for text, batch in (
        ("all connections of labs", of_org),
        ("marked q4", of_review),
        (str(of_org.pk), of_org),
    ):
        assert f'href="/deletions/batches/{batch.pk}/"' in client.get("/search/", {"q": text}).text
    hit = only_hit(client, "all connections of labs", "Bulk deletions")
    assert (hit.facts, hit.by, hit.at) == ("", "Ada", of_org.created_at)
    request(of_org, ada, ticket="OPS-1")
    hit = only_hit(client, "ops-1", "Bulk deletions")
    assert (hit.facts, hit.by, hit.at) == (f"OPS-1 · “{REASON}”", "Ada", of_org.requested_at)
    hit = only_hit(client, "q4 2026", "Access reviews")
    assert (hit.name, hit.url) == ("Q4 2026", f"/reviews/{review.pk}/")
    assert (hit.by, hit.at) == (review.created_by_name, review.created_at)
    monkeypatch.setattr(page, "MOST", 1)
    groups = client.get("/search/", {"q": "labs"}).context["groups"]
    assert {group.title: (len(group.hits), group.all_url) for group in groups} == {
        **dict.fromkeys(("Connections", "Orgs", "Deletions"), (1, "")),
        "Bulk deletions": (1, "/deletions/batches/"),
    }
    # The name of an access review whose connections are hidden finds nothing.
    CredentialAccess.objects.create(credential=labs, person=ada, kind=AccessKind.SEE)
    assert names_found(client_of(victor), "q4") == {}


@pytest.mark.parametrize("text", ["x" * 201, "ab " * 11, "a→b→" * 6])
def test_a_text_that_is_too_long_is_not_looked_for(
    client_of: ClientOf, ada: Person, labs: Credential, text: str
):
    page = client_of(ada).get("/search/", {"q": text})
    assert page.status_code == 400
    assert "Search for at most 200 characters and 10 words." in page.text
    assert page.context["groups"] == []


def test_the_longest_text_is_looked_for(client_of: ClientOf, ada: Person, labs: Credential):
    for text in ("x" * 200, "ab " * 10):
        page = client_of(ada).get("/search/", {"q": text})
        assert (page.status_code, "at most 200" in page.text) == (200, False)


def test_a_person_searches_60_times_a_minute(client_of: ClientOf, ada: Person, grace: Person):
    client = client_of(ada)
    assert {client.get("/search/").status_code for _ in range(60)} == {200}
    assert client.get("/search/").status_code == 429
    assert client_of(grace).get("/search/").status_code == 200
