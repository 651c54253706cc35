"""Only an administrator lowers the approvals that an org's requests need."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from connections.access.policies import strictest_policy
from connections.models import ApprovalPolicy, Credential, Person, Role
from connections.operations.checks import run_all_checks
from sandbox.server import SandboxServer
from tests.credentials.support import fields_of, second_pair
from tests.flows.support import Page, store_credential
from tests.support.people import make_person
from tests.support.undo import undone
from tests.web.hardening.test_fuzz import filled, form_for, pages
from tests.web.test_access import MATRIX, addresses

__all__ = ["addresses", "pages"]

pytestmark = pytest.mark.django_db

ORG = "Payments US"


def approvals_by_org() -> dict[tuple[str, str], int]:
    orgs = Credential.objects.exclude(org_id="").values_list("site", "org_id")
    return {org: strictest_policy([org]).approvals_needed for org in orgs}


@pytest.fixture
def strict(sandbox: SandboxServer, addresses: dict[str, str]) -> Credential:
    """One of two credentials of an org, with the stricter policy and without open requests."""
    pair = second_pair(sandbox, ORG)
    Credential.objects.update(policy=ApprovalPolicy.NONE)
    policy = ApprovalPolicy.TWO
    return store_credential(sandbox, ORG, name="strict", pair=pair, policy=policy)


@pytest.fixture
def mix(db: None) -> Person:
    """Someone with every role, but not an administrator."""
    return make_person("mix", *Role)


def of_credentials(sandbox: SandboxServer, strict: Credential) -> dict[str, dict[str, Any]]:
    """What the POST of each address about credentials gets to do something with the strict one."""
    new = fields_of(second_pair(sandbox, ORG), site=strict.site, name="new")
    other = second_pair(sandbox, ORG)
    line = f"{strict.name},{strict.site},{other.api_key},{other.application_key}"
    return {
        "credential-new": new,
        "credential-import": {
            "csv": f"name,site,api_key,application_key\n{line}",
            "rotate": "on",
        },
        "credential-verify": {},
        "credential-rename": {"name": "renamed"},
        "credential-rotate": {key: new[key] for key in ("api_key", "application_key")},
        "credential-policy": {"policy": "none"},
        "credential-creator": {"allow_person": "yes"},
        "credential-access": {"see": "role:Viewer"},
        "credential-retire": {"confirmation": strict.name},
    }


@pytest.mark.slow
def test_no_address_lets_anyone_but_an_administrator_lower_an_orgs_approvals(
    addresses: dict[str, str],
    pages: list[Page],
    sandbox: SandboxServer,
    strict: Credential,
    mix: Person,
    client_of: Callable[[Person], Client],
):
    before, client = approvals_by_org(), client_of(mix)
    wanted, done, lowered = of_credentials(sandbox, strict), set(), []
    # A bundle needs its own transaction, and only reads.
    for name in (
        name for name, (_, may_post) in MATRIX.items() if may_post and name != "bundle-new"
    ):
        url, data = addresses[name], filled(form_for(addresses[name], pages))
        if name in wanted:
            is_new = name in {"credential-new", "credential-import"}
            url, data = reverse(name, args=[] if is_new else [strict.pk]), wanted[name]
        with undone():
            response = client.post(url, data)
            if name in wanted and response.status_code in {200, 303}:
                done.add(name)
            after = approvals_by_org()
            lowered += [name] if any(after[org] < before[org] for org in before) else []
    assert lowered == []
    # These did what they do; the others are an administrator's.
    assert done == wanted.keys() - {"credential-policy", "credential-creator", "credential-access"}


def test_no_command_about_credentials_lowers_an_orgs_approvals(
    sandbox: SandboxServer, strict: Credential, tmp_path: Path
):
    before, new, other = approvals_by_org(), second_pair(sandbox, ORG), second_pair(sandbox, ORG)
    paths = {"api_key_file": new.api_key, "application_key_file": new.application_key}
    for name, key in paths.items():
        (tmp_path / name).write_text(key)
    table = tmp_path / "keys.csv"
    line = f"{strict.name},{strict.site},{other.api_key},{other.application_key}"
    table.write_text(f"name,site,api_key,application_key\n{line}\n")
    files = {name: tmp_path / name for name in paths}
    call_command("add_credential", name="new", site=strict.site, **files)
    call_command("import_credentials", file=str(table), rotate=True)
    call_command("verify_credentials")
    call_command("retire_credential", name=strict.name, yes=True)
    assert Credential.objects.filter(org_id=strict.org_id).count() == 3
    assert approvals_by_org() == before


def test_an_administrator_lowers_the_policy_of_a_retired_credential_on_its_page(
    sandbox: SandboxServer, strict: Credential, root: Person, client_of: Callable[[Person], Client]
):
    client, url = client_of(root), reverse("credential-detail", args=[strict.pk])
    page = client.get(reverse("credential-retire", args=[strict.pk])).content.decode()
    assert "2 approvals required" in page
    client.post(reverse("credential-retire", args=[strict.pk]), {"confirmation": strict.name})
    assert reverse("credential-policy", args=[strict.pk]) in client.get(url).content.decode()
    org = (strict.site, strict.org_id)
    assert strictest_policy([org]) == ApprovalPolicy.TWO
    client.post(reverse("credential-policy", args=[strict.pk]), {"policy": "none"})
    assert strictest_policy([org]) == ApprovalPolicy.NONE


def test_doctor_names_the_orgs_that_need_approvals_because_of_a_retired_credential(
    sandbox: SandboxServer, strict: Credential, mix: Person, client_of: Callable[[Person], Client]
):
    url = reverse("credential-retire", args=[strict.pk])
    client_of(mix).post(url, {"confirmation": strict.name})
    [text] = [each.msg for each in run_all_checks() if "retired credential" in each.msg]
    assert text.startswith(f"2 approvals required for {ORG}, because of the retired credential")
