"""The list of agreements, and the form that sets them."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from connections.access.actor import command_actor, person_actor
from connections.agreements.agreed import find_agreements
from connections.core import clock
from connections.models import (
    AccessKind,
    Agreement,
    Credential,
    Org,
    OrgConnectionSnapshot,
    OrgPair,
    Person,
)
from connections.people.people import disable_person
from tests.agreements.support import agree, let_only
from tests.flows.support import HTMX, read

pytestmark = pytest.mark.django_db
ClientOf = Callable[[Person], Client]
LIST, FORM = "/agreements/", "/agreements/set/"
FIRST = {"owner_text": "SOC team", "purpose": "Fraud alerts"}


@pytest.fixture
def operator(ada: Person, client_of: ClientOf) -> Client:
    """Ada, an Operator, signed in."""
    return client_of(ada)


def listed(client: Client, query: str = "") -> list[tuple[str, ...]]:
    """Each row's pair, whether it is agreed, and the reasons."""
    pattern = r'data-agreed="([^"]*)" data-reasons="([^"]*)".*?name="pair" value="([^"]*)"'
    rows = re.findall(pattern, read(client.get(LIST + query)).html, re.DOTALL)
    return [(pair, agreed, reasons) for agreed, reasons, pair in rows]


def newest(pair: OrgPair) -> Agreement:
    return find_agreements([pair])[pair]


def connection_of(pair: OrgPair) -> str:
    snapshot = OrgConnectionSnapshot.objects.filter(
        source_org_id=pair.source_org_id, sink_org_id=pair.sink_org_id
    ).first()
    assert snapshot
    return snapshot.key.reference


def without_connection(pair: OrgPair) -> OrgPair:
    """A pair of known orgs without a connection."""
    now = clock.now()
    org = {"site": pair.site, "org_id": "new", "name": "New"}
    Org.objects.create(**org, first_seen_at=now, established_at=now)
    return OrgPair(pair.site, pair.source_org_id, "new")


# --- The list -------------------------------------------------------------------------------------


@pytest.mark.database
def test_each_pair_with_a_connection_or_an_agreement_has_a_row_sorted_by_reason(
    pair: OrgPair, other: OrgPair, ada: Person, grace: Person, root: Person, operator: Client
):
    everything = listed(operator)
    assert {row[1:] for row in everything} == {("no", "no_agreement")}
    today = clock.now().date()
    agree(pair, actor=command_actor(), owner=grace, owner_text="", connection_types=["logs"])
    agree(other, actor=command_actor(), owner=ada, ends_on=today + timedelta(days=7))
    gone = without_connection(pair)
    agree(gone, actor=command_actor(), connection_types=["logs"])
    disable_person(actor=person_actor(person=root), person=grace)
    rows = listed(operator)
    assert len(rows) == len(everything) + 1
    assert rows[-3:] == [
        (pair.reference, "no", "owner_left wider"),
        (other.reference, "yes", ""),
        (gone.reference, "gone", ""),
    ]
    assert listed(operator, "?sort=-reason") == rows[::-1][:3] + listed(
        operator, "?reason=no_agreement"
    )


@pytest.mark.database
def test_each_filter_finds_the_pair(pair: OrgPair, ada: Person, operator: Client):
    end = clock.now().date() + timedelta(days=7)
    terms: dict[str, Any] = {"ends_on": end, "ticket": "SEC-1", "connection_types": ["logs"]}
    agree(pair, actor=command_actor(), owner=ada, **terms)
    Org.objects.filter(org_id=pair.sink_org_id).update(group="prod")
    finding = ["owner=ada", "reason=wider", "reason=any", "ends_within=7", "group=prod"]
    finding += ["q=fraud+payments", "q=ada+group+soc", "q=payments->soc", "q=SEC-1"]
    others = ["owner=grace", "reason=ended", "ends_within=6", "group=other", "site=nowhere"]
    others += ["q=soc->payments", "q=nothing"]
    found = [
        query
        for query in (*finding, *others)
        if pair.reference in {row[0] for row in listed(operator, f"?{query}")}
    ]
    assert found == finding


