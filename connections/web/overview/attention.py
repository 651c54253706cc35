"""Finds what waits for people, one line each. `kinds.KINDS` declares what there is."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Count, Exists, OuterRef, Q, QuerySet, Subquery, Window
from django.urls import reverse
from django.utils.dateparse import parse_datetime

from connections.access import permissions, visibility
from connections.access.actor import Actor
from connections.access.agreement_owners import find_owned
from connections.access_requests.problems import can_acknowledge, find_failed_deletions
from connections.access_requests.status import access_status_at
from connections.access_reviews.repeating import find_last_repeating
from connections.batches import drafts
from connections.batches.progress import list_waiting_batches
from connections.batches.texts import batch_origin_text
from connections.change_requests import states
from connections.change_requests.guards import ClockReading, find_hold, read_clock
from connections.change_requests.status import RequestStatus
from connections.changes.changes import (
    AWAITING,
    AWAITING_QUERY,
    find_awaiting_acknowledgement,
    get_change_page,
)
from connections.core.causes import FailureKind
from connections.core.text import format_limit, join_facts, pluralize
from connections.deletions import break_glass
from connections.deletions.status import DeletionEnd, status_at
from connections.evidence.verification import last_verification
from connections.inventory import contradictions
from connections.inventory.agreed_counts import AgreedCounts, count_agreed
from connections.inventory.failing import find_failing
from connections.models import (
    RUN_BY_BATCH,
    AccessRequest,
    AccessReview,
    ApprovalPolicy,
    AuditVerification,
    Batch,
    BatchState,
    Credential,
    Deletion,
    Hold,
    Outcome,
    State,
)
from connections.notifications import delivery_log
from connections.web.badges import (
    Badge,
    CredentialStatus,
    NotificationStatus,
    access_request_badge,
    batch_badge,
    credential_badge,
    deletion_badge,
)
from connections.web.change_requests.page import can_decide
from connections.web.changes.rows import ChangeRowView, change_row_views
from connections.web.credentials.texts import problem_of

# Of a request whose access the reader answers for.
_OWNED = "You answer for this access."
# How many lines of one kind the overview shows. A last line links to the list with the others.
MAX_OF_KIND = 10
# An access review that is due this soon, or overdue, is marked.
SOON = timedelta(days=7)


@dataclass(frozen=True, kw_only=True)
class Item:
    """One line: of which kind, about what, and a link to where a person can act."""

    # One of `kinds.KINDS`.
    kind: str
    # Its label is the kind.
    badge: Badge
    # The orgs of the connection (of any model that has both), or the name of something else.
    pair: Any = None
    name: str = ""
    types: Sequence[str] = ()
    added_types: Sequence[str] = ()
    note: str = ""
    # When it began or, after a word such as "expires", its deadline.
    at: datetime | None = None
    deadline: str = ""
    url: str
    # What the link says. "" if the name is the link.
    action: str = "View"
    # Whether this person can act on it, not only see it.
    is_yours: bool = True
    # How many such items the line stands for.
    count: int = 1
    # What it is about, if this person can acknowledge it.
    acknowledges: UUID | None = None
    # The entry of the navigation whose number counts it.
    entry: str = ""


@dataclass(kw_only=True)
class Situation:
    """Who looks, when, and what several kinds are found in."""

    actor: Actor
    now: datetime
    # Those in use.
    credentials: list[Credential]
    # How many lines of one kind are loaded.
    limit: int = MAX_OF_KIND

    @cached_property
    def clock(self) -> ClockReading:
        """The database's clock and the newest event."""
        return read_clock()

    @cached_property
    def agreed(self) -> AgreedCounts:
        """How many of the visible connections are agreed, and why the others aren't."""
        return count_agreed(actor=self.actor, today=self.now.date())

    @cached_property
    def hold(self) -> Hold | None:
        """The hold that is on."""
        return find_hold()

    @cached_property
    def repeating(self) -> list[AccessReview]:
        """The access reviews whose next one Org Admin starts."""
        return list(find_last_repeating())

    @cached_property
    def verification(self) -> AuditVerification | None:
        """The newest verification of the audit log."""
        return last_verification()

    @cached_property
    def deletions(self) -> QuerySet[Deletion]:
        """The visible deletions."""
        return visibility.visible(Deletion.objects.all(), actor=self.actor)

    @cached_property
    def awaiting_outcome(self) -> QuerySet[Deletion]:
        """Those whose outcome is unknown, or that had no effect."""
        states_awaiting = [State.UNKNOWN, State.STILL_PRESENT]
        return self.deletions.filter(state__in=states_awaiting, settled_at=None)


