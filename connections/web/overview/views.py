"""The overview page, and the items that need attention."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from connections.access import permissions
from connections.core.text import format_age
from connections.models import Credential, Deletion
from connections.people import people
from connections.web.charts import OUTCOME_SERIES, build_chart
from connections.web.credentials.forms import CredentialForm
from connections.web.overview.page import MOST_SHOWN, Pending, Split, Week, overview
from connections.web.support import actor_of
from connections.wording import (
    audit_log_badge,
    badge,
    clock_ahead_text,
    credential_badge,
    no_worker_text,
)
from connections.wording.causes import failure_text


@dataclass(frozen=True, kw_only=True)
class AttentionItem:
    """One item; `detail` is its second line."""

    tone: str
    icon: str
    headline: str
    about: str
    detail: str
    url: str
    action: str


def attention_items(pending: Pending, *, now: datetime) -> Split[AttentionItem]:
    """The items for this person and for others, the most urgent kind first."""

    def lines(split: Split[Deletion], action: str, status: str) -> Split[AttentionItem]:
        return split.each(
            lambda deletions: _deletion_items(deletions, now=now, action=action, status=status)
        )

    kinds = (
        pending.unreviewed_break_glass.each(
            lambda deletions: _break_glass_items(deletions, now=now)
        ),
        lines(pending.in_doubt, "Check", "unknown"),
        lines(pending.contradicted, "Look", "contradicted"),
        lines(pending.to_confirm, "Confirm", "approved"),
        lines(pending.to_approve, "Review", "requested"),
        lines(pending.never_verified, "Look", "deleted"),
        pending.credentials.each(lambda credentials: map(_credential_item, credentials)),
    )
    return Split(
        yours=[item for kind in kinds for item in kind.yours],
        others=[item for kind in kinds for item in kind.others],
    )


def _deletion_items(
    deletions: list[Deletion], *, now: datetime, action: str, status: str
) -> Iterator[AttentionItem]:
    for deletion in deletions[:MOST_SHOWN]:
        said = badge(deletion)
        asked = format_age(deletion.sending_at or deletion.requested_at, now=now)
        verb = "sent" if deletion.sending_at else "asked"
        yield AttentionItem(
            tone=said.tone,
            icon=said.icon,
            headline=said.label,
            about=_about(deletion),
            detail=f"{verb} {asked} by {deletion.requested_by_name}",
            url=reverse("deletion-detail", args=[deletion.pk]),
            action=action,
        )
    if len(deletions) > MOST_SHOWN:
        yield AttentionItem(
            tone="muted",
            icon="dot",
            headline="And more like these",
            about="",
            detail="",
            url=f"{reverse('deletion-list')}?status={status}",
            action="Show all",
        )


def _break_glass_items(deletions: list[Deletion], *, now: datetime) -> Iterator[AttentionItem]:
    for deletion in deletions:
        broken_at = deletion.break_glass_at or now
        yield AttentionItem(
            tone="danger",
            icon="warning",
            headline="Glass broken, not reviewed",
            about=_about(deletion),
            detail=f"{format_age(broken_at, now=now)} by {deletion.break_glass_by_name}",
            url=reverse("deletion-detail", args=[deletion.pk]),
            action="Look",
        )


def _about(deletion: Deletion) -> str:
    if not deletion.is_reviewed:
        return f"…{str(deletion.connection_id)[-8:]}, not reviewed"
    return f"{deletion.source_org_name or '?'} → {deletion.sink_org_name or '?'}"


def _credential_item(credential: Credential) -> AttentionItem:
    status = credential_badge(credential)
    error: dict[str, Any] = credential.last_error or {}
    why = ""
    if error.get("cause"):
        why = failure_text(cause=error["cause"], http_status=error.get("http_status"))
    return AttentionItem(
        tone=status.tone,
        icon=status.icon,
        headline=status.label,
        about=credential.name,
        detail=why,
        url=reverse("credential-detail", args=[credential.pk]),
        action="Open",
    )


def overview_detail(request: HttpRequest) -> HttpResponse:
    """The overview; without a credential, how to add the first one."""
    actor = actor_of(request)
    page = overview(actor=actor)
    may_manage = permissions.can_manage_credentials(actor)
    has_credential = bool(page.credentials)
    context: dict[str, Any] = {
        "page": page,
        "attention": attention_items(page.pending, now=page.at),
        "record": audit_log_badge(page.verification, now=page.at),
        "can_audit": permissions.can_audit(actor),
        "no_worker": "" if page.has_worker else no_worker_text(page.worker_seen_at),
        "clock": clock_ahead_text(page.time_ahead, now=page.at) if page.time_ahead else "",
        "latest": page.latest,
        "chart": _chart(page.weeks),
        "can_refresh": permissions.can_sync(actor),
        "has_credential": has_credential,
        "form": CredentialForm() if may_manage and not has_credential else None,
        "administrators": [] if has_credential else people.list_administrator_names(),
    }
    return render(request, "connections/overview_detail.html", context)


def _chart(weeks: list[Week]) -> dict[str, Any]:
    return build_chart(
        label="Deletions asked for in each of the last 12 weeks, by outcome",
        first_column="Week of",
        series=OUTCOME_SERIES,
        rows=(
            (week.begins_at.date(), f"Week of {week.begins_at:%Y-%m-%d}", week.counts)
            for week in weeks
        ),
    )
