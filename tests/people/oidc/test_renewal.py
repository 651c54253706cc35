"""With a role map, a session asks the identity provider for its roles again after an hour."""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client
from pytest_django import Settings

from connections.access.actor import command_actor
from connections.core.role_map import parse_role_map
from connections.models import AuditEvent, Person, PersonSession, Role
from connections.people import people, provider_sign_in
from connections.web.people import single_sign_on_views
from tests.people.oidc.support import (
    START,
    connect,
    is_signed_in,
    last_event,
    redirect_back,
    sign_in_at_provider,
)
from tests.support.clock import SettableClock
from tests.support.people import PASSWORD, make_person
from tests.support.provider import TestProvider

RENEW = f"{START}renew/"
ANSWER = f"{START}answer/"
CHANGE_EMAILS = "/accounts/change-emails/"


@pytest.fixture
def person(db: None) -> Person:
    return make_person("ada", Role.OPERATOR)


@pytest.fixture
def client(
    person: Person, provider: TestProvider, settings: Settings, clock: SettableClock
) -> Client:
    """A browser in which Ada has just signed in at the provider."""
    settings.OIDC_ROLE_MAP = parse_role_map("deleters=Operator, readers=Viewer")
    provider.extra = {"groups": ["deleters"]}
    connect(person, provider)
    browser = Client()
    sign_in_at_provider(browser)
    assert is_signed_in(browser, person)
    return browser


def is_asked(client: Client, path: str = "/sessions/") -> bool:
    response = client.get(path)
    assert response.status_code in {200, 302}
    return response.status_code == 302 and response["Location"].startswith(RENEW)


def test_within_an_hour_no_page_asks(client: Client, clock: SettableClock):
    clock.advance(minutes=60)
    assert not is_asked(client)


def test_the_next_page_after_an_hour_goes_through_the_provider_and_comes_back(
    client: Client, person: Person, clock: SettableClock
):
    clock.advance(minutes=61)
    there = client.get("/deletions/?q=a&q=b")
    assert there["Location"] == f"{RENEW}?next=%2Fdeletions%2F%3Fq%3Da%26q%3Db"
    events = AuditEvent.objects.count()
    assert sign_in_at_provider(client, there["Location"])["Location"] == "/deletions/?q=a&q=b"
    assert is_signed_in(client, person)
    assert not is_asked(client)
    assert AuditEvent.objects.count() == events


def test_a_link_from_an_email_is_followed_too(client: Client, clock: SettableClock):
    clock.advance(minutes=61)
    there = client.get(RENEW, headers={"Sec-Fetch-Site": "cross-site"})
    assert "/authorize?" in there["Location"]


def test_a_form_is_never_interrupted(client: Client, person: Person, clock: SettableClock):
    clock.advance(minutes=90)
    assert client.post(CHANGE_EMAILS, {"wanted": "no"}).status_code == 303
    person.refresh_from_db()
    assert not person.wants_change_emails
    assert is_asked(client)


def test_after_two_hours_without_a_page_a_form_ends_the_session(
    client: Client, person: Person, clock: SettableClock
):
    clock.advance(minutes=121)
    response = client.post(CHANGE_EMAILS, {"wanted": "no"})
    assert response["Location"].startswith("/accounts/login/?next=")
    person.refresh_from_db()
    assert person.wants_change_emails
    assert not is_signed_in(client, person)


def test_then_a_form_of_a_page_that_stays_open_is_not_replaced_by_the_sign_in_page(
    client: Client, person: Person, clock: SettableClock
):
    clock.advance(minutes=121)
    response = client.post(CHANGE_EMAILS, {"wanted": "no"}, headers={"HX-Request": "true"})
    assert response.status_code == 401
    assert not is_signed_in(client, person)


def test_who_was_sent_to_the_provider_and_does_not_come_back_sends_no_form(
    client: Client, person: Person, clock: SettableClock
):
    clock.advance(minutes=61)
    # Not a page: a script on one, whose form might still be open.
    client.get(RENEW, headers={"Sec-Fetch-Dest": "empty", "Sec-Fetch-Site": "same-origin"})
    assert client.post(CHANGE_EMAILS, {"wanted": "no"}).status_code == 303
    client.get(RENEW)
    client.post(CHANGE_EMAILS, {"wanted": "yes"})
    person.refresh_from_db()
    assert not person.wants_change_emails
    assert not is_signed_in(client, person)


def test_a_part_of_a_page_is_not_fetched_either(client: Client, clock: SettableClock):
    clock.advance(minutes=61)
    response = client.get("/sessions/", headers={"HX-Request": "true"})
    assert response.status_code == 401


def test_a_leavers_session_ends(
    client: Client, person: Person, provider: TestProvider, clock: SettableClock
):
    clock.advance(minutes=61)
    provider.extra = {"groups": []}
    assert sign_in_at_provider(client, RENEW).status_code == 403
    assert not is_signed_in(client, person)
    assert not person.groups.exists()
    assert last_event().details == {"reason": "no_role"}


