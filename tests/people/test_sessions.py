"""Sessions: what is shown to whom, and how they end."""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from connections.access.actor import Actor, command_actor, person_actor
from connections.audit.texts import browser_name
from connections.core import clock as now
from connections.models import AuditEvent, Person, PersonSession
from connections.models.sessions import hash_of_session_key
from connections.people import people, sessions
from tests.support.people import PASSWORD

ClientOf = Callable[[Person], Client]
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/141.0.0.0 Safari/537.36"
)


def signed_in(person: Person, *, address: str = "127.0.0.1", agent: str = FIREFOX) -> Client:
    """A browser in which the person signed in with a password."""
    client = Client(REMOTE_ADDR=address, headers={"User-Agent": agent})
    client.post("/accounts/login/", {"login": person.username, "password": PASSWORD})
    assert client.session["_auth_user_id"] == str(person.pk)
    return client


def key_in(client: Client) -> str:
    return client.cookies[settings.SESSION_COOKIE_NAME].value


def hash_in(client: Client) -> str:
    return hash_of_session_key(key_in(client))


def is_signed_in(client: Client) -> bool:
    return client.get("/sessions/").status_code == 200


def shown_ids(page: str) -> list[str]:
    return re.findall(r'name="session" value="([0-9a-f]{32})"', page)


def test_the_page_shows_a_persons_sessions_and_marks_the_current_one(ada: Person):
    here = signed_in(ada)
    signed_in(ada, address="192.0.2.7", agent=CHROME)
    page = here.get("/sessions/").text
    for expected in (
        "Firefox on Linux",
        "Chrome on Windows",
        "127.0.0.1",
        "192.0.2.7",
        "This session",
    ):
        assert expected in page
    assert len(shown_ids(page)) == 1


def test_no_page_shows_the_key_of_a_session_or_its_hash(ada: Person, root: Person):
    clients = [signed_in(ada), signed_in(ada), signed_in(root)]
    page = clients[0].get("/sessions/").text
    page += clients[2].get(reverse("person-detail", kwargs={"pk": ada.pk})).text
    secrets = [secret for client in clients for secret in (hash_in(client), key_in(client))]
    assert [secret for secret in secrets if secret in page] == []


def test_no_table_contains_the_value_of_the_cookie(ada: Person):
    client = signed_in(ada)
    assert is_signed_in(client)
    assert len(key_in(client)) == 32
    tables = connection.introspection.table_names()
    with connection.cursor() as cursor:
        for table in tables:
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")  # noqa: S608
            assert key_in(client) not in str(cursor.fetchall()), table


def test_no_stored_session_value_works_as_a_cookie(ada: Person):
    signed_in(ada)
    row = PersonSession.objects.get()
    for stored in (row.key_hash, row.public_id, row.session_data):
        thief = Client()
        thief.cookies[settings.SESSION_COOKIE_NAME] = stored
        assert thief.get("/sessions/").status_code == 302


def test_a_new_secret_key_ends_every_session(ada: Person, settings: Settings):
    client = signed_in(ada)
    settings.SECRET_KEY = "another secret key " * 3
    assert client.get("/sessions/").status_code == 302


def test_ending_one_signs_that_browser_out_and_is_recorded(ada: Person):
    here, there = signed_in(ada), signed_in(ada, address="192.0.2.7")
    (one,) = shown_ids(here.get("/sessions/").text)
    assert here.post("/sessions/end/", {"session": one}).status_code == 303
    assert (is_signed_in(here), is_signed_in(there)) == (True, False)
    event = AuditEvent.objects.latest("seq")
    assert (event.code, event.sentence) == ("session.ended", "Ada ended 1 session of their own.")
    assert "already ended" in here.post("/sessions/end/", {"session": one}, follow=True).text


