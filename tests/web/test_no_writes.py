"""What people see while the database is read-only."""

from datetime import timedelta

import pytest
from django.db import Error as DatabaseError
from django.db import OperationalError, connection
from django.db.models import F
from django.http import HttpResponse
from django.test import Client

from connections.core.database import is_unwritable_error, unwritable_text
from connections.core.logs import TEXT_FORMAT, TextFormatter
from connections.models import Person, PersonSession
from tests.support.no_writes import read_only_database
from tests.support.people import PASSWORD

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

TITLE = "Org Admin can't write to its database"
CLAUSE = (
    "If you were deleting or requesting access, don't retry: check Deletions and Access requests "
    "first."
)


@pytest.fixture
def visitor(root: Person) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(root)
    return client


def add_person(visitor: Client) -> HttpResponse:
    form = {"username": "new", "email": "new@example.org"}
    return visitor.post("/people/new/", form)  # type: ignore[return-value]


def test_an_action_on_a_read_only_database_shows_a_page_that_says_so(
    visitor: Client, caplog: pytest.LogCaptureFixture
):
    caplog.handler.setFormatter(TextFormatter(TEXT_FORMAT, style="{"))
    with read_only_database():
        response = add_person(visitor)
    assert response.status_code == 503
    for text in (TITLE, "The database is read-only.", CLAUSE, response["X-Request-ID"]):
        assert text in response.text
    assert response["X-Request-ID"] in caplog.text
    assert add_person(visitor).status_code == 200
    assert Person.objects.filter(username="new").exists()


def test_signing_in_with_a_read_only_database_explains_the_failure(ada: Person):
    browser = Client(raise_request_exception=False)
    with read_only_database():
        assert browser.get("/accounts/login/").status_code == 200
        for password in (PASSWORD, "wrong"):
            response = browser.post("/accounts/login/", {"login": "ada", "password": password})
            assert response.status_code == 503
            assert "no one can sign in" in response.text
            # No one can delete without signing in, so nothing was sent.
            assert CLAUSE not in response.text


def test_a_page_is_shown_even_if_the_sessions_last_use_cannot_be_stored(
    visitor: Client, caplog: pytest.LogCaptureFixture
):
    PersonSession.objects.update(expire_date=F("expire_date") - timedelta(minutes=5))
    session = dict(visitor.cookies)
    with read_only_database():
        # A visit without a session has nothing to store, so it doesn't mean that storing works.
        for cookies, path in ((session, "/"), ({}, "/accounts/login/"), (session, "/")):
            visitor.cookies.clear()
            visitor.cookies.update(cookies)
            assert visitor.get(path).status_code == 200
    assert caplog.text.count("The use of a session can't be noted") == 1


def test_other_errors_while_storing_a_sessions_use_are_not_hidden(
    visitor: Client, monkeypatch: pytest.MonkeyPatch
):
    def fail(store: object) -> None:
        raise OperationalError("a fault of another kind")

    monkeypatch.setattr("connections.models.sessions.SessionStore.extend", fail)
    assert visitor.get("/").status_code == 500


def fill_disk() -> None:
    """Make the database report that its disk is full."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("DO $$ BEGIN RAISE 'full' USING ERRCODE = 'disk_full'; END $$")
            return
        cursor.execute("PRAGMA page_count")
        cursor.execute(f"PRAGMA max_page_count = {cursor.fetchone()[0]:d}")
        # More than fits into free pages left by an earlier test.
        cursor.execute("PRAGMA freelist_count")
        size = (cursor.fetchone()[0] + 250) * 4096
        try:
            cursor.execute(f"CREATE TABLE too_much AS SELECT zeroblob({size:d})")
        finally:
            cursor.execute("PRAGMA max_page_count = 1073741823")


def test_a_full_disk_is_distinguished_from_a_read_only_database():
    with pytest.raises(DatabaseError) as full:
        fill_disk()
    assert is_unwritable_error(full.value)
    assert unwritable_text(full.value) == "Its disk is full."


@pytest.mark.parametrize(
    "statement", ["SELECT 1 FROM missing", "INSERT INTO connections_person DEFAULT VALUES"]
)
def test_an_error_about_a_statement_does_not_mention_the_disk(statement: str):
    with pytest.raises(DatabaseError) as error, connection.cursor() as cursor:
        cursor.execute(statement)
    assert not is_unwritable_error(error.value)
