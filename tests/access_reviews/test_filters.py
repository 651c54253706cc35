"""Filters and order of the connections of an access review; nothing hidden shows in either."""

import re
from collections.abc import Callable
from datetime import timedelta
from html import unescape
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client

from connections.access.actor import WORKER, command_actor, person_actor
from connections.access_reviews.rows import count_rows
from connections.agreements.setting import Terms, set_agreements
from connections.credentials.retirement import retire_credential
from connections.models import (
    AccessKind,
    AccessReview,
    Credential,
    CredentialAccess,
    Org,
    OrgConnectionSnapshot,
    OrgPair,
    Person,
    RowState,
)
from connections.web.access_reviews import detail
from sandbox.entities import make_user
from sandbox.server import SandboxServer
from tests.access_reviews.support import REASON, close, decide, start, texts_of
from tests.batches.support import sync_now
from tests.flows.support import store_credential
from tests.support.clock import SettableClock
from tests.support.sandbox import org_named

pytestmark = [pytest.mark.django_db, pytest.mark.database(every=3)]
ClientOf = Callable[[Person], Client]


def add(sandbox: SandboxServer, name: str, *types: str, by: str) -> None:
    """Add a connection of Payments US to a new org, made by a person with this name."""
    org = org_named(sandbox.world, "Payments US")
    sandbox.world.add_connection(
        source_org=org,
        sink_org=sandbox.world.add_org(name=name, site=org.site),
        connection_types=types,
        created_by=make_user(name=by),
    )


@pytest.fixture
def review(payments: Credential, sandbox: SandboxServer, edith: Person) -> AccessReview:
    """Three connections of two creators, in the order of their names."""
    add(sandbox, "Partner 1", "logs", by="Kim")
    add(sandbox, "Partner 2", "logs", "audit", by="Kim")
    add(sandbox, "Partner 3", "audit", by="Lee")
    sync_now(payments)
    return start(edith, scope="q=Partner")


def shown(html: str) -> list[int]:
    """The partners of the rows."""
    return [int(number) for number in re.findall(r'data-pair="[^"]* → Partner (\d)"', html)]


def options(html: str, name: str) -> dict[str, str]:
    """The choices of a filter, by their label."""
    select = re.search(rf'<select name="{name}">(.*?)</select>', html, re.DOTALL)
    found = re.findall(r'<option value="([^"]+)"[^>]*>([^<]*)', select[1] if select else "")
    return {label: value for value, label in found if label != "Account disabled"}


def test_rows_are_filtered_by_data_type_and_creator(
    review: AccessReview, ada: Person, client_of: ClientOf
):
    client, url = client_of(ada), f"/reviews/{review.pk}/"
    html = client.get(url).text
    assert list(options(html, "type")) == ["audit", "logs"]
    creators = options(html, "creator")
    assert list(creators) == ["Kim", "Lee"]
    assert shown(client.get(url, {"type": "audit"}).text) == [2, 3]
    assert shown(client.get(url, {"creator": creators["Kim"]}).text) == [1, 2]
    both = client.get(url, {"type": "audit", "creator": creators["Kim"]}).text
    assert shown(both) == [2]
    assert "Remove filter Creator: Kim" in both
    nothing = client.get(url, {"type": "logs", "creator": creators["Lee"]}).text
    assert (shown(nothing), "No connections match these filters" in nothing) == ([], True)
    assert "0 of 3 decided" in nothing