def test_the_org_filter_and_the_parts_count_what_they_list(
    pair: OrgPair, other: OrgPair, ada: Person, operator: Client
):
    everything = len(listed(operator))
    agree(pair, actor=command_actor(), owner=ada)
    gone = without_connection(pair)
    agree(gone, actor=command_actor(), connection_types=["logs"])
    assert listed(operator, f"?org={pair.site}/new") == [(gone.reference, "gone", "")]
    page = read(operator.get(LIST))
    assert f"1 of {everything} connections agreed" in page.text
    for words, query in {
        f"Not agreed {everything - 1}": "?reason=any",
        "Mine 1": "?owner=ada",
        "Ends in 30 days 0": "?ends_within=30",
        f"All {everything + 1}": "",
    }.items():
        assert page.link(words.rpartition(" ")[0]) == LIST + query
        assert words in page.text
        assert len(listed(operator, query)) == int(words.rpartition(" ")[2])
    assert "Ends: Enter a number of days." in read(operator.get(LIST + "?ends_within=x")).text


def test_when_all_is_agreed_the_list_of_what_isnt_says_so(
    pair: OrgPair, ada: Person, operator: Client
):
    agree(pair, actor=command_actor(), owner=ada)
    OrgConnectionSnapshot.objects.exclude(
        source_org_id=pair.source_org_id, sink_org_id=pair.sink_org_id
    ).update(is_current=False)
    page = read(operator.get(LIST + "?reason=any"))
    assert "<h2>All 1 connection agreed</h2>" in page.html
    assert "Nothing is left to agree." in page.text
    assert "No agreements match these filters" in read(operator.get(LIST + "?q=zzz")).text


# --- Setting --------------------------------------------------------------------------------------


@pytest.mark.database
def test_one_form_sets_many_pairs_by_pair_or_connection(
    pair: OrgPair, other: OrgPair, ada: Person, operator: Client
):
    names = {"pair": [pair.reference], "connection": [connection_of(other)]}
    response = operator.post(LIST, FIRST | names | {"back": "/connections/?q=x"})
    assert (response.status_code, response["Location"]) == (303, "/connections/?q=x")
    assert {newest(each).purpose for each in (pair, other)} == {"Fraud alerts"}
    # A field that isn't sent stays; an empty end is no end.
    operator.post(LIST, {"pair": pair.reference, "ends_on": "2099-01-31", "owner": "ada"})
    operator.post(LIST, {"pair": pair.reference, "ends_on": ""})
    agreement = newest(pair)
    assert (agreement.version, agreement.owner, agreement.ends_on) == (3, ada, None)
    assert (agreement.owner_text, agreement.connection_types) == ("SOC team", ["logs", "metrics"])
    response = operator.post(LIST, {"pair": pair.reference, "back": "https://evil.example/"})
    assert response["Location"] == LIST
    assert "1 already said the same." in read(operator.get(LIST)).text


@pytest.mark.parametrize(
    ("posted", "problem"),
    [
        ({"owner_text": "SOC"}, "Enter a purpose."),
        ({"purpose": "x"}, "Choose an owner, or enter a team or other owner."),
        (FIRST | {"owner": "nobody"}, "There is no person with the username"),
        (FIRST | {"ends_on": "soon"}, "Enter a date"),
        (FIRST | {"ends_on": "2020-01-01"}, "Choose today or a later date."),
        (FIRST | {"connection_types": "a b"}, "Choose data types from the list."),
        (FIRST | {"types": "choose"}, "Choose at least 1 data type."),
    ],
)
def test_invalid_input_saves_nothing_and_keeps_what_was_typed(
    pair: OrgPair, other: OrgPair, operator: Client, posted: dict[str, str], problem: str
):
    names = {"pair": [pair.reference, other.reference]}
    page = read(operator.post(LIST, posted | names | {"ticket": "OPS-4235"}))
    assert page.status == 422
    assert problem in page.text
    assert page.form_to(LIST).fields["ticket"] == "OPS-4235"
    assert not Agreement.objects.exists()