# --- Deletions ---


def unknown_outcomes(situation: Situation) -> Iterator[Item]:
    return _deletion_items(situation.awaiting_outcome, situation=situation)


def still_listed(situation: Situation) -> Iterator[Item]:
    """Closed as gone, but a credential in use still lists the connection."""
    rows = contradictions.find_still_listed(situation.deletions)
    return _deletion_items(rows, situation=situation)


def unverified(situation: Situation) -> Iterator[Item]:
    """Datadog returned 200, no sync has confirmed it, and no automatic check is left."""
    rows = situation.deletions.filter(
        outcome=Outcome.DELETED, verified_at=None, contradicted_at=None, due_at=None
    )
    return _deletion_items(rows, situation=situation)


def failed_deletions(situation: Situation) -> Iterator[Item]:
    """Datadog refused them, or they couldn't be sent, and nobody has acknowledged that."""
    return _deletion_items(find_failed_deletions(actor=situation.actor), situation=situation)


_ACTIONS = {"unknown": "Check outcome", "no_effect": "Resolve", "failed": "Request again…"}
_ACTIONS["refused"] = _ACTIONS["failed"]
_ACTIONS["still_listed"] = _ACTIONS["unverified"] = "Check again"
# What a line about a bulk deletion says of those of its deletions that it is about.
_COUNTED = {
    "unknown": "unknown",
    "no_effect": "had no effect",
    "still_listed": "still listed",
    "unverified": "unverified",
    "refused": "failed",
    "failed": "not sent",
    "confirmation": "being checked",
}
_KINDS = {
    RequestStatus.UNKNOWN: "unknown",
    RequestStatus.NO_EFFECT: "no_effect",
    DeletionEnd.STILL_LISTED: "still_listed",
    DeletionEnd.REAPPEARED: "still_listed",
    DeletionEnd.DELETED_UNVERIFIED: "unverified",
    DeletionEnd.FAILED: "refused",
    DeletionEnd.NOT_SENT: "failed",
    DeletionEnd.GAVE_UP: "failed",
}


def _deletion_items(rows: QuerySet[Deletion], *, situation: Situation) -> Iterator[Item]:
    """The oldest of these deletions, with one for each bulk deletion and state."""
    of_same_batch = rows.filter(
        batch=OuterRef("batch"), state=OuterRef("state"), id__lt=OuterRef("id")
    )
    first = rows.exclude(Exists(of_same_batch)).select_related("batch")
    for part, is_yours in _by_user(first, actor=situation.actor):
        counted = part.annotate(total=Window(Count("*"))).order_by("requested_at", "id")
        oldest = list(counted[: situation.limit])
        batch_ids = visibility.visible_batch_ids(oldest, actor=situation.actor)
        counts = _counts_in_batches(rows, batch_ids=batch_ids)
        for deletion in oldest:
            item = _deletion_item(deletion, now=situation.now, is_yours=is_yours)
            if item.kind in {"refused", "failed"} and can_acknowledge(
                situation.actor, subject=deletion
            ):
                item = replace(item, acknowledges=deletion.pk)
            if deletion.batch and deletion.batch.pk in batch_ids:
                count, label = counts[deletion.batch.pk, deletion.state]
                badge = replace(item.badge, label=f"{label} {_COUNTED[item.kind]}")
                about = _about_batch(deletion.batch)
                item = replace(item, badge=badge, count=count, pair=None, **about)
                item = replace(item, action="View deletions")
                if item.acknowledges:
                    item = replace(item, acknowledges=deletion.batch.pk)
            yield item
        if oldest and oldest[0].total > len(oldest):
            yield replace(item, count=oldest[0].total - len(oldest))


