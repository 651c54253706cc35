"""Nobody new has a name that can be taken for another person's or for Org Admin's."""

import pytest
from django.test import Client
from pytest_django import Settings

from connections.access.actor import command_actor
from connections.core.errors import InvalidInputError
from connections.models import Person
from connections.operations.checks import run_all_checks
from connections.people import people
from connections.people.names import LOOKS_TAKEN
from tests.people.oidc.support import sign_in_at_provider
from tests.support.people import make_person
from tests.support.provider import TestProvider

pytestmark = pytest.mark.django_db
RESERVED = "Org Admin itself is called this. Choose a different one."


@pytest.mark.parametrize(
    ("username", "problem"),
    [
        ("Worker", RESERVED),
        ("wörker", RESERVED),
        ("command", RESERVED),
        ("bоss", "Use letters of one script. This mixes Cyrillic and Latin."),
        ("gráce", LOOKS_TAKEN),
        ("\u3164\u3164", "Enter a name that can be read."),
    ],
)
def test_such_a_username_is_refused(grace: Person, username: str, problem: str):
    with pytest.raises(InvalidInputError) as refused:
        people.add_person(
            actor=command_actor(), username=username, email="new@example.com", roles=[]
        )
    assert refused.value.fields == {"username": problem}


@pytest.mark.parametrize("username", ["commander", "orgadmin", "workers", "boss2", "босс"])
def test_a_username_of_its_own_is_not(username: str):
    added = people.add_person(
        actor=command_actor(), username=username, email="new@example.com", roles=[]
    )
    assert added.username == username


@pytest.mark.parametrize(
    "name",
    [
        "Org Admin",
        "ORG\u00a0ADMIN",
        "Org\u3164Admin\u3164",
        "Оrg Admin",
        "command: root",
        "command\ua789 root",
        "erased person no. 1",
        "grace\ufe0f",
        "Grace",
        "\u3164",
    ],
)
def test_such_a_display_name_of_the_identity_provider_is_left_out(
    client: Client, grace: Person, provider: TestProvider, settings: Settings, name: str
):
    settings.OIDC_CREATE_PEOPLE, settings.OIDC_SCOPES = True, "openid profile email"
    provider.extra = {"preferred_username": "g2", "email": "g2@example.com", "name": name}
    sign_in_at_provider(client)
    assert Person.objects.get(email="g2@example.com").display_name == "g2"


def test_the_address_replaces_a_reserved_username_of_the_identity_provider(
    client: Client, provider: TestProvider, settings: Settings
):
    settings.OIDC_CREATE_PEOPLE, settings.OIDC_SCOPES = True, "openid profile email"
    provider.extra = {"preferred_username": "worker", "email": "w@example.com", "name": "Wim"}
    sign_in_at_provider(client)
    assert Person.objects.get().username == "w@example.com"


def test_doctor_names_those_who_have_such_a_name_already(grace: Person):
    def names() -> list[str]:
        return [message.msg for message in run_all_checks() if message.obj == "names"]

    assert names() == []
    for username, display_name in (("a1", "Org Admin"), ("b2", "grace\ufe0f"), ("c3", "Vera")):
        person = make_person(username)
        Person.objects.filter(pk=person.pk).update(first_name=display_name)
    assert names() == ["names that can be taken for another's or for Org Admin's: a1, b2 and grace"]
