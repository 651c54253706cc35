"""Renaming, rotating, changing the policy and retiring."""

from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied

from connections.access.actor import Actor, command_actor
from connections.access.approvers import approval_warning
from connections.core.causes import Cause
from connections.core.datadog_keys import KeyPair
from connections.core.errors import ConflictError, InvalidInputError
from connections.credentials import lifecycle as credential_lifecycle
from connections.credentials.lifecycle import KeysRefusedError
from connections.credentials.retirement import retire_credential
from connections.crypto.encryption import DecryptionError
from connections.inventory.inventory import build_inventory
from connections.inventory.matching import InventoryFilter
from connections.models import (
    ApprovalPolicy,
    AuditEvent,
    Credential,
    Deletion,
    Outcome,
    Person,
    Role,
    State,
)
from sandbox import faults
from sandbox.server import SandboxServer
from tests.credentials.support import (
    added,
    codes,
    deletion_of,
    keys_of,
    last_event,
    pasted,
    second_pair,
)
from tests.support.key_rings import exposed_by
from tests.support.people import make_person
from tests.support.sandbox import key_pair_of

ActorFor = Callable[[Person], Actor]
pytestmark = pytest.mark.django_db


@pytest.fixture
def credential(sandbox: SandboxServer) -> Credential:
    return added(sandbox, "Payments US")


def rename(credential: Credential, name: str) -> None:
    credential_lifecycle.rename_credential(actor=command_actor(), credential=credential, name=name)


def rotate(credential: Credential, keys: KeyPair) -> Credential:
    return credential_lifecycle.rotate_credential(
        actor=command_actor(), credential=credential, keys=keys
    )


def acts_on(credential: Credential, *, actor: Actor) -> list[Callable[[], object]]:
    """Everything that can be done with a credential."""
    given: dict[str, Any] = {"actor": actor, "credential": credential}
    return [
        lambda: credential_lifecycle.verify_credential(**given),
        lambda: credential_lifecycle.rename_credential(**given, name="Another"),
        lambda: credential_lifecycle.rotate_credential(**given, keys=pasted("0" * 32)),
        lambda: retire_credential(**given, confirmation=credential.name),
    ]


# --- Renaming -------------------------------------------------------------------------------


def test_renaming_is_recorded_with_both_names(credential: Credential):
    rename(credential, " Pay  1 ")

    credential.refresh_from_db()
    assert credential.name == "Pay 1"
    event = last_event()
    assert event.code == "credential.renamed"
    assert event.details == {"previous_name": "Payments US", "name": "Pay 1"}


def test_renaming_can_change_only_the_case_of_the_name(credential: Credential):
    rename(credential, "PAYMENTS us")
    credential.refresh_from_db()
    assert credential.name == "PAYMENTS us"


@pytest.mark.parametrize("name", ["group soc", "  ", "x y" * 34, "ddapp_x", "0a" * 16])
def test_a_duplicate_empty_or_too_long_name_or_a_key_is_refused(
    sandbox: SandboxServer, credential: Credential, name: str
):
    added(sandbox, "Group SOC")
    with pytest.raises(InvalidInputError):
        rename(credential, name)


def test_the_second_of_two_concurrent_renames_is_refused(credential: Credential):
    seen_by_other = Credential.objects.get()
    rename(credential, "First")

    with pytest.raises(ConflictError):
        rename(seen_by_other, "Second")
    assert Credential.objects.get().name == "First"


# --- Rotating -------------------------------------------------------------------------------


def test_rotating_swaps_in_a_verified_pair_of_the_same_org(
    sandbox: SandboxServer, credential: Credential, margaret: Person, actor_for: ActorFor
):
    before, pair = credential.fingerprint, second_pair(sandbox, "Payments US")
    rotated = credential_lifecycle.rotate_credential(
        actor=actor_for(margaret), credential=credential, keys=keys_of(pair)
    )

    assert rotated.is_verified
    assert rotated.open_keys().by_field["api_key"].reveal() == pair.api_key
    assert rotated.keys_set_by_name == "Margaret"
    event = AuditEvent.objects.get(code="credential.rotated")
    assert event.details == {"previous_fingerprint": before, "fingerprint": rotated.fingerprint}


