import base64
import copy
import json
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from connections.core.secret import Secret
from connections.crypto.encryption import (
    KeyRingError,
    check_key_ring,
    decrypt,
    encrypt,
    load_key_ring,
    update_key_ring,
    with_new_primary,
)
from connections.crypto.envelopes import EncryptionContext
from connections.models import Credential
from connections.models.credentials import ENVELOPE_FIELDS
from tests.support.key_rings import (
    API_KEY,
    exposed_by,
    keys_in,
    make_key_ring,
    primary_in,
    stored_credential,
)

CONTEXT = EncryptionContext(
    purpose="credential",
    row_id="0b2e2a2e-8f0c-4a0e-9a53-0d6a3a1f2f11",
    field="api_key",
    site="datadoghq.eu",
    version=3,
)

# One Django, forked into eight processes that wait for the same end of file.
RACE = """
import os, sys
import django
django.setup()
from django.db import connection
from connections.crypto.encryption import load_key_ring
from connections.models import Credential
from connections.models.credentials import ENVELOPE_FIELDS
# SQLite does not wait for others when a file that was just made turns to its write-ahead log.
connection.ensure_connection()
connection.close()
start, go = os.pipe()
children = []
for _ in range(8):
    child = os.fork()
    if child == 0:
        os.close(go)
        os.read(start, 1)
        os.write(1, (load_key_ring().primary_id + "\\n").encode())
        os._exit(0)
    children.append(child)
os.close(go)
sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
"""


@pytest.fixture
def ring_file(settings: Settings, tmp_path: Path) -> Path:
    path = make_key_ring(tmp_path / "keyring.json")
    settings.KEYRING_FILE = path
    return path


@pytest.fixture
def no_ring_file(settings: Settings, tmp_path: Path) -> Path:
    settings.DATABASE_IS_SQLITE = True
    path = tmp_path / "data" / "keyring.json"
    settings.KEYRING_FILE = path
    return path


def change_ring(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def material_in(path: Path) -> str:
    """The middle of the key's text, which no damage below touches."""
    [key] = re.findall(r'"key": "([^"]+)"', path.read_text())
    return str(key)[4:20]


# --- The ring -------------------------------------------------------------------------------


def test_a_ring_reveals_nothing_about_its_keys(ring_file: Path):
    ring = load_key_ring()
    assert repr(ring) == str(ring) == f"KeyRing(primary_id={primary_in(ring_file)!r}, keys=1)"
    for serialize in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            serialize(ring)


def test_a_key_added_by_another_process_is_found_at_once(ring_file: Path):
    old = encrypt(Secret(API_KEY), context=CONTEXT)
    update_key_ring(with_new_primary)
    new = encrypt(Secret(API_KEY), context=CONTEXT)
    assert new.split(".")[1] == primary_in(ring_file) != old.split(".")[1]
    assert [decrypt(each, context=CONTEXT).reveal() for each in (old, new)] == [API_KEY] * 2


def test_a_missing_key_is_named_in_the_error(ring_file: Path, settings: Settings, tmp_path: Path):
    envelope = encrypt(Secret(API_KEY), context=CONTEXT)
    settings.KEYRING_FILE = make_key_ring(tmp_path / "other.json")
    with pytest.raises(KeyRingError, match=f"has no key {primary_in(ring_file)}"):
        decrypt(envelope, context=CONTEXT)


def test_a_ring_that_becomes_readable_by_others_is_refused_at_once(ring_file: Path):
    envelope = encrypt(Secret(API_KEY), context=CONTEXT)
    ring_file.chmod(0o644)
    with pytest.raises(KeyRingError, match=f"Run: chmod 600 {ring_file}"):
        decrypt(envelope, context=CONTEXT)


def another_key(document: dict[str, Any]) -> None:
    entry = document["keys"][document["primary"]]
    entry["key"] = base64.b64encode(os.urandom(32)).decode()


def short_key(document: dict[str, Any]) -> None:
    entry = document["keys"][document["primary"]]
    entry["key"] = base64.b64encode(base64.b64decode(entry["key"])[:16]).decode()


def unreadable_key(document: dict[str, Any]) -> None:
    entry = document["keys"][document["primary"]]
    entry["key"] = "é" + entry["key"]


def no_primary(document: dict[str, Any]) -> None:
    document["primary"] = "0123456789abcdef"


def no_keys(document: dict[str, Any]) -> None:
    document["keys"] = list(document["keys"].items())


def other_format(document: dict[str, Any]) -> None:
    document["format"] = "orgadmin key ring 2"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (another_key, "contains a key {key_id} that was altered"),
        (short_key, "contains a key {key_id} that was altered"),
        (unreadable_key, "isn't a complete key ring document"),
        (no_keys, "isn't a complete key ring document"),
        (no_primary, "lacks its key 0123456789abcdef"),
        (other_format, "isn't of the form 'orgadmin key ring 1'"),
    ],
)
def test_a_damaged_ring_is_refused_without_revealing_its_content(
    ring_file: Path, change: Callable[[dict[str, Any]], None], problem: str
):
    key_id = primary_in(ring_file)
    change_ring(ring_file, change)
    with pytest.raises(KeyRingError, match=problem.format(key_id=key_id)) as caught:
        load_key_ring()
    assert material_in(ring_file) not in exposed_by(caught.value, leave_out=__file__)


