import json
import os
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from pytest_django import Settings

from connections.audit.signing import read_signing_key
from connections.core.private_files import create_private_text
from connections.core.secret import Secret
from connections.crypto import encryption
from connections.crypto.encrypted_fields import key_ids_in_use
from connections.crypto.encryption import check_key_ring, update_key_ring, with_new_primary
from connections.models import AuditEvent, Credential
from connections.models.credentials import ENVELOPE_FIELDS
from tests.support.key_rings import (
    API_KEY,
    APPLICATION_KEY,
    keys_in,
    make_key_ring,
    primary_in,
    stored_credential,
)


def run_python(*arguments: str, data: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "DJANGO_SETTINGS_MODULE": "orgadmin.settings",
        "ORGADMIN_DATA_DIR": str(data),
    }
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=django_settings.BASE_DIR,
        env=environment | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def rotate(*arguments: str) -> dict[str, Any]:
    output = StringIO()
    call_command("rotate_encryption_key", "--json", *arguments, stdout=output)
    document: dict[str, Any] = json.loads(output.getvalue())
    return document


@pytest.fixture
def ring_file(settings: Settings, tmp_path: Path) -> Path:
    path = make_key_ring(tmp_path / "keyring.json")
    settings.KEYRING_FILE = path
    return path


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new data directory that other processes can use as the service does."""
    data = tmp_path_factory.mktemp("data")
    migrating = run_python("manage.py", "migrate", "--skip-checks", "--verbosity", "0", data=data)
    assert (migrating.returncode, migrating.stderr) == (0, "")
    return data


# --- make_keys ------------------------------------------------------------------------------


def test_make_keys_creates_the_files_once_and_readable_only_by_their_owner(tmp_path: Path):
    directory = tmp_path / "made"
    command = ("manage.py", "make_keys", "--output", str(directory))
    made = run_python(*command, "--json", data=tmp_path / "data")
    assert (made.returncode, made.stderr) == (0, "")
    names = ("keyring.json", "signing_key.json", "secret_key", "webhook_secret")
    files = [directory / name for name in names]
    assert json.loads(made.stdout) == {
        "key_id": primary_in(files[0]),
        "keyring_file": str(files[0]),
        "signing_key_fingerprint": read_signing_key(files[1]).fingerprint,
        "signing_key_file": str(files[1]),
        "secret_key_file": str(files[2]),
        "webhook_secret_file": str(files[3]),
    }
    assert directory.stat().st_mode & 0o777 == 0o700
    assert [path.stat().st_mode & 0o777 for path in files] == [0o600] * 4

    before = [path.read_bytes() for path in files]
    again = run_python(*command, data=tmp_path / "data")
    assert (again.returncode, again.stdout) == (1, "")
    assert f"{files[0]} already exists. Nothing was changed" in again.stderr
    assert [path.read_bytes() for path in files] == before


def test_make_keys_prints_which_settings_to_set_and_no_key(tmp_path: Path):
    output = StringIO()
    call_command("make_keys", output=tmp_path, stdout=output)
    assert f"ORGADMIN_KEYRING_FILE={tmp_path}/keyring.json" in output.getvalue()
    assert f"SECRET_KEY_FILE={tmp_path}/secret_key" in output.getvalue()
    assert (tmp_path / "secret_key").read_text() not in output.getvalue()
    assert keys_in(tmp_path / "keyring.json").popitem()[1] not in output.getvalue()


def test_make_keys_creates_no_file_when_one_exists(tmp_path: Path):
    directory = tmp_path / "made"
    directory.mkdir()
    (directory / "secret_key").write_text("mine")
    output = StringIO()
    with pytest.raises(CommandError, match="secret_key already exists"):
        call_command("make_keys", "--json", output=directory, stdout=output)
    assert list(json.loads(output.getvalue())) == ["error"]
    assert os.listdir(directory) == ["secret_key"]


# --- rotate_encryption_key --------------------------------------------------------------------


@pytest.mark.database
@pytest.mark.django_db
def test_rotation_encrypts_every_secret_with_a_new_key(ring_file: Path):
    old_key_id = primary_in(ring_file)
    credentials = [stored_credential(), stored_credential("Payments US", "datadoghq.com")]
    retired = stored_credential("Retired")
    Credential.objects.filter(pk=retired.pk).update(**dict.fromkeys(ENVELOPE_FIELDS, ""))

    document = rotate()

    new_key_id = primary_in(ring_file)
    assert document == {
        "previous_key_id": old_key_id,
        "primary_key_id": new_key_id,
        "reencrypted": 4,
        "dropped_key_ids": [],
        "other_key_ids": [old_key_id],
        "left": [],
    }
    assert key_ids_in_use() == {new_key_id}
    for credential in credentials:
        credential.refresh_from_db()
        assert credential.open_keys().by_field["api_key"].reveal() == API_KEY
        assert credential.open_keys().by_field["application_key"].reveal() == APPLICATION_KEY
    retired.refresh_from_db()
    assert retired.api_key_envelope == ""
    assert ring_file.stat().st_mode & 0o777 == 0o600


@pytest.mark.database
@pytest.mark.django_db
def test_rotation_is_recorded_without_a_key(ring_file: Path):
    old_key_id = primary_in(ring_file)
    rotate()
    event = AuditEvent.objects.get(code="encryption_key.rotated")
    assert event.details == {"key_id": primary_in(ring_file), "previous_key_id": old_key_id}
    assert event.actor_kind == "command"


@pytest.mark.database
@pytest.mark.django_db
def test_a_key_that_was_primary_is_dropped_by_the_next_run(ring_file: Path):
    first = primary_in(ring_file)
    stored_credential()
    assert rotate("--drop-unused")["dropped_key_ids"] == []
    second = primary_in(ring_file)
    assert set(keys_in(ring_file)) == {first, second}

    document = rotate("--drop-unused", "--no-new-key")

    assert document["dropped_key_ids"] == [first]
    assert set(keys_in(ring_file)) == {second}
    check_key_ring()
    assert AuditEvent.objects.get(code="encryption_key.dropped").details == {"key_ids": [first]}


@pytest.mark.database
@pytest.mark.django_db
def test_an_interrupted_rotation_is_completed_without_another_key(ring_file: Path):
    stored_credential()
    update_key_ring(with_new_primary)
    keys = keys_in(ring_file)
    assert rotate("--no-new-key")["reencrypted"] == 2
    assert keys_in(ring_file) == keys
    assert key_ids_in_use() == {primary_in(ring_file)}


@pytest.mark.database
@pytest.mark.django_db
def test_a_machine_with_the_staged_ring_can_decrypt_after_a_rotation_elsewhere(
    ring_file: Path, settings: Settings, tmp_path: Path
):
    first = primary_in(ring_file)
    credential = stored_credential()
    staged = rotate("--stage")["staged_key_id"]
    assert rotate("--stage")["staged_key_id"] == staged
    assert key_ids_in_use() == {primary_in(ring_file)} == {first}
    copy = tmp_path / "copy.json"
    create_private_text(copy, Secret(ring_file.read_text()))

    assert rotate("--no-new-key", "--drop-unused")["dropped_key_ids"] == []
    assert rotate()["primary_key_id"] == staged

    settings.KEYRING_FILE = copy
    check_key_ring()
    credential.refresh_from_db()
    assert credential.open_keys().by_field["api_key"].reveal() == API_KEY
    assert AuditEvent.objects.filter(code="encryption_key.staged").count() == 1


@pytest.mark.database
@pytest.mark.django_db
def test_a_row_that_changes_while_a_rotation_encrypts_it_is_not_overwritten(
    ring_file: Path, monkeypatch: pytest.MonkeyPatch
):
    credential = stored_credential()
    # As another process does that still has the old ring.
    credential.seal_keys(credential.open_keys())
    encrypt = encryption.encrypt

    def encrypt_too_late(secret: Secret, *, context: Any) -> str:
        credential.save()
        monkeypatch.setattr(encryption, "encrypt", encrypt)
        return encrypt(secret, context=context)

    monkeypatch.setattr(encryption, "encrypt", encrypt_too_late)
    document = rotate()
    # The next pass encrypts what was stored meanwhile.
    assert (document["reencrypted"], document["left"]) == (2, [])
    assert key_ids_in_use() == {primary_in(ring_file)}
    assert Credential.objects.get().open_keys().by_field["api_key"].reveal() == API_KEY


@pytest.mark.database
@pytest.mark.django_db
def test_a_secret_that_cannot_be_decrypted_is_reported_and_keeps_its_key(ring_file: Path):
    old_key_id = primary_in(ring_file)
    moved = stored_credential()
    Credential.objects.filter(pk=moved.pk).update(site="datadoghq.com")
    stored_credential("Payments US", "datadoghq.com")
    output, errors = StringIO(), StringIO()

    with pytest.raises(SystemExit, match="1"):
        call_command(
            "rotate_encryption_key", "--json", "--drop-unused", stdout=output, stderr=errors
        )

    assert str(moved.pk) in errors.getvalue()
    document = json.loads(output.getvalue())
    assert document["reencrypted"] == 2
    assert len(document["left"]) == 2
    assert key_ids_in_use() == {old_key_id, primary_in(ring_file)}
    assert old_key_id in keys_in(ring_file)


@pytest.mark.django_db
@pytest.mark.usefixtures("ring_file")
def test_rotation_asks_for_a_backup_of_the_new_key_only():
    with_new_key, without = StringIO(), StringIO()
    call_command("rotate_encryption_key", stdout=with_new_key)
    call_command("rotate_encryption_key", "--no-new-key", "--drop-unused", stdout=without)
    assert "Back up the key ring again" in with_new_key.getvalue()
    assert "Back up" not in without.getvalue()
    assert "previously" not in without.getvalue()


@pytest.mark.database
@pytest.mark.django_db
def test_rotation_with_the_wrong_key_ring_changes_nothing(
    ring_file: Path, settings: Settings, tmp_path: Path
):
    stored_credential()
    before = Credential.objects.values().get()
    settings.KEYRING_FILE = other = make_key_ring(tmp_path / "other.json")
    text = other.read_text()
    output = StringIO()

    with pytest.raises(CommandError, match=f"has no key {primary_in(ring_file)}"):
        call_command("rotate_encryption_key", "--json", stdout=output)

    assert list(json.loads(output.getvalue())) == ["error"]
    assert other.read_text() == text
    assert Credential.objects.values().get() == before
    assert not AuditEvent.objects.exists()


@pytest.mark.database
@pytest.mark.django_db
def test_when_the_key_ring_cannot_be_replaced_no_rotation_is_recorded(ring_file: Path):
    ring_file.with_name("keyring.json.lock").mkdir()
    with pytest.raises(CommandError, match="The key ring wasn't changed"):
        call_command("rotate_encryption_key", stdout=StringIO())
    assert not AuditEvent.objects.exists()


@pytest.mark.slow
def test_no_secret_is_lost_during_a_rotation_in_a_running_service(migrated: Path):
    race = run_python("-m", "tests.support.rotation_race", data=migrated)
    assert (race.returncode, race.stderr) == (0, "")


# --- At start -------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_start_with_the_wrong_key_ring_exits_1_and_names_the_missing_key(
    migrated: Path, tmp_path: Path
):
    store = "import django; django.setup(); from tests.support.key_rings import stored_credential; "
    storing = run_python("-c", store + "stored_credential()", data=migrated)
    assert (storing.returncode, storing.stderr) == (0, "")
    assert run_python("manage.py", "doctor", data=migrated).returncode == 0

    other = make_key_ring(tmp_path / "other.json")
    refusal = f"has no key {primary_in(migrated / 'keyring.json')}"
    checked, started = (
        run_python("manage.py", command, data=migrated, ORGADMIN_KEYRING_FILE=str(other))
        for command in ("doctor", "serve")
    )
    assert (checked.returncode, refusal in checked.stdout) == (1, True)
    assert (started.returncode, refusal in started.stderr) == (1, True)
