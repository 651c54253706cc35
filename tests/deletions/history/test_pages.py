"""The history's page and its exports."""

import csv
import io
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from connections import audit
from connections.core import tabular
from connections.deletions import history
from connections.deletions.export import DELETION_EXPORT_COLUMNS
from connections.models import AuditEvent, Outcome, Person, State
from tests.deletions.history.conftest import Make

pytestmark = pytest.mark.django_db
ClientOf = Callable[[Person], Client]


def body_of(client: Client, url: str) -> str:
    return client.get(url).getvalue().decode()


def test_an_empty_history_links_to_the_next_step(client_of: ClientOf, victor: Person):
    page = body_of(client_of(victor), "/deletions/")
    assert "Every deletion is kept, with requester" in page
    assert "/connections/" in page


def test_a_row_links_to_its_deletion_and_shows_its_status(
    client_of: ClientOf, victor: Person, make: Make
):
    deletion = make(reason="vendor <b>gone</b>", ticket="SEC-1")
    page = body_of(client_of(victor), "/deletions/")
    assert f'href="/deletions/{deletion.pk}/"' in page
    assert "Payments EU" in page
    assert re.search(r'class="badge tone-warn"[^>]*>.*?</svg>Deleted, unverified</span>', page)
    assert "vendor &lt;b&gt;gone&lt;/b&gt;" in page
    assert "SEC-1" in page
    assert "1 deletion" in page


def test_filters_that_find_nothing_say_so(client_of: ClientOf, victor: Person, make: Make):
    make()
    page = body_of(client_of(victor), "/deletions/?ticket=NONE-1")
    assert "No deletions match these filters" in page


@pytest.mark.parametrize(
    "after",
    [
        "nonsense",
        "2026~1",
        "0001-01-01T00:00:00+23:59~0b7e3c1a-0000-4000-8000-000000000000",
    ],
)
def test_an_invalid_cursor_is_a_400(client_of: ClientOf, victor: Person, after: str):
    response = client_of(victor).get("/deletions/", {"after": after})
    assert response.status_code == 400


def test_the_last_possible_date_causes_no_error(client_of: ClientOf, victor: Person, make: Make):
    make(ticket="SEC-3")
    assert "SEC-3" in body_of(client_of(victor), "/deletions/?until=9999-12-31")


@pytest.mark.database
def test_people_orgs_and_credentials_to_choose_from_are_on_the_page_that_more_links_to(
    client_of: ClientOf, edith: Person, make: Make
):
    deletion = make(ticket="SEC-1")
    client = client_of(edith)
    choices = {
        f'<option value="{deletion.requested_by_id}">',
        f'<option value="{deletion.credential_id}">',
    }
    page = body_of(client, "/deletions/?ticket=SEC-1")
    assert not any(choice in page for choice in choices)
    [more] = re.findall(r'id="filters-more" href="([^"]+)"', page)
    page = body_of(client, more.replace("&amp;", "&"))
    assert all(choice in page for choice in choices)
    assert 'name="ticket" value="SEC-1"' in page
    # No link keeps it, so that no export records it as a filter.
    assert not re.findall(r'href="[^"]*more=', page)


@pytest.mark.database
def test_older_pages_keep_the_filter(
    client_of: ClientOf, victor: Person, make: Make, monkeypatch: pytest.MonkeyPatch
):
    for minute in range(history.PAGE_SIZE + 1):
        make(minute=minute, ticket="SEC-1")
    page = body_of(client_of(victor), "/deletions/?ticket=SEC-1")
    assert "ticket=SEC-1&amp;after=" in page


@pytest.mark.database
def test_a_csv_export_is_exactly_the_filtered_set(client_of: ClientOf, edith: Person, make: Make):
    make(minute=1)
    wanted = make(minute=2, outcome=Outcome.REFUSED)
    text = body_of(
        client_of(edith), "/deletions/export/?format=csv&outcome=refused&site=x&site=datadoghq.eu"
    )
    rows = list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))
    assert [row["id"] for row in rows] == [str(wanted.pk)]


def test_json_and_ndjson_hold_the_same_rows(client_of: ClientOf, edith: Person, make: Make):
    for minute in range(3):
        make(minute=minute)
    client = client_of(edith)
    as_json = json.loads(body_of(client, "/deletions/export/?format=json"))
    lines = body_of(client, "/deletions/export/?format=ndjson").splitlines()
    assert as_json == [json.loads(line) for line in lines]
    assert set(DELETION_EXPORT_COLUMNS.values) <= set(as_json[0])