def test_no_pair_or_too_many_or_a_pair_without_a_connection_and_types_are_422(
    pair: OrgPair, operator: Client
):
    assert operator.post(LIST, FIRST).status_code == 422
    assert operator.get(FORM).status_code == 422
    many = [f"{pair.site}/{pair.source_org_id}/{number}" for number in range(1001)]
    assert operator.post(LIST, FIRST | {"pair": many}).status_code == 422
    unconnected = without_connection(pair)
    response = operator.post(LIST, FIRST | {"pair": [unconnected.reference, pair.reference]})
    assert response.status_code == 422
    assert "There is no connection between these orgs now." in read(response).text
    assert not Agreement.objects.exists()
    operator.post(LIST, FIRST | {"pair": unconnected.reference, "connection_types": ["logs"]})
    assert newest(unconnected).connection_types == ["logs"]


@pytest.mark.parametrize(
    "names",
    [
        {"pair": "sandbox-us1/a/b"},
        {"pair": "sandbox-us1"},
        {"pair": "sandbox-us1/\0/b"},
        {"connection": "sandbox-us1/00000000-0000-4000-8000-000000000000"},
        {"connection": "sandbox-us1/x"},
    ],
)
def test_what_is_not_known_is_not_found_and_nothing_is_saved(
    pair: OrgPair, operator: Client, names: dict[str, str]
):
    posted = (
        {"pair": [pair.reference, *[names["pair"]][: "pair" in names]]}
        if "pair" in names
        else {"pair": pair.reference} | names
    )
    assert operator.post(LIST, FIRST | posted).status_code == 404
    assert operator.get(FORM, posted).status_code == 404
    assert not Agreement.objects.exists()


def test_a_pair_that_only_an_incomplete_sync_has_listed_can_be_set(pair: OrgPair, operator: Client):
    # Only a complete sync stores orgs.
    Org.objects.all().delete()
    assert pair.reference in {row[0] for row in listed(operator)}
    assert operator.post(LIST, FIRST | {"pair": pair.reference}).status_code == 303
    # A pair that none listed isn't known then.
    unknown = {"pair": f"{pair.site}/{pair.source_org_id}/other", "connection_types": "logs"}
    assert operator.post(LIST, FIRST | unknown).status_code == 404


@pytest.mark.database
def test_hidden_pairs_and_connections_are_not_found_and_not_listed(
    pair: OrgPair,
    payments: Credential,
    ada: Person,
    grace: Person,
    root: Person,
    client_of: ClientOf,
):
    agree(pair, actor=command_actor(), owner=grace)
    connection = connection_of(pair)
    let_only(ada, credential=payments, kind=AccessKind.SEE, actor=person_actor(person=root))
    hidden_from = client_of(Person.objects.get(pk=grace.pk))
    assert listed(hidden_from) == []
    for names in ({"pair": pair.reference}, {"connection": connection}):
        assert hidden_from.post(LIST, FIRST | names).status_code == 404
        assert hidden_from.get(FORM, names).status_code == 404
    assert newest(pair).version == 1


def test_who_can_see_but_not_set_gets_403_and_nothing_is_saved(
    pair: OrgPair, other: OrgPair, victor: Person, client_of: ClientOf
):
    viewer = client_of(victor)
    assert viewer.post(LIST, FIRST | {"pair": pair.reference}).status_code == 403
    assert "Set owner and purpose" not in read(viewer.get(LIST)).text
    agree(pair, actor=command_actor(), owner=victor)
    assert "Set owner and purpose" in read(viewer.get(LIST)).text
    agree(other, actor=command_actor())
    names = {"pair": [pair.reference, other.reference]}
    refused = read(viewer.post(LIST, names | {"owner_text": "SOC"}))
    assert refused.status == 403
    assert "orgs. This affects Group SOC → Payments US. Nothing was changed." in refused.text
    refused = read(viewer.post(LIST, names | {"purpose": "x"}))
    assert "either org. This affects Payments US → Group SOC. You don't" in refused.text
    form = read(viewer.get(FORM, {"pair": pair.reference})).form_to(LIST)
    assert (
        viewer.post(
            LIST, form.fields | {"owner": "victor", "types": "agreed", "ends_on": "2099-01-31"}
        ).status_code
        == 303
    )
    assert newest(pair).version == 2


