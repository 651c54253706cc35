"""What strangers type can be of any length."""

import pytest
from django.test import Client

from connections.access.actor import command_actor
from connections.core import clock
from connections.core.errors import InvalidInputError
from connections.models import AuditEvent, Person
from connections.people import people, sign_in_links
from tests.support.mfa import set_up_app
from tests.support.people import PASSWORD

LONG = "x" * 60_000


@pytest.mark.parametrize("login", [LONG, f"{LONG}@example.com", "x" * 255])
def test_a_long_name_is_an_error_at_its_field(client: Client, ada: Person, login: str):
    response = client.post("/accounts/login/", {"login": login, "password": PASSWORD})
    assert response.status_code == 200
    assert list(response.context["form"].errors) == ["login"]
    assert "at most 254 characters" in response.text
    assert not AuditEvent.objects.exists()


def test_a_name_of_254_characters_is_looked_up(client: Client, ada: Person):
    Person.objects.filter(pk=ada.pk).update(email=f"{'x' * 242}@example.com")
    ada.refresh_from_db()
    assert len(ada.email) == 254
    response = client.post("/accounts/login/", {"login": ada.email, "password": PASSWORD})
    assert response["Location"] == "/"


@pytest.mark.parametrize("name", ["password", "next"])
def test_other_long_fields_of_the_page_are_no_error(client: Client, ada: Person, name: str):
    form = {"login": "ada", "password": PASSWORD} | {name: LONG}
    assert client.post("/accounts/login/", form).status_code in {200, 302}


def test_a_long_address_for_a_reset_is_refused(client: Client, db: None):
    response = client.post("/accounts/password/reset/", {"email": f"{LONG}@example.com"})
    assert list(response.context["form"].errors) == ["email"]


def test_a_long_code_is_refused(client: Client, ada: Person):
    set_up_app(ada, "JBSWY3DPEHPK3PXP")
    client.post("/accounts/login/", {"login": "ada", "password": PASSWORD})
    response = client.post("/accounts/2fa/authenticate/", {"code": LONG})
    assert list(response.context["form"].errors) == ["code"]
    assert "at most 254 characters" in response.text
    assert "_auth_user_id" not in client.session


def test_long_fields_of_the_setup_page_are_errors(client: Client, db: None):
    token = sign_in_links.make_set_up_link(actor=command_actor(), now=clock.now()).rpartition("#")[
        2
    ]
    form = {"username": LONG, "email": f"{LONG}@example.com", "password": LONG}
    response = client.post("/setup/", form | {"token": token})
    assert response.status_code == 422
    assert set(response.context["form"].errors) == {"username", "email", "password"}
    assert client.post("/setup/", form | {"token": LONG}).status_code == 422


@pytest.mark.parametrize("path", ["/sign-in/", "/accounts/password/reset/key/1-{}/"])
def test_a_long_token_is_refused(client: Client, ada: Person, path: str):
    response = client.post(path.format(LONG), {"token": LONG, "password": LONG})
    assert response.status_code in {200, 422}


@pytest.mark.parametrize("length", [255, 320])
def test_an_email_address_has_at_most_254_characters(ada: Person, length: int):
    domain = ".".join(["d" * 60] * 5)[: length - 64 - 5] + ".com"
    email = f"{'x' * 64}@{domain}"
    with pytest.raises(InvalidInputError):
        people.change_email(actor=command_actor(), person=ada, email=email)
