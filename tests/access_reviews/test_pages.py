"""The pages of access reviews, without a browser."""

import re
from collections.abc import Callable
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.test import Client

from connections.access.actor import WORKER, person_actor
from connections.agreements.setting import Terms, set_agreements
from connections.inventory.protections import protect_connection
from connections.models import AccessReview, Credential, OrgConnectionSnapshot, OrgPair, Person
from connections.web.access_reviews import detail, groups
from sandbox.server import SandboxServer
from tests.access_reviews.conftest import MakeReview
from tests.access_reviews.support import REASON, decide, rows_of, texts_of
from tests.batches.support import sync_now
from tests.flows.support import read
from tests.support.clock import SettableClock

pytestmark = pytest.mark.django_db
ClientOf = Callable[[Person], Client]
# The list is what a decision replaces.
HTMX = {"HX-Request": "true", "HX-Target": "list"}


def shown_in(html: str, texts: list[str]) -> list[str]:
    """Those of these connections that have a row on the page."""
    return [text for text in texts if f'data-connection="{text}"' in html]


@pytest.mark.parametrize("show", ["", "to-decide"])
def test_the_next_page_leaves_out_no_connection_after_decisions_on_the_first(
    show: str,
    make_review: MakeReview,
    ada: Person,
    client_of: ClientOf,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(detail, "PAGE_SIZE", 2)
    review = make_review(5)
    texts, client = texts_of(review), client_of(ada)
    first = read(client.get(f"/reviews/{review.pk}/", {"show": show} if show else {})).html
    assert shown_in(first, texts) == texts[:2]
    decide(review, ada, *texts[:2])
    [link] = [each for each in first.split('"') if "after=" in each and "select=" not in each][:1]
    second = read(client.get(unescape(link))).html
    assert shown_in(second, texts) == texts[2:4]


def test_closing_with_undecided_connections_needs_a_reason(
    make_review: MakeReview, edith: Person, client_of: ClientOf
):
    review = make_review(2)
    client, url = client_of(edith), f"/reviews/{review.pk}/close/"
    assert client.post(url).status_code == 409
    assert client.post(url, {"open_reason": REASON}).status_code == 303
    review.refresh_from_db()
    assert review.open_reason == REASON


def test_closing_is_refused_when_other_connections_are_left_open_than_the_page_showed(
    make_review: MakeReview,
    payments: Credential,
    sandbox: SandboxServer,
    ada: Person,
    edith: Person,
    client_of: ClientOf,
):
    review = make_review(2)
    first = review.rows.all()[0]
    decide(review, ada, first.key.reference)
    client, url = client_of(edith), f"/reviews/{review.pk}/close/"
    posted = posted_by(client.get(url).text) | {"open_reason": REASON}
    sandbox.world.change_connection(
        connection_id=str(first.connection_id), connection_types=("audit",)
    )
    sync_now(payments)
    refused = client.post(url, posted)
    assert refused.status_code == 409
    assert "changed since you opened this page" in refused.text
    again = posted_by(refused.text) | {"open_reason": REASON}
    assert client.post(url, again).status_code == 303


def test_a_decision_that_no_longer_counts_says_why(
    make_review: MakeReview,
    payments: Credential,
    sandbox: SandboxServer,
    ada: Person,
    clock: SettableClock,
    client_of: ClientOf,
):
    review = make_review(2)
    decide(review, ada, texts_of(review)[0])
    clock.advance(seconds=1)
    sandbox.world.change_connection(
        connection_id=str(review.rows.all()[0].connection_id),
        connection_types=("logs", "metrics", "audit"),
    )
    sync_now(payments)
    decide(review, ada, texts_of(review)[1], keep_until=clock.at.date() + timedelta(days=1))
    clock.advance(hours=48)
    html = client_of(ada).get(f"/reviews/{review.pk}/").text
    assert 'Keep<span class="cell-sub clamp">before it was widened to audit</span>' in html
    assert 'Keep<span class="cell-sub clamp">ended 3 Mar 2026</span>' in html


def posted_by(html: str) -> dict[str, str]:
    """The hidden fields of the form that closes an access review."""
    return dict(re.findall(r'<input type="hidden" name="(shown_pending)" value="(\w+)">', html))


def test_a_decision_in_the_page_updates_what_depends_on_it(
    make_review: MakeReview, ada: Person, client_of: ClientOf
):
    review = make_review(1)
    posted = {"connection": texts_of(review), "decision": "delete", "reason": REASON}
    url = f"/reviews/{review.pk}/decide/"
    html = client_of(ada).post(url, posted, headers=HTMX).text
    assert 'id="review-plan"' in html
    assert 'Delete 1<span class="wide"> connection</span>…' in html
    assert '<th class="cell-main" scope="row">Ada</th>' in html


def test_the_button_says_what_its_plan_leaves_out(
    make_review: MakeReview, ada: Person, root: Person, client_of: ClientOf
):
    review = make_review(3)
    protect_connection(
        actor=person_actor(person=root), key=review.rows.all()[0].key, reason="Needed"
    )
    decide(review, ada, *texts_of(review), decision="delete")
    html = client_of(ada).get(f"/reviews/{review.pk}/").text
    assert "1 protected, not included" in html
    assert 'Delete 2<span class="wide"> connections</span>…' in html
    [row] = re.findall(r'<tr id="row-(?:(?!</tr>).)*Protected', html, flags=re.DOTALL)
    assert str(review.rows.all()[0].connection_id) in row


@pytest.mark.parametrize("count", [1, 2])
def test_why_a_decision_on_selected_connections_failed_is_shown_beside_them(
    count: int, make_review: MakeReview, ada: Person, client_of: ClientOf
):
    review = make_review(2)
    posted = {"connection": texts_of(review)[:count], "decision": "keep"}
    url = f"/reviews/{review.pk}/decide/"
    refused = client_of(ada).post(url, posted, headers=HTMX)
    assert refused.status_code == 422
    [form] = re.findall(r'id="decide-selected".*?</form>', refused.text, re.DOTALL)
    assert "Enter a reason." in form
    assert len(re.findall('name="connection"[^>]* checked', refused.text)) == count


def headings_of(html: str) -> list[str]:
    """The headings of groups, each with its number, exceptions and link."""
    rows = re.findall(r'<tr class="row-group">(.*?)</tr>', html, re.DOTALL)
    return [re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", row)).strip() for row in rows]


def links_of(html: str) -> list[str]:
    """The addresses that select what is under each heading."""
    rows = re.findall(r'<tr class="row-group">.*?href="([^"]+)"', html, re.DOTALL)
    return [unescape(row) for row in rows]


def checked_in(html: str) -> list[str]:
    """The connections whose boxes are checked."""
    boxes = re.findall(r'name="connection" value="([^"]+)"[^>]*>', html)
    checked = re.findall(r'name="connection" value="([^"]+)"[^>]* checked>', html)
    assert set(checked) <= set(boxes)
    return checked


@pytest.fixture
def grouped(make_review: MakeReview, ada: Person) -> AccessReview:
    """Zoe created one connection, Lea two, one of them with audit events. Lea's are agreed."""
    review = make_review(3)
    rows = review.rows.all()
    snapshots = OrgConnectionSnapshot.objects.all()
    for row, creator, types in zip(rows, ["Zoe", "Lea", "Lea"], [[], [], ["audit"]], strict=True):
        of_row = snapshots.filter(connection_id=row.connection_id)
        of_row.update(creator_name=creator, connection_types=["logs", *types])
    agreed = [OrgPair(row.site, row.source_org_id, row.sink_org_id) for row in rows[1:]]
    terms: Terms = {"owner": ada, "purpose": "Claims"}
    set_agreements(actor=WORKER, pairs=agreed, terms=terms)
    return review


def test_a_heading_selects_what_a_creator_made_but_no_exception(
    grouped: AccessReview, ada: Person, client_of: ClientOf
):
    client, url = client_of(ada), f"/reviews/{grouped.pk}/"
    page = client.get(url, {"sort": "creator"}).text
    assert headings_of(page) == [
        "Lea 2 1 shares audit events Keep the other 1… of Lea",
        "Zoe 1 1 has no agreement Select 1 of Zoe",
    ]
    of_lea, of_zoe = links_of(page)
    zoe, lea, _ = texts_of(grouped)
    opened = client.get(of_lea).text
    assert checked_in(opened) == [lea]
    assert 'data-key="k" data-busy="Saving…" data-chosen>' in opened
    opened = client.get(of_zoe).text
    assert (checked_in(opened), "data-chosen>" in opened) == ([zoe], False)
    decide(grouped, ada, lea)
    assert headings_of(client.get(url, {"sort": "-creator"}).text) == [
        "Zoe 1 1 has no agreement Select 1 of Zoe",
        "Lea 1 1 shares audit events Select 1 of Lea",
        "Decided",
    ]


def test_a_page_ends_with_the_last_row_of_a_group(
    grouped: AccessReview, ada: Person, client_of: ClientOf, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(detail, "PAGE_SIZE", 1)
    client, url = client_of(ada), f"/reviews/{grouped.pk}/"
    first = client.get(url, {"sort": "creator"}).text
    assert headings_of(first) == ["Lea 2 1 shares audit events Keep the other 1… of Lea"]
    [link] = [each for each in first.split('"') if "after=" in each and "select=" not in each][:1]
    assert shown_in(client.get(unescape(link)).text, texts_of(grouped)) == texts_of(grouped)[:1]
    monkeypatch.setattr(groups, "MAX_TOGETHER", 1)
    assert headings_of(client.get(url, {"sort": "creator"}).text) == ["Lea 2"]


def test_all_that_match_are_selected_on_one_page(
    make_review: MakeReview, ada: Person, linus: Person, client_of: ClientOf, monkeypatch: Any
):
    monkeypatch.setattr(detail, "PAGE_SIZE", 2)
    review = make_review(4)
    texts = texts_of(review)
    decide(review, linus, texts[0])
    client, url = client_of(ada), f"/reviews/{review.pk}/"
    page = client.get(url).text
    assert ("Select all 3" in page, headings_of(page)) == (True, ["To decide 3"])
    page = client.get(url, {"select": "all"}).text
    assert checked_in(page) == texts[1:]
    posted = {"decision": "keep", "filters": "select=all", "connection": texts[1:]}
    refused = client.post(f"{url}decide/", posted, headers=HTMX)
    assert (refused.status_code, checked_in(refused.text)) == (422, texts[1:2] + texts[2:3])
    saved = client.post(f"{url}decide/", posted | {"reason": REASON}, headers=HTMX)
    assert (saved.status_code, checked_in(saved.text)) == (200, [])
    assert f'3 kept · <a href="{url}?show=keep">Show</a>' in saved.text
    monkeypatch.setattr(detail, "MAX_TOGETHER", 3)
    assert "Select all" not in client.get(url).text.replace("Select all on this page", "")


def test_what_was_decided_leaves_the_rows_to_decide(
    grouped: AccessReview, ada: Person, client_of: ClientOf
):
    zoe, *of_lea = texts_of(grouped)
    posted = {
        "connection": of_lea,
        "decision": "delete",
        "reason": REASON,
        "filters": "sort=creator&show=to-decide&after=0-1&select=row-1&decision=keep",
    }
    url = f"/reviews/{grouped.pk}/"
    client = client_of(ada)
    left = client.post(f"{url}decide/", posted, follow=True)
    assert left.redirect_chain == [(f"{url}?sort=creator&show=to-decide&after=0-1", 303)]
    assert shown_in(left.text, texts_of(grouped)) in ([zoe], [])
    shown = f"{url}?sort=creator&amp;show=delete"
    assert f'2 marked for deletion · <a href="{shown}">Show</a>' in left.text


def test_an_error_is_shown_where_no_connection_is_left_to_decide(
    make_review: MakeReview, ada: Person, client_of: ClientOf
):
    review = make_review(1)
    decide(review, ada)
    posted = {"connection": texts_of(review), "decision": "keep", "filters": "show=to-decide"}
    refused = client_of(ada).post(f"/reviews/{review.pk}/decide/", posted, headers=HTMX)
    assert refused.status_code == 422
    assert '<h2 class="banner-head" tabindex="-1" data-focus>' in refused.text
    assert "Enter a reason." in refused.text


def test_own_reasons_of_this_access_review_are_offered_again(
    make_review: MakeReview, ada: Person, linus: Person, client_of: ClientOf
):
    review = make_review(4)
    texts = texts_of(review)
    for text, person, reason in zip(
        texts, (ada, ada, ada, linus), ("First.", "Second.", "First.", "Other."), strict=True
    ):
        decide(review, person, text, reason=reason)
    offered = '<option value="First."></option><option value="Second."></option></datalist>'
    client, url = client_of(ada), f"/reviews/{review.pk}/"
    assert offered in client.get(url).text
    posted = {"connection": texts[3], "decision": "keep", "reason": "Third."}
    html = client.post(f"{url}decide/", posted, headers=HTMX).text
    assert f'<option value="Third."></option>{offered}' in html


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_a_decision_that_came_too_late_for_its_row_says_so(
    headers: dict[str, str],
    make_review: MakeReview,
    payments: Credential,
    sandbox: SandboxServer,
    ada: Person,
    client_of: ClientOf,
):
    review = make_review(2)
    [text, _], row = texts_of(review), review.rows.all()[0]
    sandbox.world.remove_connection(connection_id=str(row.connection_id))
    sync_now(payments)
    posted = {"connection": text, "decision": "keep", "reason": REASON}
    refused = client_of(ada).post(f"/reviews/{review.pk}/decide/", posted, headers=headers)
    assert refused.status_code == 409
    assert "is no longer listed, so it needs no decision. Nothing was saved." in refused.text


def test_a_page_number_that_does_not_exist_hides_neither_an_error_nor_a_saved_decision(
    make_review: MakeReview, ada: Person, client_of: ClientOf
):
    review = make_review(1)
    client, url = client_of(ada), f"/reviews/{review.pk}/decide/"
    posted = {"connection": texts_of(review), "decision": "keep", "filters": "after=x"}
    refused = client.post(url, posted)
    assert (refused.status_code, "Enter a reason." in refused.text) == (422, True)
    saved = client.post(url, posted | {"reason": REASON}, headers=HTMX)
    assert (saved.status_code, 'data-decision="keep"' in saved.text) == (200, True)


def test_as_many_connections_as_one_decision_takes_can_be_posted(
    make_review: MakeReview, ada: Person, client_of: ClientOf
):
    review = make_review(1)
    [text] = texts_of(review)
    digest = f"{text} {rows_of(review, ada)[0].digest} 0"
    posted = {"connection": [text] * 1000, "digest": [digest] * 1000, "decision": "keep"}
    url = f"/reviews/{review.pk}/decide/"
    response = client_of(ada).post(url, posted | {"reason": REASON}, follow=True)
    assert "1 kept" in response.text


def test_a_person_who_is_not_a_reviewer_sees_no_form(
    make_review: MakeReview, ada: Person, linus: Person, client_of: ClientOf
):
    review = make_review(2, ada)
    client = client_of(linus)
    html = client.get(f"/reviews/{review.pk}/", {"select": "row-1", "decision": "keep"}).text
    assert ("decide-selected" in html, checked_in(html)) == (False, [])
    posted = {"connection": texts_of(review)[0], "decision": "keep", "reason": REASON}
    assert client.post(f"/reviews/{review.pk}/decide/", posted).status_code == 403
