"""The newest checkpoint, which workers keep in their data directory, to notice an older database.

A database that was restored from a backup lacks the checkpoints that were made since, and with them
what was extended, changed or sent since then.
"""

import contextlib
import json
import logging
import os
from datetime import datetime
from pathlib import Path

from django.conf import settings
from django.db.models import Q

from connections.access.actor import WORKER
from connections.audit.checkpoints import latest_checkpoint
from connections.core.errors import ConflictError
from connections.models import AuditHead, Checkpoint, Hold
from connections.operations import holds
from connections.verifier.messages import VerificationFailed
from connections.verifier.notes import parse_checkpoint

logger = logging.getLogger(__name__)

_ABOUT_AGE = (Hold.Kind.RESTORED, Hold.Kind.OLDER_DATABASE)


def get_path() -> Path:
    """Where the workers of this data directory keep it."""
    path: Path = settings.KEPT_CHECKPOINT_FILE
    return path


def read_kept_checkpoint() -> Checkpoint | None:
    """The kept checkpoint, as it was stored. None if there is none, or none that can be read."""
    try:
        document = json.loads(get_path().read_bytes())
        size = parse_checkpoint(document["note"].encode(), "It").size
        made_at = datetime.fromisoformat(document["made_at"])
        return Checkpoint(size=size, note=document["note"], made_at=made_at)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, LookupError, VerificationFailed) as error:
        logger.warning("The checkpoint in %s can't be read: %s", get_path(), error)
        return None


def compare_and_keep() -> None:
    """Put Org Admin on hold if the database lacks the kept checkpoint. Otherwise keep its newest.

    A kept checkpoint of another audit log says nothing about this one. Raises DatabaseError.
    """
    kept, head = read_kept_checkpoint(), AuditHead.objects.get()
    if kept and kept.note.startswith(f"{head.origin}\n") and is_missing(kept):
        if not Hold.objects.filter(kind__in=_ABOUT_AGE, released_at=None).exists():
            # Another worker might be faster.
            with contextlib.suppress(ConflictError):
                holds.put_on_hold(
                    kind=Hold.Kind.OLDER_DATABASE,
                    reason=f"The database has {head.size} audit events and lacks the checkpoint of "
                    f"{kept.size} that a worker keeps: an older one was restored.",
                    actor=WORKER,
                    checkpoint=kept.note,
                )
        # Kept until the release, so that a database that is restored meanwhile is compared too.
        return
    newest = latest_checkpoint()
    if newest and (kept is None or kept.note != newest.note):
        _keep(newest)


def is_missing(kept: Checkpoint) -> bool:
    """Whether the database lacks this checkpoint, and no administrator has accepted that.

    They did by releasing a hold of such a database, either since the checkpoint was made or because
    of it. Checkpoints are never removed.
    """
    if Checkpoint.objects.filter(size=kept.size, note=kept.note).exists():
        return False
    since = Q(kind__in=_ABOUT_AGE, released_at__gt=kept.made_at)
    because = Q(checkpoint=kept.note, released_at__isnull=False)
    return not Hold.objects.filter(since | because).exists()


def _keep(checkpoint: Checkpoint) -> None:
    document = {"note": checkpoint.note, "made_at": checkpoint.made_at.isoformat()}
    path = get_path()
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary.write_text(json.dumps(document), encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        logger.warning(
            "The newest checkpoint can't be kept in %s: %s. After a restart, a worker can't tell "
            "whether the database is older.",
            path,
            error.strerror,
        )