def _counts_in_batches(
    rows: QuerySet[Deletion], *, batch_ids: Collection[UUID]
) -> dict[tuple[UUID | None, str], tuple[int, str]]:
    """How many, and "2 of 32", for each bulk deletion and state of these deletions."""
    if not batch_ids:
        return {}
    same = Deletion.objects.filter(batch=OuterRef("batch")).order_by().values("batch")
    groups = rows.filter(batch__in=batch_ids).order_by().values("batch", "state")
    counted = groups.annotate(total=Subquery(same.annotate(n=Count("pk")).values("n")))
    return {
        (batch, state): (count, f"{count:,} of {total:,}")
        for batch, state, total, count in counted.annotate(count=Count("pk")).values_list(
            "batch", "state", "total", "count"
        )
    }


def _by_user(rows: QuerySet[Deletion], *, actor: Actor) -> list[tuple[QuerySet[Deletion], bool]]:
    """Those whose credential the actor can use, and the others, as queries: there can be many."""
    if not permissions.can_delete(actor):
        return [(rows, False)]
    unusable = permissions.visibility_of(actor).unusable
    if not unusable:
        return [(rows, True)]
    others = rows.filter(credential__in=unusable)
    return [(rows.exclude(credential__in=unusable), True), (others, False)]


def _deletion_item(deletion: Deletion, *, now: datetime, is_yours: bool) -> Item:
    status = status_at(deletion, now=now)
    badge = deletion_badge(deletion, status=status)
    if status == RequestStatus.UNKNOWN:
        badge = replace(badge, label="Outcome unknown")
    kind = _KINDS.get(status, "confirmation")
    return Item(
        kind=kind,
        badge=badge,
        pair=deletion if deletion.is_reviewed else None,
        name=f"Connection …{str(deletion.connection_id)[-8:]}",
        note=join_facts(deletion.ticket, f"Requested by {deletion.requested_by_name}"),
        at=deletion.sending_at or deletion.requested_at,
        url=reverse("deletion-detail", args=[deletion.pk]),
        action=_ACTIONS.get(kind, "View"),
        is_yours=is_yours,
    )


def late_approvals(situation: Situation) -> Iterator[Item]:
    """Sent by break glass, and not approved since."""
    actor = situation.actor
    lacking = break_glass.find_lacking_late_approval(actor=actor)
    for deletion in lacking.order_by("requested_at", "id"):
        is_yours = permissions.can_give_late_approval(actor, deletion=deletion)
        yield replace(
            _deletion_item(deletion, now=situation.now, is_yours=is_yours),
            kind="late_approval",
            badge=Badge("Late approval due", "danger", "warning"),
            note=f"Break glass used by {deletion.break_glass_by_name}",
            at=deletion.break_glass_at,
            action="Decide…",
        )


def deletion_requests(situation: Situation) -> Iterator[Item]:
    """Deletions that wait for approval or confirmation, oldest first.

    There are few, because people's expire within two days, and Org Admin's are of connections that
    changed before their access ended. Python filters them by person, because the database would
    otherwise read every deletion that the person ever requested.
    """
    actor, now = situation.actor, situation.now
    requested = Q(state__in=[State.REQUESTED, State.APPROVED]) & ~RUN_BY_BATCH
    again = Q(state=State.STILL_PRESENT) & ~Q(policy=ApprovalPolicy.NONE)
    waiting = situation.deletions.filter(requested | again, settled_at=None)
    rows = list(waiting.prefetch_related("approvals").order_by("requested_at", "id"))
    owned = find_owned(rows, actor=actor)
    for deletion in rows:
        has_expired = states.has_expired(deletion, now=now)
        can_use = permissions.can_use(actor, credential_id=deletion.credential_id)
        needs_approval = states.is_awaiting_approval(deletion)
        if needs_approval:
            is_yours = (
                states.can_be_approved(deletion, now=now)
                and permissions.can_approve(actor, change_request=deletion)
                and not deletion.is_decided_by(actor.person)
            )
        elif states.is_being_rechecked(deletion, now=now):
            continue
        else:
            is_next = deletion.can_be_confirmed_by(actor.person)
            is_yours = is_next and can_use and not has_expired
        owned_text = f"{_OWNED} " if deletion in owned else ""
        item = _deletion_item(deletion, now=now, is_yours=is_yours)
        item = replace(item, note=f"{owned_text}{item.note}")
        if deletion.state == State.STILL_PRESENT:
            # It is among the unknown outcomes of the people who can check it.
            if can_use or not is_yours:
                continue
        elif deletion.expires_at:
            deadline = "expired" if has_expired else "expires"
            item = replace(item, at=deletion.expires_at, deadline=deadline)
        if needs_approval:
            note = f"{owned_text}{deletion.requested_by_name}: “{deletion.reason}”"
            yield replace(item, kind="approval", note=note, action="Decide…")
        else:
            yield replace(item, kind="confirmation", action="Confirm…")


