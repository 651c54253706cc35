"""The metrics for Prometheus. All are read from the database.

So every web server says the same about all processes, and a worker needs no address. Labels have
few values: outcomes, sites, channels, hosts of the last day, and the names of MAX_ORGS orgs.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from math import ceil
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.db.models import (
    Count,
    Exists,
    F,
    Max,
    Min,
    Model,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    TextChoices,
)
from django.db.models.functions import Coalesce

from connections import __version__
from connections.access.actor import WORKER
from connections.agreements.agreed import NotAgreed
from connections.change_requests.guards import ClockReading, find_hold, newest_event_time
from connections.changes.changes import AWAITING, matching_changes
from connections.core import clock
from connections.core.causes import FailureKind
from connections.core.text import format_limit, one_line
from connections.inventory import contradictions, sync_schedule
from connections.inventory.agreed_counts import AgreedCounts, count_agreed
from connections.inventory.failing import find_failing
from connections.models import (
    COMPLETED,
    AccessRequest,
    AccessReview,
    AccessReviewState,
    AccessState,
    Attempt,
    AuditEvent,
    AuditHead,
    AuditVerification,
    BatchState,
    ChangeRequest,
    Checkpoint,
    Deletion,
    KnownConnection,
    Notification,
    OrgPair,
    Outcome,
    State,
    Sync,
    WorkerHeartbeat,
)
from connections.operations import heartbeats
from connections.operations.due_work import OVERDUE_AFTER

# In seconds. Counting closed deletions or agreed connections reads a whole index or table.
COUNTED_EVERY = 60
_COUNTS = "orgadmin:metrics:counts"
# Each org is synced once in this time. Older rows, and rows beyond MAX_RECENT, aren't
# read.
RECENT = settings.SYNC_INTERVAL
_RECENT = format_limit(RECENT)
MAX_RECENT = 5000
# Those with the oldest syncs.
MAX_ORGS = 1000
MAX_NAME = 100
PERCENTILES = (50, 95)
_ESCAPED = {"\\": r"\\", '"': r"\""}


@dataclass(kw_only=True)
class Metric:
    """A metric: its name, what it means, and a value for each set of labels."""

    name: str
    help: str
    samples: list[tuple[dict[str, str], float]] = field(default_factory=list)

    def add(self, value: float, **labels: str) -> None:
        """Add a value."""
        self.samples.append((labels, value))

    def lines(self) -> Iterator[str]:
        """The metric in Prometheus's text format. Its labels have no line breaks."""
        yield f"# HELP {self.name} {self.help}"
        yield f"# TYPE {self.name} {'counter' if self.name.endswith('_total') else 'gauge'}"
        for labels, value in self.samples:
            pairs = (f'{name}="{_escape(text)}"' for name, text in labels.items())
            yield f"{self.name}{{{','.join(pairs)}}} {value:.15g}"


def _one(name: str, value: float, text: str) -> Metric:
    """A metric without labels."""
    return Metric(name=f"orgadmin_{name}", help=text, samples=[({}, value)])


def _escape(text: str) -> str:
    return re.sub(r'[\\"]', lambda match: _ESCAPED[match[0]], one_line(text, limit=MAX_NAME))


def read_metrics() -> list[Metric]:
    """All metrics. Takes the same number of statements whatever the database holds."""
    audit, now = _read_audit_log()
    settled, agreed = _read_counts(now)
    return [
        Metric(
            name="orgadmin_build_info",
            help="The version of the web server that answers.",
            samples=[({"version": __version__}, 1)],
        ),
        *_read_deletions(settled, now=now),
        *_read_access(now),
        *_read_agreed(agreed),
        *_read_reviews(now),
        *_read_orgs(now),
        *_read_recent_requests(now),
        _one(
            "changes_needing_attention",
            matching_changes(AWAITING).count(),
            "Changes that need attention and that no one has acknowledged.",
        ),
        *_read_notifications(now),
        *_read_workers(now),
        _one("on_hold", find_hold() is not None, "1 while a hold is on, otherwise 0."),
        *audit,
    ]


