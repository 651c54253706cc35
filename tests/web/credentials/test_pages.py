"""The pages about credentials, against the Datadog simulator."""

import base64
import logging
import re
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import connection
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from connections.credentials import lifecycle as acts
from connections.models import (
    ApprovalPolicy,
    AuditEvent,
    Credential,
    Person,
    PersonSession,
    State,
)
from sandbox import faults
from sandbox.server import SandboxServer
from tests.credentials.support import added, deletion_of, fields_of, second_pair
from tests.support.sandbox import US, key_pair_of

ClientOf = Callable[[Person], Client]
pytestmark = pytest.mark.django_db

API_CANARY = "canary0api0" + "a" * 24
APPLICATION_CANARY = "canary0application0" + "b" * 24
CANARIES = {"api_key": API_CANARY, "application_key": APPLICATION_CANARY}


@pytest.fixture
def manager(client_of: ClientOf, margaret: Person) -> Client:
    return client_of(margaret)


@pytest.fixture
def credential(sandbox: SandboxServer) -> Credential:
    return added(sandbox, "Payments US")


def address(name: str, credential: Credential) -> str:
    return reverse(f"credential-{name}", args=[credential.pk])


def text_of(response: Any) -> str:
    return unescape(response.content.decode())


# --- Adding ---------------------------------------------------------------------------------


def test_adding_redirects_to_its_page_with_its_key_checks_and_first_sync(
    sandbox: SandboxServer, manager: Client
):
    pair = key_pair_of(sandbox.world, "Payments US")
    response = manager.post(reverse("credential-new"), fields_of(pair, site=US))
    credential = Credential.objects.get()
    page = text_of(manager.get(response["Location"]))

    assert (response.status_code, response["Location"]) == (303, address("detail", credential))
    assert "Datadog accepts the keys for Payments US." in page
    assert re.search(r'Key checks</h2>\s*<span class="meta"><time', page)
    assert "View 2 connections</a>" in page
    assert "Payments US added" not in page
    assert "2 connections, " in page
    link = f"/connections/?org={US}%2F{credential.org_id}"
    assert f'href="{link}"' in page
    assert "Payments US" in text_of(manager.get(link))
    assert "can't check whether the application key's scopes allow them too" in page
    assert pair.api_key not in page


@pytest.mark.parametrize(
    ("operation", "field"), [("validate", "api_key"), ("list", "application_key")]
)
def test_a_rejected_pair_is_not_stored_and_the_form_keeps_the_rest(
    sandbox: SandboxServer, manager: Client, operation: str, field: str
):
    sandbox.world.set_fault(fault=faults.RETURNS_403, operation=operation)
    pair = key_pair_of(sandbox.world, "Payments US")
    response = manager.post(reverse("credential-new"), fields_of(pair, site=US, name="Pay"))
    page = text_of(response)

    assert response.status_code == 422
    assert list(response.context["form"].errors) == [field]
    assert "(403)" in page
    assert 'value="Pay"' in page
    assert f'<option value="{US}" selected>' in page
    assert pair.api_key not in page
    assert pair.application_key not in page
    assert not Credential.objects.exists()


def test_a_pair_that_could_not_be_checked_can_be_replaced_or_discarded(
    sandbox: SandboxServer, manager: Client
):
    sandbox.world.set_fault(fault=faults.RETURNS_500, operation="validate")
    pair = key_pair_of(sandbox.world, "Payments US")
    response = manager.post(reverse("credential-new"), fields_of(pair, site=US))
    page = text_of(manager.get(response["Location"]))
    credential = Credential.objects.get()

    assert response.status_code == 303
    assert "Unreachable" in page
    assert f'href="{address("rotate", credential)}">Enter the keys again</a>' in page
    assert f'href="{address("retire", credential)}">Discard</a>' in page
    assert "Approval policy" not in page
    assert "Who can see it" not in page


def test_a_form_error_keeps_what_was_typed_but_never_a_key(sandbox: SandboxServer, manager: Client):
    response = manager.post(
        reverse("credential-new"),
        {"name": "Payments", "site": US, "api_key": f"{API_CANARY} {API_CANARY}"}
        | {"application_key": APPLICATION_CANARY},
    )
    page = text_of(response)

    assert response.status_code == 422
    assert 'value="Payments"' in page
    assert f'<option value="{US}" selected>' in page
    assert "The key contains a space." in page
    assert "canary" not in page


def test_a_key_pasted_into_the_name_is_refused_and_not_repeated(
    sandbox: SandboxServer, manager: Client
):
    response = manager.post(
        reverse("credential-new"), {"name": f"my {API_CANARY}", "site": US} | CANARIES
    )

    assert response.status_code == 422
    assert "This contains a key." in text_of(response)
    assert "canary" not in text_of(response)
    assert not Credential.objects.exists()


def test_adding_the_same_pair_again_links_to_the_existing_credential(
    sandbox: SandboxServer, manager: Client, credential: Credential
):
    pair = key_pair_of(sandbox.world, "Payments US")
    response = manager.post(reverse("credential-new"), fields_of(pair, site=US))

    assert response.status_code == 422
    assert "already stored as “Payments US”" in text_of(response)


def test_the_form_offers_every_site_and_preselects_none(manager: Client):
    page = text_of(manager.get(reverse("credential-new")))

    assert '<option value="datadoghq.eu">EU1 (datadoghq.eu)</option>' in page
    assert '<option value="uk1.datadoghq.com">UK1 (uk1.datadoghq.com)</option>' in page
    assert '<option value="" selected>Choose a site</option>' in page
    page = text_of(manager.get(reverse("credential-new"), {"site": "datadoghq.eu"}))
    assert '<option value="datadoghq.eu" selected>' in page


