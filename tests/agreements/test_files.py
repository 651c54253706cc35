"""Agreements as files: what an import sets and refuses, and that an export can be imported."""

import csv
import html
import io
import json
import re
from collections.abc import Callable, Collection
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from connections.access.actor import Actor, command_actor, person_actor
from connections.agreements import setting
from connections.agreements.agreed import find_agreements
from connections.core.csv_import import ImportResult
from connections.core.errors import InvalidInputError
from connections.inventory.pair_files import COLUMNS, import_agreements
from connections.models import (
    AccessKind,
    Agreement,
    AuditEvent,
    Credential,
    Org,
    OrgPair,
    Person,
)
from connections.people.people import disable_person
from connections.web.framework.csv_imports import MAX_BYTES
from sandbox.server import SandboxServer
from tests.agreements.support import agree, let_only
from tests.flows.support import Page, read, store_credential

pytestmark = pytest.mark.django_db
ClientOf = Callable[[Person], Client]
LIST, IMPORT, EXPORT = "/agreements/", "/agreements/import/", "/agreements/export/"


def as_csv(*rows: list[str], header: tuple[str, ...] = COLUMNS) -> bytes:
    file = io.StringIO()
    csv.writer(file).writerows([header, *rows])
    return file.getvalue().encode()


def row_of(pair: OrgPair, **cells: str) -> list[str]:
    """A line about the pair, by IDs."""
    values = dict(zip(COLUMNS, pair, strict=False)) | cells
    return [values.get(name, "") for name in COLUMNS]


def imported(*rows: list[str], actor: Actor | None = None) -> ImportResult:
    return import_agreements(actor=actor or command_actor(), content=as_csv(*rows))


def newest(pair: OrgPair) -> Agreement:
    return find_agreements([pair])[pair]


@pytest.mark.database
def test_a_line_sets_all_that_it_says_and_an_empty_cell_clears_all_but_data_types(
    pair: OrgPair, ada: Person
):
    line = row_of(
        pair,
        source_org="Payments US",
        destination_org="Group SOC",
        owner="ada",
        purpose="Fraud alerts",
        ticket="SEC-1",
        ends_on="2099-01-31",
        connection_types="logs",
    )
    result = imported(line)
    names = {"site": pair.site, "source_org": "Payments US", "destination_org": "Group SOC"}
    assert result.document == {"set": [{"line": 2} | names], "unchanged": [], "failed": []}
    agreement = newest(pair)
    assert (agreement.owner, agreement.ends_on) == (ada, date(2099, 1, 31))
    assert (agreement.ticket, agreement.connection_types) == ("SEC-1", ["logs"])
    assert imported(line).unchanged == [{"line": 2} | names]
    imported(row_of(pair, owner_text="SOC", purpose="Fraud alerts"))
    agreement = newest(pair)
    assert (agreement.version, agreement.owner, agreement.owner_text) == (2, None, "SOC")
    assert (agreement.ticket, agreement.ends_on) == ("", None)
    assert agreement.connection_types == ["logs"]


