"""The pages about credentials, against the sandbox."""

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from connections.models import Credential, Person
from sandbox.server import SandboxServer
from tests.support.sandbox import US, key_pair_of

ClientOf = Callable[[Person], Client]


@pytest.mark.django_db(transaction=True)
def test_adding_a_working_pair_leads_to_its_page_with_the_ladder(
    sandbox: SandboxServer, client_of: ClientOf, margaret: Person
) -> None:
    pair = key_pair_of(sandbox.world, "Payments US")
    answer = client_of(margaret).post(
        reverse("credential-new"),
        {"name": "", "site": US, "api_key": pair.api_key, "application_key": pair.application_key},
        follow=True,
    )
    credential = Credential.objects.get()
    assert answer.redirect_chain == [(reverse("credential-detail", args=[credential.pk]), 303)]
    page = answer.content.decode()
    assert "Verified. It answers for Payments US." in page
    assert "2 org connections found" in page
