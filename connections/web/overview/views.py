"""The first page: what needs this person, how much is known, what was done lately."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from connections.access import permissions
from connections.core.ages import age_words
from connections.people import people
from connections.web.charts import KINDS, chart
from connections.web.credentials.forms import CredentialForm
from connections.web.overview.page import Week, overview
from connections.web.overview.todo import attention_items
from connections.web.support import actor_of
from connections.wording import audit_log_badge, badge, clock_ahead_text, no_worker_text


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
        "age": age_words(oldest_at, now=page.at) if oldest_at else "",
        "record": audit_log_badge(page.verification, now=page.at),
        "verified": age_words(page.verification.checked_at, now=page.at)
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
