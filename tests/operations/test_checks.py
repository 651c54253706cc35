from pathlib import Path

import pytest
from pytest_django import Settings

from connections.crypto.encrypted_fields import key_ids_in_use
from connections.crypto.encryption import (
    KeyRingError,
    check_key_ring,
    update_key_ring,
    with_new_primary,
)
from connections.models import Credential
from tests.support.key_rings import (
    API_KEY,
    APPLICATION_KEY,
    keys_in,
    make_key_ring,
    primary_in,
    stored_credential,
)


@pytest.fixture
def ring_file(settings: Settings, tmp_path: Path) -> Path:
    path = make_key_ring(tmp_path / "keyring.json")
    settings.KEYRING_FILE = path
    return path


@pytest.mark.database
@pytest.mark.django_db
def test_the_key_ring_of_this_database_passes(ring_file: Path):
    credential = stored_credential()
    update_key_ring(with_new_primary)
    stored_credential("Payments US", "datadoghq.com")
    check_key_ring()
    assert key_ids_in_use() == set(keys_in(ring_file))
    assert credential.open_keys().by_field["application_key"].reveal() == APPLICATION_KEY


@pytest.mark.database
@pytest.mark.django_db
def test_a_database_restored_without_its_key_ring_is_refused(
    ring_file: Path, settings: Settings, tmp_path: Path
):
    stored_credential()
    settings.KEYRING_FILE = make_key_ring(tmp_path / "other.json")
    before = settings.KEYRING_FILE.read_bytes()
    with pytest.raises(KeyRingError, match=f"has no key {primary_in(ring_file)}"):
        check_key_ring()
    assert settings.KEYRING_FILE.read_bytes() == before


@pytest.mark.database
@pytest.mark.django_db
def test_an_unknown_key_is_refused(ring_file: Path):
    credential = stored_credential()
    Credential.objects.filter(pk=credential.pk).update(site="datadoghq.com")
    with pytest.raises(KeyRingError, match=f"Key {primary_in(ring_file)} .* decrypts none"):
        check_key_ring()


@pytest.mark.database
@pytest.mark.django_db
def test_one_altered_row_does_not_prevent_startup(ring_file: Path):
    altered = stored_credential()
    Credential.objects.filter(pk=altered.pk).update(site="datadoghq.com")
    stored_credential("Payments US", "datadoghq.com")
    check_key_ring()


@pytest.mark.database
@pytest.mark.django_db
def test_a_plain_text_key_in_the_database_is_refused_and_not_shown(ring_file: Path):
    credential = stored_credential()
    Credential.objects.filter(pk=credential.pk).update(api_key_envelope=API_KEY)
    with pytest.raises(KeyRingError, match="a secret that isn't an encrypted envelope") as caught:
        check_key_ring()
    assert API_KEY[3:19] not in str(caught.value)