def test_signing_out_everywhere_else_keeps_this_session(ada: Person):
    here, first, second = signed_in(ada), signed_in(ada), signed_in(ada)
    here.post("/sessions/end/")
    assert [is_signed_in(one) for one in (here, first, second)] == [True, False, False]
    assert AuditEvent.objects.latest("seq").sentence == "Ada ended 2 sessions of their own."


def test_an_administrator_sees_and_ends_the_sessions_of_a_person(ada: Person, root: Person):
    theirs, other = signed_in(ada, address="192.0.2.7"), signed_in(ada, address="192.0.2.8")
    administrator = signed_in(root)
    detail = reverse("person-detail", kwargs={"pk": ada.pk})
    page = administrator.get(detail).text
    assert "192.0.2.7" in page
    end = reverse("person-sessions-end", kwargs={"pk": ada.pk})
    administrator.post(end, {"session": shown_ids(page)[-1]})
    assert [is_signed_in(one) for one in (theirs, other)].count(False) == 1
    administrator.post(end)
    assert not is_signed_in(theirs)
    assert not is_signed_in(other)
    assert is_signed_in(administrator)
    assert AuditEvent.objects.latest("seq").sentence == "Root ended 1 session of Ada."


def test_no_one_else_can_see_or_end_the_sessions_of_a_person(ada: Person, grace: Person):
    theirs, mine = signed_in(ada), signed_in(grace)
    (one,) = sessions.list_sessions(person=ada)
    with pytest.raises(PermissionDenied):
        sessions.end_session(actor=person_actor(person=grace), person=ada, public_id=one.public_id)
    with pytest.raises(PermissionDenied):
        sessions.end_sessions(actor=person_actor(person=grace), person=ada)
    # Another person's session ID is not found among the person's own.
    mine.post("/sessions/end/", {"session": one.public_id})
    assert is_signed_in(theirs)


@pytest.mark.parametrize(
    "action",
    [
        lambda actor, person: people.disable_person(actor=actor, person=person),
        lambda actor, person: people.set_roles(
            actor=actor, person=person, roles=[], is_administrator=False
        ),
        lambda actor, person: people.set_password(
            actor=actor, person=person, password="quite another pass phrase"
        ),
    ],
    ids=["disabled", "role lost", "new password"],
)
def test_what_ends_all_sessions_leaves_none_in_the_list(
    action: Callable[[Actor, Person], object], ada: Person
):
    client = signed_in(ada)
    action(command_actor(), ada)
    assert client.get("/sessions/").status_code == 302
    ada = Person.objects.get(pk=ada.pk)
    assert sessions.list_sessions(person=ada) == []
    sessions.delete_ended_sessions()
    assert not PersonSession.objects.filter(person_id=ada.pk).exists()


def test_signing_out_clears_the_destination_page(ada: Person):
    client = signed_in(ada, address="192.0.2.7")
    client.post("/accounts/logout/")
    assert not PersonSession.objects.filter(person_id=ada.pk).exists()


def test_expired_sessions_are_deleted_and_open_ones_stay(ada: Person):
    old, new = signed_in(ada), signed_in(ada)
    PersonSession.objects.filter(pk=hash_in(old)).update(
        expire_date=now.now() - timedelta(seconds=1)
    )
    assert len(sessions.list_sessions(person=ada)) == 1
    sessions.delete_ended_sessions()
    assert list(PersonSession.objects.values_list("pk", flat=True)) == [hash_in(new)]


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        (FIREFOX, "Firefox on Linux"),
        (CHROME, "Chrome on Windows"),
        (CHROME + " Edg/141.0.0.0", "Edge on Windows"),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, "
            "like Gecko) Version/18.5 Mobile/15E148 Safari/604.1",
            "Safari on iPhone",
        ),
        ("curl/8.14", "Unknown browser"),
        ("<script>alert(1)</script>", "Unknown browser"),
        ("", "Unknown browser"),
    ],
)
def test_a_browser_is_named_in_two_words(agent: str, words: str):
    assert browser_name(agent) == words
