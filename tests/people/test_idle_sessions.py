"""A session ends after a time without use, and at the latest twelve hours after sign-in."""

from datetime import datetime, timedelta

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from connections.access.actor import command_actor
from connections.models import Person, PersonSession
from connections.models.sessions import ENDS_AT
from connections.people import sign_in_links
from tests.flows.support import HTMX
from tests.people.test_sessions import is_signed_in, signed_in

pytestmark = [pytest.mark.django_db, pytest.mark.database(every=4)]
HOUR = timedelta(hours=1)


@pytest.fixture
def adas_client(ada: Person) -> Client:
    """Ada's browser, just signed in."""
    return signed_in(ada)


def expires_in() -> timedelta:
    return PersonSession.objects.get().expire_date - timezone.now()


def let_it_expire_in(time: timedelta) -> None:
    PersonSession.objects.update(expire_date=timezone.now() + time)


def let_it_end(client: Client, ends_at: datetime | None) -> None:
    """Set the session's latest end. None stands for a session from before this was stored."""
    session = client.session
    session[ENDS_AT] = ends_at and ends_at.isoformat()
    if ends_at is None:
        del session[ENDS_AT]
    PersonSession.objects.update(session_data=session.encode(dict(session.items())))


def test_it_ends_an_hour_after_its_last_use(adas_client: Client):
    assert HOUR - timedelta(minutes=1) < expires_in() <= HOUR
    let_it_expire_in(timedelta(seconds=-1))
    assert not is_signed_in(adas_client)


def test_the_setting_says_how_long(settings: Settings, ada: Person):
    settings.SESSION_IDLE = timedelta(minutes=15)
    signed_in(ada)
    assert expires_in() <= timedelta(minutes=15)


def test_using_it_extends_it(adas_client: Client):
    let_it_expire_in(timedelta(minutes=10))
    assert is_signed_in(adas_client)
    assert expires_in() > HOUR - timedelta(minutes=1)


def test_its_use_is_stored_at_most_once_a_minute(adas_client: Client):
    let_it_expire_in(HOUR - timedelta(seconds=30))
    before = PersonSession.objects.get().expire_date
    assert is_signed_in(adas_client)
    assert PersonSession.objects.get().expire_date == before


def test_polling_by_a_page_does_not_extend_a_session(adas_client: Client):
    let_it_expire_in(timedelta(minutes=10))
    adas_client.get("/", headers=HTMX)
    assert expires_in() <= timedelta(minutes=10)
    adas_client.post("/connections/refresh/", headers=HTMX)
    assert expires_in() > timedelta(minutes=50)


def test_using_it_extends_it_to_at_most_twelve_hours(adas_client: Client):
    ends_at = datetime.fromisoformat(adas_client.session[ENDS_AT])
    assert timedelta(hours=11, minutes=59) < ends_at - timezone.now() <= timedelta(hours=12)
    soon = timezone.now() + timedelta(minutes=20)
    let_it_end(adas_client, soon)
    let_it_expire_in(timedelta(minutes=10))
    assert is_signed_in(adas_client)
    assert PersonSession.objects.get().expire_date == soon


def test_a_session_without_a_stored_limit_keeps_its_expiry(adas_client: Client):
    let_it_end(adas_client, None)
    let_it_expire_in(timedelta(minutes=10))
    assert is_signed_in(adas_client)
    assert expires_in() <= timedelta(minutes=10)


def test_signing_in_again_starts_a_new_limit(adas_client: Client, ada: Person):
    soon = timezone.now() + timedelta(minutes=20)
    let_it_end(adas_client, soon)
    link = sign_in_links.make_sign_in_link(actor=command_actor(), person=ada, now=timezone.now())
    token = link.partition("#")[2]
    adas_client.post("/sign-in/", {"token": token, "password": ""})
    assert datetime.fromisoformat(adas_client.session[ENDS_AT]) > soon
