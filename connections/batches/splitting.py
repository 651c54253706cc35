"""Splitting a draft into several: off what needs approval, or into one for each credential."""

from collections import defaultdict
from collections.abc import Sequence

from django.db.models import TextChoices

from connections import audit
from connections.access.actor import Actor
from connections.batches import drafts
from connections.core import clock
from connections.core.errors import ConflictError
from connections.deletions import confirmations
from connections.models import (
    SENDABLE,
    ApprovalPolicy,
    Batch,
    BatchRow,
    Credential,
    OrgConnectionSnapshot,
)


class SplitBy(TextChoices):
    """What decides which rows stay together."""

    # So that no one person has to be able to approve all of them.
    CREDENTIAL = "credential"
    # So that the others can be deleted at once.
    APPROVAL = "approval"


def find_approvals(*, batch: Batch) -> dict[Credential, set[int]]:
    """The credentials that require approval, each with the primary keys of the rows that need it.

    As for a single deletion, they list the row, send it or belong to one of its orgs.
    """
    found = defaultdict[Credential, set[int]](set)
    if not batch.needs_approval:
        return found
    rows = list(batch.rows.filter(SENDABLE).select_related("credential"))
    by_id = defaultdict[object, set[int]](set)
    by_org = defaultdict[tuple[str, str], set[int]](set)
    for row in rows:
        by_id[row.site, row.connection_id].add(row.pk)
        by_org[row.site, row.source_org_id].add(row.pk)
        by_org[row.site, row.sink_org_id].add(row.pk)
        if row.credential:
            found[row.credential].add(row.pk)
    for credential in confirmations.credentials_of_orgs({org for org in by_org if org[1]}):
        found[credential] |= by_org[credential.site, credential.org_id]
    listed = OrgConnectionSnapshot.objects.filter(
        connection_id__in=[row.connection_id for row in rows],
        is_current=True,
        credential__retired_at=None,
    ).exclude(credential__policy=ApprovalPolicy.NONE)
    for snapshot in listed.select_related("credential"):
        found[snapshot.credential] |= by_id[snapshot.site, snapshot.connection_id]
    return {
        credential: keys
        for credential, keys in found.items()
        if keys and credential.policy != ApprovalPolicy.NONE
    }


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
            needing = needing.union(*find_approvals(batch=batch).values())
        groups = defaultdict[object, list[BatchRow]](list)
        for row in sorted(rows, key=lambda row: row.pk in needing):
            if not row.problem:
                group = row.pk in needing if by == SplitBy.APPROVAL else row.credential_id
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
