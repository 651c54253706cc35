"""One-time links: the first administrator, invitations, forgotten passwords, lost MFA."""

import pytest
from allauth.mfa.models import Authenticator
from django.conf import settings as django_settings
from django.core.exceptions import PermissionDenied
from django.test import Client

from connections.access.actor import command_actor, person_actor
from connections.core.errors import ConflictError, InvalidInputError
from connections.models import AuditEvent, Person, SignInLink
from connections.people import people, sign_in_links
from tests.support.clock import SettableClock
from tests.support.people import PASSWORD, make_person

NEW_PASSWORD = "quite another pass phrase"


def link_for(person: Person, clock: SettableClock, *, removes_second_factor: bool = False) -> str:
    """The token of a new sign-in link."""
    link = sign_in_links.make_sign_in_link(
        actor=command_actor(),
        person=person,
        now=clock.now(),
        removes_second_factor=removes_second_factor,
    )
    path, _, token = link.partition("#")
    assert path == "/sign-in/"
    return token


def set_up_link(clock: SettableClock) -> str:
    """The token of a new setup link."""
    link = sign_in_links.make_set_up_link(actor=command_actor(), now=clock.now())
    return link.removeprefix("/setup/#")


def first_administrator(token: str) -> dict[str, str]:
    return {
        "token": token,
        "username": "root",
        "email": "root@example.com",
        "password": NEW_PASSWORD,
    }


def test_the_token_itself_is_not_stored(ada: Person, clock: SettableClock):
    token = link_for(ada, clock)
    stored = [*SignInLink.objects.values_list(), *AuditEvent.objects.values_list()]
    assert token not in repr(stored)


def test_only_an_administrator_creates_links(ada: Person, clock: SettableClock):
    with pytest.raises(PermissionDenied):
        sign_in_links.make_sign_in_link(actor=person_actor(person=ada), person=ada, now=clock.now())


def test_a_link_signs_in_once(ada: Person, clock: SettableClock):
    token = link_for(ada, clock)
    assert sign_in_links.use_sign_in_link(token=token, password=NEW_PASSWORD) == ada
    ada.refresh_from_db()
    assert ada.check_password(NEW_PASSWORD)
    with pytest.raises(ConflictError):
        sign_in_links.use_sign_in_link(token=token, password=NEW_PASSWORD)


def test_a_link_expires_after_a_day(ada: Person, clock: SettableClock):
    token = link_for(ada, clock)
    clock.advance(hours=24)
    with pytest.raises(ConflictError, match="has expired"):
        sign_in_links.use_sign_in_link(token=token, password=NEW_PASSWORD)


def test_a_newer_link_replaces_an_older_one(ada: Person, clock: SettableClock):
    old, new = link_for(ada, clock), link_for(ada, clock)
    with pytest.raises(ConflictError):
        sign_in_links.use_sign_in_link(token=old, password=NEW_PASSWORD)
    assert sign_in_links.use_sign_in_link(token=new, password=NEW_PASSWORD) == ada


def test_disabling_a_person_permanently_invalidates_their_links(ada: Person, clock: SettableClock):
    token = link_for(ada, clock)
    people.disable_person(actor=command_actor(), person=ada)
    with pytest.raises(ConflictError):
        sign_in_links.use_sign_in_link(token=token, password=NEW_PASSWORD)
    people.enable_person(actor=command_actor(), person=ada)
    with pytest.raises(ConflictError):
        sign_in_links.use_sign_in_link(token=token, password=NEW_PASSWORD)


def test_the_service_creates_no_link_for_a_disabled_person(ada: Person, clock: SettableClock):
    people.disable_person(actor=command_actor(), person=ada)
    with pytest.raises(ConflictError, match="Enable them first"):
        link_for(ada, clock)


def test_a_weak_password_does_not_consume_the_link(ada: Person, clock: SettableClock):
    token = link_for(ada, clock)
    with pytest.raises(InvalidInputError) as refused:
        sign_in_links.use_sign_in_link(token=token, password="short")
    assert list(refused.value.fields) == ["password"]
    assert sign_in_links.use_sign_in_link(token=token, password=NEW_PASSWORD) == ada


def test_an_empty_password_keeps_the_current_one(ada: Person, clock: SettableClock):
    sign_in_links.use_sign_in_link(token=link_for(ada, clock), password="")
    ada.refresh_from_db()
    assert ada.check_password(PASSWORD)


def test_a_person_without_a_password_must_choose_one(db: None, clock: SettableClock):
    person = people.add_person(
        actor=command_actor(), username="hedy", email="hedy@example.com", roles=[]
    )
    with pytest.raises(InvalidInputError, match="Choose a password"):
        sign_in_links.use_sign_in_link(token=link_for(person, clock), password="")


