"""A bundle that is made while somebody else writes, in a real process on a database of its own.

Run as a program over a migrated database; prints what came of it as JSON.
"""

import io
import json
import sys
import threading
import time

import django

django.setup()

from django.conf import settings  # noqa: E402 - needs the set-up
from django.db import connection  # noqa: E402

from connections.actors import command_actor  # noqa: E402
from connections.evidence import verify  # noqa: E402
from connections.models import AuditEvent  # noqa: E402
from connections.services import audit, bundles  # noqa: E402
from connections.services.history import HistoryFilter  # noqa: E402
from connections.signing_key import new_signing_key_text  # noqa: E402
from orgadmin.private_files import create_private_text  # noqa: E402


class Slow(io.BytesIO):
    """Lets somebody else act while the archive is being written."""

    waited = -1.0

    def write(self, data: object) -> int:
        if self.waited < 0:
            started = time.monotonic()
            writer = threading.Thread(target=act)
            writer.start()
            writer.join()
            self.waited = time.monotonic() - started
        return super().write(data)  # type: ignore[arg-type]


def act() -> None:
    audit.record(code=audit.Code.SIGNED_IN, actor=command_actor(), sentence="Meanwhile.")
    connection.close()


def main() -> None:
    """Make one, check it, and tell how long the other had to wait (s)."""
    create_private_text(settings.SIGNING_KEY_FILE, new_signing_key_text())
    output = Slow()
    bundle = bundles.make_bundle(
        actor=command_actor(), only=HistoryFilter(), asked_for="", output=output
    )
    path = f"{sys.argv[1]}/bundle.zip"
    with open(path, "wb") as file:
        file.write(output.getvalue())
    verify.Verification(path, bundle.fingerprint, "").run()
    written = AuditEvent.objects.get(code=audit.Code.SIGNED_IN)
    found = {"seq": written.seq, "size": bundle.checkpoint_size, "waited": output.waited}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