def access_requests(situation: Situation) -> Iterator[Item]:
    """Access requests that wait for approval, confirmation or their outcome, oldest first."""
    actor, now = situation.actor, situation.now
    rows = visibility.visible_access_requests(actor=actor).filter(settled_at=None)
    rows = rows.exclude(state__in=[State.SENDING, State.WAITING])
    rows = rows.prefetch_related("approvals").order_by("requested_at", "id")
    owned = find_owned(rows, actor=actor)
    for request in rows:
        if states.is_being_rechecked(request, now=now):
            continue
        has_expired = states.has_expired(request, now=now)
        needs_approval = states.is_awaiting_approval(request)
        if needs_approval:
            is_yours = not has_expired and can_decide(actor, change_request=request, now=now)
        else:
            can_use = permissions.can_use(actor, credential_id=request.credential_id)
            is_yours = can_use and not has_expired
        deadline = ("expired" if has_expired else "expires") if request.expires_at else ""
        kind = _kind_of_open(request, needs_approval=needs_approval)
        note = f"{request.requested_by_name} requests access: “{request.reason}”"
        yield Item(
            kind=kind,
            badge=access_request_badge(request, status=access_status_at(request, now=now)),
            pair=request,
            types=request.types_after,
            note=f"{_OWNED} {note}" if request in owned else note,
            at=request.expires_at or request.sending_at or request.requested_at,
            deadline=deadline,
            url=reverse("access-request-detail", args=[request.pk]),
            action=_OPEN_ACTIONS[kind],
            is_yours=is_yours,
        )


_OPEN_ACTIONS = {
    "approval": "Decide…",
    "confirmation": "Confirm…",
    "interrupted": "Continue…",
    "unknown": "Check outcome",
    "no_effect": "Check outcome",
}


def _kind_of_open(request: AccessRequest, *, needs_approval: bool) -> str:
    if needs_approval:
        return "approval"
    if request.interrupts_access:
        return "interrupted"
    if not request.awaits_outcome:
        return "confirmation"
    return "no_effect" if request.has_no_effect else "unknown"


_OF_BATCH = {
    BatchState.REQUESTED: ("approval", "Decide…"),
    BatchState.APPROVED: ("confirmation", "Confirm…"),
    BatchState.PAUSED: ("paused", "Resume…"),
}


def bulk_deletions(situation: Situation) -> Iterator[Item]:
    """Bulk deletions that wait for approval or confirmation, or are paused."""
    now = situation.now
    for batch, is_yours in list_waiting_batches(actor=situation.actor, now=now):
        has_expired = drafts.has_expired(batch, now=now)
        deadline = "expired" if has_expired else "expires" if batch.expires_at else ""
        kind, action = _OF_BATCH[BatchState(batch.state)]
        yield Item(
            kind=kind,
            badge=batch_badge(batch, has_expired=has_expired),
            at=batch.expires_at or batch.requested_at,
            deadline=deadline,
            action=action,
            is_yours=is_yours,
            **_about_batch(batch),
        )
    yield from _owned_parts(situation)


def _owned_parts(situation: Situation) -> Iterator[Item]:
    """Waiting deletions that the reader answers for, of bulk deletions with hidden ones."""
    actor = situation.actor
    if not permissions.visibility_of(actor).hidden:
        return
    waiting = situation.deletions.filter(
        RUN_BY_BATCH, state__in=[State.REQUESTED, State.APPROVED], batch__ended_at=None
    )
    hidden = waiting.exclude(batch__in=visibility.visible_batches(actor=actor))
    rows = list(hidden.order_by("requested_at", "id"))
    for deletion in find_owned(rows, actor=actor):
        item = _deletion_item(deletion, now=situation.now, is_yours=False)
        yield replace(item, kind="approval", note=f"{_OWNED} {item.note}", action="View")


