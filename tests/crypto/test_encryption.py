import base64
import timeit
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from connections.core.secret import Secret
from connections.crypto.encrypted_fields import ENCRYPTED_FIELDS, CredentialColumn
from connections.crypto.encryption import DecryptionError, EncryptionError, decrypt, encrypt
from connections.crypto.envelopes import EncryptionContext
from connections.models.credentials import ENVELOPE_FIELDS
from tests.support.key_rings import (
    API_KEY,
    exposed_by,
    keys_in,
    make_key_ring,
    primary_in,
)

CONTEXT = EncryptionContext(
    purpose="credential",
    row_id="0b2e2a2e-8f0c-4a0e-9a53-0d6a3a1f2f11",
    field="api_key",
    site="datadoghq.eu",
    version=3,
)


@pytest.fixture
def ring_file(settings: Settings, tmp_path: Path) -> Path:
    path = make_key_ring(tmp_path / "keyring.json")
    settings.KEYRING_FILE = path
    return path


@pytest.mark.parametrize("text", [API_KEY, "", "é\n\0", "\ud800", "x" * 10_000])
def test_a_secret_can_be_decrypted_in_its_context(ring_file: Path, text: str):
    assert decrypt(encrypt(Secret(text), context=CONTEXT), context=CONTEXT).reveal() == text


def test_an_envelope_names_its_version_and_key_and_is_never_the_same_twice(ring_file: Path):
    envelopes = {encrypt(Secret(API_KEY), context=CONTEXT) for _ in range(3)}
    assert len(envelopes) == 3
    assert {envelope.rpartition(".")[0] for envelope in envelopes} == {
        f"v1.{primary_in(ring_file)}"
    }


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"purpose": "second_factor"},
        {"row_id": "0b2e2a2e-8f0c-4a0e-9a53-0d6a3a1f2f12"},
        {"field": "application_key"},
        {"site": "datadoghq.com"},
        {"version": 2},
    ],
    ids=lambda elsewhere: next(iter(elsewhere)),
)
def test_a_moved_secret_cannot_be_decrypted(ring_file: Path, elsewhere: dict[str, Any]):
    envelope = encrypt(Secret(API_KEY), context=CONTEXT)
    with pytest.raises(
        DecryptionError, match=f"can't be decrypted with key {primary_in(ring_file)}"
    ):
        decrypt(envelope, context=replace(CONTEXT, **elsewhere))


def test_no_two_contexts_have_the_same_encoding():
    one = EncryptionContext(purpose="ab", row_id="c", field="d", site="e", version=11)
    other = EncryptionContext(purpose="a", row_id="bc", field="d", site="e1", version=1)
    assert one.associated_data(key_id="k") != other.associated_data(key_id="k")


def test_each_flipped_bit_is_refused(ring_file: Path):
    envelope = encrypt(Secret(API_KEY), context=CONTEXT)
    for position, character in enumerate(envelope):
        for bit in range(8):
            flipped = chr(ord(character) ^ 1 << bit)
            altered = envelope[:position] + flipped + envelope[position + 1 :]
            with pytest.raises(EncryptionError):
                decrypt(altered, context=CONTEXT)


@pytest.mark.parametrize(
    "text",
    [API_KEY, "v1", "v1..", "v1.0123456789abcdef.", "v1.0123456789abcdef.AAAA", "v2.0.AAAA"],
)
def test_text_that_is_not_an_envelope_is_refused_rather_than_read_as_plain_text(
    ring_file: Path, text: str
):
    with pytest.raises(DecryptionError, match="isn't an encrypted envelope") as caught:
        decrypt(text, context=CONTEXT)
    assert text not in str(caught.value)


def test_a_shortened_or_lengthened_envelope_is_refused(ring_file: Path):
    head, _, data = encrypt(Secret(API_KEY), context=CONTEXT).rpartition(".")
    sealed = base64.urlsafe_b64decode(data)
    for altered in (sealed[:-1], sealed[1:], sealed + b"\0"):
        with pytest.raises(DecryptionError):
            decrypt(f"{head}.{base64.urlsafe_b64encode(altered).decode()}", context=CONTEXT)


def test_an_erased_secret_is_reported_as_absent(ring_file: Path):
    with pytest.raises(DecryptionError, match="No secret is stored for credential"):
        decrypt("", context=CONTEXT)


def test_decryption_takes_less_than_fifty_microseconds(ring_file: Path):
    envelope = encrypt(Secret(API_KEY), context=CONTEXT)
    rounds = timeit.repeat(lambda: decrypt(envelope, context=CONTEXT), number=200, repeat=20)
    assert min(rounds) / 200 < 50e-6


def test_an_altered_envelope_reveals_neither_key_nor_secret(ring_file: Path):
    envelope = encrypt(Secret(API_KEY), context=CONTEXT)
    with pytest.raises(DecryptionError) as caught:
        decrypt(envelope, context=replace(CONTEXT, version=4))
    exposed = exposed_by(caught.value, leave_out=__file__)
    key = keys_in(ring_file)[primary_in(ring_file)]
    material = (API_KEY, key, base64.b64decode(key).hex(), repr(base64.b64decode(key)))
    assert not [piece for piece in material if piece in exposed]


def test_every_encrypted_column_of_a_credential_is_rotated_and_cleared():
    columns = {field.column for field in ENCRYPTED_FIELDS if isinstance(field, CredentialColumn)}
    assert columns == set(ENVELOPE_FIELDS)
