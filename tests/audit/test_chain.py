"""The format of the audit log, with expected values computed independently."""

import base64
import hashlib
import json

import pytest

from connections.audit import chain
from connections.audit.signing import (
    SigningKey,
    is_signed,
    new_signing_key_text,
    parse_signing_key,
    sign_checkpoint,
)
from connections.verifier import ed25519
from connections.verifier.events import commitment_of
from connections.verifier.merkle import leaf_hash
from connections.verifier.messages import VerificationFailed
from connections.verifier.notes import find_signer, key_id, parse_checkpoint


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def test_the_canonical_text_of_a_document_is_unique():
    document = {"b": [1, True, None, "é\u2028"], "a": {"z": "", "y": "\x00\ud800"}}
    text = chain.canonical_text(document)
    assert text == '{"a":{"y":"\ufffd\ufffd","z":""},"b":[1,true,null,"é\u2028"]}'
    assert json.loads(text)["b"] == document["b"]


@pytest.mark.parametrize("value", [1.5, {1, 2}, b"bytes", object()])
def test_values_with_two_spellings_are_refused(value: object):
    with pytest.raises(TypeError):
        chain.canonical_text({"value": value})


def test_a_key_that_is_not_a_string_is_refused():
    with pytest.raises(TypeError):
        chain.canonical_text({"value": {1: "one"}})


def test_each_hash_includes_the_previous_one():
    first = chain.event_hash(chain.NO_HASH, b"one")
    assert first == sha(b"orgadmin audit event 1\n" + bytes(32) + b"\x00" * 7 + b"\x03one")
    assert chain.event_hash(first, b"one") != first


def test_a_commitment_keeps_kind_and_value_apart():
    salt = bytes(32)
    one = commitment_of(salt, "name", "Ada")
    expected = b"orgadmin erasable value 1\n" + salt
    expected += (4).to_bytes(8, "big") + b"name" + (3).to_bytes(8, "big") + b"Ada"
    assert one == sha(expected).hex()
    assert one != commitment_of(salt, "nameA", "da")


def tree(leaves: list[bytes]) -> bytes:
    """The definition in RFC 6962 § 2.1."""
    if not leaves:
        return sha(b"")
    if len(leaves) == 1:
        return sha(b"\x00" + leaves[0])
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return sha(b"\x01" + tree(leaves[:k]) + tree(leaves[k:]))


def test_the_frontier_gives_the_root_of_every_size():
    leaves: list[bytes] = []
    frontier: list[bytes] = []
    for size in range(70):
        assert chain.root_of(frontier) == tree(leaves)
        assert len(frontier) == size.bit_count()
        leaf = str(size).encode()
        chain.extend(frontier, size=size, leaf=leaf_hash(leaf))
        leaves.append(leaf)
    assert chain.parse_frontier(chain.format_frontier(frontier)) == frontier


def test_a_checkpoint_is_a_signed_note():
    key = parse_signing_key(new_signing_key_text())
    text = sign_checkpoint(origin="orgadmin/0011", size=7, root=bytes(32), key=key)
    origin, size, root, blank, signature, end = text.split("\n")
    assert (origin, size, root, blank, end) == ("orgadmin/0011", "7", "A" * 43 + "=", "", "")
    dash, name, data = signature.split(" ")
    assert (dash, name) == ("\u2014", "orgadmin/0011")
    expected = sha(b"orgadmin/0011\n\x01" + key.public_key)[:4]
    assert base64.b64decode(data)[:4] == expected == key_id(name, key.public_key)
    note = parse_checkpoint(text.encode(), "It")
    assert note.body.decode() == text[: text.index("\n\n") + 1]
    assert signer(text, key) == key.public_key


def signer(text: str, *keys: SigningKey) -> bytes | None:
    note = parse_checkpoint(text.encode(), "It")
    public_keys = [key.public_key for key in keys]
    by_us, by_auditors = (
        find_signer(note.body, note.signature, note.origin, public_keys, verifies)
        for verifies in (is_signed, ed25519.is_signed)
    )
    assert by_us == by_auditors
    return by_us


def test_a_checkpoint_of_another_key_or_size_does_not_verify():
    key, other = (parse_signing_key(new_signing_key_text()) for _ in range(2))
    text = sign_checkpoint(origin="o", size=7, root=bytes(32), key=key)
    assert signer(text, other) is None
    assert signer(text, other, key) == key.public_key
    assert signer(text.replace("\n7\n", "\n8\n"), key) is None
    assert signer(text.replace("o\n7", "p\n7"), key) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "o\n7\nAAAA\n\n\u2014 o AAAA\n",
        "o\nseven\n" + "A" * 43 + "=\n\n\u2014 o AAAA\n",
        "o\n7\n" + "A" * 43 + "=\n\nsigned\n",
        "o\n7\n" + "A" * 43 + "=\n\n\u2014 o AAAA",
        "o\n7\n" + "A" * 43 + "=\nmore\n\n\u2014 o AAAA\n",
        "o\n7\n" + "A" * 43 + "=\n\n\u2014 o !\n",
    ],
)
def test_malformed_checkpoints_are_refused(text: str):
    with pytest.raises(VerificationFailed):
        parse_checkpoint(text.encode(), "It")
