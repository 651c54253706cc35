"""A session ends after a time without use, and at the latest twelve hours after sign-in."""

from datetime import datetime, timedelta

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from connections.access.actor import command_actor
from connections.models import Person, PersonSession
from connections.models.sessions import ENDS_AT
from connections.people import people
from tests.flows.support import HTMX
from tests.people.test_sessions import is_signed_in, signed_in

pytestmark = [pytest.mark.django_db, pytest.mark.database]
HOUR = timedelta(hours=1)


@pytest.fixture
def adas(ada: Person) -> Client:
    """Her browser, just signed in."""
    return signed_in(ada)


def expires_in() -> timedelta:
    return PersonSession.objects.get().expire_date - timezone.now()


def let_it_expire_in(time: timedelta) -> None:
    PersonSession.objects.update(expire_date=timezone.now() + time)


def let_it_end(client: Client, ends_at: datetime | None) -> None:
    """Set the session's latest end; None for a session from before this was stored."""
    session = client.session
    session[ENDS_AT] = ends_at and ends_at.isoformat()
    if ends_at is None:
        del session[ENDS_AT]
    PersonSession.objects.update(session_data=session.encode(dict(session.items())))


def test_it_ends_an_hour_after_it_was_used_last(adas: Client) -> None:
    assert HOUR - timedelta(minutes=1) < expires_in() <= HOUR
    let_it_expire_in(timedelta(seconds=-1))
    assert not is_signed_in(adas)


def test_the_setting_says_how_long(settings: Settings, ada: Person) -> None:
    settings.SESSION_IDLE = timedelta(minutes=15)
    signed_in(ada)
    assert expires_in() <= timedelta(minutes=15)


def test_using_it_lets_it_last_on(adas: Client) -> None:
    let_it_expire_in(timedelta(minutes=10))
    assert is_signed_in(adas)
    assert expires_in() > HOUR - timedelta(minutes=1)


def test_its_use_is_written_at_most_once_a_minute(adas: Client) -> None:
    let_it_expire_in(HOUR - timedelta(seconds=30))
    before = PersonSession.objects.get().expire_date
    assert is_signed_in(adas)
    assert PersonSession.objects.get().expire_date == before


def test_polling_by_a_page_does_not_extend_a_session(adas: Client) -> None:
    let_it_expire_in(timedelta(minutes=10))
    adas.get("/", headers=HTMX)
    assert expires_in() <= timedelta(minutes=10)
    adas.post("/connections/refresh/", headers=HTMX)
    assert expires_in() > timedelta(minutes=50)


def test_using_it_lets_it_last_no_longer_than_twelve_hours(adas: Client) -> None:
    ends_at = datetime.fromisoformat(adas.session[ENDS_AT])
    assert timedelta(hours=11, minutes=59) < ends_at - timezone.now() <= timedelta(hours=12)
    soon = timezone.now() + timedelta(minutes=20)
    let_it_end(adas, soon)
    let_it_expire_in(timedelta(minutes=10))
    assert is_signed_in(adas)
    assert PersonSession.objects.get().expire_date == soon


def test_one_of_an_older_version_lasts_as_long_as_that_said(adas: Client) -> None:
    let_it_end(adas, None)
    let_it_expire_in(timedelta(minutes=10))
    assert is_signed_in(adas)
    assert expires_in() <= timedelta(minutes=10)


def test_signing_in_again_starts_a_new_limit(adas: Client, ada: Person) -> None:
    soon = timezone.now() + timedelta(minutes=20)
    let_it_end(adas, soon)
    link = people.make_sign_in_link(actor=command_actor(), person=ada, now=timezone.now())
    token = link.partition("#")[2]
    adas.post("/sign-in/", {"token": token, "password": ""})
    assert datetime.fromisoformat(adas.session[ENDS_AT]) > soon
