"""Adding people, their roles, and disabling them."""

from collections.abc import Callable
from contextlib import nullcontext

import pytest
from django.core.exceptions import PermissionDenied
from django.test import Client
from django.urls import reverse

from connections.access.actor import WORKER, command_actor, person_actor
from connections.core.errors import ConflictError, InvalidInputError
from connections.models import AuditEvent, Person, Role
from connections.people import people
from tests.support.people import make_person


def add_person(actor: Person, *, username: str = "hedy", email: str = "hedy@example.com") -> Person:
    return people.add_person(
        actor=person_actor(person=actor), username=username, email=email, roles=[Role.OPERATOR]
    )


def codes() -> list[str]:
    return list(AuditEvent.objects.order_by("seq").values_list("code", flat=True))


def is_signed_in(client: Client) -> bool:
    return client.get(reverse("account_change_password")).status_code == 200


def test_an_administrator_adds_a_person_who_has_no_password_yet(root: Person):
    person = add_person(root)
    assert person.roles == {Role.OPERATOR}
    assert not person.has_usable_password()
    event = AuditEvent.objects.get()
    assert (event.code, event.actor_name) == ("person.added", "Root")
    assert event.sentence == "hedy was added. Roles: Operator."


def test_a_command_can_add_people_and_the_worker_cannot(db: None):
    for actor, is_allowed in ((command_actor(), True), (WORKER, False)):
        with nullcontext() if is_allowed else pytest.raises(PermissionDenied):
            people.add_person(
                actor=actor, username="hedy", email="hedy@example.com", roles=[Role.OPERATOR]
            )


def test_no_one_else_can_add_people(ada: Person, edith: Person, margaret: Person):
    for person in (ada, edith, margaret):
        with pytest.raises(PermissionDenied):
            add_person(person)
    assert codes() == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"username": "ADA"}, "username"),
        ({"username": "ada@example.com"}, "username"),
        ({"email": "Ada@Example.com"}, "email"),
        ({"username": ""}, "username"),
        ({"username": "two words"}, "username"),
        ({"email": ""}, "email"),
        ({"email": "nonsense"}, "email"),
    ],
)
def test_an_ambiguous_name_or_address_is_refused_with_an_error_at_its_field(
    root: Person, ada: Person, changes: dict[str, str], field: str
):
    with pytest.raises(InvalidInputError) as refused:
        add_person(root, **changes)
    assert list(refused.value.fields) == [field]
    assert codes() == []


def test_gaining_a_role_keeps_the_session_and_losing_one_ends_it(
    root: Person, ada: Person, client_of: Callable[[Person], Client]
):
    client, actor = client_of(ada), person_actor(person=root)
    both = [Role.OPERATOR, Role.AUDITOR]
    people.set_roles(actor=actor, person=ada, roles=both, is_administrator=False)
    assert is_signed_in(client)
    people.set_roles(actor=actor, person=ada, roles=[Role.AUDITOR], is_administrator=False)
    assert not is_signed_in(client)
    assert AuditEvent.objects.latest("seq").details["previous_roles"] == ["Auditor", "Operator"]


def test_assigning_the_same_roles_again_records_nothing(root: Person, ada: Person):
    actor = person_actor(person=root)
    people.set_roles(actor=actor, person=ada, roles=[Role.OPERATOR], is_administrator=False)
    assert codes() == []


def test_no_longer_being_an_administrator_ends_the_sessions(
    root: Person, client_of: Callable[[Person], Client]
):
    other = make_person("second", is_administrator=True)
    client = client_of(other)
    actor = person_actor(person=root)
    changed = people.set_roles(actor=actor, person=other, roles=[], is_administrator=False)
    assert changed.roles == frozenset()
    assert not is_signed_in(client)


def test_the_last_active_administrator_cannot_be_removed(root: Person):
    disabled = make_person("gone", is_administrator=True)
    Person.objects.filter(pk=disabled.pk).update(is_active=False)
    actor = person_actor(person=root)
    with pytest.raises(ConflictError, match="last active administrator"):
        people.set_roles(actor=actor, person=root, roles=[], is_administrator=False)
    with pytest.raises(ConflictError, match="last active administrator"):
        people.disable_person(actor=actor, person=root)
    root.refresh_from_db()
    assert (root.is_superuser, root.is_active) == (True, True)
    assert codes() == []


def test_disabling_ends_the_sessions_and_enabling_does_not_restore_them(
    root: Person, ada: Person, client_of: Callable[[Person], Client]
):
    client, actor = client_of(ada), person_actor(person=root)
    people.disable_person(actor=actor, person=ada)
    assert not is_signed_in(client)
    enabled = people.enable_person(actor=actor, person=ada)
    assert not is_signed_in(client)
    assert enabled.roles == {Role.OPERATOR}
    assert codes() == ["person.disabled", "person.enabled"]


def test_disabling_twice_is_recorded_once(root: Person, ada: Person):
    actor = person_actor(person=root)
    people.disable_person(actor=actor, person=ada)
    people.disable_person(actor=actor, person=ada)
    assert codes() == ["person.disabled"]


def test_an_action_without_its_audit_event_is_undone(
    root: Person, ada: Person, monkeypatch: pytest.MonkeyPatch
):
    def fail(**values: object) -> None:
        raise RuntimeError("no record")

    monkeypatch.setattr("connections.audit.record", fail)
    with pytest.raises(RuntimeError):
        people.disable_person(actor=person_actor(person=root), person=ada)
    ada.refresh_from_db()
    assert ada.is_active
