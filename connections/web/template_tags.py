"""Tags and filters that every template has without loading them."""

from datetime import UTC, datetime

from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from connections import wording
from connections.core.text import format_age, format_relative
from connections.models import Deletion, Notification, Sync
from connections.wording import Badge
from connections.wording.causes import failure_text
from connections.wording.connections import creator_kind, site_name

register = template.Library()
register.filter("creator_kind", creator_kind)
register.filter("site_name", site_name)


@register.inclusion_tag("connections/components/badge.html")
def badge(about: Deletion | Notification | Badge) -> dict[str, str]:
    """The badge of a deletion or of a notification, or a badge that was chosen already."""
    match about:
        case Deletion():
            chosen = wording.badge(about)
        case Notification():
            chosen = wording.notification_badge(about)
        case _:
            chosen = about
    return {"tone": chosen.tone, "icon": chosen.icon, "label": chosen.label}


@register.filter
def ago(at: datetime, now: datetime) -> str:
    """How long ago that was: "3 min ago"."""
    return format_age(at, now=now)


@register.simple_tag
def relative_time(at: datetime) -> SafeString:
    """A `<time>` element: "3 min ago" or "16 Nov 2026", with the exact time in UTC as its title."""
    exact = f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
    return format_html(
        '<time datetime="{}Z" title="{} UTC">{}</time>',
        exact.replace(" ", "T"),
        exact,
        format_relative(at, now=timezone.now()),
    )


@register.filter
def failure(sync: Sync) -> str:
    """Why this read of an org's list failed."""
    return failure_text(cause=sync.cause, http_status=sync.http_status)
