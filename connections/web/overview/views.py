"""The overview page, and the items that need attention."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from connections.access import permissions
from connections.access.actor import Actor
from connections.access.visibility import visible_batch_ids
from connections.access_reviews.progress import WaitingReview
from connections.access_reviews.texts import due_text
from connections.batches import drafts
from connections.batches.texts import batch_origin_text
from connections.changes import changes
from connections.core.text import format_age, pluralize
from connections.deletions import states
from connections.models import AccessReviewDecision, Batch, BatchState, Credential, Deletion
from connections.people import people
from connections.web.badges import (
    Badge,
    CredentialStatus,
    NotificationStatus,
    SyncStatus,
    audit_log_badge,
    batch_badge,
    credential_badge,
    deletion_badge,
    review_badge,
)
from connections.web.changes.rows import change_row_views
from connections.web.credentials.forms import CredentialForm
from connections.web.credentials.texts import problem_of
from connections.web.framework.support import actor_of, connection_url
from connections.web.overview.page import (
    MAX_SHOWN,
    Overview,
    Pending,
    Split,
    get_overview,
)
from connections.web.overview.texts import clock_ahead_text, no_worker_text

# An access review that is due this soon, or overdue, is marked.
SOON = timedelta(days=7)


@dataclass(frozen=True, kw_only=True)
class AttentionItem:
    """One item. `detail` is its second line, `at` when it began, and `action` its button."""

    # Its label is the headline.
    badge: Badge
    about: str = ""
    detail: str = ""
    at: datetime | None = None
    url: str
    action: str


@dataclass(frozen=True, kw_only=True)
class HealthRow:
    """One line of the health list."""

    badge: Badge
    text: str
    url: str = ""


def attention_items(pending: Pending, *, actor: Actor, now: datetime) -> Split[AttentionItem]:
    """The items for this person and for others, most urgent kind first."""

    def lines(
        split: Split[Deletion], action: str, status: str, batch_ids: Collection[UUID] = ()
    ) -> Split[AttentionItem]:
        return split.map(
            lambda deletions: _deletion_items(
                deletions, batch_ids=batch_ids, action=action, status=status, now=now
            )
        )

    grouped = (pending.awaiting_outcome, pending.contradicted, pending.never_verified)
    rows = [deletion for split in grouped for deletion in (*split.yours, *split.others)]
    batch_ids = visible_batch_ids(rows, actor=actor)

    kinds = (
        pending.lacking_late_approval.map(
            lambda deletions: (_break_glass_item(deletion) for deletion in deletions)
        ),
        lines(pending.awaiting_outcome, "Check outcome", "unknown", batch_ids),
        lines(pending.contradicted, "View", "contradicted", batch_ids),
        pending.batches.map(lambda batches: (_batch_item(batch, now=now) for batch in batches)),
        lines(pending.to_confirm, "Confirm deletion", "approved"),
        lines(pending.to_approve, "Decide…", "requested"),
        lines(pending.never_verified, "View", "deleted", batch_ids),
        pending.credentials.map(lambda credentials: map(_credential_item, credentials)),
    )
    return Split(
        yours=[item for kind in kinds for item in kind.yours],
        others=[item for kind in kinds for item in kind.others],
    )


def _deletion_items(
    deletions: list[Deletion],
    *,
    batch_ids: Collection[UUID],
    action: str,
    status: str,
    now: datetime,
) -> Iterator[AttentionItem]:
    """`status` is the history's filter for all of them.

    A deletion of one of these bulk deletions stands for all of its deletions with this status.
    """
    for deletion in deletions[:MAX_SHOWN]:
        badge = deletion_badge(deletion, status=states.status_at(deletion, now=now))
        item = AttentionItem(
            badge=badge,
            about=_about(deletion),
            detail=f"{'Sent' if deletion.sending_at else 'Requested'} by "
            f"{deletion.requested_by_name}",
            at=deletion.sending_at or deletion.requested_at,
            url=reverse("deletion-detail", args=[deletion.pk]),
            action=action,
        )
        if deletion.batch and deletion.batch.pk in batch_ids:
            item = replace(
                item,
                badge=replace(badge, label=f"Bulk deletion: {badge.label}"),
                about=batch_origin_text(deletion.batch),
                url=reverse("batch-detail", args=[deletion.batch.pk]),
                action="View",
            )
        yield item
    if len(deletions) > MAX_SHOWN:
        yield AttentionItem(
            badge=Badge("More with this status", "muted", "dot"),
            url=reverse("deletion-list", query={"status": status}),
            action="View all",
        )


_BATCH_ACTIONS = {
    BatchState.REQUESTED: "Decide…",
    BatchState.APPROVED: "Confirm bulk deletion",
    BatchState.PAUSED: "View",
}


def review_item(waiting: WaitingReview, *, now: datetime) -> AttentionItem:
    """An open access review that needs this person, to decide or to close it."""
    review = waiting.review
    if waiting.to_decide:
        todo, action = f"{pluralize(waiting.to_decide, 'connection')} for you to decide", "Decide"
    elif waiting.pending:
        todo, action = f"{pluralize(waiting.pending, 'connection')} to decide", "View"
    else:
        todo, action = "Every connection has a decision", "View"
    is_soon = review.due_at - now < SOON
    status = Badge("", "warn", "clock") if is_soon else review_badge(review, now=now)
    return AttentionItem(
        badge=replace(status, label=review.name),
        about=due_text(review, now=now),
        detail=todo,
        url=reverse("access-review-detail", args=[review.pk]),
        action=action,
    )


def expired_keep_items(decisions: Sequence[AccessReviewDecision]) -> list[AttentionItem]:
    """The connections of these decisions, which kept them until a date that has passed."""
    return [
        AttentionItem(
            badge=Badge(
                f"{row.source_org_name or row.source_org_id} → "
                f"{row.sink_org_name or row.sink_org_id}",
                "warn",
                "clock",
            ),
            about=f"kept until {decision.keep_until:%Y-%m-%d}",
            detail=f"{decision.decided_by_name} in {row.review.name}: “{decision.reason}”",
            url=connection_url(row.key),
            action="View",
        )
        for decision in decisions
        for row in [decision.row]
    ]


def _batch_item(batch: Batch, *, now: datetime) -> AttentionItem:
    status = batch_badge(batch, has_expired=drafts.has_expired(batch, now=now))
    return AttentionItem(
        badge=replace(status, label=f"Bulk deletion: {status.label}"),
        about=batch_origin_text(batch),
        detail=f"Requested by {batch.requested_by_name}",
        at=batch.requested_at,
        url=reverse("batch-detail", args=[batch.pk]),
        action=_BATCH_ACTIONS[BatchState(batch.state)],
    )


def _break_glass_item(deletion: Deletion) -> AttentionItem:
    return AttentionItem(
        badge=Badge("Late approval due", "danger", "warning"),
        about=_about(deletion),
        detail=f"Break glass used by {deletion.break_glass_by_name}",
        at=deletion.break_glass_at,
        url=reverse("deletion-detail", args=[deletion.pk]),
        action="Decide…",
    )


def _about(deletion: Deletion) -> str:
    if not deletion.is_reviewed:
        return f"…{str(deletion.connection_id)[-8:]}, not listed"
    source, sink = (
        name or "Unknown org" for name in (deletion.source_org_name, deletion.sink_org_name)
    )
    return f"{source} → {sink}"


def _credential_item(credential: Credential) -> AttentionItem:
    return AttentionItem(
        badge=credential_badge(credential),
        about=credential.name,
        detail=problem_of(credential),
        url=reverse("credential-detail", args=[credential.pk]),
        action="View credential",
    )


def health_rows(page: Overview, *, can_audit: bool) -> dict[str, HealthRow]:
    """What works and what doesn't, each with a name for what the row is about."""
    rows = {}
    if page.credentials:
        rows["Syncs"] = _sync_health(page)
        rows["Credentials"] = _credential_health(page.credentials, now=page.at)
    rows |= {
        "Audit log": HealthRow(
            badge=audit_log_badge(page.verification, now=page.at),
            text=f"verified {format_age(page.verification.checked_at, now=page.at)}"
            if page.verification
            else "",
            url=reverse("evidence-detail") if can_audit else "",
        ),
        "Worker": HealthRow(badge=_RUNNING if page.has_worker else _NOT_RUNNING, text=""),
    }
    if page.given_up:
        rows["Notifications"] = HealthRow(
            badge=NotificationStatus.FAILED.value,
            text=pluralize(page.given_up, "notification"),
            url=reverse("notification-list"),
        )
    return rows