def test_a_failed_line_says_why_changes_nothing_and_does_not_stop_others(
    pair: OrgPair, sandbox: SandboxServer
):
    twin = Org.objects.get(org_id=pair.sink_org_id)
    Org.objects.create(
        site=pair.site,
        org_id="twin",
        name="Group SOC",
        first_seen_at=twin.first_seen_at,
        established_at=twin.established_at,
    )
    good = {"owner_text": "SOC", "purpose": "x"}
    result = imported(
        row_of(pair, source_org="Nobody", **good),
        row_of(pair, destination_org="Group SOC", **good),
        row_of(pair, owner="nobody", purpose="x"),
        row_of(pair, purpose="x"),
        row_of(pair, owner_text="SOC"),
        row_of(pair, ends_on="31/12/2099", **good),
        row_of(pair, ends_on="2020-01-01", **good),
        row_of(pair, site="nowhere", **good),
        row_of(OrgPair(pair.site, pair.source_org_id, "twin"), **good),
        row_of(pair, **good)[:-1],
        row_of(pair, purpose="a\0b", owner_text="SOC"),
        [],
        row_of(pair, **good),
    )
    assert [(row["line"], row["error"]) for row in result.failed] == [
        (2, f"No org of {pair.site} has the ID or name “Nobody”."),
        (3, "2 orgs are named “Group SOC”. Use an ID."),
        (4, "No person has the username “nobody”."),
        (5, "Choose an owner, or enter a team or other owner."),
        (6, "Enter a purpose."),
        (7, "“31/12/2099” isn't a date such as 2027-06-30."),
        (8, "Choose today or a later date."),
        (9, f"No org of nowhere has the ID or name “{pair.source_org_id}”."),
        (10, "There is no connection between these orgs now. Choose the agreed data types."),
        (11, "It has another number of cells than the header."),
        (12, "It contains a character that can't be stored."),
    ]
    assert [row["line"] for row in result.set] == [14]
    assert Agreement.objects.count() == 1


@pytest.mark.database
def test_lines_cost_no_statements_of_their_own_and_those_about_one_pair_keep_their_order(
    pair: OrgPair, other: OrgPair
):
    counts = []
    for number, pairs in enumerate([[pair], [pair, other]]):
        with CaptureQueriesContext(connection) as captured:
            imported(*(row_of(each, owner_text="SOC", purpose=f"{number}") for each in pairs))
        counts.append(len(captured))
    assert counts[1] == counts[0]
    lines = [row_of(pair, owner_text="SOC", purpose=purpose) for purpose in ("x", "y", "y")]
    with CaptureQueriesContext(connection) as captured:
        result = imported(*lines, row_of(other, owner_text="SOC", purpose="z"))
    assert len(captured) == counts[0]
    assert [len(rows) for rows in result.document.values()] == [3, 1, 0]
    assert (newest(pair).version, newest(pair).purpose) == (4, "y")
    assert newest(other).purpose == "z"


@pytest.mark.database
def test_if_someone_sets_one_of_many_at_the_same_time_only_its_line_fails(
    pair: OrgPair, other: OrgPair, monkeypatch: pytest.MonkeyPatch
):
    agree(pair, actor=command_actor(), purpose="Theirs")
    reads = []

    def outdated(pairs: Collection[OrgPair]) -> dict[OrgPair, Agreement]:
        reads.append(pairs)
        # That of all lines, and that of the first line alone, which follows.
        return {} if len(reads) <= 2 else find_agreements(pairs)

    monkeypatch.setattr(setting, "find_agreements", outdated)
    result = imported(*(row_of(each, owner_text="SOC", purpose="Mine") for each in (pair, other)))
    assert [row["line"] for row in result.set] == [3]
    [failed] = result.failed
    assert failed["error"].startswith("Someone changed this agreement in the meantime")
    assert (newest(pair).version, newest(pair).purpose) == (1, "Theirs")
    assert newest(other).purpose == "Mine"


@pytest.mark.parametrize(
    ("rest", "error"),
    [
        (b'"open\n', "Line 3 isn't valid CSV. Check its quotes."),
        (b"us1,\xff\xfe\n", "Line 3 isn't valid UTF-8."),
    ],
)
def test_a_file_that_cannot_be_read_changes_nothing(pair: OrgPair, rest: bytes, error: str):
    with pytest.raises(InvalidInputError) as refused:
        import_agreements(
            actor=command_actor(),
            content=as_csv(row_of(pair, owner_text="SOC", purpose="x")) + rest,
        )
    assert refused.value.fields == {"file": error}
    assert not Agreement.objects.exists()


def test_a_file_without_the_columns_is_refused():
    with pytest.raises(InvalidInputError):
        import_agreements(actor=command_actor(), content=b"site\nx\n")