@pytest.mark.parametrize("kept", [0, 1, 40, 100, 150])
def test_a_truncated_ring_is_refused_without_revealing_its_content(ring_file: Path, kept: int):
    key = keys_in(ring_file)[primary_in(ring_file)]
    ring_file.write_text(ring_file.read_text()[:kept] + key)
    with pytest.raises(KeyRingError, match="isn't a complete key ring document") as caught:
        load_key_ring()
    assert key not in exposed_by(caught.value, leave_out=__file__)


# --- Creating one ----------------------------------------------------------------------------


@pytest.mark.database
@pytest.mark.django_db
def test_a_ring_is_created_on_first_use_for_its_owner_only(no_ring_file: Path):
    ring = load_key_ring()
    assert ring.primary_id == primary_in(no_ring_file)
    assert no_ring_file.stat().st_mode & 0o777 == 0o600
    assert load_key_ring().primary_id == ring.primary_id


def test_eight_concurrent_processes_create_one_ring(tmp_path: Path):
    environment = {
        "PATH": os.environ["PATH"],
        "DJANGO_SETTINGS_MODULE": "orgadmin.settings",
        "ORGADMIN_DATA_DIR": str(tmp_path),
    }
    race = subprocess.run(
        [sys.executable, "-c", RACE], env=environment, capture_output=True, text=True, check=False
    )
    assert (race.returncode, race.stderr) == (0, "")
    assert race.stdout.split() == [primary_in(tmp_path / "keyring.json")] * 8


@pytest.mark.database
@pytest.mark.django_db
def test_no_ring_is_created_while_secrets_are_stored(no_ring_file: Path):
    stored_credential()
    key_id = primary_in(no_ring_file)
    no_ring_file.unlink()
    for use in (load_key_ring, check_key_ring, stored_credential):
        with pytest.raises(KeyRingError, match=f"secrets encrypted with key {key_id}"):
            use()
    assert not no_ring_file.exists()


@pytest.mark.database
@pytest.mark.django_db
def test_a_new_ring_is_created_once_every_secret_is_erased(no_ring_file: Path):
    stored_credential()
    Credential.objects.update(**dict.fromkeys(ENVELOPE_FIELDS, ""))
    no_ring_file.unlink()
    check_key_ring()
    assert not no_ring_file.exists()
    load_key_ring()
    assert no_ring_file.exists()


@pytest.mark.database
@pytest.mark.django_db
def test_no_ring_is_created_automatically_with_postgresql(no_ring_file: Path, settings: Settings):
    settings.DATABASE_IS_SQLITE = False
    for use in (load_key_ring, check_key_ring):
        with pytest.raises(KeyRingError, match="make_keys --output DIR"):
            use()
    assert not no_ring_file.exists()


@pytest.mark.database
@pytest.mark.django_db
def test_an_explicitly_created_ring_works_with_postgresql(ring_file: Path, settings: Settings):
    settings.DATABASE_IS_SQLITE = False
    check_key_ring()
    assert stored_credential().open_keys().by_field["api_key"].reveal() == API_KEY