_RUNNING = Badge("Running", "ok", "check")
_NOT_RUNNING = Badge("Not running", "warn", "warning")


def _sync_health(page: Overview) -> HealthRow:
    inventory, credentials = page.inventory, pluralize(len(page.credentials), "credential")
    if inventory.oldest_at is None:
        status, text = SyncStatus.NEVER, credentials
    else:
        status, counted = SyncStatus.SYNCED, inventory.synced
        if inventory.failed:
            status, counted = SyncStatus.FAILED, inventory.failed
        age = format_age(inventory.oldest_at, now=page.at)
        text = f"{counted} of {credentials}, oldest sync {age}"
    return HealthRow(badge=status.value, text=text, url=reverse("org-connection-list"))


def _credential_health(credentials: list[Credential], *, now: datetime) -> HealthRow:
    failing = [
        credential
        for credential in credentials
        if not credential.is_verified or credential.last_error
    ]
    old = [credential for credential in credentials if credential.has_old_keys(now=now)]
    status, counted = CredentialStatus.VERIFIED, credentials
    if failing:
        status, counted = CredentialStatus.FAILING, failing
    elif old:
        status, counted = CredentialStatus.ROTATION_DUE, old
    text = f"{len(counted)} of {len(credentials)}"
    if failing and old:
        text += f", {len(old)} due for rotation"
    return HealthRow(
        badge=status.value,
        text=text,
        url=reverse("credential-list"),
    )


def overview(request: HttpRequest) -> HttpResponse:
    """The overview or, without a credential, how to add the first one."""
    actor = actor_of(request)
    page = get_overview(actor=actor)
    can_manage = permissions.can_manage_credentials(actor)
    has_credential = bool(page.credentials)
    context: dict[str, Any] = {
        "page": page,
        "attention": attention_items(page.pending, actor=actor, now=page.at),
        "changes": change_row_views(page.changes.rows, actor=actor),
        "reviews": [review_item(review, now=page.at) for review in page.reviews],
        "expired_keeps": expired_keep_items(page.expired_keeps.earliest),
        "max_counted": changes.MAX_COUNTED,
        "health": health_rows(page, can_audit=permissions.can_audit(actor)),
        "no_worker": None if page.has_worker else no_worker_text(page.worker_seen_at),
        "clock": clock_ahead_text(page.time_ahead, now=page.at) if page.time_ahead else None,
        "can_sync": permissions.can_sync(actor),
        "has_credential": has_credential,
        "form": CredentialForm() if can_manage and not has_credential else None,
        "administrators": [] if has_credential else people.list_administrator_names(),
    }
    return render(request, "overview/overview.html", context)