def test_an_empty_json_export_is_an_empty_list(client_of: ClientOf, edith: Person):
    assert json.loads(body_of(client_of(edith), "/deletions/export/?format=json")) == []


@pytest.mark.database
def test_exports_include_every_batch(
    client_of: ClientOf, edith: Person, make: Make, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(history, "EXPORT_BATCH", 2)
    for minute in range(5):
        make(minute=minute)
    assert len(json.loads(body_of(client_of(edith), "/deletions/export/?format=json"))) == 5


HIDDEN = ("\t", "\r", "\n", "\x0b", "\u200b", "\ufeff", "\u2028")


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", " =1", *(f"{first}=1" for first in HIDDEN)]
)
def test_no_cell_can_be_read_as_a_formula(text: str):
    assert tabular.as_cell(text).startswith("'")


@pytest.mark.parametrize(
    "start",
    [
        pytest.param("\uff1d", id="full-width equals sign"),
        pytest.param("\uff0b", id="full-width plus sign"),
        pytest.param("\uff0d", id="full-width minus sign"),
        pytest.param("\uff20", id="full-width at sign"),
        pytest.param("\ufe66", id="small equals sign"),
        pytest.param("\u3000\uff1d", id="full-width space first"),
        pytest.param("\u00a0=", id="no-break space first"),
    ],
)
def test_a_full_width_sign_cannot_start_a_formula(start: str):
    assert tabular.as_cell(f"{start}1+1") == f"'{start}1+1"


def test_other_full_width_text_is_exported_as_it_is():
    assert tabular.as_cell("\uff21\uff23\uff2d\uff25\uff1d") == "\uff21\uff23\uff2d\uff25\uff1d"


@pytest.mark.database
def test_an_export_is_recorded_before_its_first_byte(
    client_of: ClientOf, edith: Person, make: Make
):
    make()
    client_of(edith).get("/deletions/export/?format=csv&ticket=SEC-1")
    event = AuditEvent.objects.get(code=audit.EventCode.EXPORT_STARTED)
    assert event.details["filter"] == "ticket=SEC-1"
    assert event.actor_name == edith.display_name


def test_a_person_without_the_export_permission_gets_nothing_and_sees_no_button(
    client_of: ClientOf, victor: Person, make: Make
):
    make()
    client = client_of(victor)
    assert client.get("/deletions/export/?format=csv").status_code == 403
    assert "Export" not in body_of(client, "/deletions/")


@pytest.mark.parametrize("query", ["format=xml", "format=csv&since=yesterday"])
def test_an_export_with_an_invalid_filter_is_refused_rather_than_widened(
    client_of: ClientOf, edith: Person, query: str
):
    assert client_of(edith).get(f"/deletions/export/?{query}").status_code == 400


@pytest.mark.database
def test_every_state_and_outcome_can_be_filtered(client_of: ClientOf, victor: Person, make: Make):
    make()
    page = body_of(client_of(victor), "/deletions/")
    values: list[Any] = [state for state in State if state != State.SETTLED]
    assert [v for v in [*values, *Outcome] if f'<option value="{v}">' not in page] == []
    assert '<optgroup label="Not deleted">' in page


def test_the_command_writes_what_the_page_exports(make: Make, capsys: pytest.CaptureFixture[str]):
    deletion = make(ticket="SEC-7")
    make(minute=1)
    call_command("export_deletions", "--format", "ndjson", "--ticket", "SEC-7")
    [line] = capsys.readouterr().out.splitlines()
    row = json.loads(line)
    assert (row["id"], row["source_org"]["name"]) == (str(deletion.pk), "Payments EU")
    assert AuditEvent.objects.filter(code=audit.EventCode.EXPORT_STARTED).count() == 1
    with pytest.raises(CommandError, match="invalid choice: 'xml'"):
        call_command("export_deletions", "--format", "xml")


def test_the_command_with_json_is_one_document(make: Make, capsys: pytest.CaptureFixture[str]):
    make()
    call_command("export_deletions", "--json")
    assert len(json.loads(capsys.readouterr().out)) == 1
