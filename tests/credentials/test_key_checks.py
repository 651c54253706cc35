"""Key checks: the text of each failure, and that later checks are skipped."""

import pytest

from connections.access.actor import command_actor
from connections.core.errors import UnavailableError
from connections.credentials import lifecycle as credential_lifecycle
from connections.credentials.lifecycle import KeysRefusedError
from connections.models import AuditEvent, Credential, OrgConnectionSnapshot, Sync
from sandbox import faults
from sandbox.entities import READ, WRITE
from sandbox.faults import Fault
from sandbox.server import SandboxServer
from tests.credentials.support import added, check_results, codes, keys_of
from tests.support.sandbox import US, key_pair_of, org_named

pytestmark = pytest.mark.django_db
STEPS = {
    "validate": "api_key",
    "validate_keys": "key_pair",
    "current_user": "org",
    "list": "listing",
}
FAULTS: list[tuple[Fault, str]] = [
    (faults.RETURNS_401, "unauthorized"),
    (faults.RETURNS_500, "server_error"),
    (faults.RETURNS_404_HTML, "wrong_404"),
    (faults.TRUNCATED_JSON, "malformed_json"),
    (faults.RESET_AFTER_READING, "connection_lost"),
    (faults.rate_limited(), "rate_limited"),
    (faults.redirected(status=302), "redirect"),
]


def verify(credential: Credential) -> Credential:
    return credential_lifecycle.verify_credential(actor=command_actor(), credential=credential)


@pytest.mark.parametrize(
    ("operation", "fault", "cause"),
    [
        *((operation, faults.RETURNS_403, "forbidden") for operation in STEPS),
        *(("current_user", fault, cause) for fault, cause in FAULTS),
    ],
)
def test_the_checks_stop_at_the_first_failure_and_say_why(
    sandbox: SandboxServer, operation: str, fault: Fault, cause: str
):
    credential = added(sandbox, "Payments US")
    sandbox.world.set_fault(fault=fault, operation=operation)
    verify(credential)

    step = STEPS[operation]
    failed = next(check for check in credential.verification if check["check"] == step)
    names = list(check_results(credential))
    assert failed["ok"] is False
    assert failed["cause"] == credential.verification_cause == cause
    assert failed["text"].endswith(".")
    assert all(check_results(credential)[name] for name in names[: names.index(step)])
    assert {check_results(credential)[name] for name in names[names.index(step) + 1 :]} <= {None}
    assert not credential.is_verified
    assert "credential.not_verified" in codes()


@pytest.mark.parametrize(
    ("operation", "fault"),
    [("validate", faults.RETURNS_403), ("validate_keys", faults.RETURNS_401)],
)
def test_a_refusal_mentions_that_the_keys_may_belong_to_another_site(
    sandbox: SandboxServer, operation: str, fault: Fault
):
    credential = added(sandbox, "Payments US")
    sandbox.world.set_fault(fault=fault, operation=operation)
    text = " ".join(check["text"] for check in verify(credential).verification)

    for expected in ("revoked", "mistyped", "another site", f"sent to {US}"):
        assert expected in text


def test_datadogs_error_text_is_kept(sandbox: SandboxServer):
    credential = added(sandbox, "Payments US")
    sandbox.world.set_fault(fault=faults.RETURNS_403, operation="list")
    check = verify(credential).verification[-1]

    assert (check["http_status"], check["errors"]) == (403, ["Forbidden"])
    assert "org_connections_read" in check["text"]


def test_a_failing_listing_still_sets_the_org(sandbox: SandboxServer):
    sandbox.world.set_fault(fault=faults.RETURNS_500, operation="list")

    assert added(sandbox, "Payments US").org_id == org_named(sandbox.world, "Payments US").id


def test_an_unreachable_site_says_nothing_about_the_keys(sandbox: SandboxServer):
    pair = keys_of(key_pair_of(sandbox.world, "Payments US"))
    sandbox.stop()
    credential = credential_lifecycle.add_credential(
        actor=command_actor(), name="", site=US, keys=pair
    )

    assert credential.verification_cause == "connection_refused"
    assert "says nothing about the keys" in credential.verification[0]["text"]


