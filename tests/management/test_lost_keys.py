"""A lost key ring costs the keys, not the record."""

from collections.abc import Callable
from pathlib import Path

import pytest
from django.test import Client

from connections.access.actor import WORKER, command_actor
from connections.core import clock as database_clock
from connections.core.causes import Cause
from connections.crypto.encryption import (
    KeyRingError,
    check_key_ring,
    update_key_ring,
    with_new_primary,
)
from connections.models import AuditEvent, Credential, Outcome, Person, State
from connections.models.credentials import ENVELOPE_FIELDS
from connections.operations import due
from connections.people import sign_in_links
from sandbox import faults
from sandbox.faults import Fault
from sandbox.server import SandboxServer
from tests.deletions.conftest import RequestDeletion, credential, make_deletion
from tests.flows.support import store_credential
from tests.management.test_credentials import run, run_json
from tests.support.clock import SettableClock
from tests.support.key_rings import make_key_ring, stored_credential
from tests.support.mfa import recovery_codes_of, set_up_app, set_up_recovery_codes
from tests.support.people import PASSWORD

pytestmark = [pytest.mark.django_db, pytest.mark.database]
__all__ = ["credential", "make_deletion"]


@pytest.fixture
def lose_key_ring(key_ring_file: Path) -> Callable[[], None]:
    """Replaces the key ring with a new one, as `make_keys` makes it."""

    def lose() -> None:
        key_ring_file.unlink()
        make_key_ring(key_ring_file)

    return lose


def codes() -> list[str]:
    return list(AuditEvent.objects.order_by("seq").values_list("code", flat=True))


def test_without_a_key_ring_the_error_names_the_way_out(key_ring_file: Path):
    stored_credential()
    key_ring_file.unlink()
    with pytest.raises(KeyRingError, match=r"make_keys --output DIR.*forget_lost_keys"):
        check_key_ring()
    assert run("forget_lost_keys")[0] == 1
    assert not key_ring_file.exists()


def test_it_first_says_what_it_will_do(
    credential: Credential, ada: Person, lose_key_ring: Callable[[], None]
):
    set_up_app(ada, "SECRET")
    lose_key_ring()
    before = codes()
    code, document = run_json("forget_lost_keys")
    assert (code, document["done"]) == (2, False)
    assert (document["credentials"], document["people"]) == ([credential.name], ["ada"])
    with pytest.raises(KeyRingError, match="forget_lost_keys"):
        check_key_ring()
    assert codes() == before


def test_it_removes_only_what_no_key_can_decrypt(
    ada: Person, grace: Person, key_ring_file: Path, lose_key_ring: Callable[[], None]
):
    lost = stored_credential("Lost")
    set_up_app(ada, "SECRET")
    old = key_ring_file.read_text()
    lose_key_ring()
    kept = stored_credential("Kept")
    kept_codes = set_up_recovery_codes(grace)
    set_up_app(grace, "SECRET")

    assert run("forget_lost_keys", "--yes")[0] == 0
    check_key_ring()
    lost.refresh_from_db()
    kept.refresh_from_db()
    assert {getattr(lost, name) for name in ENVELOPE_FIELDS} == {""}
    assert (lost.is_retired, kept.is_retired) == (True, False)
    assert recovery_codes_of(grace) == kept_codes
    assert codes().count("credential.retired") == codes().count("person.second_factor_lost") == 1
    assert old not in key_ring_file.read_text()
    assert run_json("forget_lost_keys") == (
        0,
        {"done": True, "credentials": [], "people": [], "withdrawn": []},
    )


def test_a_ring_that_still_has_every_key_loses_nothing(key_ring_file: Path):
    credential = stored_credential()
    update_key_ring(with_new_primary)
    assert run("forget_lost_keys", "--yes")[0] == 0
    credential.refresh_from_db()
    assert not credential.is_retired


def test_without_its_lost_mfa_a_password_alone_signs_no_one_in(
    client: Client, ada: Person, lose_key_ring: Callable[[], None]
):
    set_up_app(ada, "SECRET")
    set_up_recovery_codes(ada)
    lose_key_ring()
    run("forget_lost_keys", "--yes")
    client.post("/accounts/login/", {"login": "ada", "password": PASSWORD})
    assert "_auth_user_id" not in client.session

    link = sign_in_links.make_sign_in_link(
        actor=command_actor(), person=ada, now=database_clock.now()
    )
    client.post("/sign-in/", {"token": link.partition("#")[2], "password": PASSWORD})
    assert client.session["_auth_user_id"] == str(ada.pk)


@pytest.mark.parametrize("fault", [None, faults.rate_limited(reset="7")], ids=["requested", "429"])
def test_requests_that_changed_nothing_are_withdrawn(
    make_deletion: RequestDeletion, lose_key_ring: Callable[[], None], fault: Fault | None
):
    if fault is None:
        Credential.objects.update(policy="one")
    deletion = make_deletion(fault)
    lose_key_ring()
    assert run_json("forget_lost_keys", "--yes")[1]["withdrawn"] == [str(deletion.pk)]
    deletion.refresh_from_db()
    assert (deletion.outcome, deletion.cause) == (Outcome.WITHDRAWN, Cause.CREDENTIAL_RETIRED)
    assert run("verify_audit")[0] == 0


def test_what_is_unknown_stays_until_syncs_of_another_credential_settle_it(
    make_deletion: RequestDeletion,
    sandbox: SandboxServer,
    lose_key_ring: Callable[[], None],
    clock: SettableClock,
):
    deletion = make_deletion(faults.EXECUTES_THEN_RESET)
    assert deletion.state == State.UNKNOWN
    lose_key_ring()
    assert run_json("forget_lost_keys", "--yes")[1]["withdrawn"] == []
    clock.advance(minutes=2)
    due.run_due(actor=WORKER)
    deletion.refresh_from_db()
    assert deletion.state == State.UNKNOWN

    store_credential(sandbox, "Payments US", name="New keys")
    for _ in range(2):
        clock.advance(hours=1, seconds=1)
        due.run_due(actor=WORKER)
    deletion.refresh_from_db()
    assert deletion.outcome == Outcome.GONE_UNATTRIBUTED


# --- retire_credential ------------------------------------------------------------------------


def test_a_credential_is_retired_by_name(credential: Credential):
    assert run("retire_credential", "--name", "PAYMENTS us")[0] == 2
    assert run("retire_credential", "--name", "Another", "--yes")[0] == 2
    code, document = run_json("retire_credential", "--name", "PAYMENTS us", "--yes")
    credential.refresh_from_db()
    assert (code, document["name"]) == (0, credential.name)
    assert credential.is_retired


def test_a_credential_whose_keys_a_request_needs_is_not_retired(
    make_deletion: RequestDeletion, credential: Credential
):
    make_deletion(faults.EXECUTES_THEN_RESET)
    code, document = run_json("retire_credential", "--name", credential.name, "--yes")
    assert (code, "is unknown" in document["error"]) == (1, True)
    credential.refresh_from_db()
    assert not credential.is_retired
