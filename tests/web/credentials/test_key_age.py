"""Keys that were stored too long ago are flagged until they are rotated."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from connections.access.actor import command_actor
from connections.credentials import lifecycle
from connections.models import Credential, Person
from connections.operations.checks import run_all_checks
from sandbox.server import SandboxServer
from tests.credentials.support import added, keys_of, second_pair
from tests.flows.support import read

pytestmark = pytest.mark.django_db
ClientOf = Callable[[Person], Client]


def let_keys_age(*, days: float) -> None:
    Credential.objects.update(keys_set_at=timezone.now() - timedelta(days=days))


def flags_of(client: Client, credential: Credential) -> list[bool]:
    """Whether the credential's page and the orgs flag it."""
    detail = client.get(reverse("credential-detail", args=[credential.pk])).content.decode()
    return [flag(detail), "old-keys" in client.get(reverse("org-list")).content.decode()]


def doctor() -> str:
    [message] = [check for check in run_all_checks() if check.obj == "key age"]
    return str(message.msg)


def flag(page: str) -> bool:
    return "Rotation due" in page


@pytest.mark.parametrize(("days", "is_flagged"), [(89.9, False), (90.1, True), (-1, True)])
def test_old_keys_are_flagged_on_every_page_and_by_doctor(
    sandbox: SandboxServer, margaret: Person, client_of: ClientOf, days: float, is_flagged: bool
):
    credential = added(sandbox, "Payments US")
    let_keys_age(days=days)
    client = client_of(margaret)

    assert flags_of(client, credential) == [is_flagged] * 2
    assert flag(client.get("/").content.decode()) == is_flagged
    expected = "more than 90 days ago: Payments US" if is_flagged else "none stored more than 90"
    assert expected in doctor()


def test_the_age_is_a_setting(
    sandbox: SandboxServer, ada: Person, client_of: ClientOf, settings: Settings
):
    settings.KEY_MAX_AGE = timedelta(days=10)
    credential = added(sandbox, "Payments US")
    let_keys_age(days=11)
    assert all(flags_of(client_of(ada), credential))


def test_rotation_clears_the_flag_and_retired_credentials_have_none(
    sandbox: SandboxServer, ada: Person, client_of: ClientOf
):
    credential = added(sandbox, "Payments US")
    let_keys_age(days=100)
    keys = keys_of(second_pair(sandbox, "Payments US"))
    lifecycle.rotate_credential(actor=command_actor(), credential=credential, keys=keys)
    assert not any(flags_of(client_of(ada), credential))

    let_keys_age(days=100)
    Credential.objects.update(retired_at=timezone.now())
    assert not any(flags_of(client_of(ada), credential))
    assert "none stored" in doctor()


def test_the_overview_has_one_line_for_all_old_keys_for_people_who_can_rotate_them(
    sandbox: SandboxServer, ada: Person, margaret: Person, client_of: ClientOf
):
    added(sandbox, "Payments US")
    added(sandbox, "Group SOC")
    let_keys_age(days=100)
    line = "Rotation due 2 credentials Keys stored for more than 90 days"
    assert line in read(client_of(margaret).get("/")).text
    assert "Rotation due" not in read(client_of(ada).get("/")).text