def _age(at: datetime | None, *, now: datetime) -> float:
    """In seconds. 0 for None, and for a time in the future."""
    return max((now - at).total_seconds(), 0) if at else 0


def _read_open(
    kind: type[ChangeRequest], *, states: type[TextChoices], age: str, now: datetime
) -> Iterator[Metric]:
    """How many requests of one kind are open, and for how long an outcome has been unknown.

    `age` is the name of the second metric.
    """
    noun = kind.noun.replace("_", " ")
    open_ones = kind._default_manager.filter(settled_at=None).order_by()
    by_state = open_ones.values("state").annotate(count=Count("pk"), oldest=Min("sending_at"))
    rows: dict[str, Any] = {row["state"]: row for row in by_state}
    metric = Metric(
        name=f"orgadmin_open_{kind.noun}s",
        help=f"{noun.capitalize()}s without an outcome, by state.",
    )
    for state in states.values:
        if state != State.SETTLED:
            metric.add(rows[state]["count"] if state in rows else 0, state=state)
    yield metric
    yield _one(
        age,
        _age(rows[State.UNKNOWN]["oldest"], now=now) if State.UNKNOWN in rows else 0,
        f"Time since the attempt of the oldest {noun} whose outcome is unknown; 0 if none.",
    )


def _read_access(now: datetime) -> Iterator[Metric]:
    """Access requests, interrupted access, and the ends of approved access."""
    age = "oldest_unknown_access_request_seconds"
    yield from _read_open(AccessRequest, states=AccessState, age=age, now=now)
    listed = KnownConnection.objects.filter(
        **{name: OuterRef(name) for name in OrgPair._fields}, is_present=True
    )
    moved = AccessRequest.objects.exclude(removed_at=None).exclude(outcome__in=COMPLETED)
    interrupted = [each for each in moved.exclude(Exists(listed)) if each.interrupts_access]
    yield _one(
        "access_interrupted",
        len(interrupted),
        "Moves that deleted a connection and created no new one, while the orgs have none.",
    )
    waiting = [State.REQUESTED, State.APPROVED, State.STILL_PRESENT]
    ends = Deletion.objects.filter(automatic=True, settled_at=None, state__in=waiting)
    yield _one("ends_waiting", ends.count(), "Ends of approved access that wait for people.")
    overdue = AccessRequest.objects.filter(end_due_at__lt=now - OVERDUE_AFTER)
    yield _one("ends_overdue", overdue.count(), "Ends of approved access that are late.")


def _read_agreed(counts: AgreedCounts) -> Iterator[Metric]:
    connections = Metric(
        name="orgadmin_connections", help="Connections, by whether they're agreed."
    )
    connections.add(counts.agreed, agreed="yes")
    connections.add(counts.total - counts.agreed, agreed="no")
    yield connections
    reasons = Metric(
        name="orgadmin_not_agreed",
        help="Connections that aren't agreed, by reason. One can have several.",
    )
    for reason in NotAgreed:
        reasons.add(counts.reasons[reason], reason=reason.value)
    yield reasons


def _read_reviews(now: datetime) -> Iterator[Metric]:
    is_overdue = Q(due_at__lt=now)
    counts = AccessReview.objects.filter(state=AccessReviewState.OPEN).aggregate(
        open=Count("pk"), overdue=Count("pk", filter=is_overdue)
    )
    yield _one("open_reviews", counts["open"], "Open access reviews.")
    yield _one("overdue_reviews", counts["overdue"], "Open access reviews past their due date.")


def _read_deletions(settled: dict[str, int], *, now: datetime) -> Iterator[Metric]:
    age = "oldest_unknown_deletion_age_seconds"
    yield from _read_open(Deletion, states=State, age=age, now=now)
    total = Metric(name="orgadmin_deletions_total", help="Closed deletions, by outcome.")
    for outcome in Outcome:
        total.add(settled.get(outcome.value, 0), outcome=outcome.value)
    yield total
    yield _one(
        "contradicted_deletions",
        contradictions.find_still_listed(Deletion.objects.all()).count(),
        "Deletions closed as gone whose connection Datadog still lists.",
    )
    # Rows of a paused bulk deletion wait for a person.
    is_paused = Q(state=State.WAITING, batch__state=BatchState.PAUSED)
    due = Deletion.objects.filter(due_at__lte=now).exclude(is_paused)
    yield _one("due_deletions", due.count(), "Deletions that a worker should handle now.")