@pytest.mark.database
def test_what_is_hidden_or_not_one_s_to_set_fails_like_what_does_not_exist(
    pair: OrgPair,
    payments: Credential,
    sandbox: SandboxServer,
    ada: Person,
    grace: Person,
    victor: Person,
    root: Person,
):
    line = row_of(pair, owner_text="SOC", purpose="x")
    [failed] = imported(line, actor=person_actor(person=victor)).failed
    assert "permission" in failed["error"]
    let_only(ada, credential=payments, kind=AccessKind.SEE, actor=person_actor(person=root))
    hidden_from = person_actor(person=Person.objects.get(pk=grace.pk))
    unknown = row_of(OrgPair(pair.site, "x", pair.sink_org_id), owner_text="SOC", purpose="x")
    hidden = imported(line, unknown, actor=hidden_from).failed
    assert [row["error"].replace(pair.source_org_id, "x") for row in hidden] == [
        f"No org of {pair.site} has the ID or name “x”."
    ] * 2
    # Both orgs are known from elsewhere, but not what connects them.
    store_credential(sandbox, "Labs EU")
    for org_id in (pair.source_org_id, pair.sink_org_id):
        Org.objects.get(org_id=org_id).managed_by.add(Credential.objects.get(name="Labs EU"))
    opposite = OrgPair(pair.site, pair.sink_org_id, pair.source_org_id)
    types = {"owner_text": "SOC", "purpose": "x", "connection_types": "logs"}
    both = imported(row_of(pair, **types), row_of(opposite, **types), actor=hidden_from)
    assert {row["error"] for row in both.failed} == {"Not found: check the IDs and names."}
    assert len(both.failed) == 2
    assert not Agreement.objects.exists()


# --- Export, edit, import -------------------------------------------------------------------------


def exported(client: Client, query: str = "") -> tuple[bytes, list[dict[str, str]]]:
    content = client.get(f"{EXPORT}?format=csv{query}").getvalue()
    reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""))
    assert tuple(reader.fieldnames or ())[: len(COLUMNS)] == COLUMNS
    return content, list(reader)


@pytest.mark.database
def test_an_export_can_be_edited_and_imported(
    pair: OrgPair, ada: Person, grace: Person, root: Person, client_of: ClientOf
):
    Org.objects.filter(org_id=pair.sink_org_id).update(name="=1+1")
    hard: dict[str, Any] = {"owner_text": "@all, “us”", "purpose": "'=x\n-1", "ticket": "+1"}
    agree(pair, actor=command_actor(), owner=grace, **hard)
    disable_person(actor=person_actor(person=root), person=grace)
    content, rows = exported(client_of(ada))
    [row] = [row for row in rows if row["version"]]
    assert (row["agreed"], row["reasons"]) == ("yes", "")
    assert (row["destination_org"], row["destination_org_id"]) == ("'=1+1", pair.sink_org_id)
    again = import_agreements(actor=person_actor(person=ada), content=content)
    assert (len(again.unchanged), again.set, again.failed) == (len(rows), [], [])
    for each in rows:
        each.update(owner="ada", purpose=each["purpose"] or "Everyday use")
    edited = [[each[name] for name in COLUMNS] for each in rows]
    result = import_agreements(actor=person_actor(person=ada), content=as_csv(*edited))
    assert (len(result.set), result.failed) == (len(rows), [])
    assert newest(pair).purpose == hard["purpose"]
    assert all(row["owner"] == "ada" for row in exported(client_of(ada), "&owner=ada")[1])
    assert exported(client_of(ada), "&owner=grace")[1] == []


def test_other_formats_have_the_same_columns(pair: OrgPair, ada: Person, client_of: ClientOf):
    agree(pair, actor=command_actor(), owner=ada)
    response = client_of(ada).get(f"{EXPORT}?format=json&owner=ada")
    [row] = json.loads(response.getvalue())
    assert (row["owner"], row["connection_types"]) == ("ada", "logs metrics")
    assert row["listed_types"] == ["logs", "metrics"]
    assert client_of(ada).get(f"{EXPORT}?format=json&ends_within=x").status_code == 400