@pytest.mark.parametrize(
    ("permissions", "is_granted", "says"),
    [
        ((READ, WRITE), True, "can't check whether the application key's scopes"),
        ((READ,), False, "lacks org_connections_write"),
    ],
)
def test_the_role_is_reported_and_the_write_scope_is_never_claimed(
    sandbox: SandboxServer, permissions: tuple[str, ...], is_granted: bool, says: str
):
    org = org_named(sandbox.world, "Payments US")
    pair = sandbox.world.add_key_pair(org=org, permissions=permissions)
    credential = credential_lifecycle.add_credential(
        actor=command_actor(), name="", site=US, keys=keys_of(pair)
    )

    check = next(one for one in credential.verification if one["check"] == "permissions")
    assert (check["ok"], credential.is_verified) == (is_granted, True)
    assert says in check["text"]


def test_a_pair_without_read_permission_is_not_stored(sandbox: SandboxServer):
    org = org_named(sandbox.world, "Payments US")
    pair = sandbox.world.add_key_pair(org=org, permissions=())
    with pytest.raises(KeysRefusedError, match="The role needs org_connections_read"):
        credential_lifecycle.add_credential(
            actor=command_actor(), name="", site=US, keys=keys_of(pair)
        )
    assert not Credential.objects.exists()


def test_a_pair_of_another_org_is_not_verified_and_shows_nothing(sandbox: SandboxServer):
    credential = added(sandbox, "Payments US")
    sandbox.world.set_fault(fault=faults.ANOTHER_ORG, operation="current_user")
    sandbox.world.set_fault(fault=faults.ANOTHER_ORG, operation="list")
    before = set(OrgConnectionSnapshot.objects.values_list("pk", flat=True))
    verify(credential)

    assert credential.verification_cause == "another_org"
    assert credential.org_id == org_named(sandbox.world, "Payments US").id
    assert "Group SOC" in credential.verification[2]["text"]
    assert set(OrgConnectionSnapshot.objects.values_list("pk", flat=True)) == before
    assert not Sync.objects.order_by("-id")[0].is_complete
    assert AuditEvent.objects.filter(code="credential.not_verified").count() == 1


def test_verifying_again_refreshes_the_inventory(sandbox: SandboxServer):
    credential = added(sandbox, "Payments US")
    sandbox.world.add_connection(
        source_org=org_named(sandbox.world, "Payments US"),
        sink_org=sandbox.world.add_org(name="New", site=US),
    )
    verify(credential)

    assert credential.snapshots.filter(is_current=True).count() == 3


def test_a_verification_that_succeeds_clears_the_last_error(sandbox: SandboxServer):
    sandbox.world.set_fault(fault=faults.RETURNS_500, operation="validate")
    credential = added(sandbox, "Payments US")
    sandbox.world.clear_faults()
    verify(credential)

    assert credential.is_verified
    assert credential.last_error is None


def test_undecryptable_keys_fail_a_check_and_nothing_is_sent(sandbox: SandboxServer):
    credential = added(sandbox, "Payments US")
    other = added(sandbox, "Group SOC")
    # An envelope can't be decrypted in another row.
    Credential.objects.filter(pk=credential.pk).update(api_key_envelope=other.api_key_envelope)
    request_count = len(sandbox.world.requests())
    credential.refresh_from_db()
    verify(credential)

    assert check_results(credential)["stored"] is False
    assert credential.verification_cause == "not_opened"
    assert len(sandbox.world.requests()) == request_count


def test_one_failure_does_not_hide_the_other_verifications(sandbox: SandboxServer):
    stored = [added(sandbox, name) for name in ("Payments US", "Group SOC", "Labs EU")]
    sandbox.world.revoke(key_pair_of(sandbox.world, "Group SOC"))
    verified = credential_lifecycle.verify_credentials(actor=command_actor(), credentials=stored)

    assert [one.is_verified for one in verified] == [True, False, True]


def test_a_credential_with_a_removed_site_says_so(
    sandbox: SandboxServer, settings: pytest.FixtureRequest
):
    credential = added(sandbox, "Payments US")
    settings.EXTRA_SITES = {}  # type: ignore[attr-defined]

    with pytest.raises(UnavailableError, match=US):
        verify(credential)
