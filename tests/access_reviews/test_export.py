"""An export of an access review has each connection with its state, decisions and deletion."""

import csv
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.http import StreamingHttpResponse
from django.test import Client

from connections.access.actor import person_actor
from connections.access_reviews.export import ROW_EXPORT_COLUMNS, prepare_export
from connections.exports.export import start_export
from connections.models import AccessReview, AuditEvent, EventCode, Person
from tests.access_reviews.conftest import MakeReview
from tests.access_reviews.support import REASON, decide, texts_of

pytestmark = pytest.mark.django_db


def exported(review: AccessReview, person: Person, file_format: str) -> str:
    export = prepare_export(
        review=review, actor=person_actor(person=person), file_format=file_format
    )
    return b"".join(start_export(export=export)).decode("utf-8-sig")


def test_every_format_has_the_same_rows_with_the_same_keys(
    make_review: MakeReview, ada: Person, edith: Person
):
    review = make_review(3)
    decide(review, ada, *texts_of(review)[:2], decision="delete")
    rows: list[dict[str, Any]] = json.loads(exported(review, edith, "json"))
    assert [json.loads(line) for line in exported(review, edith, "ndjson").splitlines()] == rows
    cells = list(csv.DictReader(io.StringIO(exported(review, edith, "csv"))))
    assert [list(row) for row in (*rows, *cells)] == [list(ROW_EXPORT_COLUMNS.values)] * 6
    assert [row["state"] for row in rows] == ["delete", "delete", "pending"]
    [decision] = rows[0]["decisions"]
    assert (decision["decided_by"], decision["reason"]) == (ada.username, REASON)
    assert decision["decided_together"] == 2
    assert json.loads(cells[0]["decisions"]) == rows[0]["decisions"]
    finished = AuditEvent.objects.filter(code=EventCode.EXPORT_FINISHED).latest("seq")
    assert (finished.details["what"], finished.details["rows"]) == ("access_review", 3)


def test_the_page_of_an_open_access_review_exports_its_rows_but_no_bundle(
    make_review: MakeReview, edith: Person, client_of: Callable[[Person], Client]
):
    review, client = make_review(2), client_of(edith)
    page = f"/reviews/{review.pk}/"
    assert "format=bundle" not in client.get(page).content.decode()
    response = client.get(f"{page}export/?format=json")
    assert isinstance(response, StreamingHttpResponse)
    assert len(json.loads(response.getvalue())) == 2
    assert client.get(f"{page}export/?format=xml").status_code == 400
    refused = client.get(f"{page}export/?format=bundle")
    assert (refused.status_code, refused["Location"]) == (303, page)
    assert "Only a closed access review" in client.get(page).content.decode()


def test_only_people_who_manage_access_reviews_export_one(make_review: MakeReview, ada: Person):
    with pytest.raises(PermissionDenied):
        exported(make_review(1), ada, "json")
