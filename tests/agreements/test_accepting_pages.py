"""What an owner has to accept: on the overview, in the navigation and in the list."""

import re
from collections.abc import Callable
from html import unescape

import pytest
from django.conf import settings as django_settings
from django.test import Client
from pytest_django import Settings

from connections.access.actor import command_actor, person_actor
from connections.agreements.accepting import accept_agreements, refuse_agreement
from connections.agreements.agreed import find_agreements
from connections.agreements.setting import MAX_PAIRS
from connections.inventory.pairs import PairFilter, list_pairs
from connections.models import (
    AccessKind,
    Agreement,
    Credential,
    OrgConnectionSnapshot,
    OrgPair,
    OwnerDecision,
    Person,
)
from tests.agreements.support import agree, let_only
from tests.flows.support import read

pytestmark = pytest.mark.django_db
ClientOf = Callable[[Person], Client]
NEEDS_YOU = "/agreements/?needs=you"


@pytest.fixture
def owned(pair: OrgPair, other: OrgPair, victor: Person, ada: Person) -> list[OrgPair]:
    """Two pairs for which Victor, a Viewer, answers."""
    pairs = [pair, other]
    for each in pairs:
        agree(each, actor=person_actor(person=ada), owner=victor, owner_text="")
    return pairs


def items(client: Client) -> dict[str, tuple[int, str]]:
    """Count and text of the lines about agreements on the overview, by kind."""
    line = r'data-kind="(acceptance|not_agreed)" data-count="(\d+)".*?class="pair">([^<]*)<'
    found = re.findall(line, client.get("/").text, re.DOTALL)
    return {kind: (int(count), text) for kind, count, text in found}


def entry(client: Client) -> tuple[str, str]:
    """The number of the entry of the navigation, and where it leads."""
    [item] = [
        item
        for item in client.get("/settings/").context["nav"].items
        if item.name == "agreement-list"
    ]
    return item.count, item.url


def listed_count(client: Client, url: str = NEEDS_YOU) -> int:
    return sum(map(int, re.findall(r'data-count="(\d+)"', client.get(url).text)))


def newest(pair: OrgPair) -> Agreement:
    return find_agreements([pair])[pair]


# --- What needs an owner --------------------------------------------------------------------------


def test_an_owner_reads_for_how_many_they_answer_and_is_led_to_them(
    owned: list[OrgPair], victor: Person, client_of: ClientOf
):
    client = client_of(victor)
    text = "You answer for 2 connections: 2 not accepted yet"
    assert items(client) == {"acceptance": (2, text)}
    assert entry(client) == ("2", NEEDS_YOU)
    assert listed_count(client) == 2
    page = client.get(NEEDS_YOU).text
    assert "Accept all 2" in page
    assert page.count("Not mine…") == 2


def test_what_is_accepted_or_refused_needs_the_owner_no_more(
    owned: list[OrgPair], victor: Person, client_of: ClientOf
):
    actor = person_actor(person=victor)
    accept_agreements(actor=actor, pairs=owned[:1], versions={owned[0]: 1})
    client = client_of(victor)
    text = "You answer for 2 connections: 1 not accepted yet"
    assert items(client) == {"acceptance": (1, text)}
    refuse_agreement(actor=actor, pair=owned[1], version=1, reason="Not mine")
    client = client_of(victor)
    assert items(client) == {}
    assert entry(client)[1] == "/agreements/"
    assert "Nothing needs you here" in client.get(NEEDS_YOU).text


def test_what_its_owner_refused_needs_those_who_can_set_it_until_there_is_a_newer_version(
    owned: list[OrgPair], victor: Person, ada: Person, client_of: ClientOf
):
    refuse_agreement(actor=person_actor(person=victor), pair=owned[0], version=1, reason="Not mine")
    client, owner = client_of(ada), client_of(victor)
    assert items(client) == {"not_agreed": (1, "1 connection, 1 refused by its owner")}
    assert entry(client) == ("1", NEEDS_YOU)
    page = client.get(NEEDS_YOU).text
    assert re.findall(r'name="pair" value="([^"]*)"', page) == [owned[0].reference]
    assert listed_count(client) == 1
    text = "You answer for 1 connection: 1 not accepted yet"
    assert items(owner) == {"acceptance": (1, text)}
    assert listed_count(owner) == 1
    agree(owned[0], actor=person_actor(person=ada), owner=ada)
    assert items(client_of(ada)) == {}
    assert listed_count(client) == 0


