"""Adding a credential: what is refused, what is stored, and the first verification."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.db import connection
from pytest_django import Settings

from connections.access.actor import Actor, command_actor
from connections.audit import EventCode
from connections.core import clock
from connections.core.errors import InvalidInputError
from connections.credentials import key_checks
from connections.credentials import lifecycle as credential_lifecycle
from connections.credentials.keys import clean_keys
from connections.credentials.lifecycle import KeysRefusedError
from connections.models import (
    ApprovalPolicy,
    AuditEvent,
    Credential,
    OrgConnectionSnapshot,
    Person,
)
from sandbox import faults
from sandbox.server import SandboxServer
from tests.credentials.support import added, check_results, codes, keys_of, last_event, pasted
from tests.support.key_rings import exposed_by
from tests.support.sandbox import EU, US, key_pair_of, org_named

ActorFor = Callable[[Person], Actor]
pytestmark = pytest.mark.django_db


def test_a_working_pair_is_verified_pinned_named_and_listed(
    sandbox: SandboxServer, margaret: Person, actor_for: ActorFor
):
    credential = added(sandbox, "Payments US", actor=actor_for(margaret))

    org = org_named(sandbox.world, "Payments US")
    assert credential.is_verified
    assert (credential.org_id, credential.org_name) == (org.id, "Payments US")
    assert credential.name == "Payments US"
    assert credential.keys_set_by_name == "Margaret"
    assert credential.last_used_at is not None
    assert OrgConnectionSnapshot.objects.filter(credential=credential).count() == 2
    assert set(check_results(credential).values()) == {True}


def test_a_key_as_the_name_is_refused_and_nothing_is_stored(sandbox: SandboxServer):
    pair = key_pair_of(sandbox.world, "Payments US")
    for name in (f"Pay {pair.api_key}", "ddpat_x"):
        with pytest.raises(InvalidInputError, match="looks like a key"):
            credential_lifecycle.add_credential(
                actor=command_actor(), name=name, site=US, keys=keys_of(pair)
            )
    assert not Credential.objects.exists()


def test_every_step_of_adding_is_recorded(sandbox: SandboxServer):
    added(sandbox, "Payments US")

    assert codes() == ["credential.added", "credential.verified"]


def test_keys_are_stored_encrypted_and_can_be_decrypted(sandbox: SandboxServer):
    credential = added(sandbox, "Payments US")

    pair = key_pair_of(sandbox.world, "Payments US")
    row = str(Credential.objects.values().get())
    assert pair.api_key not in row
    assert pair.application_key not in row
    assert credential.open_keys().by_field["api_key"].reveal() == pair.api_key


def test_a_typed_name_is_kept(sandbox: SandboxServer):
    assert added(sandbox, "Payments US", name="  My   org ").name == "My org"


def test_the_orgs_own_name_is_made_unique(sandbox: SandboxServer):
    added(sandbox, "Labs EU", name="payments us")

    assert added(sandbox, "Payments US").name == "Payments US 2"


def test_a_pair_that_could_not_be_checked_is_stored_with_the_reason(sandbox: SandboxServer):
    sandbox.world.set_fault(fault=faults.RETURNS_500, operation="validate")
    credential = added(sandbox, "Payments US")

    assert credential.name == f"{US} …{credential.last_four}"
    assert not credential.is_verified
    assert credential.verification_cause == "server_error"
    assert credential.last_error is not None
    assert check_results(credential)["api_key"] is False
    assert check_results(credential)["listing"] is None
    assert codes() == ["credential.added", "credential.not_verified"]


REJECTIONS = [
    ("validate", "api_key", "rejected the API key"),
    ("validate_keys", "application_key", "from another org"),
    ("current_user", "application_key", "which org the keys belong to"),
    ("list", "application_key", "needs org_connections_read"),
]


@pytest.mark.parametrize("fault", [faults.RETURNS_401, faults.RETURNS_403])
@pytest.mark.parametrize(("operation", "field", "says"), REJECTIONS)
def test_rejected_keys_are_not_stored_and_the_error_names_the_key(
    sandbox: SandboxServer, fault: faults.Fault, operation: str, field: str, says: str
):
    sandbox.world.set_fault(fault=fault, operation=operation)
    with pytest.raises(KeysRefusedError, match=says) as rejected:
        added(sandbox, "Payments US")

    event = last_event()
    assert rejected.value.field == field
    assert not Credential.objects.exists()
    assert not OrgConnectionSnapshot.objects.exists()
    assert codes() == ["credential.add_refused"]
    assert event.sentence.startswith("New keys were not stored. ")
    assert (event.details["site"], len(event.details["fingerprint"])) == (US, 12)


def test_keys_of_two_orgs_are_not_stored(sandbox: SandboxServer):
    api_key = key_pair_of(sandbox.world, "Payments US").api_key
    application_key = key_pair_of(sandbox.world, "Group SOC").application_key
    with pytest.raises(KeysRefusedError, match="from another org") as rejected:
        credential_lifecycle.add_credential(
            actor=command_actor(), name="", site=US, keys=pasted(api_key, application_key)
        )

    assert rejected.value.field == "application_key"
    assert not Credential.objects.exists()


def test_keys_of_another_site_are_sent_only_to_the_chosen_site(sandbox: SandboxServer):
    with pytest.raises(KeysRefusedError, match=f"from another site.*{EU}"):
        credential_lifecycle.add_credential(
            actor=command_actor(),
            name="",
            site=EU,
            keys=keys_of(key_pair_of(sandbox.world, "Payments US")),
        )
    assert sandbox.world.requests(site=US) == []


def test_whitespace_around_a_key_is_removed(sandbox: SandboxServer):
    pair = key_pair_of(sandbox.world, "Payments US")
    credential = credential_lifecycle.add_credential(
        actor=command_actor(),
        name="",
        site=US,
        keys=pasted(f" {pair.api_key}\n", f"\t{pair.application_key}\r\n"),
    )

    assert credential.is_verified


CANARY = "canary0" * 5
BAD_KEYS = {
    "empty": "",
    "only white space": " \n",
    "a newline inside": f"{CANARY}\n{CANARY}",
    "a NUL": f"{CANARY}\0",
    "a letter that is not ASCII": f"{CANARY}é",
    "a space inside": f"{CANARY} {CANARY}",
    "a no-break space inside": f"{CANARY}\u00a0{CANARY}",
    "a control character": f"{CANARY}\x07",
    "a lone surrogate": f"{CANARY}\ud800",
    "too short": "canary0api0canary00",
    "too long": CANARY * 10,
    "an access token": f"ddpat_{CANARY}",
}


@pytest.mark.parametrize("text", BAD_KEYS.values(), ids=BAD_KEYS.keys())
@pytest.mark.parametrize("field", ["api_key", "application_key"])
def test_an_invalid_key_is_refused_without_repeating_it(
    sandbox: SandboxServer, text: str, field: str
):
    keys = pasted(text) if field == "api_key" else pasted("a" * 32, text)
    with pytest.raises(InvalidInputError) as refused:
        credential_lifecycle.add_credential(actor=command_actor(), name="", site=US, keys=keys)

    assert list(refused.value.fields) == [field]
    assert "canary" not in exposed_by(refused.value, leave_out=__file__)
    assert not Credential.objects.exists()
    assert sandbox.world.requests() == []


def test_an_application_key_in_the_wrong_field_is_detected():
    with pytest.raises(InvalidInputError, match="swapped"):
        clean_keys(pasted("ddapp_" + "a" * 34))


def test_the_same_pair_is_not_stored_twice_on_one_site(sandbox: SandboxServer):
    added(sandbox, "Payments US", name="First")

    with pytest.raises(InvalidInputError, match="“First”"):
        added(sandbox, "Payments US", name="Second")
    assert Credential.objects.count() == 1


@pytest.mark.parametrize("name", ["ÉCOLE eu", "École EU", "école  eu", "E\u0301cole \uff25\uff35"])
def test_a_name_that_looks_like_an_existing_one_is_refused(sandbox: SandboxServer, name: str):
    added(sandbox, "Payments US", name="École EU")

    with pytest.raises(InvalidInputError) as refused:
        added(sandbox, "Labs EU", name=name)
    assert list(refused.value.fields) == ["name"]


@pytest.mark.parametrize("name", ["x" * 101, "turned \u202e round", "NUL \0"])
def test_an_invisible_name_is_refused(sandbox: SandboxServer, name: str):
    with pytest.raises(InvalidInputError) as refused:
        added(sandbox, "Payments US", name=name)
    assert list(refused.value.fields) == ["name"]


def test_a_host_is_never_built_from_a_typed_site(sandbox: SandboxServer):
    keys = keys_of(key_pair_of(sandbox.world, "Payments US"))
    with pytest.raises(InvalidInputError) as refused:
        credential_lifecycle.add_credential(
            actor=command_actor(), name="", site="evil.example.com", keys=keys
        )
    assert list(refused.value.fields) == ["site"]


@pytest.mark.parametrize("policy", ApprovalPolicy)
def test_a_new_credential_gets_the_policy_from_the_setting(
    sandbox: SandboxServer, settings: Settings, policy: ApprovalPolicy
):
    settings.FOUR_EYES = policy.value

    assert added(sandbox, "Payments US").policy == policy


def test_the_first_verification_raises_the_policy_to_that_of_the_org_and_records_it(
    sandbox: SandboxServer,
):
    added(sandbox, "Payments US")
    Credential.objects.update(policy=ApprovalPolicy.TWO)
    pair = sandbox.world.add_key_pair(org=org_named(sandbox.world, "Payments US"))
    second = credential_lifecycle.add_credential(
        actor=command_actor(), name="Second", site=US, keys=keys_of(pair)
    )

    second.refresh_from_db()
    assert second.policy == ApprovalPolicy.TWO
    event = AuditEvent.objects.get(code=EventCode.CREDENTIAL_POLICY_CHANGED)
    assert event.subject_id == str(second.pk)
    assert event.details == {"previous_policy": "none", "policy": "two"}


def test_adding_a_stricter_credential_records_the_policy_of_its_org(
    sandbox: SandboxServer, settings: Settings
):
    added(sandbox, "Payments US")
    settings.FOUR_EYES = "two"
    pair = sandbox.world.add_key_pair(org=org_named(sandbox.world, "Payments US"))
    credential_lifecycle.add_credential(
        actor=command_actor(), name="Second", site=US, keys=keys_of(pair)
    )
    event = AuditEvent.objects.get(code=EventCode.CREDENTIAL_POLICY_CHANGED)
    assert event.details == {
        "previous_policy": "none",
        "policy": "two",
        "previous_org_policy": "none",
        "org_policy": "two",
    }
    assert "of its org" in event.sentence


def test_a_policy_changed_during_the_first_verification_is_kept(sandbox: SandboxServer):
    credential = added(sandbox, "Payments US")
    Credential.objects.update(org_id="")
    credential.refresh_from_db()
    started_at = clock.now()
    [report] = key_checks.verify_in_parallel([credential])
    Credential.objects.update(policy=ApprovalPolicy.TWO)

    assert not key_checks.store_report(
        credential=credential, report=report, started_at=started_at, actor=command_actor()
    )
    assert Credential.objects.get().policy == ApprovalPolicy.TWO


@pytest.mark.parametrize("who", ["ada", "linus", "edith", "victor", "stranger"])
def test_only_credential_managers_can_add(
    sandbox: SandboxServer, request: pytest.FixtureRequest, actor_for: ActorFor, who: str
):
    person: Person = request.getfixturevalue(who)
    with pytest.raises(PermissionDenied):
        added(sandbox, "Payments US", actor=actor_for(person))
    assert sandbox.world.requests() == []
    assert not Credential.objects.exists()


def test_the_initial_name_stays_if_the_orgs_name_is_unavailable(sandbox: SandboxServer):
    org = sandbox.world.add_org(name="\u202e\u200b", site=US)
    pair = sandbox.world.add_key_pair(org=org)
    credential = credential_lifecycle.add_credential(
        actor=command_actor(), name="", site=US, keys=keys_of(pair)
    )

    assert re.fullmatch(rf"{US} …[0-9a-f]{{4}}", credential.name)


@pytest.mark.django_db(transaction=True)
def test_requests_to_datadog_are_sent_outside_any_transaction(
    sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
):
    inside: list[bool] = []
    really = key_checks.verify_in_parallel

    def spy(*args: Any) -> Any:
        inside.append(connection.in_atomic_block)
        return really(*args)

    monkeypatch.setattr(key_checks, "verify_in_parallel", spy)
    added(sandbox, "Payments US")
    assert inside == [False]
