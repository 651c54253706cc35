"""Hostile values in sign-in forms and in URL paths cause no server error and no echo."""

import random
from collections.abc import Callable
from copy import deepcopy
from urllib.parse import quote

import pytest
from django.test import Client

from connections.access.actor import command_actor
from connections.core import clock
from connections.models import Person
from connections.people import sign_in_links
from tests.flows.support import read
from tests.support.mfa import set_up_app
from tests.support.people import PASSWORD
from tests.web.hardening.test_fuzz import (
    HOSTILE,
    REQUESTS,
    SEED,
    fault_of_request,
    filled,
    form_for,
    mutated,
)
from tests.web.test_access import (
    PUBLIC_OF_ALLAUTH,
    SIGNED_IN_OF_ALLAUTH,
    address_of_allauth,
    addresses,
)

__all__ = ["addresses"]

pytestmark = [pytest.mark.django_db, pytest.mark.slow, pytest.mark.sweep]
OPEN = ("/sign-in/", *(address_of_allauth(name) for name in sorted(PUBLIC_OF_ALLAUTH)))


def faults_of(client: Client, url: str, **given: str) -> list[str]:
    """What went wrong when the page and its form received hostile values.

    `given` has the form's other values.
    """
    chance = random.Random(f"{SEED} {url}")  # noqa: S311 - to be repeatable, not secret
    cookies, page = deepcopy(client.cookies), client.get(url)
    form = form_for(url, [read(page)]) if "html" in page.get("Content-Type", "") else None
    faults = []
    for method in ("GET", "POST"):
        for _ in range(REQUESTS):
            # Sign-ins and sign-outs are rolled back, for the client too.
            client.cookies = deepcopy(cookies)
            data = mutated(filled(form) | given, chance)
            fault = fault_of_request(client, method, url, data, htmx=chance.random() < 0.3)
            faults += [f"{method} {url} {data!r:.300}: {fault}"] if fault else []
    return faults


@pytest.mark.parametrize("url", OPEN)
def test_no_hostile_value_without_signing_in_causes_an_error(url: str, ada: Person):
    assert faults_of(Client(), url) == []


def test_no_hostile_mfa_code_causes_an_error(ada: Person):
    set_up_app(ada, "JBSWY3DPEHPK3PXP")
    client = Client()
    response = client.post("/accounts/login/", {"login": ada.username, "password": PASSWORD})
    assert faults_of(client, response["Location"]) == []


def test_no_hostile_value_during_setup_causes_an_error(db: None):
    link = sign_in_links.make_set_up_link(actor=command_actor(), now=clock.now())
    token = link.removeprefix("/setup/#")
    assert faults_of(Client(), "/setup/", token=token, password=PASSWORD) == []


@pytest.mark.parametrize("name", sorted(SIGNED_IN_OF_ALLAUTH))
def test_no_hostile_value_on_account_pages_causes_an_error(
    name: str, ada: Person, client_of: Callable[[Person], Client]
):
    assert faults_of(client_of(ada), address_of_allauth(name)) == []


def test_no_hostile_url_causes_an_error(
    addresses: dict[str, str], root: Person, client_of: Callable[[Person], Client]
):
    client = client_of(root)
    chance = random.Random(SEED)  # noqa: S311 - to be repeatable, not secret
    faults = []
    for name, address in addresses.items():
        pieces = address.split("/")
        for _ in range(REQUESTS):
            piece = chance.randrange(1, max(2, len(pieces) - 1))
            value = quote(chance.choice(HOSTILE), safe="")
            url = "/".join([*pieces[:piece], value, *pieces[piece + 1 :]])
            fault = fault_of_request(client, chance.choice(["GET", "POST"]), url, {}, htmx=False)
            faults += [f"{name} {url:.300}: {fault}"] if fault else []
    assert faults == []