# --- One credential -------------------------------------------------------------------------


def test_a_viewer_sees_everything_except_the_actions(
    client_of: ClientOf, victor: Person, credential: Credential
):
    page = text_of(client_of(victor).get(address("detail", credential)))

    assert credential.fingerprint in page
    assert "View only." in page
    for act in ("verify", "rename", "rotate", "policy", "retire"):
        assert address(act, credential) not in page


def test_verifying_again_redirects_to_the_page(
    sandbox: SandboxServer, manager: Client, credential: Credential
):
    sandbox.world.revoke(key_pair_of(sandbox.world, "Payments US"))
    response = manager.post(address("verify", credential))
    page = text_of(manager.get(address("detail", credential)))

    assert (response.status_code, response["Location"]) == (303, address("detail", credential))
    assert "Keys rejected" in page


def test_renaming_to_a_duplicate_name_shows_an_error_at_the_field(
    sandbox: SandboxServer, manager: Client, credential: Credential
):
    added(sandbox, "Group SOC")
    response = manager.post(address("rename", credential), {"name": "group soc"})

    assert response.status_code == 422
    assert "Another credential is named “Group SOC”." in text_of(response)
    assert 'value="group soc"' in text_of(response)


def test_renaming_redirects_to_the_page(manager: Client, credential: Credential):
    response = manager.post(address("rename", credential), {"name": "Pay"})

    assert response.status_code == 303
    assert Credential.objects.get().name == "Pay"


def test_rotating_says_at_the_field_why_a_pair_is_refused(
    sandbox: SandboxServer, manager: Client, credential: Credential
):
    pair = key_pair_of(sandbox.world, "Group SOC")
    typed = {"api_key": pair.api_key, "application_key": pair.application_key}
    response = manager.post(address("rotate", credential), typed)
    page = text_of(response)

    assert response.status_code == 422
    owner = f"Group SOC ({pair.org.id}), user Org Admin. This credential is for Payments US"
    assert f"These keys belong to another org, {owner}" in page
    assert list(response.context["form"].errors) == ["application_key"]
    assert pair.api_key not in page


def test_rotating_redirects_to_the_page(
    sandbox: SandboxServer, manager: Client, credential: Credential
):
    pair = second_pair(sandbox, "Payments US")
    typed = {"api_key": pair.api_key, "application_key": pair.application_key}
    response = manager.post(address("rotate", credential), typed)

    assert response.status_code == 303
    assert Credential.objects.get().secret_version == 2


def test_an_administrator_is_warned_that_no_one_could_approve(
    client_of: ClientOf, root: Person, credential: Credential
):
    client = client_of(root)
    client.post(address("policy", credential), {"policy": "two"})
    page = text_of(client.get(address("detail", credential)))

    assert Credential.objects.get().policy == ApprovalPolicy.TWO
    assert "Nothing can be deleted until an administrator adds an Approver." in page


def test_retiring_names_the_deletions_it_withdraws(manager: Client, credential: Credential):
    deletion = deletion_of(credential, State.REQUESTED)
    page = text_of(manager.get(address("retire", credential)))

    assert "1 unsent request is withdrawn" in page
    assert reverse("deletion-detail", args=[deletion.pk]) in page
    assert 'data-confirm="Payments US"' in page


def test_retiring_with_a_wrong_name_keeps_the_typed_text(manager: Client, credential: Credential):
    response = manager.post(address("retire", credential), {"confirmation": "Payment"})

    assert response.status_code == 422
    assert 'value="Payment"' in text_of(response)
    assert not Credential.objects.get().is_retired


# --- Keys appear nowhere --------------------------------------------------------------------


def cache_rows() -> str:
    with connection.cursor() as cursor:
        table = django_settings.CACHES["default"]["LOCATION"]
        cursor.execute(f"SELECT cache_key, value FROM {table}")  # noqa: S608 - a setting of ours
        return "\n".join(f"{key} {base64.b64decode(value)!r}" for key, value in cursor.fetchall())


def test_no_page_log_session_cache_or_event_contains_pasted_keys(
    sandbox: SandboxServer, manager: Client, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    credential = added(sandbox, "Payments US")
    response = manager.post(reverse("credential-new"), {"name": "", "site": US} | CANARIES)
    rotated = manager.post(address("rotate", credential), CANARIES)
    pages = [
        manager.get(reverse("org-list")),
        manager.get(address("detail", credential)),
        manager.get(address("rotate", credential)),
        manager.get(address("retire", credential)),
        response,
        rotated,
    ]

    everything = "\n".join(
        [
            *(text_of(page) for page in pages),
            caplog.text,
            *(str(session.get_decoded()) for session in PersonSession.objects.all()),
            str(list(AuditEvent.objects.values())),
            str(Credential.objects.values().get()),
            cache_rows(),
        ]
    )
    assert "canary0a" not in everything


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("name", ["add_credential", "build_rotation"])
def test_an_error_page_shows_no_key_even_while_debugging(
    credential: Credential,
    margaret: Person,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    *,
    debug: bool,
):
    def fail(**arguments: object) -> None:
        raise RuntimeError("a fault of ours")

    settings.DEBUG = debug
    monkeypatch.setattr(acts, name, fail)
    client = Client(raise_request_exception=False)
    client.force_login(margaret)
    where = reverse("credential-new") if name == "add_credential" else address("rotate", credential)
    response = client.post(where, {"name": "", "site": US} | CANARIES)

    assert response.status_code == 500
    assert ("a fault of ours" in text_of(response)) == debug
    assert "canary0a" not in text_of(response)
    assert "canary0a" not in caplog.text
