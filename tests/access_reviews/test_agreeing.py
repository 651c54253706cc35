"""A decision is about the agreement that the page showed, and can set what that lacks.

Both are saved, or neither.
"""

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError
from django.test import Client

from connections.access.actor import WORKER
from connections.access_reviews import decisions
from connections.agreements.setting import Terms, set_agreements
from connections.core import clock as database_clock
from connections.core.errors import ConflictError, InvalidInputError, OvertakenError
from connections.evidence import verification
from connections.models import (
    AccessReview,
    AccessReviewDecision,
    Agreement,
    AuditEvent,
    EventCode,
    OrgPair,
    Person,
)
from tests.access_reviews.conftest import MakeReview
from tests.access_reviews.support import REASON, close, decide, rows_of, states, texts_of

pytestmark = [pytest.mark.django_db, pytest.mark.database]

PURPOSE = "Claims dashboards"
HTMX = {"HX-Request": "true", "HX-Target": "list"}


@pytest.fixture
def review(make_review: MakeReview) -> AccessReview:
    """Two connections without an agreement."""
    return make_review(2)


def pair_of(review: AccessReview) -> OrgPair:
    row = review.rows.all()[0]
    return OrgPair(row.site, row.source_org_id, row.sink_org_id)


def agree(review: AccessReview, **terms: Any) -> Agreement:
    """Someone else sets the agreement of the first connection."""
    given: Any = {"owner_text": "Data team", "purpose": PURPOSE} | terms
    return set_agreements(actor=WORKER, pairs=[pair_of(review)], terms=given).new[0]


def saved() -> tuple[int, int, int]:
    """How many decisions and agreements there are, and events about either."""
    codes = [EventCode.ACCESS_REVIEW_DECIDED, EventCode.AGREEMENT_SET]
    return (
        AccessReviewDecision.objects.count(),
        Agreement.objects.count(),
        AuditEvent.objects.filter(code__in=codes).count(),
    )


def keep(review: AccessReview, person: Person, *, version: int = 0, **terms: Any) -> None:
    given: Any = {"owner": person, "purpose": PURPOSE} | terms
    first = texts_of(review)[0]
    decide(review, person, first, terms=given, versions={first: version})


def test_both_are_saved_with_one_event_each(review: AccessReview, ada: Person):
    ends_on = database_clock.now().date() + timedelta(days=90)
    keep(review, ada, ends_on=ends_on)
    agreement = Agreement.objects.get()
    assert agreement.pair == pair_of(review)
    assert (agreement.owner, agreement.purpose, agreement.ends_on) == (ada, PURPOSE, ends_on)
    assert (states(review, ada), saved()) == (["keep", "pending"], (1, 1, 2))
    assert verification.verify_audit_log().fault is None


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        ({"purpose": ""}, "purpose"),
        ({"owner": None}, "owner"),
        ({"ends_on": date(2020, 1, 31)}, "ends_on"),
        ({"owner_text": "x" * 201}, "owner_text"),
    ],
)
def test_an_invalid_agreement_leaves_the_decision_unsaved(
    review: AccessReview, ada: Person, terms: dict[str, Any], field: str
):
    with pytest.raises(InvalidInputError) as caught:
        keep(review, ada, **terms)
    assert (list(caught.value.fields), saved()) == ([field], (0, 0, 0))


def test_an_invalid_decision_leaves_the_agreement_unsaved(
    review: AccessReview, ada: Person, edith: Person, monkeypatch: pytest.MonkeyPatch
):
    terms: Terms = {"owner": ada, "purpose": PURPOSE}
    for wrong in ({"reason": " "}, {"decision": "delete"}, {"digests": {}, "decision": "later"}):
        with pytest.raises(InvalidInputError):
            decide(review, ada, texts_of(review)[0], terms=terms, **wrong)
    with monkeypatch.context() as patched:
        patched.setattr(decisions, "set_agreements", _set_and_fail)
        with pytest.raises(DatabaseError):
            keep(review, ada)
    close(review, edith, open_reason="Later")
    with pytest.raises(ConflictError):
        keep(review, ada)
    assert saved() == (0, 0, 0)


def _set_and_fail(**given: Any) -> None:
    set_agreements(**given)
    raise DatabaseError


def test_only_someone_who_can_set_the_agreement_sets_it(review: AccessReview, edith: Person):
    with pytest.raises(PermissionDenied):
        keep(review, edith)
    assert saved() == (0, 0, 0)


@pytest.mark.parametrize("decision", ["keep", "delete"])
def test_nothing_is_decided_about_another_agreement_than_the_page_showed(
    review: AccessReview, ada: Person, decision: str
):
    agree(review)
    first, second = texts_of(review)
    with pytest.raises(OvertakenError, match=r"agreement about connection .* has changed"):
        decide(review, ada, decision=decision, versions={second: 0, first: 0})
    assert saved() == (0, 1, 1)
    decide(review, ada, decision=decision, versions={second: 0, first: 1})
    assert saved() == (2, 1, 2)


