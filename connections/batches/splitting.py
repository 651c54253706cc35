"""Splitting a draft into several: off what needs approval, or into one for each credential."""

from collections import defaultdict
from collections.abc import Sequence

from django.db.models import TextChoices

from connections import audit
from connections.access.actor import Actor
from connections.batches import drafts
from connections.core import clock
from connections.core.errors import ConflictError
from connections.models import (
    Batch,
    BatchRow,
)


class SplitBy(TextChoices):
    """What decides which rows stay together."""

    # So that no one person has to be able to approve all of them.
    CREDENTIAL = "credential"
    # So that the others can be deleted at once.
    APPROVAL = "approval"


def split_draft(*, batch: Batch, actor: Actor, by: str = SplitBy.CREDENTIAL) -> list[Batch]:
    """Split a draft: by credential, or by whether a row needs approval. Return all drafts.

    This draft keeps the rows of the first credential, or those that need no approval. Raises
    PermissionDenied, OvertakenError, and ConflictError when there is nothing to split.
    """
    with audit.atomic():
        drafts.lock_batch(batch)
        drafts.require_own_draft(batch, actor=actor)
        rows = drafts.rows_of(batch)
        needing = set[int]()
        if by == SplitBy.APPROVAL:
            sendable = [row for row in rows if not row.problem]
            needing = needing.union(*drafts.find_approvals(sendable).values())
        groups = defaultdict[object, list[BatchRow]](list)
        for row in sorted(rows, key=lambda row: row.position in needing):
            if not row.problem:
                group = row.position in needing if by == SplitBy.APPROVAL else row.credential_id
                groups[group].append(row)
        if len(groups) < 2:
            raise ConflictError("These connections belong together: there is nothing to split.")
        _, *others = groups.values()
        new = [_move_to_new_draft(batch, rows=rows) for rows in others]
        drafts.save_draft(batch, rows=rows)
    return [batch, *new]


def _move_to_new_draft(batch: Batch, *, rows: Sequence[BatchRow]) -> Batch:
    source = ("origin", "filter_text", "site", "org_id", "org_name", "access_review")
    creation = ("expires_at", "created_at", "created_by", "created_by_name")
    draft = Batch(**{name: getattr(batch, name) for name in (*source, *creation)})
    copied = ("text", "site", "connection_id", "digest", "snapshot_at", "credential")
    copies = [
        BatchRow(
            batch=draft,
            position=position,
            **{name: getattr(row, name) for name in copied},
            **row.snapshot_values(),
        )
        for position, row in enumerate(rows, start=1)
    ]
    drafts.set_digest(draft, rows=copies)
    draft.save(force_insert=True)
    BatchRow.objects.bulk_create(copies)
    now = clock.now()
    for row in rows:
        row.removed_at = now
    BatchRow.objects.bulk_update(rows, ["removed_at"])
    return draft
