"""People who are added when they first sign in at the identity provider."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from connections.core.role_map import parse_role_map
from connections.models import AuditEvent, Person, ProviderAccount
from connections.people import people, provider_sign_in
from connections.people.oidc.identity import ProviderIdentity
from tests.people.oidc.support import is_signed_in, last_event, sign_in_at_provider
from tests.people.oidc.test_properties import Provider
from tests.support.people import make_person, person_as_administrator
from tests.support.provider import Claims, TestProvider

GRACE = {"preferred_username": "grace", "email": "grace@example.com", "name": "Grace Hopper"}


@pytest.fixture(autouse=True)
def creating(settings: Settings, db: None) -> None:
    settings.OIDC_CREATE_PEOPLE = True
    settings.OIDC_SCOPES = "openid profile email"


def test_the_first_sign_in_at_either_provider_adds_a_person(
    client: Client, either_provider: Provider, settings: Settings
):
    settings.OIDC_ROLE_MAP = parse_role_map("deleters=Operator")
    assert sign_in_at_provider(client)["Location"] == "/"
    person = Person.objects.get()
    assert (person.username, person.email) == ("ada@example.com", "ada@example.com")
    assert person.display_name == "Ada"
    assert not person.has_usable_password()
    assert {role.value for role in person.roles} == {"Operator"}
    assert client.session["_auth_user_id"] == str(person.pk)
    events = AuditEvent.objects.order_by("seq")
    assert [(event.code, event.actor_name) for event in events] == [
        ("person.added", "identity provider"),
        ("provider_account.connected", "Ada"),
        ("person.signed_in", "Ada"),
    ]


def test_username_address_and_name_are_the_claims(client: Client, provider: TestProvider):
    provider.extra = dict(GRACE)
    sign_in_at_provider(client)
    person = Person.objects.get()
    assert (person.username, person.email) == ("grace", "grace@example.com")
    assert person.display_name == "Grace Hopper"
    assert person.roles == frozenset()
    assert not person.is_superuser
    sign_in_at_provider(Client())
    assert Person.objects.count() == 1


def test_a_person_who_signs_in_at_the_provider_is_not_called_invited(
    client: Client, provider: TestProvider, root: Person, client_of: Callable[[Person], Client]
):
    provider.extra = dict(GRACE)
    sign_in_at_provider(client)
    grace = Person.objects.get(username="grace")
    page = client_of(root).get(f"/people/{grace.pk}/").text
    assert ("Active" in page, "Invited" in page) == (True, False)


@pytest.mark.parametrize(
    "taken", [{"username": "GRACE"}, {"email": "Grace@example.com"}, {"username": GRACE["email"]}]
)
def test_the_name_or_address_of_another_person_adds_and_connects_no_one(
    client: Client, provider: TestProvider, taken: dict[str, str]
):
    other = make_person("other")
    Person.objects.filter(pk=other.pk).update(**taken)
    provider.extra = dict(GRACE)
    page = sign_in_at_provider(client)
    assert page.status_code == 403
    assert "already has your username or email address" in page.text
    assert provider.subject in page.text
    assert "_auth_user_id" not in client.session
    assert Person.objects.count() == 1
    assert not ProviderAccount.objects.exists()
    assert last_event().details == {"reason": "name_taken"}


@pytest.mark.parametrize(
    "changed",
    [
        {"email": None},
        {"email": ""},
        {"email": "no address"},
        {"email": ["grace@example.com"]},
        {"email": f"{'x' * 250}@example.com"},
        {"email": "grace@example.com\n"},
        {"email_verified": False},
        {"email_verified": "false"},
        {"email_verified": None},
    ],
)
def test_without_a_usable_name_and_address_no_one_is_added(
    client: Client, provider: TestProvider, changed: Claims
):
    provider.extra = GRACE | changed
    page = sign_in_at_provider(client)
    assert page.status_code == 403
    assert "no usable username and verified email address" in page.text
    assert not Person.objects.exists()


@pytest.mark.parametrize("username", [None, "", "a b", "CORP\\ada", "x" * 151, "<script>"])
def test_the_address_replaces_an_unusable_username(
    client: Client, provider: TestProvider, username: str | None
):
    provider.extra = GRACE | {"preferred_username": username, "email_verified": "true"}
    sign_in_at_provider(client)
    assert Person.objects.get().username == GRACE["email"]


def test_two_first_sign_ins_at_once_sign_in_the_same_person(
    client: Client, provider: TestProvider, monkeypatch: pytest.MonkeyPatch
):
    def add_twice(identity: ProviderIdentity, **arguments: Any) -> Person:
        add_person(identity, **arguments)
        return add_person(identity, **arguments)

    add_person = provider_sign_in._add_person
    monkeypatch.setattr(provider_sign_in, "_add_person", add_twice)
    provider.extra = dict(GRACE)
    sign_in_at_provider(client)
    assert is_signed_in(client, Person.objects.get())


@pytest.mark.parametrize(
    "name",
    ["", None, 5, "\u202eecarG", "x" * 255, "Ada", "ADA", "Identity provider", "worker"],
)
def test_a_name_that_pages_already_show_is_left_out(
    client: Client, provider: TestProvider, name: object
):
    make_person("ada")
    provider.extra = GRACE | {"name": name}
    sign_in_at_provider(client)
    assert Person.objects.get(username="grace").display_name == "grace"


def test_someone_without_a_mapped_group_is_not_added(
    client: Client, provider: TestProvider, settings: Settings
):
    settings.OIDC_ROLE_MAP = parse_role_map("deleters=Operator")
    provider.extra = GRACE | {"groups": ["others"]}
    page = sign_in_at_provider(client)
    assert "None of your groups" in page.text
    assert not Person.objects.exists()
    assert last_event().details == {"reason": "no_role"}


def test_a_disabled_person_is_not_added_again(client: Client, provider: TestProvider):
    provider.extra = dict(GRACE)
    sign_in_at_provider(client)
    person = Person.objects.get()
    people.disable_person(actor=person_as_administrator(), person=person)
    assert sign_in_at_provider(Client()).status_code == 403
    assert Person.objects.filter(username="grace").count() == 1


def test_claims_are_escaped_and_an_identity_check_adds_no_one(
    client: Client, provider: TestProvider
):
    provider.extra = GRACE | {"name": "<b>Grace</b>"}
    sign_in_at_provider(client)
    page = client.get("/accounts/2fa/").text
    assert "<b>Grace</b>" not in page
    assert "&lt;b&gt;Grace" in page