def test_what_is_refused_and_not_agreed_counts_once(
    owned: list[OrgPair], victor: Person, ada: Person, client_of: ClientOf
):
    for pair in owned:
        refuse_agreement(actor=person_actor(person=victor), pair=pair, version=1, reason="Not mine")
    Person.objects.filter(pk=victor.pk).update(is_active=False)
    client = client_of(ada)
    assert items(client) == {"not_agreed": (2, "2 connections, 2 refused by their owners")}
    assert listed_count(client) == 2


def test_whoever_cannot_set_it_is_not_led_to_what_its_owner_refused(
    owned: list[OrgPair], victor: Person, linus: Person, client_of: ClientOf
):
    refuse_agreement(actor=person_actor(person=victor), pair=owned[0], version=1, reason="Not mine")
    client = client_of(linus)
    assert items(client) == {}
    assert listed_count(client) == 0


def test_a_refusal_by_mistake_is_undone_in_the_list_to_which_the_connection_leads(
    owned: list[OrgPair], victor: Person, client_of: ClientOf
):
    for pair in owned:
        refuse_agreement(actor=person_actor(person=victor), pair=pair, version=1, reason="Not mine")
    client = client_of(victor)
    snapshot = OrgConnectionSnapshot.objects.get(
        source_org_id=owned[0].source_org_id, sink_org_id=owned[0].sink_org_id
    )
    detail = client.get(f"/connections/{snapshot.site}/{snapshot.connection_id}/").text
    [url] = re.findall(r'href="([^"]*)">Accept…</a>', detail)
    page = client.get(unescape(url)).text
    assert page.count('action="/agreements/accept/"') == 2
    assert "Not mine…" not in page
    assert entry(client)[0] == ""
    assert client.post("/agreements/accept/", posted(owned[:1])).status_code == 303
    assert newest(owned[0]).accepted_at


def test_what_an_owner_does_not_see_does_not_need_them(
    owned: list[OrgPair],
    payments: Credential,
    victor: Person,
    ada: Person,
    root: Person,
    client_of: ClientOf,
):
    let_only(ada, credential=payments, kind=AccessKind.SEE, actor=person_actor(person=root))
    client = client_of(victor)
    assert items(client) == {}
    assert listed_count(client) == 0


def test_an_agreement_without_a_connection_does_not_need_its_owner(
    owned: list[OrgPair], victor: Person, client_of: ClientOf
):
    gone = {"source_org_id": owned[0].source_org_id, "sink_org_id": owned[0].sink_org_id}
    OrgConnectionSnapshot.objects.filter(**gone).update(is_current=False)
    client = client_of(victor)
    text = "You answer for 1 connection: 1 not accepted yet"
    assert items(client) == {"acceptance": (1, text)}
    assert listed_count(client) == 1


def test_operators_are_also_led_to_what_is_not_agreed_and_they_can_set(
    pair: OrgPair,
    other: OrgPair,
    payments: Credential,
    ada: Person,
    grace: Person,
    root: Person,
    client_of: ClientOf,
):
    # One that isn't agreed, and that Ada has to accept, is one thing.
    agree(pair, actor=command_actor(), owner=ada, owner_text="", connection_types=[])
    every = list_pairs(actor=command_actor(), filters=PairFilter())
    assert (every.connected, every.agreed) == (2, 0)
    client = client_of(ada)
    text = "You answer for 1 connection: 1 not accepted yet"
    assert items(client) == {"acceptance": (1, text), "not_agreed": (1, "1 connection")}
    assert entry(client) == ("2", NEEDS_YOU)
    assert listed_count(client) == 2
    let_only(ada, credential=payments, kind=AccessKind.USE, actor=person_actor(person=root))
    assert items(client_of(grace)) == {}
    assert listed_count(client_of(grace)) == 0


