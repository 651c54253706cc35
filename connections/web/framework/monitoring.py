"""The /metrics page. /healthz and /readyz are in the middleware."""

from collections.abc import Iterator

from django.core.cache import cache
from django.db.models import Count, Min, OuterRef, Subquery
from django.http import HttpRequest, HttpResponse

from connections.core import clock
from connections.models import Credential, Deletion, Notification, State, Sync
from connections.operations import metrics_token

# In seconds. Counting closed deletions reads a whole index.
SETTLED_COUNTED_EVERY = 60
_SETTLED_COUNTS = "orgadmin:metrics:settled"


def metrics_for_token(request: HttpRequest) -> HttpResponse:
    """The metrics for a program with the token in ORGADMIN_METRICS_TOKEN_FILE, otherwise 401."""
    if not metrics_token.is_valid_header(request.headers["Authorization"]):
        return HttpResponse(status=401, headers={"WWW-Authenticate": "Bearer"})
    return metrics(request)


def metrics(request: HttpRequest) -> HttpResponse:
    """Counts and ages of deletions, syncs and notifications, in Prometheus format.

    They cover every credential, so they are for people who see all credentials.
    """
    lines = [*_deletion_lines(), *_listing_lines(), *_notice_lines()]
    return HttpResponse(
        "\n".join(lines) + "\n", content_type="text/plain; version=0.0.4; charset=utf-8"
    )


def _deletion_lines() -> Iterator[str]:
    yield "# HELP orgadmin_deletions Deletions by state, and by outcome once settled."
    yield "# TYPE orgadmin_deletions gauge"
    open_ones = Deletion.objects.filter(settled_at=None).order_by()
    counts = dict(open_ones.values_list("state").annotate(count=Count("pk")))
    for state in State:
        if state != State.SETTLED:
            yield f'orgadmin_deletions{{state="{state.value}",outcome=""}} {counts.get(state, 0)}'
    for outcome, count in _settled_counts():
        yield f'orgadmin_deletions{{state="settled",outcome="{outcome}"}} {count}'


def _settled_counts() -> list[tuple[str, int]]:
    counts: list[tuple[str, int]] | None = cache.get(_SETTLED_COUNTS)
    if counts is not None:
        return counts
    settled = Deletion.objects.exclude(outcome="").order_by("outcome")
    counts = list(settled.values_list("outcome").annotate(count=Count("pk")))
    cache.set(_SETTLED_COUNTS, counts, timeout=SETTLED_COUNTED_EVERY)
    return counts


def _listing_lines() -> Iterator[str]:
    yield "# HELP orgadmin_listing_age_seconds Time since the last complete sync."
    yield "# TYPE orgadmin_listing_age_seconds gauge"
    now = clock.now()
    newest = Sync.objects.filter(
        credential=OuterRef("pk"), is_complete=True, started_at__lte=now + clock.TOLERANCE
    )
    credentials = (
        Credential.objects.filter(retired_at__isnull=True)
        .annotate(
            listed_at=Subquery(newest.order_by("-started_at", "-id").values("finished_at")[:1])
        )
        .order_by("pk")
    )
    for pk, listed_at in credentials.values_list("pk", "listed_at"):
        if listed_at is not None:
            age = (now - listed_at).total_seconds()
            yield f'orgadmin_listing_age_seconds{{credential="{pk}"}} {max(age, 0):.0f}'


def _notice_lines() -> Iterator[str]:
    yield "# HELP orgadmin_notices Notifications that were not delivered, by channel and state."
    yield "# TYPE orgadmin_notices gauge"
    states = (Notification.State.WAITING, Notification.State.GIVEN_UP)
    undelivered = Notification.objects.filter(state__in=states).order_by()
    rows = undelivered.values_list("channel", "state").annotate(count=Count("pk"))
    counts = {(channel, state): count for channel, state, count in rows}
    for channel in Notification.Channel:
        for state in states:
            labels = f'channel="{channel.value}",state="{state.value}"'
            yield f"orgadmin_notices{{{labels}}} {counts.get((channel, state), 0)}"
    yield "# HELP orgadmin_oldest_notice_age_seconds Time since the oldest waiting one was queued."
    yield "# TYPE orgadmin_oldest_notice_age_seconds gauge"
    oldest = Notification.objects.filter(state=Notification.State.WAITING).aggregate(
        at=Min("created_at")
    )["at"]
    age = (clock.now() - oldest).total_seconds() if oldest else 0
    yield f"orgadmin_oldest_notice_age_seconds {max(age, 0):.0f}"