def confirming(preview: Page) -> dict[str, str]:
    """What the button of a preview posts."""
    [digest] = re.findall(r'name="digest" value="([0-9a-f]+)"', preview.html)
    lines = hidden_lines(preview).replace("\n", "\r\n")
    return {"csv": lines, "digest": digest, "confirm": "yes"}


def hidden_lines(preview: Page) -> str:
    """The lines that a preview imports."""
    [lines] = re.findall(r'<textarea name="csv" hidden>(.*?)</textarea>', preview.html, re.DOTALL)
    return html.unescape(lines)


def test_the_page_previews_what_each_line_changes_and_then_imports_the_same_lines(
    pair: OrgPair, other: OrgPair, ada: Person, client_of: ClientOf
):
    agree(pair, actor=command_actor(), owner=ada, owner_text="", purpose="Fraud alerts")
    lines = as_csv(
        row_of(pair, owner_text="SOC", purpose="Fraud\nalerts"),
        row_of(pair, owner_text="SOC", purpose="Fraud\nalerts"),
        row_of(other, owner_text="SOC", purpose="Audit"),
        row_of(pair, owner_text="y"),
    )
    client = client_of(ada)
    assert read(client.get(LIST)).link("Import…") == IMPORT
    preview = read(client.post(IMPORT, {"file": SimpleUploadedFile("a.csv", lines)}))
    assert "2 agreements to set, 1 unchanged and 1 line with an error." in preview.text
    assert "Owner Ada → SOC · Purpose “Fraud alerts” → “Fraud alerts”" in preview.text
    assert "· Owner SOC · Purpose “Audit”" in preview.text
    assert "Enter a purpose." in preview.text
    assert Agreement.objects.count() == 1
    assert AuditEvent.objects.filter(code="agreement.set").count() == 1

    # Browsers send the lines with CRLF, also within a cell.
    posted = {"csv": hidden_lines(preview).replace("\n", "\r\n")}
    edited = read(client.post(IMPORT, posted | {"edit": "yes"}))
    assert (edited.status, "Fraud\r\nalerts" in edited.html) == (200, True)
    assert Agreement.objects.count() == 1
    done = read(client.post(IMPORT, posted | {"confirm": "yes"}))
    assert "2 agreements set, 1 unchanged and 1 line failed." in done.text
    assert (newest(pair).purpose, newest(other).purpose) == ("Fraud\nalerts", "Audit")
    [found] = {href for href, text in done.links if text.strip() == f"{other[1]} → {other[2]}"}
    page = read(client.get(found))
    assert "Audit" in page.text
    assert "Fraud" not in page.text


def test_a_preview_says_each_change_of_the_owner(
    pair: OrgPair, ada: Person, grace: Person, root: Person
):
    Person.objects.filter(pk=root.pk).update(first_name=ada.first_name, last_name=ada.last_name)
    agree(pair, actor=command_actor(), owner=ada, owner_text="SOC", purpose="x")
    for owner, change in (
        ({"owner": "grace", "owner_text": "SOC"}, "Owner Ada and SOC → Grace and SOC"),
        ({"owner": "ada"}, "Owner Ada and SOC → Ada"),
        ({"owner": "root", "owner_text": "SOC"}, "Owner ada and SOC → root and SOC"),
    ):
        content = as_csv(row_of(pair, purpose="x", **owner))
        preview = import_agreements(actor=command_actor(), content=content, is_preview=True)
        assert preview.changes == {2: [change]}