def test_before_the_first_agreement_the_overview_says_what_to_do_first_instead(
    pair: OrgPair, ada: Person, client_of: ClientOf
):
    client = client_of(ada)
    assert items(client) == {}
    assert listed_count(client) > 0


def test_more_than_a_page_counts_all(
    owned: list[OrgPair], victor: Person, client_of: ClientOf, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("connections.web.framework.lists.PAGE_SIZE", 1)
    page = client_of(victor).get(NEEDS_YOU).text
    assert sum(map(int, re.findall(r'data-count="(\d+)"', page))) == 2
    assert page.count('name="version"') == 2 + 2


def test_the_overview_counts_what_owners_accepted_and_who_has_no_account(
    owned: list[OrgPair], victor: Person, ada: Person, client_of: ClientOf
):
    actor = person_actor(person=victor)
    accept_agreements(actor=actor, pairs=owned[:1], versions={owned[0]: 1})
    html = read(client_of(ada).get("/")).text
    assert "All 2 connections agreed · 1 accepted by its owner" in html
    assert "no account" not in html
    agree(owned[1], actor=command_actor(), owner=None, owner_text="SOC team")
    html = read(client_of(ada).get("/")).text
    assert "agreed · 1 accepted by its owner" in html
    assert "2 connections, 1 whose owner has no account" in html


# --- Accepting and refusing -----------------------------------------------------------------------


def posted(pairs: list[OrgPair], version: int = 1) -> dict[str, list[str]]:
    return {
        "pair": [pair.reference for pair in pairs],
        "version": [str(version)] * len(pairs),
    }


def test_one_post_accepts_all(owned: list[OrgPair], victor: Person, client_of: ClientOf):
    client = client_of(victor)
    response = client.post("/agreements/accept/", posted(owned))
    assert (response.status_code, response["Location"]) == (303, NEEDS_YOU)
    assert "Accepted 2 agreements." in client.get(NEEDS_YOU).text
    assert all(newest(pair).accepted_at for pair in owned)


def test_an_older_version_is_409_as_a_whole_and_the_page_has_the_newest(
    owned: list[OrgPair], victor: Person, ada: Person, client_of: ClientOf
):
    agree(owned[0], actor=person_actor(person=ada), purpose="Another purpose")
    response = client_of(victor).post("/agreements/accept/", posted(owned))
    assert response.status_code == 409
    page = read(response)
    assert "Someone changed what is agreed about Payments US → Group SOC" in page.text
    assert "Another purpose" in page.text
    assert not OwnerDecision.objects.exists()


@pytest.mark.parametrize(
    "versions",
    [[], ["1"], ["1", "1", "1"], ["1", "one"], ["1", "9" * 5000]],
    ids=["none", "few", "many", "a word", "too long"],
)
def test_each_pair_needs_its_version(
    owned: list[OrgPair], victor: Person, client_of: ClientOf, versions: list[str]
):
    named = posted(owned) | {"version": versions}
    assert client_of(victor).post("/agreements/accept/", named).status_code == 422
    assert not OwnerDecision.objects.exists()


def test_others_agreements_are_403_and_what_is_unknown_404(
    owned: list[OrgPair], victor: Person, ada: Person, client_of: ClientOf
):
    operator, owner = client_of(ada), client_of(victor)
    reason = posted(owned[:1]) | {"reason": ["Not mine"]}
    assert operator.post("/agreements/accept/", posted(owned)).status_code == 403
    assert operator.post("/agreements/refuse/", reason).status_code == 403
    unknown = owned[0]._replace(sink_org_id="unknown")
    assert owner.post("/agreements/accept/", posted([unknown])).status_code == 404
    for pairs in ([], [unknown.reference], [pair.reference for pair in owned]):
        named = reason | {"pair": pairs}
        assert owner.post("/agreements/refuse/", named).status_code == 404
    assert not OwnerDecision.objects.exists()


def test_a_thousand_pairs_fit_in_one_post(db: None):
    """As many fields and bytes as the longest references need."""
    pairs = [OrgPair("x" * 20, f"{number:036}", "y" * 36) for number in range(MAX_PAIRS)]
    fields = [f"pair={'%2F'.join(pair)}&version=1000" for pair in pairs]
    assert 2 * MAX_PAIRS + 1 <= django_settings.DATA_UPLOAD_MAX_NUMBER_FIELDS
    assert len("&".join(fields)) < django_settings.DATA_UPLOAD_MAX_MEMORY_SIZE


def test_a_refusal_keeps_its_reason_and_an_empty_one_is_422_with_the_row_open(
    owned: list[OrgPair], victor: Person, client_of: ClientOf
):
    client, named = client_of(victor), posted(owned[:1])
    response = client.post("/agreements/refuse/", named | {"reason": [" "]})
    assert response.status_code == 422
    assert "Say why it isn&#x27;t yours." in response.text
    assert response.text.count('<details class="row-opener" open>') == 1
    response = client.post("/agreements/refuse/", named | {"reason": ["I left."]})
    assert (response.status_code, response["Location"]) == (303, NEEDS_YOU)
    assert newest(owned[0]).is_refused
    assert "Saved. Email is off: tell Ada yourself." in client.get("/agreements/").text
    assert "Refused" in client.get("/agreements/").text


def test_refusing_an_older_version_is_409_and_keeps_what_was_typed(
    owned: list[OrgPair], victor: Person, ada: Person, client_of: ClientOf
):
    agree(owned[0], actor=person_actor(person=ada), purpose="Another purpose")
    named = posted(owned[:1]) | {"reason": ["I left the SOC."]}
    response = client_of(victor).post("/agreements/refuse/", named)
    assert response.status_code == 409
    assert "Another purpose" in response.text
    assert 'value="I left the SOC."' in response.text
    assert not OwnerDecision.objects.exists()


@pytest.mark.parametrize("path", ["/agreements/accept/", "/agreements/refuse/"])
def test_where_mfa_is_required_viewers_need_it_to_decide(
    owned: list[OrgPair], victor: Person, client_of: ClientOf, settings: Settings, path: str
):
    settings.REQUIRE_MFA = True
    client = client_of(victor)
    assert client.get(NEEDS_YOU).status_code == 200
    response = client.post(path, posted(owned[:1]) | {"reason": ["Not mine"]})
    assert response["Location"] == "/accounts/2fa/"
    assert not OwnerDecision.objects.exists()


# --- The connection's page ------------------------------------------------------------------------


def test_the_connections_page_says_who_accepted_or_refused_which_version(
    owned: list[OrgPair], victor: Person, ada: Person, client_of: ClientOf
):
    snapshot = OrgConnectionSnapshot.objects.get(
        source_org_id=owned[0].source_org_id, sink_org_id=owned[0].sink_org_id
    )
    url = f"/connections/{snapshot.site}/{snapshot.connection_id}/"
    page = read(client_of(victor).get(url))
    assert "not accepted yet" in page.text
    assert f'href="{NEEDS_YOU}"' in page.html
    assert ">Accept…</a>" not in read(client_of(ada).get(url)).html
    actor = person_actor(person=victor)
    refuse_agreement(actor=actor, pair=owned[0], version=1, reason="I left the SOC.")
    assert "Refused by Victor: “I left the SOC.”" in read(client_of(ada).get(url)).text
    accept_agreements(actor=actor, pairs=owned[:1], versions={owned[0]: 1})
    agree(owned[0], actor=person_actor(person=ada), purpose="Another purpose")
    text = read(client_of(ada).get(url)).text
    assert "Accepted by Victor" in text
    assert "not accepted yet" in text
