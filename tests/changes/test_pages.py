"""The list of changes, its acknowledgements and its exports."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from connections.access.actor import person_actor
from connections.core.tabular import as_time
from connections.credentials import access_lists
from connections.models import AccessKind, AuditEvent, Change, Credential, Person
from tests.changes.support import (
    kinds,
    make_connection,
    make_credential,
    make_deletion,
    sync,
    with_creator,
)
from tests.flows.support import HTMX, read
from tests.support.clock import SettableClock

pytestmark = pytest.mark.django_db

X = make_connection(1)
WITH_AUDIT = replace(X, connection_types=("logs", "audit"))
NOTE = "Agreed with the network team in OPS-341."
LIST = "/changes/"


@pytest.fixture
def credential(db: None) -> Credential:
    """A credential that has listed `X`."""
    credential = make_credential("Prod")
    sync(credential, X)
    return credential


@pytest.fixture
def widened(credential: Credential) -> Change:
    """A change that needs attention."""
    [change] = sync(credential, WITH_AUDIT)
    return change


@pytest.fixture
def operator(ada: Person, client_of: Callable[[Person], Client]) -> Client:
    """Ada, an Operator, signed in."""
    return client_of(ada)


def acknowledge_url(change: Change) -> str:
    return reverse("change-acknowledge", args=[change.pk])


def listed_kinds(client: Client, query: str) -> list[str]:
    """The kinds of the rows, newest first."""
    response = client.get(f"{LIST}{query}")
    assert response.status_code == 200
    return [view.row.change.kind for view in response.context["rows"]]


# --- The list ---


def test_a_row_says_what_changed_when_and_who_saw_it(operator: Client, widened: Change):
    html = read(operator.get(LIST)).html
    assert 'data-kind="types_changed"' in html
    assert f'data-connection="US1/{X.id}"' in html
    assert "data-attention" in html
    for text in (
        "Widened to audit",
        "Seen in the syncs of Prod",
        "Acme Prod",
        "type-audit type-added",
        " UTC</span>",
    ):
        assert text in html


def test_a_widened_connection_is_a_link(operator: Client, widened: Change):
    links = read(operator.get(LIST)).links
    assert f"/connections/US1/{X.id}/" in [href for href, _ in links]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(30, "at 14:03 UTC"), (60, "between 14:03 and 14:04 UTC")],
    ids=["same", "next"],
)
def test_a_row_says_between_which_minutes_it_changed(
    clock: SettableClock,
    ada: Person,
    client_of: Callable[[Person], Client],
    seconds: int,
    expected: str,
):
    credential = make_credential("Prod")
    sync(credential, X)
    clock.advance(seconds=seconds)
    sync(credential, WITH_AUDIT)
    assert f">{expected}</span>" in read(client_of(ada).get(LIST)).html


@pytest.mark.parametrize(
    ("query", "headline"),
    [("", "No changes yet"), ("?attention=yes&acknowledged=no", "Nothing needs attention")],
)
def test_an_empty_list_says_what_will_be_there(
    operator: Client, credential: Credential, query: str, headline: str
):
    assert headline in read(operator.get(f"{LIST}{query}")).text


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["Needs attention 1", "All *"]),
        ("?attention=yes&acknowledged=no&site=US1", ["Needs attention 1 *", "All"]),
        ("?attention=yes", ["Needs attention 1", "All", "Needed attention *"]),
        ("?acknowledged=yes", ["Needs attention 1", "All", "Acknowledged *"]),
        ("?attention=nonsense", ["Needs attention 1", "All *"]),
    ],
)
def test_the_parts_of_the_list_are_links_that_keep_the_filters(
    operator: Client, widened: Change, query: str, expected: list[str]
):
    response = operator.get(f"{LIST}{query}")
    parts = response.context["parts"]
    assert [
        " ".join(filter(None, [part.label, str(part.count or ""), "*" * part.is_current]))
        for part in parts
    ] == expected
    assert all(("site=US1" in part.url) == ("site=US1" in query) for part in parts)
    # The filters keep the part as well.
    kept = 'type="hidden" name="attention" value="yes"'
    assert (kept in response.content.decode()) == ("attention=yes" in query)


def test_filters_that_match_nothing_can_be_cleared(operator: Client, widened: Change):
    page = read(operator.get(f"{LIST}?q=nowhere"))
    assert "No changes match these filters" in page.text


@pytest.mark.database
def test_filters(operator: Client, credential: Credential):
    sync(credential, WITH_AUDIT)
    sync(credential, WITH_AUDIT, make_connection(2, sink="lab"))
    both = ["appeared", "types_changed"]
    expected = {
        "": both,
        "?kind=appeared": ["appeared"],
        "?site=US1": both,
        "?site=EU1": [],
        "?org=US1/lab": ["appeared"],
        "?org=US1/prod": both,
        "?org=EU1/prod": [],
        "?q=acme+dev": ["types_changed"],
        "?attention=yes": ["types_changed"],
        "?acknowledged=no": both,
        "?acknowledged=yes": [],
        "?kind=nonsense": [],
        "?kind=appeared&kind=types_changed&org=US1/lab&org=US1/dev": both,
    }
    assert {query: listed_kinds(operator, query) for query in expected} == expected


def test_an_unknown_place_is_a_bad_request(operator: Client):
    assert operator.get(f"{LIST}?after=x").status_code == 400


# --- What is known of the cause ---


def test_a_recreated_connection_names_our_deletion(operator: Client):
    credential = make_credential("Prod")
    sync(credential, X)
    deletion = make_deletion(credential, X)
    sync(credential)
    sync(credential, replace(make_connection(2), created_at=None))
    html = read(operator.get(LIST)).html
    assert kinds(Change.objects.order_by("number")) == ["removed", "recreated"]
    assert f"Removed by {deletion.requested_by_name}" in html
    assert "Recreated after deletion" in html
    assert reverse("deletion-detail", args=[deletion.pk]) in html


def test_a_creator_who_became_disabled_is_named(operator: Client, credential: Credential):
    sync(credential, with_creator(X, disabled=True))
    page = read(operator.get(LIST))
    assert "Creator disabled" in page.text
    assert "Ada's account is disabled." in page.text


def test_text_from_datadog_is_escaped(operator: Client, credential: Credential):
    sync(credential, with_creator(X, id="user-eve", name="<b>Eve</b>"))
    html = read(operator.get(LIST)).html
    assert "<b>Eve" not in html
    assert "&lt;b&gt;Eve" in html


# --- Acknowledging ---


def test_one_change_is_acknowledged_with_a_note(operator: Client, widened: Change, ada: Person):
    response = operator.post(acknowledge_url(widened), {"note": NOTE, "filters": "attention=yes"})
    assert response.status_code == 303
    assert response["Location"] == "/changes/?attention=yes"
    widened.refresh_from_db()
    assert (widened.acknowledged_by, widened.note) == (ada, NOTE)
    event = AuditEvent.objects.get(code="changes.acknowledged")
    assert widened.acknowledged_at
    assert event.details == {
        "changes": [str(widened.pk)],
        "note": NOTE,
        "acknowledged_at": as_time(widened.acknowledged_at),
    }
    assert NOTE in read(operator.get(LIST)).text


def test_many_are_acknowledged_with_one_note(operator: Client, credential: Credential):
    with_audit = [make_connection(n, types=("audit",), sink=f"s{n}") for n in (2, 3, 4)]
    changes = sync(credential, X, *with_audit)
    response = operator.post(
        "/changes/acknowledge/", {"change": [change.pk for change in changes[:2]], "note": NOTE}
    )
    assert response.status_code == 303
    assert Change.objects.filter(note=NOTE).count() == 2
    assert listed_kinds(operator, "?attention=yes&acknowledged=no") == ["appeared"]


@pytest.mark.parametrize("note", ["", "  ", "\u200b", "x" * 4001])
def test_a_note_that_cannot_be_used_keeps_note_and_selection(
    operator: Client, widened: Change, note: str
):
    response = operator.post(
        "/changes/acknowledge/", {"change": [widened.pk], "note": note, "filters": "site=US1"}
    )
    assert response.status_code == 422
    html = response.content.decode()
    assert 'form="acknowledge"' in html
    assert " checked>" in html
    assert "Site: US1" in html
    assert 'aria-invalid="true"' in html
    assert ("A note can have at most 4,000 characters." in html) == (len(note) > 4000)
    widened.refresh_from_db()
    assert widened.acknowledged_at is None


def test_a_missing_note_leaves_the_row_open(operator: Client, widened: Change):
    response = operator.post(acknowledge_url(widened), {"note": ""})
    assert response.status_code == 422
    assert '<details class="row-opener" open>' in response.content.decode()
    assert "Enter a note." in read(response).text


def test_nothing_selected_is_an_error_that_keeps_the_note(operator: Client, widened: Change):
    response = operator.post("/changes/acknowledge/", {"note": NOTE})
    assert response.status_code == 422
    assert NOTE in response.content.decode()
    assert "Select at least 1 change." in read(response).text


def test_htmx_gets_only_the_list(operator: Client, widened: Change):
    headers = {**HTMX, "HX-Target": "list"}
    refused = operator.post(acknowledge_url(widened), {"note": ""}, headers=headers)
    assert refused.status_code == 422
    assert "<html" not in refused.content.decode()
    done = operator.post(acknowledge_url(widened), {"note": NOTE}, headers=headers, follow=True)
    html = done.content.decode()
    assert 'id="list"' in html
    assert "<html" not in html
    assert "Acknowledged: Acme Prod → Acme Dev." in html
    assert 'id="count-change-list" hx-swap-oob="true"></span>' in html


@pytest.mark.parametrize("who", ["victor", "margaret"])
def test_others_see_that_nobody_has_acknowledged_it(
    widened: Change, who: str, request: pytest.FixtureRequest, client_of: Callable[[Person], Client]
):
    client = client_of(request.getfixturevalue(who))
    html = read(client.get(LIST)).html
    assert "Not acknowledged</span>" in html
    assert "note-form" not in html
    assert client.post(acknowledge_url(widened), {"note": NOTE}).status_code == 403


def test_the_navigation_counts_what_needs_attention_and_leads_to_it(
    operator: Client, widened: Change
):
    def entry() -> tuple[str, str]:
        items = {item.label: item for item in operator.get(LIST).context["nav"].items}
        return items["Changes"].count, items["Changes"].url

    assert entry() == ("1", "/changes/?needs=you")
    page = operator.get("/changes/?needs=you")
    assert page.context["rows"][0].row.change == widened
    assert 'aria-label="Main"' in page.text
    operator.post(acknowledge_url(widened), {"note": NOTE})
    assert entry() == ("", "/changes/")


# --- Export ---


def test_the_export_has_the_rows_of_the_command(
    operator: Client, widened: Change, capsys: pytest.CaptureFixture[str]
):
    response = operator.get("/changes/export/?format=json")
    with pytest.raises(SystemExit, match="10"):
        call_command("list_changes", "--json")
    document = json.loads(capsys.readouterr().out)
    assert {"changes": json.loads(b"".join(response))} == document


@pytest.mark.parametrize("file_format", ["csv", "ndjson"])
def test_other_formats_have_one_row_for_each_change(
    operator: Client, widened: Change, file_format: str
):
    response = operator.get(f"/changes/export/?format={file_format}&kind=types_changed")
    assert str(widened.pk) in b"".join(response).decode()


def test_an_unknown_format_is_a_bad_request(operator: Client):
    assert operator.get("/changes/export/?format=xml").status_code == 400


# --- What access lists hide ---


def hide(credential: Credential, root: Person) -> None:
    """Let only administrators and Auditors see a credential."""
    access_lists.change_access(
        actor=person_actor(person=root),
        credential=credential,
        wanted={
            kind: [f"person:{root.pk}"] if kind == AccessKind.SEE else [] for kind in AccessKind
        },
    )


def test_the_former_connection_of_a_recreated_one_stays_hidden(
    operator: Client, credential: Credential, root: Person
):
    hidden = make_credential("Secret", org_id="dev")
    former = make_connection(5, source="lab", sink="dev")
    sync(hidden, former)
    make_deletion(hidden, former)
    sync(hidden)
    third = make_credential("Lab", org_id="lab")
    sync(third)
    sync(third, make_connection(6, source="lab", sink="dev"))
    hide(hidden, root)
    [row] = json.loads(b"".join(operator.get("/changes/export/?format=json")))
    assert (row["kind"], row["before"], row["widened"]) == ("recreated", None, None)
    assert former.id not in read(operator.get(LIST)).html
    assert listed_kinds(operator, f"?q={former.id}") == []
    assert listed_kinds(operator, f"?q={row['connection_id']}") == ["recreated"]


def test_a_renamed_org_is_visible_with_its_credential_only(
    operator: Client, credential: Credential, root: Person
):
    sync(credential, X, own_name="New name")
    assert listed_kinds(operator, "") == ["org_renamed"]
    hide(credential, root)
    assert listed_kinds(operator, "") == []


# --- Other pages ---


def test_the_overview_links_to_the_open_note_of_a_change_and_then_shows_it_among_the_others(
    operator: Client, widened: Change, victor: Person, client_of: Callable[[Person], Client]
):
    context = operator.get("/").context
    [item] = context["first"]
    assert (item.badge.label, context["recent"]) == ("Widened to audit", [])
    assert item.url == f"/changes/?attention=yes&acknowledged=no&open={widened.pk}"
    html = read(operator.get(item.url)).html
    assert '<details class="row-opener" open>' in html
    assert "Widened to audit" in [
        item.badge.label for item in client_of(victor).get("/").context["others"]
    ]

    done = operator.post(acknowledge_url(widened), {"note": NOTE, "filters": "attention=yes"})
    assert done["Location"] == "/changes/?attention=yes"
    context = operator.get("/").context
    assert context["first"] == []
    assert [item.note for item in context["recent"]] == ["Acknowledged by Ada"]


def test_the_timeline_of_a_connection_shows_its_changes(operator: Client, widened: Change):
    operator.post(acknowledge_url(widened), {"note": NOTE})
    page = read(operator.get(f"/connections/US1/{X.id}/"))
    assert "Widened to audit" in page.text
    assert f"Acknowledged by Ada: “{NOTE}”" in page.text
    assert "Data types: logs → logs, audit" not in page.text


def test_the_timeline_leads_to_the_open_note_of_what_is_not_acknowledged(
    operator: Client, widened: Change
):
    page = read(operator.get(f"/connections/US1/{X.id}/"))
    assert "Not acknowledged." in page.text
    assert page.link("Widened to audit") == (
        f"/changes/?attention=yes&acknowledged=no&open={widened.pk}"
    )


def test_the_timeline_says_once_that_it_is_new_and_links_to_the_former_one(
    operator: Client, credential: Credential
):
    new = make_connection(2)
    sync(credential, new)
    page = read(operator.get(f"/connections/US1/{new.id}/"))
    assert "Recreated" in page.text
    assert "Data types: logs." in page.text
    assert "First seen by Org Admin" not in page.text
    assert f'href="/connections/US1/{X.id}/"' in page.html


def test_a_person_turns_their_own_emails_off_and_on(operator: Client, ada: Person):
    for wanted, is_on in (("no", False), ("no", False), ("yes", True)):
        operator.post("/accounts/change-emails/", {"wanted": wanted})
        ada.refresh_from_db()
        assert ada.wants_change_emails is is_on
    assert AuditEvent.objects.filter(code="person.change_emails_set").count() == 2
