"""Make the key files, for installations that don't create them on first use."""

import os
import secrets
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from connections.audit.signing import new_signing_key_text, parse_signing_key
from connections.core.private_files import PrivateFileError, create_private_text
from connections.core.secret import Secret
from connections.crypto.encryption import new_key_ring_text, parse_key_ring
from connections.management.base import OrgAdminCommand, Result
from connections.notifications.webhooks import new_secret_text


class Command(OrgAdminCommand):
    """Writes the four files with mode 0600. Overwrites none. Needs no database and no keys."""

    help = (
        "Make keyring.json (for ORGADMIN_KEYRING_FILE), signing_key.json (for "
        "ORGADMIN_SIGNING_KEY_FILE), secret_key (for SECRET_KEY_FILE) and webhook_secret (for "
        "ORGADMIN_WEBHOOK_SECRET_FILE) in a directory. Give every web process and worker the same "
        "files."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--output", required=True, metavar="DIR", type=Path)

    def run(self, **options: Any) -> Result:
        document = make_keys(options["output"].absolute())
        return Result(
            document,
            f"Created key {document['key_id']}. Keep a copy of the files apart from the database's "
            "backup, and set:",
            f"ORGADMIN_KEYRING_FILE={document['keyring_file']}",
            f"ORGADMIN_SIGNING_KEY_FILE={document['signing_key_file']}",
            f"SECRET_KEY_FILE={document['secret_key_file']}",
            f"ORGADMIN_WEBHOOK_SECRET_FILE={document['webhook_secret_file']}",
        )


def make_keys(directory: Path) -> dict[str, str]:
    """Make the files in `directory`. Raises PrivateFileError if one of them already exists."""
    ring, signing_key = new_key_ring_text(), new_signing_key_text()
    texts = {
        "keyring.json": ring,
        "signing_key.json": signing_key,
        "secret_key": Secret(secrets.token_urlsafe(50)),
        "webhook_secret": Secret(new_secret_text()),
    }
    for path in [directory / name for name in texts]:
        # Not Path.exists, which raises for an invalid file name.
        if os.path.exists(path):
            raise PrivateFileError(
                f"{path} already exists. Nothing was changed. Choose another directory."
            )
    for name, text in texts.items():
        create_private_text(directory / name, text)
    return {
        "key_id": parse_key_ring(ring).primary_id,
        "signing_key_fingerprint": parse_signing_key(signing_key).fingerprint,
    } | {f"{name.removesuffix('.json')}_file": str(directory / name) for name in texts}