def test_a_term_that_no_agreement_lacks_is_refused(review: AccessReview, ada: Person):
    agree(review)
    with pytest.raises(InvalidInputError) as caught:
        keep(review, ada, version=1, owner=ada)
    assert (list(caught.value.fields), saved()) == (["owner", "purpose"], (0, 1, 1))


def test_with_several_decisions_the_missing_agreements_are_set(
    review: AccessReview, ada: Person, post: Any
):
    agree(review)
    connections = texts_of(review)
    fields = {"connection": connections, "owner": "ada"}
    response = post(**fields)
    assert (response.status_code, saved()) == (422, (0, 1, 1))
    assert 'id="decide-purpose-error"' in response.text
    assert '<option value="ada" selected>' in response.text
    assert post(**fields, purpose=PURPOSE).status_code == 200
    assert (states(review, ada), saved()) == (["keep", "keep"], (2, 2, 3))
    [theirs, new] = Agreement.objects.order_by("set_at")
    assert (theirs.owner_text, new.owner) == ("Data team", ada)


# --- The form -------------------------------------------------------------------------------------


@pytest.fixture
def post(review: AccessReview, ada: Person, client_of: Callable[[Person], Client]) -> Any:
    """Posts Ada's decision to keep the first connection, as its form does."""
    client = client_of(ada)

    def send(*, htmx: bool = True, **fields: Any) -> Any:
        posted = {"connection": texts_of(review)[0], "decision": "keep", "reason": REASON}
        url = f"/reviews/{review.pk}/decide/"
        return client.post(url, posted | fields, headers=HTMX if htmx else {})

    return send


OFFERED = ("owner", "owner_text", "purpose", "ends_on")


def offered(page: str) -> list[str]:
    """The fields of the agreement in the form below the list."""
    form = page.partition('id="decide-selected"')[2].partition("</form>")[0]
    return [name for name in OFFERED if f'name="{name}"' in form]


def test_the_form_offers_what_is_missing_to_those_who_can_set_it(
    review: AccessReview, ada: Person, grace: Person, edith: Person, client_of: Any
):
    url = f"/reviews/{review.pk}/"

    def offers(person: Person) -> list[str]:
        return offered(client_of(person).get(url).text)

    assert (offers(ada), offers(edith)) == (list(OFFERED), [])
    both = [OrgPair(row.site, row.source_org_id, row.sink_org_id) for row in review.rows.all()]
    terms: Terms = {"owner": grace, "purpose": PURPOSE}
    set_agreements(actor=WORKER, pairs=both, terms=terms)
    assert offers(ada) == []
    Person.objects.filter(pk=grace.pk).update(is_active=False)
    assert offers(ada) == ["owner", "owner_text"]


def test_each_agreement_is_given_only_what_it_lacks(
    review: AccessReview, ada: Person, post: Any, clock: Any
):
    today = database_clock.now().date()
    agree(review, ends_on=today)
    clock.advance(seconds=2 * 86_400)
    typed = {"owner": "ada", "purpose": "Fraud alerts", "ends_on": f"{today + timedelta(days=90)}"}
    assert post(connection=texts_of(review), **typed).status_code == 200
    ended, new = (
        Agreement.objects.get(version=version, **of)
        for version, of in ((2, {"owner_text": "Data team"}), (1, {"owner": ada}))
    )
    assert (ended.purpose, new.purpose) == (PURPOSE, "Fraud alerts")
    assert ended.ends_on == new.ends_on == today + timedelta(days=90)


def test_an_empty_agreement_is_not_set(review: AccessReview, post: Any):
    response = post(htmx=False, owner="", owner_text="", purpose="", ends_on="")
    assert (response.status_code, saved()) == (303, (1, 0, 1))


@pytest.mark.parametrize("htmx", [True, False])
def test_errors_are_shown_and_nothing_typed_is_lost(
    review: AccessReview, ada: Person, post: Any, htmx: bool
):
    typed = {"owner": "ada", "owner_text": "Data team", "purpose": " ", "ends_on": "2999-01-31"}
    response = post(htmx=htmx, keep_until="2999-02-28", **typed)
    assert (response.status_code, saved()) == (422, (0, 0, 0))
    assert 'id="decide-purpose-error"' in response.text
    for value in ("Data team", "2999-01-31", "2999-02-28", REASON):
        assert f'value="{value}"' in response.text
    assert '<option value="ada" selected>' in response.text
    response = post(htmx=htmx, owner="nobody", ends_on="soon")
    assert 'id="decide-owner-error"' in response.text
    assert 'id="decide-ends_on-error"' in response.text
    assert response.status_code == 422


@pytest.mark.parametrize("shown", ["0", "", "x", "9" * 10])
def test_the_page_shows_what_someone_else_agreed_and_keeps_what_was_typed(
    review: AccessReview, ada: Person, post: Any, shown: str
):
    agree(review)
    [row, _], first = rows_of(review, ada), texts_of(review)[0]
    response = post(digest=f"{first} {row.digest} {shown}")
    assert (response.status_code, saved()) == (409, (0, 1, 1))
    assert "<span>Data team</span>" in response.text
    assert f'value="{first} {row.digest} 1"' in response.text
    assert f'value="{REASON}"' in response.text
    assert post(digest=f"{first} {row.digest} 1").status_code == 200