def test_rows_are_filtered_by_what_a_reviewer_looks_for(
    review: AccessReview,
    payments: Credential,
    sandbox: SandboxServer,
    ada: Person,
    edith: Person,
    clock: SettableClock,
    client_of: ClientOf,
):
    decide(review, ada, texts_of(review)[0])
    later = start(edith, scope="q=Partner")
    clock.advance(seconds=1)
    decide(later, ada, texts_of(review)[1])
    clock.advance(seconds=1)
    [widened, _, aged] = OrgConnectionSnapshot.objects.order_by("sink_org_name").filter(
        sink_org_name__startswith="Partner"
    )
    sandbox.world.change_connection(
        connection_id=str(widened.connection_id), connection_types=("logs", "metrics")
    )
    sandbox.world.disable_creator(connection_id=str(aged.connection_id))
    sync_now(payments)
    OrgConnectionSnapshot.objects.filter(sink_org_name="Partner 2").update(
        connection_created_at=clock.at - timedelta(days=800)
    )
    client, url = client_of(ada), f"/reviews/{later.pk}/"
    found_by = {
        name: sorted(shown(client.get(url, {name: value}).text))
        for name, value in {
            "changed": "since",
            "reviewed": "never",
            "created": "over-730",
            "creator": "disabled",
            "site": payments.site,
            "q": "partner → partner",
        }.items()
    }
    assert found_by == {
        "changed": [1, 3],
        "reviewed": [2, 3],
        "created": [2],
        "creator": [3],
        "site": [1, 2, 3],
        "q": [],
    }
    assert shown(client.get(url, {"q": "us → lee", "changed": "since"}).text) == [3]


@pytest.fixture
def agreed(review: AccessReview, ada: Person) -> AccessReview:
    """Ada answers for Partner 1 as agreed, and a team for Partner 2, with audit not agreed."""
    first, second, third = [
        OrgPair(row.site, row.source_org_id, row.sink_org_id) for row in review.rows.all()
    ]
    terms: Terms = {"owner": ada, "purpose": "Claims"}
    set_agreements(actor=WORKER, pairs=[first], terms=terms)
    team: Terms = {"owner_text": "Data team", "purpose": "Fraud", "connection_types": ["logs"]}
    set_agreements(actor=WORKER, pairs=[second], terms=team)
    Org.objects.filter(site=third.site, org_id=third.sink_org_id).update(group="production")
    return review


@pytest.mark.parametrize(
    ("name", "value", "partners"),
    [
        ("owner", "ada", [1]),
        ("agreed", "yes", [1]),
        ("agreed", "no", [2, 3]),
        ("group", "production", [3]),
    ],
)
def test_rows_are_filtered_by_what_was_agreed_and_by_group(
    name: str,
    value: str,
    partners: list[int],
    agreed: AccessReview,
    ada: Person,
    client_of: ClientOf,
):
    client, url = client_of(ada), f"/reviews/{agreed.pk}/"
    assert value in options(client.get(url).text, name).values()
    assert shown(client.get(url, {name: value}).text) == partners


def test_rows_are_filtered_by_whether_an_earlier_access_review_had_them(
    review: AccessReview,
    payments: Credential,
    sandbox: SandboxServer,
    ada: Person,
    edith: Person,
    clock: SettableClock,
    client_of: ClientOf,
):
    clock.advance(seconds=1)
    add(sandbox, "Partner 4", "logs", by="Kim")
    sync_now(payments)
    later = start(edith, scope="q=Partner")
    client = client_of(ada)
    assert shown(client.get(f"/reviews/{later.pk}/", {"new": "yes"}).text) == [4]
    # What a later one had says nothing about an earlier one.
    assert shown(client.get(f"/reviews/{review.pk}/", {"new": "yes"}).text) == [1, 2, 3]


def test_rows_to_decide_are_grouped_by_who_answers_for_them(
    agreed: AccessReview, ada: Person, client_of: ClientOf
):
    client, url = client_of(ada), f"/reviews/{agreed.pk}/"
    for sort, names in (
        ("owner", ["Ada", "Data team", "No agreement"]),
        ("-owner", ["No agreement", "Data team", "Ada"]),
    ):
        html = client.get(url, {"sort": sort}).text
        assert re.findall(r'id="group-\w+">([^<]+) <span class="count">1<', html) == names


def test_a_new_access_review_offers_owners_by_name_and_no_filter_by_time(
    agreed: AccessReview, edith: Person, client_of: ClientOf
):
    html = client_of(edith).get("/reviews/new/").text
    assert options(html, "owner")["Ada"] == "ada"
    assert [name for name in ("ends_within", "created") if f'name="{name}"' in html] == []


