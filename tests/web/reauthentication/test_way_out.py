"""A person can leave the reauthentication page without changing anything."""

from collections.abc import Callable

import pytest
from django.test import Client

from connections.models import Person
from connections.web.reauthentication import parent_page_url
from sandbox.server import SandboxServer
from tests.flows.support import read, store_credential

ClientOf = Callable[[Person], Client]
pytestmark = pytest.mark.django_db


def test_an_act_that_came_too_late_can_be_left_for_its_page(
    root: Person, late_client_of: ClientOf, sandbox: SandboxServer
) -> None:
    credential = store_credential(sandbox, "Payments US", is_read=False)
    client, url = late_client_of(root), f"/credentials/{credential.pk}/"
    for act, typed in (("verify", {}), ("rename", {"name": "x"}), ("policy", {"policy": "none"})):
        page = client.post(f"{url}{act}/", typed)
        assert page.status_code == 422
        assert f'<a href="{url}">Back</a>' in page.text
    assert client.get(url).status_code == 200


def test_the_question_over_a_page_says_that_looking_needs_no_answer(
    root: Person, victor: Person, late_client_of: ClientOf
) -> None:
    page = read(late_client_of(root).get(f"/people/{victor.pk}/"))
    assert "Only changes on this page need it." in page.text
    assert "Not now" not in page.text


def test_the_page_that_asks_leads_back_to_where_the_act_was_chosen(
    root: Person, late_client_of: ClientOf, sandbox: SandboxServer
) -> None:
    credential = store_credential(sandbox, "Payments US", is_read=False)
    client, url = late_client_of(root), f"/credentials/{credential.pk}/"
    asked = client.get(f"{url}rotate/", follow=True)
    assert f'<a href="{url}">Back</a>' in asked.text


@pytest.mark.parametrize(
    ("path", "behind"),
    [
        ("/people/new/", "/people/"),
        ("/credentials/new/", "/credentials/"),
        ("/people/", "/people/"),
        ("/accounts/password/change/", "/"),
        ("/sign-in/provider/account/", "/"),
        ("/", "/"),
        ("", "/"),
    ],
)
def test_the_page_behind_an_address_is_one_that_can_be_opened(path: str, behind: str) -> None:
    assert parent_page_url(path) == behind
