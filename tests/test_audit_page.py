"""The record of acts, as an auditor reads it."""

from collections.abc import Callable
from uuid import uuid4

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from connections.actors import command_actor, person_actor
from connections.models import AuditEvent, Person
from connections.services import audit, audit_trail
from connections.services.audit import Code
from tests.flows.support import Page, read

ClientOf = Callable[[Person], Client]


def add_event(
    sentence: str, *, code: Code = Code.EXPORT_STARTED, by: Person | None = None
) -> AuditEvent:
    """Record an act by a person, or by a command."""
    actor = person_actor(person=by) if by else command_actor()
    audit.record(code=code, actor=actor, sentence=sentence, subject=by)
    return AuditEvent.objects.latest("seq")


def open_audit(client: Client, **filters: str | int | None) -> Page:
    return read(client.get("/audit/", {name: str(value) for name, value in filters.items()}))


def test_the_newest_act_stands_first_with_who_and_what(
    client_of: ClientOf, edith: Person, ada: Person
) -> None:
    add_event("Something older.")
    event = add_event("Ada exported deletions as csv.", by=ada)
    page = open_audit(client_of(edith))
    assert page.text.index("Ada exported") < page.text.index("Something older.")
    assert "export.started Ada" in page.text
    assert f'<tr id="{event.seq}">' in page.html


def test_foreign_text_in_a_sentence_stays_text(client_of: ClientOf, edith: Person) -> None:
    add_event("<script>alert(1)</script>")
    assert "&lt;script&gt;alert(1)" in open_audit(client_of(edith)).html


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("actor", "ada"),
        ("code", "person."),
        ("code", "person.disabled"),
        ("q", "disabled EVERYWHERE"),
    ],
)
def test_a_filter_shows_only_what_passes_it(
    client_of: ClientOf, edith: Person, ada: Person, name: str, value: str
) -> None:
    add_event("Linus was disabled everywhere.", code=Code.PERSON_DISABLED, by=ada)
    add_event("Connections were exported.")
    page = open_audit(client_of(edith), **{name: value})
    assert "Linus was disabled" in page.text
    assert "Connections were exported" not in page.text


def test_a_person_and_a_subject_are_found_by_their_id(
    client_of: ClientOf, edith: Person, ada: Person
) -> None:
    add_event("By Ada.", by=ada)
    add_event("By nobody.")
    client = client_of(edith)
    for filters in ({"actor": str(ada.pk)}, {"subject": str(ada.pk)}):
        page = open_audit(client, **filters)
        assert "By Ada." in page.text
        assert "By nobody." not in page.text
    assert "No act passes these filters" in open_audit(client, subject=str(uuid4())).text


def test_pages_follow_each_other_by_number(
    client_of: ClientOf, edith: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_of(edith)
    events = [add_event(f"Act {number}.") for number in range(5)]
    page = audit_trail.event_page(
        actor=person_actor(person=edith), only=audit_trail.EventFilter(), size=2
    )
    assert [event.seq for event in page.events] == [events[4].seq, events[3].seq]
    assert page.older == events[3].seq
    older = open_audit(client, below=page.older)
    assert "Act 2." in older.text
    assert "Act 3." not in older.text


def test_a_permalink_leads_to_the_event_whatever_came_later(
    client_of: ClientOf, edith: Person
) -> None:
    event = add_event("The one.")
    add_event("A later one.")
    client = client_of(edith)
    permalink = f"/audit/?below={event.seq + 1}#{event.seq}"
    assert permalink in open_audit(client).html
    page = read(client.get(permalink))
    assert "The one." in page.text
    assert "A later one." not in page.text


@pytest.mark.parametrize("below", ["x", "0", "9" * 30])
def test_a_made_up_place_is_a_bad_request(client_of: ClientOf, edith: Person, below: str) -> None:
    assert client_of(edith).get("/audit/", {"below": below}).status_code == 400


@pytest.mark.parametrize("person", ["ada", "linus", "margaret", "victor", "stranger"])
def test_others_are_refused(
    request: pytest.FixtureRequest, client_of: ClientOf, person: str
) -> None:
    assert client_of(request.getfixturevalue(person)).get("/audit/").status_code == 403


def test_the_number_of_queries_does_not_grow(
    client_of: ClientOf,
    edith: Person,
    ada: Person,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    for number in range(30):
        add_event(f"Act {number}.", by=ada)
    client = client_of(edith)
    with django_assert_max_num_queries(5):
        client.get("/audit/")
