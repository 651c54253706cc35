"""Key rings and encrypted rows for tests, and what an exception could reveal about a key."""

import json
import traceback
from hashlib import sha256
from pathlib import Path

from django.utils import timezone

from connections.core.datadog_keys import KeyPair
from connections.core.private_files import create_private_text
from connections.core.secret import Secret
from connections.crypto.encryption import new_key_ring_text
from connections.models import Credential

API_KEY = "a0b1c2d3e4f5a6b7c8d9e0f1a2b3c4d5"
APPLICATION_KEY = "ddapp_9f8e7d6c5b4a39281706f5e4d3c2b1a0"


def make_key_ring(path: Path) -> Path:
    """A new ring with one key at `path`."""
    create_private_text(path, new_key_ring_text())
    return path


def keys_in(path: Path) -> dict[str, str]:
    """The keys in base64 by ID, read directly from the file."""
    entries = json.loads(path.read_text())["keys"]
    return {key_id: entry["key"] for key_id, entry in entries.items()}


def primary_in(path: Path) -> str:
    """The ID of the primary key, read directly from the file."""
    primary: str = json.loads(path.read_text())["primary"]
    return primary


def stored_credential(name: str = "Payments EU", site: str = "datadoghq.eu") -> Credential:
    """A stored credential with both keys, encrypted with the configured ring."""
    credential = Credential(
        name=name,
        site=site,
        keys_set_at=timezone.now(),
        keys_set_by_name="Ada",
        created_at=timezone.now(),
        created_by_name="Ada",
    )
    credential.seal_keys(KeyPair(api_key=Secret(API_KEY), application_key=Secret(APPLICATION_KEY)))
    # Fingerprints are unique, so each credential gets another one although the keys are the same.
    credential.fingerprint = sha256(f"{site} {name}".encode()).hexdigest()[:12]
    credential.save()
    return credential


def exposed_by(error: BaseException, *, leave_out: str) -> str:
    """Everything that `error` could reveal: texts, arguments, and local variables of every frame.

    Follows causes and contexts, even suppressed ones. Skips frames of the file `leave_out` (the
    test itself, which knows the key).
    """
    exposed: list[str] = []
    pending: list[BaseException | None] = [error]
    while pending:
        current = pending.pop()
        if current is None:
            continue
        pending += [current.__cause__, current.__context__]
        exposed += [str(current), repr(current.args), repr(vars(current))]
        for frame, _ in traceback.walk_tb(current.__traceback__):
            if frame.f_code.co_filename != leave_out:
                exposed.append(repr(dict(frame.f_locals)))
    return "\n".join(exposed)
