"""The verifier's own Ed25519 agrees with `cryptography` and refuses malformed input."""

import random

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from connections.verifier.ed25519 import is_signed

ORDER = 2**252 + 27742317777372353535851937790883648493
# RFC 8032, 7.1: public key, message, signature.
VECTORS = (
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
        "d25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
        "387b2eaeb4302aeeb00d291612bb0c00",
    ),
)
# Points of small order, in every encoding.
SMALL = (
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
)
BASE = "5866666666666666666666666666666666666666666666666666666666666666"


def theirs(key: bytes, message: bytes, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


@pytest.mark.parametrize(("key", "message", "signature"), VECTORS)
def test_the_standards_test_vectors_verify(key: str, message: str, signature: str):
    assert is_signed(bytes.fromhex(key), bytes.fromhex(message), bytes.fromhex(signature))


def test_it_agrees_with_cryptography_on_good_and_bad_signatures():
    chance = random.Random(8032)  # noqa: S311 - vectors, no keys
    for number in range(80):
        private = Ed25519PrivateKey.from_private_bytes(chance.randbytes(32))
        key = private.public_key().public_bytes_raw()
        message = chance.randbytes(chance.randrange(300))
        signature = private.sign(message)
        assert is_signed(key, message, signature), number
        parts = [bytearray(key), bytearray(message + b"x"), bytearray(signature)]
        for part in parts:
            place = chance.randrange(len(part))
            part[place] ^= 1 << chance.randrange(8)
            changed = [bytes(part) for part in parts]
            assert is_signed(*changed) == theirs(*changed), number
            assert not is_signed(*changed), number
            part[place] ^= 0
        assert not is_signed(key, message, chance.randbytes(64)), number


def test_a_signature_has_one_encoding():
    private = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
    key, signature = private.public_key().public_bytes_raw(), private.sign(b"message")
    s = int.from_bytes(signature[32:], "little")
    for other in (s + ORDER, s + 2 * ORDER):
        assert not is_signed(key, b"message", signature[:32] + other.to_bytes(32, "little"))
    for length in (0, 63, 65):
        assert not is_signed(key, b"message", (signature + b"\0")[:length])
    assert not is_signed(key[:31], b"message", signature)


@pytest.mark.parametrize("key", SMALL)
def test_a_key_of_small_order_is_refused(key: str):
    # For the neutral point, this signature is valid for every message.
    signature = bytes.fromhex(BASE) + (1).to_bytes(32, "little")
    point = bytes.fromhex(key)
    for message in (b"", b"a", b"b", b"c", b"d", b"e", b"f", b"g", b"h"):
        assert not is_signed(point, message, signature)
        assert not is_signed(point, message, point + bytes(32))


def test_an_invalid_point_is_not_a_key():
    private = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
    signature = private.sign(b"message")
    for number in range(2, 60):
        key = number.to_bytes(32, "little")
        assert is_signed(key, b"message", signature) == theirs(key, b"message", signature)
