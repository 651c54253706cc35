"""The lines of "Needs you" and "Waits for others": what each says and where it leads."""

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
from connections.web.charts import KINDS, chart
from connections.web.credentials.forms import CredentialForm
from connections.web.credentials.page import state_of
from connections.web.overview.page import SHOWN, Pending, Split, Week, overview
from connections.web.support import actor_of
from connections.wording import audit_log_badge, badge, clock_ahead_text, no_worker_text
from connections.wording.causes import failure_text


@dataclass(frozen=True, kw_only=True)
class AttentionItem:
    """One line; `quiet` is its second, smaller part."""

    tone: str
    icon: str
    headline: str
    about: str
    quiet: str
    url: str
    action: str


def attention_items(pending: Pending, *, now: datetime) -> Split[AttentionItem]:
    """What waits for this person and for others, the most pressing kind first."""

    def lines(parted: Split[Deletion], action: str, status: str) -> Split[AttentionItem]:
        return parted.each(
            lambda deletions: _deletions(deletions, now=now, action=action, status=status)
        )

    kinds = (
        pending.glass_broken.each(lambda deletions: _broken_glass(deletions, now=now)),
        lines(pending.in_doubt, "Check", "unknown"),
        lines(pending.contradicted, "Look", "contradicted"),
        lines(pending.to_confirm, "Confirm", "approved"),
        lines(pending.to_approve, "Review", "requested"),
        lines(pending.never_verified, "Look", "deleted"),
        pending.credentials.each(lambda credentials: map(_credential, credentials)),
    )
    return Split(
        yours=[todo for kind in kinds for todo in kind.yours],
        others=[todo for kind in kinds for todo in kind.others],
    )


def _deletions(
    deletions: list[Deletion], *, now: datetime, action: str, status: str
) -> Iterator[AttentionItem]:
    for deletion in deletions[:SHOWN]:
        said = badge(deletion)
        asked = format_age(deletion.sending_at or deletion.requested_at, now=now)
        verb = "sent" if deletion.sending_at else "asked"
        yield AttentionItem(
            tone=said.tone,
            icon=said.icon,
            headline=said.word,
            about=_about(deletion),
            quiet=f"{verb} {asked} by {deletion.requested_by_name}",
            url=reverse("deletion-detail", args=[deletion.pk]),
            action=action,
        )
    if len(deletions) > SHOWN:
        yield AttentionItem(
            tone="muted",
            icon="dot",
            headline="And more like these",
            about="",
            quiet="",
            url=f"{reverse('deletion-list')}?status={status}",
            action="Show all",
        )


def _broken_glass(deletions: list[Deletion], *, now: datetime) -> Iterator[AttentionItem]:
    for deletion in deletions:
        broken_at = deletion.break_glass_at or now
        yield AttentionItem(
            tone="danger",
            icon="warning",
            headline="Glass broken, not reviewed",
            about=_about(deletion),
            quiet=f"{format_age(broken_at, now=now)} by {deletion.break_glass_by_name}",
            url=reverse("deletion-detail", args=[deletion.pk]),
            action="Look",
        )


def _about(deletion: Deletion) -> str:
    if not deletion.is_reviewed:
        return f"…{str(deletion.connection_id)[-8:]}, not reviewed"
    return f"{deletion.source_org_name or '?'} → {deletion.sink_org_name or '?'}"


def _credential(credential: Credential) -> AttentionItem:
    state = state_of(credential)
    error: dict[str, Any] = credential.last_error or {}
    why = ""
    if error.get("cause"):
        why = failure_text(cause=error["cause"], http_status=error.get("http_status"))
    is_failing = credential.is_verified
    return AttentionItem(
        tone="warn" if is_failing else state.tone,
        icon="warning" if is_failing else state.icon,
        headline="Failed when it was last used" if is_failing else state.word,
        about=credential.name,
        quiet=why,
        url=reverse("credential-detail", args=[credential.pk]),
        action="Open",
    )


def overview_detail(request: HttpRequest) -> HttpResponse:
    """The overview; with no credential yet, the way to the first one."""
    actor = actor_of(request)
    page = overview(actor=actor)
    oldest_at = page.estate.oldest_at
    may_manage = permissions.can_manage_credentials(actor)
    has_credential = bool(page.credentials)
    context: dict[str, Any] = {
        "page": page,
        "todos": attention_items(page.waits, now=page.at),
        "age": format_age(oldest_at, now=page.at) if oldest_at else "",
        "record": audit_log_badge(page.verification, now=page.at),
        "verified": format_age(page.verification.checked_at, now=page.at)
        if page.verification
        else "",
        "can_audit": permissions.can_audit(actor),
        "no_worker": "" if page.has_worker else no_worker_text(page.worker_seen_at),
        "clock": clock_ahead_text(page.time_ahead, now=page.at) if page.time_ahead else "",
        "latest": [(deletion, badge(deletion)) for deletion in page.latest],
        "chart": _chart(page.weeks),
        "can_refresh": permissions.can_refresh(actor),
        "has_credential": has_credential,
        "form": CredentialForm() if may_manage and not has_credential else None,
        "administrators": [] if has_credential else people.names_of_administrators(),
    }
    return render(request, "connections/overview_detail.html", context)


def _chart(weeks: list[Week]) -> dict[str, Any]:
    return chart(
        label="Deletions asked for in each of the last 12 weeks, by outcome",
        first_column="Week of",
        series=KINDS,
        rows=(
            (week.begins_at.date(), f"Week of {week.begins_at:%Y-%m-%d}", week.counts)
            for week in weeks
        ),
    )
