"""The form that downloads a bundle, and the links to it."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_origin
from uuid import UUID, uuid4

import pytest
from django.http.response import HttpResponseBase
from django.test import Client
from pytest_django import Settings

from connections.deletions.history import HistoryFilter
from connections.deletions.history_filter import filter_text
from connections.models import AuditEvent, Deletion, Person
from tests.evidence.support import complaint, files_of, make
from tests.flows.support import read
from tests.support.append_only import triggers_off

pytestmark = pytest.mark.usefixtures("history")
URL = "/evidence/bundle/"
ClientOf = Callable[[Person], Client]


@pytest.fixture
def reader(client_of: ClientOf, edith: Person) -> Client:
    return client_of(edith)


def body(response: HttpResponseBase) -> bytes:
    assert response.status_code == 200, response.getvalue()
    data: bytes = response.getvalue()
    response.close()
    return data


def filled(reader: Client, query: str = "", **typed: str) -> dict[str, str]:
    """The form as rendered, filled in; an untouched select sends its shown value."""
    html = read(reader.get(f"{URL}{query}"))
    return html.form_to(URL).fields | typed


@pytest.mark.database
def test_it_downloads_a_bundle_that_verifies(reader: Client, tmp_path: Path):
    response = reader.post(URL, filled(reader))
    assert response["Content-Type"] == "application/zip"
    assert response["Content-Disposition"].startswith('attachment; filename="evidence-20')
    data = body(response)
    assert complaint(data, tmp_path) == ""
    finished = AuditEvent.objects.get(code="evidence_bundle.finished")
    assert finished.actor_name == "Edith"
    assert (finished.details["bytes"], finished.details["deletions"]) == (len(data), 4)
    page = read(reader.get("/evidence/"))
    assert f"An evidence bundle was made: 4 deletions, SHA-256 {finished.details['sha256']}" in (
        page.text
    )


def test_the_historys_filters_are_filled_in_and_used(reader: Client, tmp_path: Path):
    page = read(reader.get(f"{URL}?outcome=refused&period=7&q=carve-out"))
    assert '<option value="refused" selected>' in page.html
    fields = page.form_to(URL).fields
    assert fields["q"] == "carve-out"
    assert fields["since"] < fields["until"]
    data = body(reader.post(URL, fields | {"status": "refused", "q": "carve-out"}))
    assert b"status Failed, text" in files_of(data)["population.json"]
    assert complaint(data, tmp_path) == ""
    started = AuditEvent.objects.get(code="evidence_bundle.started")
    assert "status=refused&q=carve-out" in started.details["filter"]


@pytest.mark.parametrize("status", ["break_glass", "contradicted"])
def test_the_historys_filters_are_neither_widened_nor_left_out(reader: Client, status: str):
    page = read(reader.get(f"{URL}?status={status}"))
    assert f'<option value="{status}" selected>' in page.html
    page = read(reader.get(f"{URL}?status={status}&status=open"))
    assert '<option value="open" selected>' in page.html
    both = {"status": [status, "open"]}
    data = body(reader.post(URL, page.form_to(URL).fields | both))
    [started] = AuditEvent.objects.filter(code="evidence_bundle.started")
    assert f"status={status}&status=open" in started.details["filter"]
    population = json.loads(files_of(data)["population.json"])
    assert (population["selected"], population["in_period"]) == (0, 4)
    assert population["filter_in_words"] != "all deletions in the period"


def test_every_filter_is_described():
    given: dict[Any, Any] = {str: "x", bool: True, UUID: uuid4()}
    for field in dataclasses.fields(HistoryFilter):
        kind = next((one for one in given if one in {field.type, *get_args(field.type)}), None)
        if kind is not None:
            value: Any = (given[kind],) if get_origin(field.type) is tuple else given[kind]
            words = filter_text(HistoryFilter(**{field.name: value}))
            assert words != filter_text(HistoryFilter()), field.name


def test_a_kept_checkpoint_is_used(reader: Client, tmp_path: Path):
    kept = files_of(make().data)["checkpoint.txt"].decode()
    path = tmp_path / "kept.txt"
    path.write_text(kept)
    typed = {"checkpoint": kept.replace("\n", "\r\n")}
    data = body(reader.post(URL, filled(reader, **typed)))
    assert complaint(data, tmp_path, kept=str(path)) == ""


@pytest.mark.parametrize(
    ("typed", "complaint_text"),
    [
        ({"until": ""}, "This field is required."),
        ({"since": "soon"}, "Enter a valid date."),
        ({"since": "2020-01-02", "until": "2020-01-01"}, "The period ends before it begins."),
        ({"since": "9999-01-01"}, "The period ends before it begins."),
        ({"checkpoint": "nonsense"}, "The checkpoint can't be read."),
    ],
)
def test_an_invalid_form_is_shown_again_with_everything_typed(
    reader: Client, typed: dict[str, str], complaint_text: str
):
    response = reader.post(URL, filled(reader, org="Archive US") | typed)
    page = read(response)
    assert (response.status_code, complaint_text in page.text) == (422, True)
    assert '<option value="Archive US" selected>' in page.html
    assert not AuditEvent.objects.filter(code="evidence_bundle.finished").exists()


def test_without_a_key_the_page_says_so(reader: Client, settings: Settings):
    make()
    Path(settings.SIGNING_KEY_FILE).unlink()
    response = reader.post(URL, filled(reader))
    assert (response.status_code, "Put the file back" in read(response).text) == (409, True)


def test_differences_are_shown_on_the_next_page(reader: Client):
    with triggers_off():
        Deletion.objects.filter(outcome="refused").update(outcome="declined")
    body(reader.post(URL, filled(reader)))
    assert "Records that differ from their audit events: 1." in read(reader.get("/evidence/")).text


def test_the_history_links_there_for_auditors(reader: Client, client_of: ClientOf, ada: Person):
    page = read(reader.get("/deletions/?outcome=refused"))
    assert page.link("Evidence bundle of these…") == f"{URL}?status=refused"
    assert URL not in read(client_of(ada).get("/deletions/")).html
    assert read(reader.get("/evidence/")).link("Create evidence bundle") == URL
