"""A person can leave the reauthentication page without changing anything."""

from collections.abc import Callable

import pytest
from django.test import Client

from connections.models import Person
from connections.web.framework.addresses import parent_page_url
from sandbox.server import SandboxServer
from tests.flows.support import read, store_credential

ClientOf = Callable[[Person], Client]
pytestmark = pytest.mark.django_db


def test_a_late_action_can_be_canceled_to_return_to_its_page(
    root: Person, late_client_of: ClientOf, sandbox: SandboxServer
):
    credential = store_credential(sandbox, "Payments US", is_read=False)
    client, url = late_client_of(root), f"/credentials/{credential.pk}/"
    for act, typed in (("verify", {}), ("rename", {"name": "x"}), ("policy", {"policy": "none"})):
        page = client.post(f"{url}{act}/", typed)
        assert page.status_code == 422
        assert f'<a href="{url}">Back</a>' in page.text
    assert client.get(url).status_code == 200


def test_the_prompt_says_that_viewing_needs_no_identity_check(
    root: Person, victor: Person, late_client_of: ClientOf
):
    page = read(late_client_of(root).get(f"/people/{victor.pk}/"))
    assert "Only changes on this page need it." in page.text
    assert "Not now" not in page.text


def test_the_prompt_links_back_to_the_page_of_the_action(
    root: Person, late_client_of: ClientOf, sandbox: SandboxServer
):
    credential = store_credential(sandbox, "Payments US", is_read=False)
    client, url = late_client_of(root), f"/credentials/{credential.pk}/"
    requested = client.get(f"{url}rotate/", follow=True)
    assert f'<a href="{url}">Back</a>' in requested.text


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
def test_the_page_of_each_action_can_be_opened(path: str, behind: str):
    assert parent_page_url(path) == behind