@pytest.mark.parametrize("error", ["access_denied", "login_required"])
def test_the_session_of_someone_whom_the_provider_refuses_ends(
    client: Client, person: Person, clock: SettableClock, error: str
):
    clock.advance(minutes=61)
    state = parse_qs(urlsplit(redirect_back(client, RENEW)).query)["state"][0]
    assert client.get(f"{ANSWER}?state=of-another&error={error}").status_code == 403
    assert is_signed_in(client, person)
    assert client.get(f"{ANSWER}?state={state}&error={error}").status_code == 403
    assert not is_signed_in(client, person)
    assert last_event().subject_id == str(person.pk)


def end_session(person: Person) -> None:
    PersonSession.objects.all().delete()


def change_password(person: Person) -> None:
    people.set_password(actor=command_actor(), person=person, password=f"new {PASSWORD}")


def change_mfa(person: Person) -> None:
    people.remove_mfa(actor=command_actor(), person=Person.objects.get(pk=person.pk))


@pytest.mark.parametrize("end", [end_session, change_password, change_mfa])
def test_a_session_that_ends_while_the_provider_answers_stays_ended(
    client: Client,
    person: Person,
    provider: TestProvider,
    clock: SettableClock,
    monkeypatch: pytest.MonkeyPatch,
    end: Callable[[Person], None],
):
    def admit_later(*args: Any, **arguments: Any) -> provider_sign_in.Admission:
        end(person)
        return provider_sign_in.admit(*args, **arguments)

    monkeypatch.setattr(single_sign_on_views, "admit", admit_later)
    clock.advance(minutes=61)
    provider.extra = {"groups": ["readers"]}
    assert sign_in_at_provider(client, RENEW).status_code in {400, 403}
    assert client.get("/sessions/")["Location"].startswith("/accounts/login/")
    assert person.groups.get().name == "Viewer"


def test_while_the_provider_is_down_one_event_a_minute_says_so(
    client: Client, person: Person, clock: SettableClock, settings: Settings
):
    clock.advance(minutes=61)
    settings.OIDC_ISSUER = "https://127.0.0.1:1"
    refused = AuditEvent.objects.filter(code="person.provider_sign_in_refused")
    before = refused.count()
    assert [client.get(RENEW).status_code for _ in range(3)] == [502] * 3
    assert refused.count() == before + 1
    # Without a renewal, each is recorded.
    Client().get(START)
    Client().get(START)
    assert refused.count() == before + 3


def test_renewals_do_not_use_up_the_sign_ins_of_an_address(
    client: Client, clock: SettableClock, settings: Settings
):
    clock.advance(minutes=61)
    settings.ACCOUNT_RATE_LIMITS = settings.ACCOUNT_RATE_LIMITS | {"use_of_provider": "1/m/ip"}
    Client().get(START)
    assert Client().get(START).status_code == 429
    assert "/authorize?" in client.get(RENEW)["Location"]


def test_a_disabled_persons_session_ends(client: Client, person: Person, clock: SettableClock):
    clock.advance(minutes=61)
    back = redirect_back(client, RENEW)
    people.disable_person(actor=command_actor(), person=person)
    assert client.get(back).status_code == 403
    assert client.get("/sessions/")["Location"].startswith("/accounts/login/")


def test_another_account_ends_the_session_and_changes_no_role_of_its_own_person(
    client: Client, person: Person, provider: TestProvider, clock: SettableClock
):
    grace = make_person("grace", Role.OPERATOR)
    provider.subject = "of-grace"
    connect(grace, provider)
    clock.advance(minutes=61)
    provider.extra = {"groups": ["readers"]}
    assert sign_in_at_provider(client, RENEW).status_code == 403
    assert not is_signed_in(client, person)
    assert "_auth_user_id" not in client.session
    assert grace.groups.get().name == "Operator"


def test_a_lost_role_ends_other_sessions_but_not_this_one(
    client: Client, person: Person, provider: TestProvider, clock: SettableClock
):
    other = Client()
    other.force_login(person)
    clock.advance(minutes=61)
    provider.extra = {"groups": ["readers"]}
    assert sign_in_at_provider(client, RENEW)["Location"] == "/"
    assert is_signed_in(client, person)
    assert client.get("/sessions/").status_code == 200
    assert other.get("/sessions/")["Location"].startswith("/accounts/login/")
    assert person.groups.get().name == "Viewer"


def test_a_refused_claim_ends_the_session_and_changes_no_role(
    client: Client, person: Person, provider: TestProvider, clock: SettableClock
):
    clock.advance(minutes=61)
    provider.extra = {"hasgroups": True}
    assert sign_in_at_provider(client, RENEW).status_code == 403
    assert not is_signed_in(client, person)
    assert person.groups.get().name == "Operator"


def test_without_a_map_no_session_asks(client: Client, clock: SettableClock, settings: Settings):
    settings.OIDC_ROLE_MAP = {}
    clock.advance(hours=3)
    assert not is_asked(client)


def test_a_connected_person_who_signs_in_with_a_password_is_asked_at_once(
    client: Client, person: Person
):
    browser = Client()
    browser.post("/accounts/login/", {"login": person.username, "password": PASSWORD})
    assert is_signed_in(browser, person)
    assert is_asked(browser)
    other = make_person("grace", Role.VIEWER)
    browser = Client()
    browser.post("/accounts/login/", {"login": other.username, "password": PASSWORD})
    assert not is_asked(browser)


def test_a_session_that_is_current_is_not_renewed(client: Client, person: Person):
    assert client.get(RENEW)["Location"] == "/"
    assert Client().get(RENEW)["Location"] == "/"
