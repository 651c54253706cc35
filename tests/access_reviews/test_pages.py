"""The pages of access reviews, without a browser."""

import re
from collections.abc import Callable
from datetime import timedelta
from html import unescape

import pytest
from django.test import Client

from connections.access.actor import person_actor
from connections.inventory.protections import protect_connection
from connections.models import Credential, OrgConnectionSnapshot, Person
from connections.web.access_reviews import detail
from sandbox.server import SandboxServer
from tests.access_reviews.conftest import MakeReview
from tests.access_reviews.support import REASON, decide, rows_of, states, texts_of
from tests.batches.support import sync_now
from tests.flows.support import read
from tests.support.clock import SettableClock

pytestmark = pytest.mark.django_db
ClientOf = Callable[[Person], Client]


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
    [link] = [each for each in first.split('"') if "after=" in each and "open=" not in each][:1]
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
    assert 'Keep<span class="cell-sub">before it was widened to audit</span>' in html
    assert 'Keep<span class="cell-sub">ended 3 Mar 2026</span>' in html


def posted_by(html: str) -> dict[str, str]:
    """The hidden fields of the form that closes an access review."""
    return dict(re.findall(r'<input type="hidden" name="(shown_pending)" value="(\w+)">', html))


def test_a_decision_in_the_page_updates_what_depends_on_it(
    make_review: MakeReview, ada: Person, client_of: ClientOf
):
    review = make_review(1)
    posted = {"connection": texts_of(review), "decision": "delete", "reason": REASON}
    url = f"/reviews/{review.pk}/decide/"
    html = client_of(ada).post(url, posted, headers={"HX-Request": "true"}).text
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
    [row] = re.findall(r'<tr class="review-row"(?:(?!</tr>).)*Protected', html, flags=re.DOTALL)
    assert str(review.rows.all()[0].connection_id) in row


@pytest.mark.parametrize("count", [1, 2])
def test_why_a_decision_on_selected_connections_failed_is_shown_beside_them(
    count: int, make_review: MakeReview, ada: Person, client_of: ClientOf
):
    review = make_review(2)
    posted = {"connection": texts_of(review)[:count], "decision": "keep", "selection": "1"}
    url = f"/reviews/{review.pk}/decide/"
    refused = client_of(ada).post(url, posted, headers={"HX-Request": "true"})
    assert refused.status_code == 422
    [form] = re.findall(r'id="decide-selected".*?</form>', refused.text, re.DOTALL)
    assert "Enter a reason." in form
    assert len(re.findall('name="connection"[^>]* checked', refused.text)) == count


def groups_of(html: str) -> list[str]:
    """What the checkboxes of the headings send."""
    return re.findall(r'name="group" value="(\w+)"', html)


def test_a_heading_selects_all_that_are_to_be_decided_also_on_other_pages(
    make_review: MakeReview,
    ada: Person,
    linus: Person,
    client_of: ClientOf,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(detail, "PAGE_SIZE", 2)
    review = make_review(4)
    decide(review, linus, texts_of(review)[0])
    client, url = client_of(ada), f"/reviews/{review.pk}/"
    [group] = groups_of(client.get(url).text)
    posted = {"group": group, "selection": "1", "decision": "keep", "reason": REASON}
    assert groups_of(client.get(url, {"sort": "creator", "show": "keep"}).text) == []
    refused = client.post(f"{url}decide/", posted | {"reason": ""})
    assert (refused.status_code, "Enter a reason." in refused.text) == (422, True)
    assert f'value="{group}" form="decide-selected" autocomplete="off" data-count="3" checked' in (
        refused.text
    )
    saved = client.post(f"{url}decide/", posted, headers={"HX-Request": "true"})
    assert (saved.status_code, saved.headers["HX-Refresh"]) == (200, "true")
    assert "3 decisions saved." in client.get(url).text
    assert [row.newest.decided_by_id for row in rows_of(review, ada) if row.newest] == [
        linus.pk,
        *[ada.pk] * 3,
    ]


def test_each_creator_has_a_heading_in_a_list_sorted_by_creator(
    make_review: MakeReview, ada: Person, client_of: ClientOf
):
    review = make_review(2)
    OrgConnectionSnapshot.objects.filter(connection_id=review.rows.all()[0].connection_id).update(
        creator_name="Zoe"
    )
    client, url = client_of(ada), f"/reviews/{review.pk}/"
    html = client.get(url, {"sort": "-creator"}).text
    [zoe, _] = groups_of(html)
    posted = {"group": zoe, "decision": "delete", "reason": REASON, "filters": "sort=-creator"}
    client.post(f"{url}decide/", posted)
    assert states(review, ada) == ["delete", "pending"]


def test_a_heading_decides_on_nothing_that_its_page_did_not_count(
    make_review: MakeReview,
    payments: Credential,
    sandbox: SandboxServer,
    ada: Person,
    client_of: ClientOf,
):
    review = make_review(2)
    client, url = client_of(ada), f"/reviews/{review.pk}/"
    [group] = groups_of(client.get(url).text)
    sandbox.world.change_connection(
        connection_id=str(review.rows.all()[0].connection_id), connection_types=("audit",)
    )
    sync_now(payments)
    for digest in (group, ""):
        posted = {"group": digest, "selection": "1", "decision": "keep", "reason": REASON}
        refused = client.post(f"{url}decide/", posted)
        assert refused.status_code == 409
        assert "have changed since you opened this page. Nothing was saved." in refused.text
    assert states(review, ada) == ["pending"] * 2


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
    html = client.post(f"{url}decide/", posted, headers={"HX-Request": "true"}).text
    assert f'<option value="Third."></option>{offered}' in html


@pytest.mark.parametrize("headers", [{}, {"HX-Request": "true"}])
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
    saved = client.post(url, posted | {"reason": REASON}, headers={"HX-Request": "true"})
    assert (saved.status_code, 'data-decision="keep"' in saved.text) == (200, True)


def test_as_many_connections_as_one_decision_takes_can_be_posted(
    make_review: MakeReview, ada: Person, client_of: ClientOf
):
    review = make_review(1)
    [text] = texts_of(review)
    posted = {"connection": [text] * 1000, "decision": "keep", "reason": REASON}
    response = client_of(ada).post(f"/reviews/{review.pk}/decide/", posted, follow=True)
    assert "1 decision saved." in response.text


def test_a_person_who_is_not_a_reviewer_sees_no_form(
    make_review: MakeReview, ada: Person, linus: Person, client_of: ClientOf
):
    review = make_review(2, ada)
    client = client_of(linus)
    html = client.get(f"/reviews/{review.pk}/", {"open": "1", "decision": "keep"}).text
    assert "data-decision-form" not in html
    posted = {"connection": texts_of(review)[0], "decision": "keep", "reason": REASON}
    assert client.post(f"/reviews/{review.pk}/decide/", posted).status_code == 403
