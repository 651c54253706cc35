"""What happened since the person last looked, in one line."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import QuerySet
from django.urls import reverse
from django.utils.dateparse import parse_datetime

from connections.access.actor import Actor
from connections.access_requests.listing import AccessRequestFilter, list_access_requests
from connections.access_requests.problems import FAILED_ACCESS, FAILED_DELETIONS
from connections.core.database import count_each
from connections.core.text import format_date, format_limit, pluralize
from connections.deletions.history import MAX_COUNTED, find_ended
from connections.models import AccessOutcome, Outcome

# What the address can name in place of a time. The first one is the default.
PERIODS = {"24h": timedelta(hours=24), "7d": timedelta(days=7)}


# What a figure is called, its list, the statuses that it counts, and its text for one and for more.
_COUNTED: tuple[tuple[str, str, tuple[str, ...], str, str], ...] = (
    ("deleted", "deletion-list", (Outcome.DELETED,), "deleted", "deleted"),
    ("created", "access-request-list", (AccessOutcome.CREATED,), "created", "created"),
    ("failed", "deletion-list", FAILED_DELETIONS, "deletion failed", "deletions failed"),
    (
        *("failed", "access-request-list", FAILED_ACCESS),
        *("access request failed", "access requests failed"),
    ),
)


@dataclass(frozen=True, kw_only=True)
class Figure:
    """How often something happened, and the list of it."""

    what: str
    text: str
    url: str


@dataclass(frozen=True, kw_only=True)
class Since:
    """What happened since a time, and the addresses that say so for other periods."""

    text: str
    figures: list[Figure]
    # By their length; without the one that is shown.
    periods: dict[str, str]


def find_since(*, actor: Actor, wanted: str, now: datetime, not_synced: int) -> Since:
    """What ended since a time. `wanted` is one of PERIODS or an ISO time; otherwise 24 hours."""
    since = _parse(wanted, now=now)
    chosen = wanted if wanted in PERIODS else ""
    if since is None:
        chosen, since = "24h", now - PERIODS["24h"]
    counts = _count_ended(since=since, actor=actor)
    figures = []
    for (what, name, statuses, one, more), count in zip(_COUNTED, counts, strict=True):
        if count:
            number = f"{MAX_COUNTED:,}+" if count > MAX_COUNTED else f"{count:,}"
            query = {"status": [*map(str, statuses)], "ended_since": since.isoformat()}
            text = f"{number} {one if count == 1 else more}"
            figures.append(Figure(what=what, text=text, url=reverse(name, query=query)))
    if not_synced:
        figures.append(
            Figure(
                what="not-synced",
                text=f"{pluralize(not_synced, 'org')} not synced",
                url=reverse("org-list", query={"show": "failing"}),
            )
        )
    return Since(
        text=_time_text(since, now=now),
        figures=figures,
        periods={
            format_limit(period): reverse("overview", query={"since": name})
            for name, period in PERIODS.items()
            if name != chosen
        },
    )


def _parse(wanted: str, *, now: datetime) -> datetime | None:
    """The time; None if it is none, or in the future."""
    if wanted in PERIODS:
        return now - PERIODS[wanted]
    try:
        at = parse_datetime(wanted)
    except ValueError:
        return None
    if at is None:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return at if at <= now else None


def _time_text(at: datetime, *, now: datetime) -> str:
    at = at.astimezone(UTC)
    days = (now.astimezone(UTC).date() - at.date()).days
    day = {0: "today", 1: "yesterday"}.get(days) or format_date(at)
    return f"{day} {at:%H:%M} UTC"


def _count_ended(*, since: datetime, actor: Actor) -> list[int]:
    """How many ended since then, for each of _COUNTED. Counts to one above MAX_COUNTED."""
    ended: list[QuerySet[Any]] = [
        find_ended(actor=actor, status=statuses, since=since)
        if name == "deletion-list"
        else list_access_requests(
            actor=actor, filters=AccessRequestFilter(status=statuses, ended_since=since)
        )
        for _, name, statuses, _, _ in _COUNTED
    ]
    return count_each(*(rows.order_by().values("pk")[: MAX_COUNTED + 1] for rows in ended))