@pytest.mark.database
def test_an_older_version_is_refused_with_what_was_saved_and_saving_again_replaces_it(
    pair: OrgPair, grace: Person, operator: Client
):
    form = read(operator.get(FORM, {"pair": pair.reference})).form_to(LIST)
    typed = form.fields | {"owner_kind": "team", "owner_text": "Data platform", "purpose": "Mine"}
    agree(pair, actor=person_actor(person=grace), purpose="Theirs", ticket="SEC-9")
    for headers in ({}, HTMX):
        page = read(operator.post(LIST, typed, headers=headers))
        assert page.status == 409
        assert "Grace saved owner SOC team, purpose “Theirs”, no end" in page.text
        assert "Replace what was saved" in page.text
        assert newest(pair).purpose == "Theirs"
    again = read(operator.post(LIST, typed)).form_to(LIST).fields
    assert (again["purpose"], again["owner_text"]) == ("Mine", "Data platform")
    assert operator.post(LIST, again | {"owner_kind": "team"}).status_code == 303
    assert (newest(pair).version, newest(pair).owner_text) == (2, "Data platform")


@pytest.mark.database
def test_what_someone_saved_about_one_of_several_is_shown_and_not_replaced(
    pair: OrgPair, other: OrgPair, grace: Person, operator: Client
):
    agree(other, actor=command_actor(), purpose="Old")
    names = {"pair": [pair.reference, other.reference]}
    typed = read(operator.post(FORM, names)).form_to(LIST).fields | FIRST | names
    agree(other, actor=person_actor(person=grace), purpose="Theirs")
    page = read(operator.post(LIST, typed))
    assert page.status == 409
    assert "Someone changed this agreement in the meantime." in page.text
    assert page.text.count(" saved owner ") == page.text.count("purpose “Theirs”") == 1
    assert not find_agreements([pair])
    again = page.form_to(LIST).fields | names
    for version in ("x", "9" * 5000):
        shown = {"shown": f"{pair.reference}/{version}"}
        assert operator.post(LIST, again | shown).status_code == 422
    assert operator.post(LIST, again).status_code == 303
    assert {newest(each).purpose for each in (pair, other)} == {"Fraud alerts"}


def test_a_data_type_that_was_not_agreed_is_only_agreed_by_choosing_it(
    pair: OrgPair, other: OrgPair, operator: Client
):
    agree(pair, actor=command_actor(), connection_types=["logs"])
    extended = {"ends_on": "2099-01-31"}

    def form_about(*pairs: OrgPair) -> dict[str, Any]:
        """What a browser posts: Page has no fields of a select."""
        page = read(operator.post(FORM, {"pair": [each.reference for each in pairs]}))
        [types] = re.findall(r'<option value="(listed|agreed|choose)" selected', page.html)
        return page.form_to(LIST).fields | {"types": types}

    operator.post(LIST, form_about(pair) | extended)
    assert (newest(pair).version, newest(pair).connection_types) == (2, ["logs"])
    names = {"pair": [pair.reference, other.reference]}
    operator.post(LIST, form_about(pair, other) | FIRST | extended | names)
    assert newest(pair).connection_types == ["logs"]
    assert newest(other).connection_types == ["audit"]
    operator.post(LIST, {"pair": pair.reference, "types": "listed"})
    assert newest(pair).connection_types == ["logs", "metrics"]


