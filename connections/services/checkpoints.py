"""Signed checkpoints of the record: when one is due, and making it.

Making one costs one signature and one row, whatever the size: the head keeps the tree's frontier.
"""

import logging
from datetime import datetime, timedelta

from django.db import transaction

from connections import chain, clock
from connections.models import AuditEvent, AuditHead, Checkpoint
from connections.services import audit
from connections.signed_notes import sign
from connections.signing_key import SigningKeyError, load_signing_key

logger = logging.getLogger(__name__)

EVERY_EVENTS = 1000
EVERY = timedelta(hours=1)
# Each of these says that a deletion has come to its end.
_SETTLING = (
    audit.Code.DELETION_SETTLED,
    audit.Code.DELETION_WITHDRAWN,
    audit.Code.DELETION_DECLINED,
)


def latest() -> Checkpoint | None:
    """The newest checkpoint, if there is any."""
    return Checkpoint.objects.order_by("-size", "-id").first()


def make_checkpoint() -> Checkpoint | None:
    """Sign the record as it is now; the one there is when it stands at this size already.

    None while nothing is recorded. Raises SigningKeyError, and what the database raises.
    """
    key = load_signing_key()
    with transaction.atomic():
        # Held, so that of two processes one makes it; what follows takes less than 1 ms.
        head = AuditHead.objects.select_for_update().get()
        if head.size == 0:
            return None
        made = Checkpoint.objects.filter(size=head.size, fingerprint=key.fingerprint).first()
        if made is not None:
            return made
        root = chain.root_of(chain.frontier_of(head.frontier))
        return Checkpoint.objects.create(
            size=head.size,
            root=root.hex(),
            fingerprint=key.fingerprint,
            note=sign(origin=head.origin, size=head.size, root=root, key=key),
            made_at=clock.now(),
        )


def is_due(*, now: datetime) -> bool:
    """Whether enough happened since the newest checkpoint, or anything an hour ago."""
    size = AuditHead.objects.values_list("size", flat=True).get()
    newest = latest()
    if newest is None or size <= newest.size:
        return size > 0 and newest is None
    if size - newest.size >= EVERY_EVENTS or now - newest.made_at >= EVERY:
        return True
    return AuditEvent.objects.filter(seq__gt=newest.size, code__in=_SETTLING).exists()


def make_if_due() -> Checkpoint | None:
    """Make a checkpoint when one is due. Without a usable key it warns and makes none.

    Raises what the database raises.
    """
    if not is_due(now=clock.now()):
        return None
    try:
        return make_checkpoint()
    except SigningKeyError as error:
        logger.warning("No checkpoint was made. %s", error)
        return None