def _read_counts(now: datetime) -> tuple[dict[str, int], AgreedCounts]:
    """How many deletions were closed, by outcome, and how many connections are agreed."""
    counts: tuple[dict[str, int], AgreedCounts] | None = cache.get(_COUNTS)
    if counts is None:
        settled = Deletion.objects.exclude(outcome="").order_by("outcome")
        by_outcome = dict(settled.values_list("outcome").annotate(count=Count("pk")))
        counts = by_outcome, count_agreed(actor=WORKER, today=now.date())
        cache.set(_COUNTS, counts, timeout=COUNTED_EVERY)
    return counts


def _read_orgs(now: datetime) -> Iterator[Metric]:
    complete = Sync.objects.filter(credential=OuterRef("pk"), is_complete=True)
    newest = complete.order_by("-started_at", "-id").values("finished_at")[:1]
    credentials = sync_schedule.scheduled().annotate(
        synced_at=Coalesce(Subquery(newest), F("created_at"))
    )
    orgs: dict[tuple[str, str], tuple[datetime, str]] = {}
    due_syncs = 0
    oldest_keys: datetime | None = None
    columns = ("site", "org_id", "org_name", "synced_at", "sync_due_at", "keys_set_at")
    for site, org_id, name, synced_at, due_at, keys_set_at in credentials.values_list(*columns):
        oldest_keys = min(oldest_keys or keys_set_at, keys_set_at)
        synced = (synced_at, name)
        orgs[site, org_id] = max(orgs.get((site, org_id), synced), synced)
        due_syncs += due_at <= now
    failing = {(group.site, group.kind): len(group.credentials) for group in find_failing()}
    metric = Metric(
        name="orgadmin_failing_credentials",
        help="Credentials whose last two syncs failed, by site and cause.",
    )
    for site in sorted({site for site, _ in orgs}):
        for kind in FailureKind:
            metric.add(failing.get((site, kind), 0), site=site, cause=kind.value)
    yield metric
    metric = Metric(
        name="orgadmin_sync_age_seconds",
        help="Time since the last complete sync of the org, or since its keys were added.",
    )
    oldest_first = sorted((*synced, *key) for key, synced in orgs.items())
    for synced_at, name, site, org_id in oldest_first[:MAX_ORGS]:
        metric.add(_age(synced_at, now=now), site=site, org=name or org_id, org_id=org_id)
    yield metric
    yield _one("due_syncs", due_syncs, "Syncs that a worker should start now.")
    yield _one("key_age_seconds_max", _age(oldest_keys, now=now), "Age of the oldest stored keys.")


def _read_recent_requests(now: datetime) -> Iterator[Metric]:
    syncs = _newest(Sync.objects.filter(finished_at__gt=now - RECENT))
    attempts = _newest(Attempt.objects.filter(answered_at__gt=now - RECENT))
    limited: dict[str, int] = defaultdict(int)
    seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
    columns = ("credential__site", "started_at", "finished_at", "http_status")
    for site, started_at, finished_at, status in syncs.values_list(*columns):
        limited[site] += status == 429
        seconds[site, "sync"].append(_age(started_at, now=finished_at))
    for site, ms, status in attempts.values_list("deletion__site", "duration_ms", "http_status"):
        limited[site] += status == 429
        seconds[site, "delete"].append((ms or 0) / 1000)
    responses = Metric(
        name="orgadmin_datadog_rate_limited_responses",
        help=f"Syncs and DELETEs of the last {_RECENT} to which Datadog returned 429.",
    )
    for site, count in sorted(limited.items()):
        responses.add(count, site=site)
    yield responses
    duration = Metric(
        name="orgadmin_datadog_duration_seconds",
        help=f"How long syncs and DELETEs of the last {_RECENT} took.",
    )
    for (site, operation), values in sorted(seconds.items()):
        values.sort()
        for percentile in PERCENTILES:
            value = values[ceil(percentile * len(values) / 100) - 1]
            duration.add(value, site=site, operation=operation, percentile=str(percentile))
    yield duration