def stored_values(credential: Credential) -> dict[str, object]:
    return dict(Credential.objects.filter(pk=credential.pk).values().get())


def test_a_pair_of_another_org_is_refused_and_nothing_changes(
    sandbox: SandboxServer, credential: Credential
):
    before = stored_values(credential)
    pair = key_pair_of(sandbox.world, "Group SOC")
    with pytest.raises(KeysRefusedError, match=r"another org, Group SOC.* stay in use"):
        rotate(credential, keys_of(pair))

    assert stored_values(credential) == before
    assert last_event().code == "credential.rotation_refused"
    assert last_event().details["cause"] == "another_org"


def test_a_pair_that_datadog_refuses_does_not_replace_the_current_one(credential: Credential):
    before = stored_values(credential)
    with pytest.raises(KeysRefusedError) as refused:
        rotate(credential, pasted("canary0" * 5))

    assert stored_values(credential) == before
    assert refused.value.field == "api_key"
    assert "canary0canary0" not in exposed_by(refused.value, leave_out=__file__)
    assert "canary0canary0" not in str(list(AuditEvent.objects.values()))


def test_a_pair_that_cannot_list_does_not_replace_one_that_can(
    sandbox: SandboxServer, credential: Credential
):
    pair = second_pair(sandbox, "Payments US")
    sandbox.world.set_fault(fault=faults.RETURNS_403, operation="list")
    with pytest.raises(KeysRefusedError, match="refused to list"):
        rotate(credential, keys_of(pair))


def test_a_pair_that_cannot_list_can_replace_another_that_cannot(sandbox: SandboxServer):
    sandbox.world.set_fault(fault=faults.RETURNS_500, operation="list")
    credential = added(sandbox, "Payments US")
    pair = second_pair(sandbox, "Payments US")
    rotated = rotate(credential, keys_of(pair))

    assert rotated.open_keys().by_field["api_key"].reveal() == pair.api_key
    assert not rotated.is_verified


def test_rotating_replaces_an_initial_pair_that_never_worked(sandbox: SandboxServer):
    sandbox.world.set_fault(fault=faults.RETURNS_500, operation="validate")
    credential = added(sandbox, "Payments US")
    sandbox.world.clear_faults()
    rotated = rotate(credential, keys_of(second_pair(sandbox, "Payments US")))

    assert (rotated.is_verified, rotated.org_name) == (True, "Payments US")


def test_the_stored_pair_is_refused_as_a_rotation(sandbox: SandboxServer, credential: Credential):
    with pytest.raises(InvalidInputError, match="the current keys"):
        rotate(credential, keys_of(key_pair_of(sandbox.world, "Payments US")))


def test_a_pair_of_another_credential_is_refused_and_that_credential_is_named(
    sandbox: SandboxServer, credential: Credential
):
    added(sandbox, "Group SOC")
    with pytest.raises(InvalidInputError, match="“Group SOC”"):
        rotate(credential, keys_of(key_pair_of(sandbox.world, "Group SOC")))


def test_rotating_is_allowed_while_a_deletion_is_sending(
    sandbox: SandboxServer, credential: Credential
):
    deletion = deletion_of(credential, State.SENDING)
    before = credential.fingerprint
    rotate(credential, keys_of(second_pair(sandbox, "Payments US")))

    deletion.refresh_from_db()
    assert deletion.credential_fingerprint == before


def test_the_second_of_two_concurrent_rotations_changes_nothing(
    sandbox: SandboxServer, credential: Credential
):
    seen_by_other = Credential.objects.get()
    first = second_pair(sandbox, "Payments US")
    rotate(credential, keys_of(first))

    with pytest.raises(ConflictError, match="weren't stored"):
        rotate(seen_by_other, keys_of(second_pair(sandbox, "Payments US")))
    assert Credential.objects.get().open_keys().by_field["api_key"].reveal() == first.api_key
    assert codes().count("credential.rotated") == 1