def test_a_closed_access_review_offers_no_filter_by_what_is_agreed_now(
    agreed: AccessReview, ada: Person, edith: Person, client_of: ClientOf
):
    close(agreed, edith, open_reason="Later")
    html = client_of(ada).get(f"/reviews/{agreed.pk}/").text
    offered = [name for name in ("owner", "agreed", "group", "new") if options(html, name)]
    assert offered == []


def test_a_column_sorts_the_rows_of_each_group_over_all_pages(
    review: AccessReview,
    ada: Person,
    clock: SettableClock,
    client_of: ClientOf,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(detail, "PAGE_SIZE", 2)
    for number, days in ((1, 20), (2, 30), (3, 10)):
        OrgConnectionSnapshot.objects.filter(sink_org_name=f"Partner {number}").update(
            connection_created_at=clock.at - timedelta(days=days)
        )
    client, url = client_of(ada), f"/reviews/{review.pk}/"
    for sort, order in (
        ("", [1, 2, 3]),
        ("-destination", [3, 2, 1]),
        ("creator", [1, 2, 3]),
        ("age", [3, 1, 2]),
        ("x", [1, 2, 3]),
        ("-age", [2, 1, 3]),
    ):
        first = client.get(url, {"sort": sort}).text
        [link] = re.findall(r'href="([^"]+)" rel="next"', first)
        assert (shown(first), shown(client.get(unescape(link)).text)) == (order[:2], order[2:])
    # Those of one creator stay on one page.
    assert shown(client.get(url, {"sort": "-creator"}).text) == [3, 1, 2]
    # A decision moves no row to a page that was seen before, or off the next one.
    decide(review, ada, texts_of(review)[1])
    assert shown(client.get(unescape(link)).text) == [3, 2]


def test_filters_stay_after_a_decision_and_on_the_next_page(
    review: AccessReview, ada: Person, client_of: ClientOf, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(detail, "PAGE_SIZE", 1)
    client, url = client_of(ada), f"/reviews/{review.pk}/"
    first = client.get(url, {"type": "audit", "show": "to-decide"}).text
    assert shown(first) == [2]
    [link] = re.findall(r'href="([^"]+)" rel="next"', first)
    assert shown(client.get(unescape(link)).text) == [3]
    [filters] = set(re.findall(r'name="filters" value="([^"]*)"', first))
    posted = {"connection": texts_of(review)[1], "decision": "keep", "reason": REASON}
    posted["filters"] = unescape(filters)
    headers = {"HX-Request": "true", "HX-Target": "list"}
    in_page = client.post(f"{url}decide/", posted, headers=headers).text
    links = [parse_qs(urlsplit(link).query) for link in links_of(in_page) if "?" in link]
    assert links
    assert all(link["type"] == ["audit"] for link in links)
    answered = client.post(f"{url}decide/", posted).headers["Location"]
    assert parse_qs(urlsplit(answered).query) == {"type": ["audit"], "show": ["to-decide"]}


def links_of(html: str) -> list[str]:
    """The links that keep the page's place or filters."""
    found = re.findall(r'href="([^"]+)"', html)
    return [unescape(each) for each in found if each.startswith("/reviews/")]


@pytest.mark.parametrize("is_closed", [False, True])
def test_what_only_hidden_credentials_list_is_neither_a_choice_nor_found(
    review: AccessReview,
    payments: Credential,
    sandbox: SandboxServer,
    ada: Person,
    grace: Person,
    edith: Person,
    clock: SettableClock,
    client_of: ClientOf,
    is_closed: bool,
):
    """Ada sees only what the org of Partner 1 listed before its data types changed."""
    [snapshot] = OrgConnectionSnapshot.objects.filter(sink_org_name="Partner 1")
    sandbox.world.add_key_pair(org=org_named(sandbox.world, "Partner 1"))
    partner = store_credential(sandbox, "Partner 1")
    sandbox.world.change_connection(
        connection_id=str(snapshot.connection_id), connection_types=("metrics",)
    )
    clock.advance(seconds=1)
    sync_now(payments)
    hidden_types = start(edith, scope="q=Partner")
    CredentialAccess.objects.create(credential=payments, person=grace, kind=AccessKind.SEE)
    retire_credential(actor=command_actor(), credential=partner, confirmation=partner.name)
    if is_closed:
        decide(hidden_types, grace)
        close(hidden_types, edith)
    client, url = client_of(ada), f"/reviews/{hidden_types.pk}/"
    html = client.get(url).text
    assert html.count("data-connection=") == 1
    assert [*options(html, "type"), *options(html, "creator")] == ["logs", "Kim"]
    for hidden in ("metrics", "audit"):
        assert "data-connection=" not in client.get(url, {"type": hidden}).text
    of_edith = client_of(edith).get(url).text
    assert list(options(of_edith, "type")) == ["audit", "logs", "metrics"]
    lee = options(of_edith, "creator")["Lee"]
    assert "data-connection=" not in client.get(url, {"creator": lee}).text
    assert "data-connection=" in client.get(url, {"type": "logs"}).text


def found(html: str) -> list[str]:
    """The connections of the rows."""
    return re.findall(r'data-connection="([^"]+)"', html)


def list_now(sandbox: SandboxServer, name: str) -> None:
    """Store a credential of an org that had none; everyone sees it."""
    sandbox.world.add_key_pair(org=org_named(sandbox.world, name))
    store_credential(sandbox, name)


def test_a_closed_access_review_has_nothing_that_a_reader_could_not_see_before_its_closing(
    review: AccessReview,
    payments: Credential,
    sandbox: SandboxServer,
    ada: Person,
    grace: Person,
    edith: Person,
    clock: SettableClock,
    client_of: ClientOf,
):
    """A credential that Ada sees lists the connection of Partner 1.

    It lists the others only later.
    """
    list_now(sandbox, "Partner 1")
    add(sandbox, "Partner 4", "logs", by="Kim")
    sync_now(payments)
    CredentialAccess.objects.create(credential=payments, person=grace, kind=AccessKind.SEE)
    decide(review, grace)
    close(review, edith)
    clock.advance(seconds=60)
    list_now(sandbox, "Partner 3")
    list_now(sandbox, "Partner 4")
    client, url = client_of(ada), f"/reviews/{review.pk}/"
    html = client.get(url).text
    assert found(html) == texts_of(review)[:1]
    assert [*options(html, "type"), *options(html, "creator")] == ["logs", "Kim"]
    assert "1 of 1 decided" in html
    assert "Partner 4" not in html
    actor = person_actor(person=Person.objects.get(pk=ada.pk))
    assert count_rows(reviews=[review], actor=actor)[review.pk].states == {RowState.KEEP: 1}
    of_edith = client_of(edith).get(url).text
    assert (found(of_edith), "Partner 4" in of_edith) == (texts_of(review), True)


def test_a_decision_of_an_access_review_that_a_reader_cannot_see_is_shown_without_a_link(
    review: AccessReview,
    payments: Credential,
    sandbox: SandboxServer,
    ada: Person,
    grace: Person,
    edith: Person,
    clock: SettableClock,
    client_of: ClientOf,
):
    CredentialAccess.objects.create(credential=payments, person=grace, kind=AccessKind.SEE)
    decide(review, grace)
    close(review, edith)
    clock.advance(seconds=60)
    list_now(sandbox, "Partner 1")
    assert client_of(ada).get(f"/reviews/{review.pk}/").status_code == 404
    url = f"/connections/{texts_of(review)[0]}/"
    links = {
        person.username: client_of(person).get(url).text.count(f'href="/reviews/{review.pk}/"')
        for person in (ada, edith)
    }
    assert links == {ada.username: 0, edith.username: 2}
    assert REASON in client_of(ada).get(url).text
