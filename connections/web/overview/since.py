"""What happened since the person last looked, in one line."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.urls import reverse
from django.utils.dateparse import parse_datetime

from connections.access.actor import Actor
from connections.access_requests.listing import AccessRequestFilter, list_access_requests
from connections.core.text import format_date, format_limit, pluralize
from connections.deletions.history import MAX_COUNTED, HistoryFilter, count_matches
from connections.models import AccessOutcome, Outcome

# What the address can name in place of a time. The first one is the default.
PERIODS = {"24h": timedelta(hours=24), "7d": timedelta(days=7)}
_FAILED_DELETIONS = (Outcome.REFUSED, Outcome.NOT_SENT)
_FAILED_ACCESS = (
    AccessOutcome.REFUSED,
    AccessOutcome.NOT_SENT,
    AccessOutcome.GONE,
    AccessOutcome.CHANGED_ELSEWHERE,
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
    figures = [
        _deletions("deleted", "deleted", (Outcome.DELETED,), since=since, actor=actor),
        _access("created", "created", (AccessOutcome.CREATED,), since=since, actor=actor),
        _deletions("failed", "deletions failed", _FAILED_DELETIONS, since=since, actor=actor),
        _access("failed", "access requests failed", _FAILED_ACCESS, since=since, actor=actor),
    ]
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
        figures=[figure for figure in figures if figure],
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


def _deletions(
    what: str, verb: str, outcomes: tuple[Outcome, ...], *, since: datetime, actor: Actor
) -> Figure | None:
    filters = HistoryFilter(status=outcomes, ended_since=since)
    count = count_matches(actor=actor, filters=filters)
    number = f"{MAX_COUNTED:,}+" if count is None else f"{count:,}"
    return _figure(what, number, verb, "deletion-list", outcomes, since=since)


def _access(
    what: str, verb: str, outcomes: tuple[AccessOutcome, ...], *, since: datetime, actor: Actor
) -> Figure | None:
    filters = AccessRequestFilter(status=outcomes, ended_since=since)
    count = list_access_requests(actor=actor, filters=filters).count()
    return _figure(what, f"{count:,}", verb, "access-request-list", outcomes, since=since)


def _figure(
    what: str, number: str, verb: str, name: str, statuses: tuple[str, ...], *, since: datetime
) -> Figure | None:
    """None if nothing of that kind happened."""
    if number == "0":
        return None
    if number == "1":
        verb = verb.replace("deletions", "deletion").replace("requests", "request")
    query = {"status": [*map(str, statuses)], "ended_since": since.isoformat()}
    return Figure(what=what, text=f"{number} {verb}", url=reverse(name, query=query))