def test_a_verification_of_keys_rotated_meanwhile_is_discarded(
    sandbox: SandboxServer, credential: Credential
):
    seen_by_other = Credential.objects.get()
    rotate(credential, keys_of(second_pair(sandbox, "Payments US")))
    sandbox.world.revoke(key_pair_of(sandbox.world, "Payments US"))

    with pytest.raises(ConflictError, match="Check again"):
        credential_lifecycle.verify_credential(actor=command_actor(), credential=seen_by_other)
    assert Credential.objects.get().is_verified


# --- Policy ---------------------------------------------------------------------------------


def test_an_administrator_changes_the_policy_and_it_is_recorded(
    credential: Credential, root: Person, actor_for: ActorFor
):
    credential_lifecycle.change_policy(
        actor=actor_for(root), credential=credential, policy=ApprovalPolicy.TWO
    )

    assert Credential.objects.get().policy == ApprovalPolicy.TWO
    event = last_event()
    assert event.code == "credential.policy_changed"
    assert event.details == {
        "previous_policy": "none",
        "policy": "two",
        "previous_org_policy": "none",
        "org_policy": "two",
    }
    assert event.sentence.endswith("The approvals needed for Payments US changed from 0 to 2.")


def test_an_administrator_allows_a_persons_keys_to_create_and_it_is_recorded(
    credential: Credential, root: Person, actor_for: ActorFor
):
    for allow in (True, False):
        credential_lifecycle.allow_person_to_create(
            actor=actor_for(root), credential=credential, allow_person=allow
        )
        assert Credential.objects.get().person_can_create is allow
        assert last_event().code == "credential.creator_changed"
        assert last_event().details == {"allow_person": allow}


def test_setting_the_same_policy_records_no_event(
    credential: Credential, root: Person, actor_for: ActorFor
):
    before = codes()
    credential_lifecycle.change_policy(
        actor=actor_for(root), credential=credential, policy=ApprovalPolicy.NONE
    )
    assert codes() == before


@pytest.mark.parametrize(
    ("approvers", "policy", "says"),
    [
        (0, ApprovalPolicy.NONE, None),
        (0, ApprovalPolicy.ONE, "0 active approvers, but 1 approval needed."),
        (1, ApprovalPolicy.ONE, "1 active approver. People can't approve their own"),
        (2, ApprovalPolicy.ONE, None),
        (1, ApprovalPolicy.TWO, "1 active approver, but 2 approvals needed."),
        (3, ApprovalPolicy.TWO, None),
    ],
)
def test_too_few_approvers_cause_a_warning(
    db: None, approvers: int, policy: ApprovalPolicy, says: str | None
):
    for number in range(approvers):
        make_person(f"approver{number}", Role.APPROVER)
    gone = make_person("gone", Role.APPROVER)
    gone.is_active = False
    gone.save()

    warning = approval_warning(policy)
    if says is None:
        assert warning is None
    else:
        assert warning
        assert warning.startswith(says)


# --- Retiring -------------------------------------------------------------------------------


def retire(credential: Credential, confirmation: str = "payments  us") -> Credential:
    return retire_credential(
        actor=command_actor(), credential=credential, confirmation=confirmation
    )


def test_retiring_erases_the_keys_and_keeps_the_row_with_a_marked_name(credential: Credential):
    fingerprint = credential.fingerprint
    retired = retire(credential)

    assert (retired.api_key_envelope, retired.application_key_envelope) == ("", "")
    assert retired.fingerprint == fingerprint
    assert retired.name.startswith("Payments US (retired ")
    assert last_event().code == "credential.retired"
    with pytest.raises(DecryptionError):
        retired.open_keys()


def test_two_credentials_with_one_name_can_be_retired_on_one_day(
    sandbox: SandboxServer, credential: Credential
):
    retire(credential)
    second = retire(added(sandbox, "Payments US"))
    assert second.name.endswith(" 2")


