"""Changing a person's email address: who can, and what stays unchanged."""

from collections.abc import Callable

import pytest
from django.core import mail
from django.core.exceptions import PermissionDenied
from django.test import Client
from django.urls import reverse

from connections.access.actor import command_actor, person_actor
from connections.core.errors import InvalidInputError
from connections.models import AuditEvent, Person
from connections.people.people import change_email
from tests.people.test_passwords import RESET, mailed_link
from tests.support.mfa import set_up_app
from tests.support.people import PASSWORD, just_signed_in

ClientOf = Callable[[Person], Client]
NEW = "ada.lovelace@example.com"


def test_an_administrator_changes_it_and_it_is_recorded_without_the_address(
    ada: Person, root: Person
):
    address = reverse("person-email", kwargs={"pk": ada.pk})
    just_signed_in(root).post(address, {"email": NEW})
    assert Person.objects.get(pk=ada.pk).email == NEW
    event = AuditEvent.objects.latest("seq")
    assert event.sentence == "The email address of Ada was changed."
    assert "lovelace" not in event.text


def test_changing_it_neither_bypasses_nor_removes_mfa_nor_ends_a_session(
    client: Client, ada: Person, client_of: ClientOf
):
    set_up_app(ada, "JBSWY3DPEHPK3PXP")
    here = client_of(ada)
    change_email(actor=command_actor(), person=ada, email=NEW)
    response = client.post("/accounts/login/", {"login": NEW, "password": PASSWORD})
    assert response["Location"] == "/accounts/2fa/authenticate/"
    assert here.get("/").status_code == 200
    Client().post("/accounts/login/", {"login": "ada@example.com", "password": PASSWORD})
    assert AuditEvent.objects.latest("seq").code == "person.sign_in_failed"


def test_a_link_mailed_to_the_old_address_no_longer_works(client: Client, ada: Person):
    client.post(RESET, {"email": ada.email})
    link = mailed_link()
    change_email(actor=command_actor(), person=ada, email=NEW)
    assert "no longer valid" in client.get(link, follow=True).text
    del mail.outbox[:]
    client.post(RESET, {"email": "ada@example.com"})
    assert mail.outbox == []


@pytest.mark.parametrize("email", ["", "nonsense", "grace@example.com", "GRACE@example.com"])
def test_an_email_address_that_is_malformed_or_taken_is_refused(
    ada: Person, grace: Person, root: Person, email: str
):
    with pytest.raises(InvalidInputError):
        change_email(actor=command_actor(), person=ada, email=email)
    address = reverse("person-email", kwargs={"pk": ada.pk})
    assert just_signed_in(root).post(address, {"email": email}).status_code == 422
    assert Person.objects.get(pk=ada.pk).email == "ada@example.com"


def test_no_one_changes_their_own(ada: Person):
    with pytest.raises(PermissionDenied):
        change_email(actor=person_actor(person=ada), person=ada, email=NEW)


def test_saving_the_same_address_changes_nothing(ada: Person):
    change_email(actor=command_actor(), person=ada, email="ada@EXAMPLE.com")
    assert not AuditEvent.objects.exists()


def test_only_another_persons_address_is_taken(ada: Person):
    assert change_email(actor=command_actor(), person=ada, email="ADA@example.com").email[0] == "A"