def test_the_form_leaves_fields_that_differ_as_they_are(
    pair: OrgPair, other: OrgPair, ada: Person, grace: Person, operator: Client
):
    agree(pair, actor=command_actor(), owner=ada, owner_text="", purpose="One", ticket="T-1")
    agree(other, actor=command_actor(), purpose="Two", ticket="T-1")
    names = {"pair": [pair.reference, other.reference]}
    page = read(operator.post(FORM, names))
    fields = page.form_to(LIST).fields
    assert (fields["purpose"], fields["ticket"]) == ("", "T-1")
    assert page.html.count("Different, left as they are") == 3
    posted = {
        "ticket": "T-2",
        "types": "agreed",
        "owner_kind": "person",
        "owner": "",
        "owner_text": "",
        "purpose": "",
    }
    different = {"different": ["owner", "owner_text", "purpose"]}
    assert operator.post(LIST, names | posted | different).status_code == 303
    assert [(newest(each).purpose, newest(each).ticket) for each in (pair, other)] == [
        ("One", "T-2"),
        ("Two", "T-2"),
    ]
    assert (newest(pair).owner, newest(other).owner_text) == (ada, "SOC team")
    operator.post(
        LIST, names | posted | different | {"owner": "grace", "owner_text": "typed before"}
    )
    assert {(newest(each).owner, newest(each).owner_text) for each in (pair, other)} == {
        (grace, "")
    }


def test_the_kind_of_owner_decides_which_one_counts_and_types_can_be_as_agreed(
    pair: OrgPair, ada: Person, operator: Client
):
    agree(pair, actor=command_actor(), owner=ada, owner_text="", connection_types=["logs"])
    both = {"pair": pair.reference, "owner": "ada", "owner_text": "SOC", "types": "agreed"}
    operator.post(LIST, both | {"owner_kind": "team"})
    assert (newest(pair).owner, newest(pair).owner_text) == (None, "SOC")
    assert newest(pair).connection_types == ["logs"]
    operator.post(LIST, both | {"owner_kind": "person", "types": "listed"})
    assert (newest(pair).owner, newest(pair).owner_text) == (ada, "")
    assert newest(pair).connection_types == ["logs", "metrics"]
    operator.post(LIST, both | {"types": "choose", "connection_types": ["metrics"]})
    assert (newest(pair).owner_text, newest(pair).connection_types) == ("SOC", ["metrics"])


def test_in_the_bar_the_form_is_a_fragment_and_saving_leads_back_to_the_list(
    pair: OrgPair, other: OrgPair, operator: Client
):
    posted = {"pair": pair.reference, "back": "/agreements/?q=x"}
    response = operator.post(FORM, posted, headers=HTMX)
    assert "<html" not in read(response).html
    # Other rows can be selected while it is open.
    agree(other, actor=command_actor())
    names = {"pair": [pair.reference, other.reference], "back": "/agreements/?q=x"}
    shown = {"shown": f"{pair.reference}/0"}
    response = operator.post(LIST, FIRST | names | shown, headers=HTMX)
    assert (response.status_code, response["HX-Redirect"]) == (200, "/agreements/?q=x")
    assert newest(pair).version == 1


def test_one_click_plans_the_deletion_of_all_that_ended_and_of_nothing_else(
    operator: Client, pair: OrgPair, other: OrgPair, victor: Person, client_of: ClientOf
):
    today = clock.now().date()
    with clock.offset(-timedelta(days=30)):
        agree(pair, actor=command_actor(), ends_on=today - timedelta(days=1))
    agree(other, actor=command_actor(), ends_on=today)
    page = read(operator.get(f"{LIST}?reason=ended"))
    form = page.form_to("/deletions/batches/")
    assert form.fields["connection"] == connection_of(pair)
    plan = read(operator.get(operator.post(form.action, form.fields)["Location"]))
    assert "Delete 1 connection?" in plan.text
    for client, query in ((operator, ""), (client_of(victor), "?reason=ended")):
        assert not read(client.get(LIST + query)).has_form_to("/deletions/batches/")