def _newest[T: Model](rows: QuerySet[T]) -> QuerySet[T]:
    """Those among the newest MAX_RECENT rows of the table, whose number has an index."""
    newest = rows.model._default_manager.order_by("-pk").values("pk")[:1]
    return rows.filter(pk__gt=Subquery(newest) - MAX_RECENT).order_by()


def _read_notifications(now: datetime) -> Iterator[Metric]:
    states = (Notification.State.WAITING, Notification.State.GIVEN_UP)
    undelivered = Notification.objects.filter(state__in=states).order_by()
    rows = undelivered.values_list("channel", "state").annotate(Count("pk"), Min("created_at"))
    groups = {(channel, state): (count, oldest) for channel, state, count, oldest in rows}
    metric = Metric(
        name="orgadmin_notifications",
        help="Notifications that are waiting, or that failed for good, by channel.",
    )
    for channel in Notification.Channel:
        for state in states:
            count, _ = groups.get((channel, state), (0, None))
            metric.add(count, channel=channel.value, state=state.value)
    yield metric
    waiting = (oldest for (_, state), (_, oldest) in groups.items() if state == states[0])
    yield _one(
        "oldest_notification_age_seconds",
        _age(min(waiting, default=None), now=now),
        "Time since the oldest waiting notification was made; 0 if none waits.",
    )


def _read_workers(now: datetime) -> Iterator[Metric]:
    rows = WorkerHeartbeat.objects.filter(batch=None).order_by("host").values("host")
    is_alive = Q(seen_at__gte=now - heartbeats.ALIVE_WITHIN)
    hosts = list(rows.annotate(newest=Max("seen_at"), alive=Count("pk", filter=is_alive)))
    alive = sum(host["alive"] for host in hosts)
    within = format_limit(heartbeats.ALIVE_WITHIN)
    yield _one("workers", alive, f"Workers on all hosts that were seen within {within}.")
    age = Metric(
        name="orgadmin_worker_heartbeat_age_seconds",
        help="Time since a worker of the host was seen. A worker that stopped normally has none.",
    )
    for host in hosts:
        age.add(_age(host["newest"], now=now), host=host["host"])
    yield age


def _read_audit_log() -> tuple[list[Metric], datetime]:
    """Metrics of the audit log and the clock, and the database's time, read in one statement."""
    newest = Checkpoint.objects.order_by("-size", "-id")
    first_at = AuditEvent.objects.filter(pk=1).values("at")
    verified = AuditVerification.objects.order_by("-id")
    head: Any = AuditHead.objects.values(
        "size",
        covered=Coalesce(Subquery(newest.values("size")[:1]), 0),
        made_at=Coalesce(Subquery(newest.values("made_at")[:1]), Subquery(first_at)),
        now=clock.now_in_query(),
        newest_event_at=newest_event_time(),
        verified_at=Coalesce(Subquery(verified.values("checked_at")[:1]), Subquery(first_at)),
        fault=Subquery(verified.values("fault")[:1]),
    ).get()
    now: datetime = head["now"]
    age = _age(head["made_at"], now=now)
    return [
        _one("audit_events_total", head["size"], "Events in the audit log."),
        _one("checkpoint_events", head["covered"], "Events that the newest checkpoint covers."),
        _one(
            "checkpoint_age_seconds",
            age,
            "Time since the newest checkpoint or, if there is none, since the first event.",
        ),
        _one(
            "audit_verification_ok",
            not head["fault"],
            "0 if the last verification of the audit log found a fault, otherwise 1.",
        ),
        _one(
            "audit_verification_age_seconds",
            _age(head["verified_at"], now=now),
            "Time since the last verification or, if there is none, since the first event.",
        ),
        _one(
            "clock_behind_seconds",
            ClockReading(now=now, newest_event_at=head["newest_event_at"]).behind.total_seconds(),
            "How far the database's clock is behind the newest event; 0 if it is right. While it "
            "is behind, nothing is sent.",
        ),
    ], now