def _about_batch(batch: Batch) -> dict[str, Any]:
    """The fields of a line about a bulk deletion."""
    return {
        "name": batch_origin_text(batch),
        "note": join_facts(
            "Bulk deletion", batch.ticket, f"Requested by {batch.requested_by_name}"
        ),
        "url": reverse("batch-detail", args=[batch.pk]),
    }


# --- Changes, credentials, notifications, access reviews ---


def change_item(view: ChangeRowView, **fields: Any) -> Item:
    """A row of the changes as a line, with other `fields`."""
    item = Item(
        kind="change",
        badge=view.badge,
        pair=None if view.name else view.row.change,
        name=view.name,
        types=view.types,
        added_types=view.added_types,
        note="".join(view.cause),
        at=view.row.change.detected_at,
        url=view.url,
    )
    return replace(item, **fields)


def changes(situation: Situation) -> Iterator[Item]:
    """Changes that need attention and that no one has acknowledged."""
    actor = situation.actor
    page = get_change_page(actor=actor, filters=AWAITING, size=situation.limit)
    for view in change_row_views(page.rows, actor=actor):
        query = AWAITING_QUERY | {"open": str(view.row.change.pk)}
        is_yours = permissions.can_acknowledge(actor)
        action = "Acknowledge…" if is_yours else "View"
        url = reverse("change-list", query=query)
        item = change_item(view, url=url, action=action, is_yours=is_yours)
        yield item
    if page.next:
        count = find_awaiting_acknowledgement(actor=actor).count()
        yield replace(item, count=count - len(page.rows))


_FAILING = {
    FailureKind.REJECTED: ("keys_rejected", CredentialStatus.KEYS_REJECTED),
    FailureKind.UNREACHABLE: ("unreachable", CredentialStatus.UNREACHABLE),
    FailureKind.ERROR: ("sync_failed", CredentialStatus.FAILING),
}


def failing_credentials(situation: Situation) -> Iterator[Item]:
    """One line for all orgs of a site whose syncs fail for one reason, then unverified ones."""
    can_manage = permissions.can_manage_credentials(situation.actor)
    visible = visibility.visible(Credential.objects.all(), actor=situation.actor, by="pk")
    failing = find_failing(visible)
    reported = {each.pk for group in failing for each in group.credentials}
    for group in failing:
        kind, status = _FAILING[group.kind]
        item = _credential_item(group.credentials[0], kind=kind, is_yours=can_manage)
        item = replace(item, badge=status.value, note=group.reason, at=group.since)
        if len(group.credentials) > 1:
            url = reverse("org-list", query={"show": "failing", "site": group.site})
            count = len(group.credentials)
            item = replace(item, name=group.orgs, url=url, action="View orgs", count=count)
        yield item
    for credential in situation.credentials:
        if not credential.is_verified and credential.pk not in reported:
            yield _credential_item(credential, kind="not_verified", is_yours=can_manage)


def _credential_item(credential: Credential, *, kind: str, is_yours: bool) -> Item:
    failed_at = credential.last_error["at"] if credential.last_error else None
    return Item(
        kind=kind,
        badge=credential_badge(credential),
        name=credential.name,
        note=problem_of(credential),
        at=parse_datetime(failed_at) if failed_at else None,
        url=reverse("credential-detail", args=[credential.pk]),
        action="View credential",
        is_yours=is_yours,
    )


def old_keys(situation: Situation) -> Iterator[Item]:
    old = [each.name for each in situation.credentials if each.has_old_keys(now=situation.now)]
    if old and permissions.can_manage_credentials(situation.actor):
        yield Item(
            kind="old_keys",
            badge=CredentialStatus.ROTATION_DUE.value,
            name=pluralize(len(old), "credential"),
            note=f"Keys stored for more than {format_limit(settings.KEY_MAX_AGE)}",
            url=reverse("org-list", query={"show": "old-keys"}),
            action="View orgs",
            count=len(old),
        )


def failed_notifications(situation: Situation) -> Iterator[Item]:
    if count := delivery_log.count_given_up(actor=situation.actor, now=situation.now):
        yield Item(
            kind="not_delivered",
            badge=replace(NotificationStatus.FAILED.value, label="Not delivered"),
            name=pluralize(count, "notification"),
            note="Delivery stopped after several attempts.",
            url=reverse("notification-list"),
            action="View attempts",
            count=count,
        )