def test_what_someone_sets_after_the_preview_is_not_overwritten_unseen(
    pair: OrgPair, ada: Person, grace: Person, client_of: ClientOf
):
    agree(pair, actor=command_actor(), owner=ada, owner_text="", purpose="p")
    client = client_of(ada)
    preview = read(
        client.post(IMPORT, {"csv": as_csv(row_of(pair, owner="ada", purpose="q")).decode()})
    )
    agree(pair, actor=command_actor(), owner=grace, owner_text="", purpose="other")
    again = read(client.post(IMPORT, confirming(preview)))
    assert (again.status, newest(pair).owner) == (409, grace)
    assert "someone changed these in the meantime" in again.text
    assert "Owner Grace → Ada · Purpose “other” → “q”" in again.text
    done = read(client.post(IMPORT, confirming(again)))
    assert (done.status, newest(pair).purpose) == (200, "q")


def test_lines_as_long_as_the_form_takes_are_imported(
    pair: OrgPair, ada: Person, client_of: ClientOf
):
    client = client_of(ada)
    rows = [[*row_of(pair, owner_text="チーム", purpose=f"監査ログ {n}"), ""] for n in range(1000)]

    def of_size(size: int) -> str:
        """The lines with a note that makes them so large, line ends counted twice."""
        header = (*COLUMNS, "note")
        length = len(as_csv(*rows, header=header))
        return as_csv(*rows[:-1], [*rows[-1][:-1], "x" * (size - length)], header=header).decode()

    preview = read(client.post(IMPORT, {"csv": of_size(MAX_BYTES)}))
    done = read(client.post(IMPORT, confirming(preview)))
    assert "1,000 agreements set." in done.text
    larger = read(client.post(IMPORT, {"csv": of_size(MAX_BYTES + 1)}))
    assert "lines and 250 KB at once." in larger.text


def test_data_types_are_read_as_people_write_them_and_an_org_does_not_share_with_itself(
    pair: OrgPair,
):
    line = row_of(pair, owner_text="SOC", purpose="x", connection_types="Logs, metrics")
    itself = row_of(OrgPair(pair.site, pair.source_org_id, pair.source_org_id), owner_text="SOC")
    result = imported(line, itself)
    assert newest(pair).connection_types == ["logs", "metrics"]
    assert [row["error"] for row in result.failed] == ["Source and destination are the same org."]


def test_an_empty_line_after_a_failed_one_is_unchanged_in_preview_and_import(pair: OrgPair):
    others = [row_of(pair, site="nowhere", owner_text="x")] * 100
    content = as_csv(row_of(pair, owner_text="x"), *others, row_of(pair))
    for is_preview in (True, False):
        result = import_agreements(actor=command_actor(), content=content, is_preview=is_preview)
        assert (len(result.failed), len(result.unchanged)) == (101, 1)


def test_a_page_that_cannot_use_the_lines_says_why(ada: Person, client_of: ClientOf):
    client = client_of(ada)
    for posted, problem in (
        ({}, "Paste lines, or choose one file"),
        ({"csv": "site\n"}, "The first line must be the header"),
        ({"csv": "\n" * 1002}, "Import at most 1,000 lines and 250 KB at once."),
        ({"file": SimpleUploadedFile("a.csv", b"a\0b")}, "a character that can't be stored."),
    ):
        page = read(client.post(IMPORT, posted))
        assert (page.status, problem in page.text) == (422, True)


def test_the_command_prints_what_became_of_each_line(
    pair: OrgPair, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file = tmp_path / "agreements.csv"
    file.write_bytes(as_csv(row_of(pair, owner_text="SOC", purpose="x"), row_of(pair, purpose="x")))
    with pytest.raises(SystemExit, match="1"):
        call_command("import_agreements", file=str(file), json=True)
    document = json.loads(capsys.readouterr().out)
    assert [row["line"] for row in document["set"]] == [2]
    assert document["failed"] == [
        {"line": 3, "error": "Choose an owner, or enter a team or other owner."}
    ]
    assert newest(pair).set_by_process == command_actor().name