@pytest.mark.parametrize("typed", ["", "Payments", "Group SOC"])
def test_retiring_requires_typing_the_name(credential: Credential, typed: str):
    with pytest.raises(InvalidInputError) as refused:
        retire(credential, typed)
    assert list(refused.value.fields) == ["confirmation"]
    assert not Credential.objects.get().is_retired


@pytest.mark.parametrize("state", [State.SENDING, State.WAITING, State.UNKNOWN])
def test_a_credential_with_a_deletion_in_progress_cannot_be_retired(
    credential: Credential, state: State
):
    deletion_of(credential, State.REQUESTED)
    deletion_of(credential, state)
    before = stored_values(credential), codes()

    with pytest.raises(ConflictError, match=state.value):
        retire(credential)
    assert (stored_values(credential), codes()) == before
    assert Deletion.objects.filter(state=State.REQUESTED).count() == 1


@pytest.mark.parametrize("state", [State.REQUESTED, State.APPROVED])
def test_requested_deletions_that_were_not_sent_are_withdrawn(credential: Credential, state: State):
    deletion = deletion_of(credential, state)
    retire(credential)

    deletion.refresh_from_db()
    assert (deletion.state, deletion.outcome) == (State.SETTLED, Outcome.WITHDRAWN)
    assert deletion.cause == Cause.CREDENTIAL_RETIRED
    assert codes()[-2:] == ["deletion.withdrawn", "credential.retired"]
    assert last_event().details["withdrawn_deletions"] == [str(deletion.pk)]


def test_connections_listed_only_by_it_leave_the_inventory(
    sandbox: SandboxServer, credential: Credential
):
    added(sandbox, "Labs EU")
    retire(credential)

    seen = build_inventory(actor=command_actor(), filters=InventoryFilter())
    assert {listed.source_org.name for listed in seen.matches} == {"Labs EU"}


def test_a_retired_credential_can_no_longer_be_used_or_changed(credential: Credential):
    for act in acts_on(retire(credential), actor=command_actor()):
        with pytest.raises(ConflictError, match="retired"):
            act()


def test_the_second_of_two_concurrent_retirements_is_refused(credential: Credential):
    seen_by_other = Credential.objects.get()
    retire(credential)

    with pytest.raises(ConflictError):
        retire(seen_by_other)
    assert codes().count("credential.retired") == 1


def test_a_rotation_started_before_retiring_stores_no_keys(
    sandbox: SandboxServer, credential: Credential
):
    seen_by_other = Credential.objects.get()
    retire(credential)

    with pytest.raises(ConflictError):
        rotate(seen_by_other, keys_of(second_pair(sandbox, "Payments US")))
    assert Credential.objects.get().api_key_envelope == ""


# --- Permissions ----------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["ada", "linus", "edith", "victor", "stranger"])
def test_people_without_the_permission_can_only_view(
    sandbox: SandboxServer,
    credential: Credential,
    request: pytest.FixtureRequest,
    actor_for: ActorFor,
    who: str,
):
    before = stored_values(credential), codes(), len(sandbox.world.requests())
    for act in acts_on(credential, actor=actor_for(request.getfixturevalue(who))):
        with pytest.raises(PermissionDenied):
            act()
    assert (stored_values(credential), codes(), len(sandbox.world.requests())) == before


def test_a_credential_manager_cannot_change_the_policy(
    credential: Credential, margaret: Person, actor_for: ActorFor
):
    with pytest.raises(PermissionDenied):
        credential_lifecycle.change_policy(
            actor=actor_for(margaret), credential=credential, policy=ApprovalPolicy.ONE
        )


def test_a_credential_manager_cannot_allow_a_persons_keys_to_create(
    credential: Credential, margaret: Person, actor_for: ActorFor
):
    with pytest.raises(PermissionDenied):
        credential_lifecycle.allow_person_to_create(
            actor=actor_for(margaret), credential=credential, allow_person=True
        )
