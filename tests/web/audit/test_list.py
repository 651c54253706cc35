"""The audit log page."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from django.test import Client

from connections import audit
from connections.access.actor import WORKER, person_actor
from connections.audit import EventCode, personal_data, search
from connections.audit.search import EventFilter
from connections.models import Person
from connections.web.audit import list as events
from tests.deletions.history.conftest import Make
from tests.flows.support import read
from tests.support.clock import SettableClock
from tests.web.audit.support import add_event, open_audit

ClientOf = Callable[[Person], Client]


def test_the_newest_event_is_first_with_actor_and_subject(
    client_of: ClientOf, edith: Person, ada: Person
):
    add_event("Something older.")
    event = add_event("Ada exported deletions as csv.", by=ada)
    page = open_audit(client_of(edith))
    assert page.text.index("Ada exported") < page.text.index("Something older.")
    assert "export.started Ada" in page.text
    assert f'<tr id="{event.seq}">' in page.html


def test_external_text_in_a_sentence_is_escaped(client_of: ClientOf, edith: Person):
    add_event("<script>alert(1)</script>")
    assert "&lt;script&gt;alert(1)" in open_audit(client_of(edith)).html


FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


@pytest.mark.parametrize(
    ("agent", "shown"), [(FIREFOX, "Firefox on Linux"), ("curl/8.14.1", "curl/8.14.1")]
)
def test_a_browser_is_named_in_two_words_and_in_full_on_the_page_of_the_event(
    client_of: ClientOf, edith: Person, ada: Person, agent: str, shown: str
):
    event = add_event(
        audit.Sentence(
            "She came with {{{agent}}}.", agent=personal_data.browser_of(agent, person=ada)
        ),
        by=ada,
    )
    client = client_of(edith)
    assert f"She came with {{{shown}}}." in open_audit(client).text
    assert f"She came with {{{agent}}}." in read(client.get(f"/audit/{event.seq}/")).text


def test_an_id_is_shortened_in_the_list_and_in_full_on_the_page_of_the_event(
    client_of: ClientOf, edith: Person, ada: Person
):
    event = add_event("Sent (31b480cc-3f04-57e4-9596-b2dd5e529f07 on EU1).", by=ada)
    client = client_of(edith)
    assert "Sent (…5e529f07 on EU1)." in open_audit(client).text
    page = read(client.get(f"/audit/{event.seq}/"))
    assert "Sent (31b480cc-3f04-57e4-9596-b2dd5e529f07 on EU1)." in page.text


@pytest.mark.database(every=3)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("actor", "ada"),
        ("code", "person."),
        ("code", "person.disabled"),
        ("q", "disabled EVERYWHERE"),
    ],
)
def test_a_filter_shows_only_matching_events(
    client_of: ClientOf, edith: Person, ada: Person, name: str, value: str
):
    add_event("Linus was disabled everywhere.", code=EventCode.PERSON_DISABLED, by=ada)
    add_event("Connections were exported.")
    page = open_audit(client_of(edith), **{name: value})
    assert "Linus was disabled" in page.text
    assert "Connections were exported" not in page.text


def test_a_person_and_a_subject_are_found_by_their_id(
    client_of: ClientOf, edith: Person, ada: Person
):
    add_event("By Ada.", by=ada)
    add_event("By nobody.")
    client = client_of(edith)
    for filters in ({"actor": str(ada.pk)}, {"subject": str(ada.pk)}):
        page = open_audit(client, **filters)
        assert "By Ada." in page.text
        assert "By nobody." not in page.text
    assert "No events match these filters" in open_audit(client, subject=str(uuid4())).text


@pytest.mark.database
def test_pages_follow_each_other_by_number(
    client_of: ClientOf, edith: Person, monkeypatch: pytest.MonkeyPatch
):
    client = client_of(edith)
    events = [add_event(f"Act {number}.") for number in range(5)]
    page = search.get_event_page(actor=person_actor(person=edith), filters=EventFilter(), size=2)
    assert [event.seq for event in page.events] == [events[4].seq, events[3].seq]
    assert page.next == events[3].seq
    older = open_audit(client, after=page.next)
    assert "Act 2." in older.text
    assert "Act 3." not in older.text


@pytest.mark.parametrize(
    ("code", "label"),
    [
        ("batch.", "Bulk deletion: all"),
        ("batch.cancelled", "Bulk deletion: canceled"),
        ("deletion.recheck_failed", "Deletion: pre-send check failed"),
        ("org_connection.protection_lifted", "Connection: protection removed"),
        ("audit_log.verification_failed", "Audit log: verification failed"),
    ],
)
def test_the_choices_of_events_use_the_words_of_the_pages(
    client_of: ClientOf, edith: Person, code: str, label: str
):
    add_event("Something.")
    assert f'<option value="{code}">{label}</option>' in open_audit(client_of(edith)).html


@pytest.mark.database
def test_a_period_includes_its_start_and_its_last_minute(
    client_of: ClientOf, edith: Person, clock: SettableClock
):
    for minute in range(4):
        add_event(f"Act {minute}.")
        clock.advance(seconds=60)
    start = clock.now() - timedelta(minutes=4)
    page = open_audit(
        client_of(edith),
        since=f"{start + timedelta(minutes=1):%Y-%m-%d %H:%M}",
        until=f"{start + timedelta(minutes=2):%Y-%m-%d %H:%M}",
    )
    shown = [number for number in range(4) if f"Act {number}." in page.text]
    assert shown in ([1, 2], [0, 1, 2], [1, 2, 3])
    day = open_audit(client_of(edith), since=f"{start:%Y-%m-%d}", until=f"{clock.now():%Y-%m-%d}")
    assert "4 events" in day.text


@pytest.mark.database
def test_a_period_includes_its_events_even_if_the_clock_was_set_back(
    edith: Person, clock: SettableClock
):
    start = clock.now()
    events = []
    for seconds in (3600, -7200, 3600, 3600):
        clock.advance(seconds=seconds)
        events.append(add_event("An act."))
    filters = EventFilter(since=start - timedelta(seconds=1), until=start + timedelta(seconds=3601))
    page = search.get_event_page(actor=person_actor(person=edith), filters=filters)
    assert page.events == [events[3], events[2], events[0]]


@pytest.mark.database
def test_events_can_be_filtered_by_deletion_and_by_request(
    client_of: ClientOf, edith: Person, ada: Person, make: Make
):
    deletion = make()
    add_event("About it.", about=deletion, by=ada, request_id="7" * 32)
    add_event("In the same request.", by=ada, request_id="7" * 32)
    add_event("Something else.")
    client = client_of(edith)
    page = open_audit(client, deletion=str(deletion.pk))
    assert "About it." in page.text
    assert "1 event" in page.text
    page = open_audit(client, request="7" * 32)
    assert "2 events" in page.text
    assert "Something else." not in page.text


def test_a_deletion_links_auditors_to_its_events(
    client_of: ClientOf, edith: Person, ada: Person, make: Make
):
    deletion = make()
    event = add_event("About it.", about=deletion, by=ada)
    page = read(client_of(edith).get(f"/deletions/{deletion.pk}/"))
    assert "About it." in read(client_of(edith).get(page.link("Audit events"))).text
    assert page.link(f"#{event.seq}") == f"/audit/{event.seq}/"
    assert "Audit events" not in read(client_of(ada).get(f"/deletions/{deletion.pk}/")).text


@pytest.mark.database(every=3)
@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("süd", True),
        ("50 % off", True),
        ('said "no"', True),
        ("süd no 40", False),
        ("Gruppe Ost", False),
        ("ada", True),
        ("ada süd", True),
    ],
)
def test_text_is_found_anywhere_and_a_name_through_its_person(
    client_of: ClientOf, edith: Person, ada: Person, text: str, is_found: bool
):
    event = add_event(
        audit.Sentence('{ada} said "no" to Gruppe Süd: 50 % off.', ada=personal_data.name_of(ada))
    )
    add_event("Nothing of that.")
    page = open_audit(client_of(edith), q=text)
    assert re.findall(r'<tr id="(\d+)">', page.html) == ([str(event.seq)] if is_found else [])


def test_commands_and_the_worker_are_found_by_name(client_of: ClientOf, edith: Person):
    add_event("By a command.")
    audit.record(
        code=EventCode.EXPORT_STARTED, actor=WORKER, sentence=audit.Sentence("By the worker.")
    )
    client = client_of(edith)
    assert "By a command." in open_audit(client, actor="command").text
    page = open_audit(client, actor="Worker")
    assert "By the worker." in page.text
    assert "By a command." not in page.text


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("since", "yesterday", "Enter a UTC date such as 2026-01-31"),
        ("until", "2026-13-01", "Enter a UTC date such as 2026-01-31"),
        ("deletion", "x", "This isn't the ID of a deletion."),
        ("code", "nothing.", "No event code starts with this."),
        ("q", "go", "3 characters or more"),
        ("actor", "Person", "More than 20 names and addresses contain"),
        ("q", "Person", "More than 20 names and addresses contain"),
    ],
)
def test_an_invalid_filter_is_named_and_typed_text_is_kept(
    client_of: ClientOf, edith: Person, ada: Person, name: str, value: str, says: str
):
    if value == "Person":
        for number in range(21):
            person = Person.objects.create(username=f"p{number}", first_name=f"Person {number}")
            add_event(audit.Sentence("{person} came.", person=personal_data.name_of(person)))
    add_event("By Ada.", by=ada)
    page = open_audit(client_of(edith), **({"subject": str(ada.pk)} | {name: value}))
    assert "Nothing is listed, because a filter can't be used" in page.text
    assert says in page.text
    assert f'value="{value}"' in page.html or f": {value}" in page.text
    assert f'value="{ada.pk}"' in page.html


@pytest.mark.database
def test_the_audit_log_count_is_exact_up_to_its_limit(
    client_of: ClientOf, edith: Person, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(search, "MAX_EXACT_COUNT", 3)
    monkeypatch.setattr(events, "LIST", replace(events.LIST, most=3))
    client = client_of(edith)
    for number in range(3):
        add_event(f"Act {number}.")
    assert "3 events" in open_audit(client).text
    add_event("One more.")
    assert "More than 3 events" in open_audit(client).text


@pytest.mark.parametrize("after", ["x", "0", "9" * 30])
def test_a_made_up_cursor_is_a_bad_request(client_of: ClientOf, edith: Person, after: str):
    assert client_of(edith).get("/audit/", {"after": after}).status_code == 400


@pytest.mark.database
def test_the_list_is_sorted_by_number_in_both_directions(client_of: ClientOf, edith: Person):
    client = client_of(edith)
    events = [add_event(f"Act {number}.") for number in range(5)]
    actor = person_actor(person=edith)
    page = search.get_event_page(
        actor=actor, filters=EventFilter(), is_oldest_first=True, after=events[1].seq, size=2
    )
    assert [event.seq for event in page.events] == [events[2].seq, events[3].seq]
    assert page.next == events[3].seq
    shown = open_audit(client, sort="event", code="export.")
    assert shown.text.index("Act 0.") < shown.text.index("Act 4.")
    assert 'aria-sort="ascending"><a href="/audit/?code=export.&amp;sort=-event">' in shown.html
