"""Rotations while a service keeps storing and decrypting secrets, in real processes.

Run it as a program on a migrated database. It exits with 0 if no secret was ever lost.
"""

import os
import sys

import django

django.setup()

from django.db import connection, transaction  # noqa: E402 - needs the set-up

from connections.access.actor import command_actor  # noqa: E402
from connections.models import Credential  # noqa: E402
from connections.operations.key_rotation import rotate_encryption_key  # noqa: E402
from tests.support.key_rings import API_KEY, stored_credential  # noqa: E402

ROTATIONS = 3
READINGS = 40


def open_and_store_until_told(stop: int) -> None:
    """Decrypt every credential and store its keys again, until the pipe `stop` is closed."""
    os.set_blocking(stop, False)
    while True:
        for row_id in Credential.objects.values_list("pk", flat=True):
            # Many reads per write, as in practice. Otherwise SQLite's lock would hardly ever be
            # free.
            for _ in range(READINGS):
                Credential.objects.get(pk=row_id).open_keys()
            with transaction.atomic():
                credential = Credential.objects.select_for_update().get(pk=row_id)
                credential.seal_keys(credential.open_keys())
                credential.save()
        try:
            os.read(stop, 1)
        except BlockingIOError:
            continue
        return


def start_writer(stop: int, close: int) -> int:
    """Start a writer and return its process ID."""
    writer = os.fork()
    if writer:
        return writer
    os.close(close)
    open_and_store_until_told(stop)
    os._exit(0)


def main() -> int:
    """Rotate while a writer works. Return 0 if the writer succeeded and no secret was lost."""
    for site in ("datadoghq.eu", "datadoghq.com"):
        stored_credential(f"Race on {site}", site)
    connection.close()
    stop, close = os.pipe()
    writer = start_writer(stop, close)
    rotations = [rotate_encryption_key(actor=command_actor()) for _ in range(ROTATIONS)]
    os.close(close)
    code = os.waitstatus_to_exitcode(os.waitpid(writer, 0)[1])
    last = rotate_encryption_key(actor=command_actor(), make_key=False, drop_unused=True)
    opened = {
        credential.open_keys().by_field["api_key"].reveal()
        for credential in Credential.objects.all()
    }
    is_whole = opened == {API_KEY} and not any(rotation.left for rotation in (*rotations, last))
    return 0 if is_whole and code == 0 and len(last.dropped_key_ids) == ROTATIONS else 1


if __name__ == "__main__":
    sys.exit(main())
