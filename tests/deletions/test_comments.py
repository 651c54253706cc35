"""Comments on a deletion: who can add them, and that they can't be removed."""

from collections.abc import Callable

import pytest
from django.test import Client

from connections import audit
from connections.access.actor import command_actor, person_actor
from connections.deletions import comments, history
from connections.deletions.history import HistoryFilter
from connections.models import AuditEvent, Deletion, Outcome, Person
from connections.people import erasure
from tests.deletions.history.conftest import Make, credential, make
from tests.flows.support import read

__all__ = ["credential", "make"]
pytestmark = pytest.mark.django_db
ClientOf = Callable[[Person], Client]
TEXT = "Agreed with the vendor, see the minutes of March."


@pytest.fixture
def deletion(make: Make) -> Deletion:
    return make(outcome=Outcome.DELETED)


def comment(deletion: Deletion, person: Person, text: str = TEXT) -> None:
    comments.comment_on_deletion(deletion=deletion, actor=person_actor(person=person), text=text)


def events_of(deletion: Deletion) -> list[AuditEvent]:
    return audit.events_of(subject=deletion)


@pytest.mark.parametrize("who", ["ada", "linus", "edith", "root"])
def test_a_comment_appears_in_the_audit_log_and_in_the_timeline(
    request: pytest.FixtureRequest, client_of: ClientOf, deletion: Deletion, who: str
):
    person = request.getfixturevalue(who)
    client = client_of(person)
    page = read(client.get(f"/deletions/{deletion.pk}/"))
    form = page.form_to("/comment/")
    assert "Kept permanently and can't be changed." in page.text
    response = client.post(form.action, form.fields | {"text": TEXT})
    assert response.status_code == 303
    [event] = events_of(deletion)
    assert (event.code, event.details["text"]) == ("deletion.commented", TEXT)
    assert event.sentence.startswith(f"{person.display_name} commented on the deletion of")
    assert TEXT in event.sentence
    page = read(client.get(response["Location"]))
    assert f"“{TEXT}”" in page.text
    assert page.form_to("/comment/").fields["text"] == ""


@pytest.mark.parametrize("who", ["victor", "margaret"])
def test_people_who_cannot_comment_see_it_without_a_form(
    request: pytest.FixtureRequest, client_of: ClientOf, deletion: Deletion, edith: Person, who: str
):
    comment(deletion, edith)
    page = read(client_of(request.getfixturevalue(who)).get(f"/deletions/{deletion.pk}/"))
    assert TEXT in page.text
    assert not page.has_form_to("/comment/")


@pytest.mark.parametrize("text", ["", "   ", "\u200b", "x" * 4001])
def test_an_empty_or_too_long_comment_is_refused_and_kept_in_the_form(
    client_of: ClientOf, deletion: Deletion, edith: Person, text: str
):
    url = f"/deletions/{deletion.pk}/comment/"
    response = client_of(edith).post(url, {"text": text})
    page = read(response)
    assert page.status == 422
    assert page.form_to("/comment/").fields["text"] == text
    assert "field-error" in page.html
    assert ("A comment can have at most 4,000 characters." in page.text) == (len(text) > 4000)
    assert events_of(deletion) == []


def test_too_many_comments_in_a_minute_are_refused_and_kept_in_the_form(
    client_of: ClientOf, deletion: Deletion, edith: Person
):
    client, url = client_of(edith), f"/deletions/{deletion.pk}/comment/"
    for number in range(30):
        assert client.post(url, {"text": f"No. {number}"}).status_code == 303
    response = client.post(url, {"text": TEXT})
    page = read(response)
    assert (page.status, response["Retry-After"]) == (429, "60")
    assert page.form_to("/comment/").fields["text"] == TEXT
    assert "Try again in a minute." in page.text
    assert len(events_of(deletion)) == 30


@pytest.mark.database
def test_the_same_comment_submitted_twice_is_stored_once(
    deletion: Deletion, edith: Person, ada: Person
):
    comment(deletion, edith)
    comment(deletion, edith, f"  {TEXT} ")
    assert len(events_of(deletion)) == 1
    comment(deletion, ada)
    comment(deletion, edith)
    assert len(events_of(deletion)) == 3


def found(text: str) -> list[Deletion]:
    filters = HistoryFilter(text=text)
    return history.history_page(actor=command_actor(), filters=filters).deletions


@pytest.mark.database
def test_the_history_search_includes_comments(make: Make, deletion: Deletion, edith: Person):
    make(minute=1)
    comment(deletion, edith)
    comment(deletion, edith, "Also the second one.")
    assert found("MINUTES vendor second") == [deletion]
    assert found("no longer minutes") == [deletion]
    assert found("nothing of that") == []


@pytest.mark.database
def test_after_the_requester_is_erased_comments_can_be_found_but_not_the_name(
    deletion: Deletion, edith: Person, ada: Person
):
    # Whole words, because an ID in hex digits can contain the letters of the name.
    def searchable_words() -> list[str]:
        return Deletion.objects.values_list("search_text", flat=True).get().split()

    comment(deletion, edith)
    assert "ada" in searchable_words()
    erasure.erase_person(actor=command_actor(), person=ada)
    assert found("minutes") == [deletion]
    assert "ada" not in searchable_words()


@pytest.mark.database
def test_a_comment_changes_nothing_else(deletion: Deletion, edith: Person):
    before = dict(Deletion.objects.filter(pk=deletion.pk).values().get())
    comment(deletion, edith)
    after = dict(Deletion.objects.filter(pk=deletion.pk).values().get())
    assert {name for name, value in before.items() if after[name] != value} == {"search_text"}