def test_a_link_keeps_mfa_unless_it_was_created_to_remove_it(ada: Person, clock: SettableClock):
    Authenticator.objects.create(user=ada, type=Authenticator.Type.TOTP, data={"secret": "x"})
    sign_in_links.use_sign_in_link(token=link_for(ada, clock), password="")
    assert Authenticator.objects.filter(user=ada).exists()
    token = link_for(ada, clock, removes_second_factor=True)
    assert Authenticator.objects.filter(user=ada).exists()
    sign_in_links.use_sign_in_link(token=token, password="")
    assert not Authenticator.objects.filter(user=ada).exists()
    assert AuditEvent.objects.latest("seq").code == "person.second_factor_removed"


def test_set_up_links_and_sign_in_links_are_not_interchangeable(db: None, clock: SettableClock):
    with pytest.raises(ConflictError):
        sign_in_links.use_sign_in_link(token=set_up_link(clock), password=NEW_PASSWORD)


def test_the_set_up_link_creates_an_administrator_once(db: None, clock: SettableClock):
    token = set_up_link(clock)
    person = sign_in_links.set_up_first_administrator(**first_administrator(token))
    assert person.is_superuser
    assert person.check_password(NEW_PASSWORD)
    with pytest.raises(ConflictError):
        sign_in_links.set_up_first_administrator(**first_administrator(token))


def test_a_set_up_link_expires_after_an_hour(db: None, clock: SettableClock):
    token = set_up_link(clock)
    clock.advance(hours=1)
    with pytest.raises(ConflictError):
        sign_in_links.set_up_first_administrator(**first_administrator(token))
    assert not Person.objects.exists()


def test_the_first_account_invalidates_every_set_up_link(db: None, clock: SettableClock):
    first, second = set_up_link(clock), set_up_link(clock)
    sign_in_links.set_up_first_administrator(**first_administrator(first))
    with pytest.raises(ConflictError, match="already exists"):
        sign_in_links.set_up_first_administrator(
            **{**first_administrator(second), "username": "other", "email": "other@example.com"}
        )
    with pytest.raises(ConflictError, match="already has an account"):
        set_up_link(clock)


def test_the_set_up_page_signs_in_and_leads_to_the_overview(
    client: Client, db: None, clock: SettableClock
):
    response = client.post("/setup/", first_administrator(set_up_link(clock)))
    assert (response.status_code, response["Location"]) == (302, "/")
    assert Person.objects.get(username="root").last_login is not None
    assert client.get("/people/").status_code == 200


def test_the_set_up_page_shows_errors_and_keeps_typed_text(
    client: Client, db: None, clock: SettableClock
):
    values = {**first_administrator(set_up_link(clock)), "password": "short"}
    response = client.post("/setup/", values)
    assert response.status_code == 422
    assert "too short" in response.text
    assert values["token"] in response.text
    assert "root@example.com" in response.text


def test_the_set_up_page_is_closed_once_there_is_a_person(client: Client, ada: Person):
    assert client.get("/setup/")["Location"] == "/"


def test_without_any_account_the_sign_in_page_mentions_the_set_up_link(client: Client, db: None):
    text = "Open the setup link, which the service prints"
    assert text in client.get("/accounts/login/").text
    make_person("ada")
    page = client.get("/accounts/login/").text
    assert text not in page
    assert "Ask an administrator for a sign-in link." in page


def test_the_sign_in_link_page_also_accepts_the_whole_link(
    client: Client, ada: Person, clock: SettableClock
):
    link = f"http://testserver/sign-in/#{link_for(ada, clock)}"
    response = client.post("/sign-in/", {"token": link, "password": ""})
    assert (response.status_code, response["Location"]) == (302, "/")
    assert client.session["_auth_user_id"] == str(ada.pk)


def test_opening_the_page_of_a_link_writes_nothing(
    client: Client, ada: Person, clock: SettableClock
):
    token = link_for(ada, clock)
    assert client.get("/sign-in/").status_code == 200
    assert SignInLink.objects.get().used_at is None
    assert client.head("/setup/").status_code == 302
    sign_in_links.use_sign_in_link(token=token, password="")


def test_mfa_is_required_after_a_link(client: Client, ada: Person, clock: SettableClock):
    Authenticator.objects.create(user=ada, type=Authenticator.Type.TOTP, data={"secret": "x"})
    response = client.post("/sign-in/", {"token": link_for(ada, clock), "password": ""})
    assert response["Location"] == "/accounts/2fa/authenticate/"
    assert "_auth_user_id" not in client.session


def test_a_link_gives_the_browser_a_new_session(client: Client, ada: Person, clock: SettableClock):
    client.cookies[django_settings.SESSION_COOKIE_NAME] = "chosen-by-somebody-else"
    client.post("/sign-in/", {"token": link_for(ada, clock), "password": ""})
    assert client.cookies[django_settings.SESSION_COOKIE_NAME].value != "chosen-by-somebody-else"


def test_an_invalid_link_shows_what_to_do(client: Client, db: None):
    response = client.post("/sign-in/", {"token": "nonsense", "password": NEW_PASSWORD})
    assert response.status_code == 422
    assert "Ask an administrator for a new one" in response.text
