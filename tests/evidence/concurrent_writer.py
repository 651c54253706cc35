"""Makes a bundle while another thread writes, in a real process with its own database.

Run as a program with a migrated database; prints the result as JSON.
"""

import io
import json
import sys
import threading
import time
from datetime import timedelta
from uuid import uuid4

import django

django.setup()

from django.conf import settings  # noqa: E402 - needs the set-up
from django.db import connection  # noqa: E402

from connections import audit  # noqa: E402
from connections.access.actor import command_actor  # noqa: E402
from connections.audit.signing import new_signing_key_text  # noqa: E402
from connections.core import clock  # noqa: E402
from connections.core.private_files import create_private_text  # noqa: E402
from connections.deletions.history import HistoryFilter  # noqa: E402
from connections.evidence import bundles  # noqa: E402
from connections.evidence.files import MerkleTree, audit_log_tree  # noqa: E402
from connections.models import AuditEvent, AuditHead, Credential, Deletion  # noqa: E402
from connections.verifier.verification import Verification  # noqa: E402

WAITED: list[float] = []


def act() -> None:
    """Record an event, and store a deletion that was requested an hour ago."""
    audit.record(
        code=audit.EventCode.SIGNED_IN, actor=command_actor(), sentence=audit.Sentence("Meanwhile.")
    )
    at = clock.now() - timedelta(hours=1)
    credential = Credential.objects.create(
        name="Payments US", site="datadoghq.com", keys_set_at=at, created_at=at
    )
    Deletion.objects.create(
        request_id=uuid4(),
        site=credential.site,
        connection_id=uuid4(),
        credential=credential,
        is_reviewed=False,
        policy="none",
        requested_at=at,
    )
    connection.close()


def tree_after_concurrent_write(*, head: AuditHead) -> MerkleTree:
    """The tree, read after a concurrent write; the head was read before it."""
    started = time.monotonic()
    writer = threading.Thread(target=act)
    writer.start()
    writer.join()
    WAITED.append(time.monotonic() - started)
    return audit_log_tree(head=head)


def main() -> None:
    """Make a bundle, verify it, and print how many seconds the writer had to wait."""
    bundles.audit_log_tree = tree_after_concurrent_write  # type: ignore[attr-defined]
    create_private_text(settings.SIGNING_KEY_FILE, new_signing_key_text())
    output = io.BytesIO()
    bundle = bundles.make_bundle(
        actor=command_actor(), filters=HistoryFilter(), query="", output=output
    )
    path = f"{sys.argv[1]}/bundle.zip"
    with open(path, "wb") as file:
        file.write(output.getvalue())
    Verification(path, fingerprint=bundle.fingerprint).run()
    written = AuditEvent.objects.get(code=audit.EventCode.SIGNED_IN)
    found = {
        "seq": written.seq,
        "size": bundle.checkpoint_size,
        "deletions": bundle.deletions,
        "waited": WAITED[0],
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
