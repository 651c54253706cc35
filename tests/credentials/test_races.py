"""Concurrent changes to credentials, of which only one can succeed. PostgreSQL only."""

import pytest
from django.conf import settings

from connections.access.actor import command_actor
from connections.change_requests import sending
from connections.core.secret import Secret
from connections.credentials import lifecycle as credential_lifecycle
from connections.credentials.import_file import parse_file
from connections.credentials.imports import LineResult, import_credentials
from connections.credentials.retirement import retire_credential
from connections.models import Credential, Deletion, State
from sandbox.server import SandboxServer
from tests.credentials.support import added, codes, deletion_of, keys_of, second_pair
from tests.support.at_once import run_concurrently
from tests.support.sandbox import US, key_pair_of

pytestmark = [
    pytest.mark.database,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(settings.DATABASE_IS_SQLITE, reason="SQLite has one writer at a time"),
]


def test_a_form_submitted_twice_concurrently_adds_one_credential(sandbox: SandboxServer):
    results = run_concurrently(*[lambda: added(sandbox, "Payments US", name="Pay")] * 2)

    assert results == ["done", "refused"]
    assert Credential.objects.count() == 1


def test_two_imports_of_the_same_lines_at_once_add_each_line_once(sandbox: SandboxServer):
    pairs = [key_pair_of(sandbox.world, name) for name in ("Payments US", "Group SOC")]
    rows = [f"{pair.org.name},{US},{pair.api_key},{pair.application_key}" for pair in pairs]
    text = Secret("\n".join(["name,site,api_key,application_key", *rows]))
    results: list[list[LineResult]] = []

    def import_lines() -> None:
        results.append(
            import_credentials(actor=command_actor(), lines=parse_file(text), rotate=False)
        )

    assert run_concurrently(import_lines, import_lines) == ["done", "done"]
    for lines in zip(*results, strict=True):
        assert sorted(line.outcome for line in lines) == ["added", "skipped"]
    assert Credential.objects.count() == 2
    assert codes().count("credential.added") == 2


def test_two_concurrent_rotations_leave_one_new_pair(sandbox: SandboxServer):
    added(sandbox, "Payments US")
    pairs = [second_pair(sandbox, "Payments US"), second_pair(sandbox, "Payments US")]
    seen = [Credential.objects.get(), Credential.objects.get()]

    def rotate(number: int) -> None:
        credential_lifecycle.rotate_credential(
            actor=command_actor(), credential=seen[number], keys=keys_of(pairs[number])
        )

    results = run_concurrently(lambda: rotate(0), lambda: rotate(1))
    stored = Credential.objects.get()
    assert results == ["done", "refused"]
    assert stored.secret_version == 2
    assert stored.open_keys().by_field["api_key"].reveal() in {pair.api_key for pair in pairs}
    assert codes().count("credential.rotated") == 1


def test_only_one_of_two_concurrent_renames_to_the_same_name_succeeds(sandbox: SandboxServer):
    stored = [added(sandbox, "Payments US"), added(sandbox, "Group SOC")]

    def rename(number: int) -> None:
        credential_lifecycle.rename_credential(
            actor=command_actor(), credential=stored[number], name="The one"
        )

    assert run_concurrently(lambda: rename(0), lambda: rename(1)) == ["done", "refused"]
    assert Credential.objects.filter(name="The one").count() == 1


@pytest.mark.parametrize("times", range(3))
def test_a_deletion_is_never_sending_with_a_credential_that_was_retired(
    sandbox: SandboxServer, times: int
):
    credential = added(sandbox, "Payments US")
    deletion = deletion_of(credential, State.REQUESTED)
    run_concurrently(
        lambda: sending.claim([deletion], actor=command_actor(), was_rechecked=True),
        lambda: retire_credential(
            actor=command_actor(), credential=credential, confirmation="Payments US"
        ),
    )

    state = Deletion.objects.get().state
    assert Credential.objects.get().is_retired == (state == State.SETTLED)
    assert state in {State.SETTLED, State.SENDING}
