"""A software security key: what a browser would send for it, valid or with one error."""

import hashlib
import json
from typing import Any

from allauth.account.utils import user_pk_to_url_str
from allauth.mfa.models import Authenticator
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from fido2.cose import ES256
from fido2.utils import websafe_encode
from fido2.webauthn import AttestationObject, AttestedCredentialData, AuthenticatorData

from connections.models import Person

Flag = AuthenticatorData.FLAG


class SoftKey:
    """A passkey that is stored for a person."""

    def __init__(self, person: Person, *, host: str = "testserver") -> None:
        self.person = person
        self._host = host
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._id = hashlib.sha256(str(person.pk).encode()).digest()
        Authenticator.objects.create(
            user=person,
            type=Authenticator.Type.WEBAUTHN,
            data={"name": "Key", "credential": self.registration(websafe_encode(b"c" * 32))},
        )

    def respond(
        self, challenge: str, *, is_verified: bool = True, origin: str = "https://testserver"
    ) -> str:
        """What the browser sends when the key is used.

        `is_verified` means that the key verified its owner.
        """
        flags = Flag.UP | (Flag.UV if is_verified else Flag(0))
        data = AuthenticatorData.create(self._rp_id_hash, flags, 1)
        client = self._client_data("webauthn.get", challenge, origin)
        signed = self._key.sign(
            bytes(data) + hashlib.sha256(client).digest(), ec.ECDSA(hashes.SHA256())
        )
        response = {
            "clientDataJSON": websafe_encode(client),
            "authenticatorData": websafe_encode(bytes(data)),
            "signature": websafe_encode(signed),
            "userHandle": websafe_encode(user_pk_to_url_str(self.person).encode()),
        }
        return json.dumps(self._as_browser_sends(response))

    @property
    def _rp_id_hash(self) -> bytes:
        return hashlib.sha256(self._host.encode()).digest()

    def registration(self, challenge: str, *, origin: str = "https://testserver") -> dict[str, Any]:
        """What the browser sends when the key is added."""
        public = ES256.from_cryptography_key(self._key.public_key())  # type: ignore[no-untyped-call]
        credential = AttestedCredentialData.create(b"\0" * 16, self._id, public)
        data = AuthenticatorData.create(
            self._rp_id_hash, Flag.UP | Flag.UV | Flag.AT, 0, bytes(credential)
        )
        attestation = AttestationObject.create("none", data, {})
        client = self._client_data("webauthn.create", challenge, origin)
        return self._as_browser_sends(
            {
                "clientDataJSON": websafe_encode(client),
                "attestationObject": websafe_encode(bytes(attestation)),
            }
        )

    def _as_browser_sends(self, response: dict[str, str]) -> dict[str, Any]:
        key_id = websafe_encode(self._id)
        return {"id": key_id, "rawId": key_id, "type": "public-key", "response": response}

    @staticmethod
    def _client_data(kind: str, challenge: str, origin: str) -> bytes:
        return json.dumps({"type": kind, "challenge": challenge, "origin": origin}).encode()
