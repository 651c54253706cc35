"""Another credential of an org starts with the access lists of the org's first one."""

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from connections.access.actor import command_actor, person_actor
from connections.credentials import access_lists, lifecycle, retirement
from connections.inventory.syncs import credentials_in_use
from connections.models import AccessKind, AuditEvent, Credential, Person
from sandbox import faults
from sandbox.server import SandboxServer
from tests.credentials.support import added, fields_of, keys_of, second_pair
from tests.support.sandbox import US

pytestmark = [pytest.mark.django_db, pytest.mark.database(every=3)]
ClientOf = Callable[[Person], Client]


def restrict(credential: Credential, root: Person, *people: Person) -> None:
    access_lists.change_access(
        actor=person_actor(person=root),
        credential=credential,
        wanted={
            AccessKind.SEE: [f"person:{person.pk}" for person in people],
            AccessKind.USE: ["role:Operator"],
        },
    )


def add_second(sandbox: SandboxServer) -> Credential:
    return lifecycle.add_credential(
        actor=command_actor(),
        name="Second",
        site=US,
        keys=keys_of(second_pair(sandbox, "Payments US")),
    )


def entries(credential: Credential) -> dict[str, list[str]]:
    stored = access_lists.get_access_entries(credential)
    return {kind.value: names for kind, names in stored.items() if names}


def test_another_credential_of_an_org_starts_with_the_access_lists_of_the_first(
    sandbox: SandboxServer, root: Person, ada: Person
):
    first = added(sandbox, "Payments US")
    restrict(first, root, ada)
    second = add_second(sandbox)

    assert entries(second) == entries(first) != {}
    event = AuditEvent.objects.get(
        code="credential.access_changed", subject_id=str(second.pk), actor_id=None
    )
    assert event.sentence == "Second got the access lists of the first credential of its org."
    assert event.details["after"] == {"see": [f"person:{ada.pk}"], "use": ["role:Operator"]} | {
        "approve": []
    }


def test_without_lists_nothing_is_copied_or_recorded(sandbox: SandboxServer):
    added(sandbox, "Payments US")
    assert entries(add_second(sandbox)) == {}
    assert not AuditEvent.objects.filter(code="credential.access_changed").exists()


def test_another_org_starts_without_lists(sandbox: SandboxServer, root: Person, ada: Person):
    restrict(added(sandbox, "Payments US"), root, ada)
    assert entries(added(sandbox, "Group SOC")) == {}


def test_retiring_the_first_credential_frees_no_one_from_its_lists(
    sandbox: SandboxServer, root: Person, ada: Person
):
    first = added(sandbox, "Payments US")
    restrict(first, root, ada)
    before = entries(first)
    retirement.retire_credential(
        actor=command_actor(), credential=first, confirmation="Payments US"
    )
    assert entries(add_second(sandbox)) == before


def test_the_lists_are_copied_when_the_org_is_found(
    sandbox: SandboxServer, root: Person, ada: Person
):
    first = added(sandbox, "Payments US")
    restrict(first, root, ada)
    sandbox.world.set_fault(fault=faults.RETURNS_500, operation="current_user", times=1)
    second = add_second(sandbox)
    assert entries(second) == {}

    lifecycle.verify_credential(actor=command_actor(), credential=second)
    assert entries(second) == entries(first)


def test_lists_set_before_the_org_was_found_stay(
    sandbox: SandboxServer, root: Person, ada: Person, edith: Person
):
    restrict(added(sandbox, "Payments US"), root, ada)
    sandbox.world.set_fault(fault=faults.RETURNS_500, operation="current_user", times=1)
    second = add_second(sandbox)
    restrict(second, root, edith)
    before = entries(second)

    lifecycle.verify_credential(actor=command_actor(), credential=second)
    assert entries(second) == before


def test_a_person_who_adds_it_learns_that_the_lists_exclude_them(
    sandbox: SandboxServer, root: Person, ada: Person, margaret: Person, client_of: ClientOf
):
    restrict(added(sandbox, "Payments US"), root, ada)
    typed = fields_of(second_pair(sandbox, "Payments US"), site=US, name="Mine")
    response = client_of(margaret).post(reverse("credential-new"), typed, follow=True)

    assert response.redirect_chain == [(reverse("org-list"), 303)]
    assert "don&#x27;t include you" in response.content.decode()
    actor = person_actor(person=Person.objects.get(pk=margaret.pk))
    assert credentials_in_use(actor=actor) == []
    assert Credential.objects.filter(name="Mine").exists()
