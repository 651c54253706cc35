"""Finds what Org Admin does by itself soon, and what keeps it from working, one line each."""

from collections.abc import Iterator
from datetime import timedelta

from django.db.models import Exists, OuterRef
from django.urls import reverse

from connections.access import permissions, visibility
from connections.access_requests.actions import pair_of
from connections.access_reviews.repeating import find_next_starts
from connections.agreements.agreed import find_agreements
from connections.agreements.approved import automatic_end, day_after, find_grants
from connections.core.text import join_facts, pluralize
from connections.models import GAVE_ACCESS, KnownConnection, OrgPair, RequestKind
from connections.web.badges import AuditLogStatus, Badge
from connections.web.framework.addresses import access_request_url
from connections.web.overview.attention import SOON, Item, Situation

# Access that ends today or on one of the next so many days is listed.
DAYS_BEFORE = 3

_SAME_PAIR = {name: OuterRef(name) for name in OrgPair._fields}
_IS_LISTED = Exists(KnownConnection.objects.filter(**_SAME_PAIR, is_present=True))


def ends(situation: Situation) -> Iterator[Item]:
    """Connections that Org Admin deletes soon, or asks people to, because access to them ends."""
    actor, now = situation.actor, situation.now
    today = now.date()
    rows = visibility.visible_access_requests(actor=actor).filter(
        GAVE_ACCESS,
        _IS_LISTED,
        end_due_at__gt=now,
        end_due_at__lte=day_after(today + timedelta(days=DAYS_BEFORE)),
    )
    # An open deletion at the end has a line of its own.
    rows = rows.exclude(deletion__isnull=False, deletion__settled_at=None)
    ending = list(rows.select_related("requested_by", "owner").order_by("end_due_at", "id"))
    pairs = [pair_of(each) for each in ending]
    grants, agreements = find_grants(pairs), find_agreements(pairs)
    for grant, pair in zip(ending, pairs, strict=True):
        # Set, as the query says. It is the first moment after the last day.
        last_day = grant.end_due_at.date() - timedelta(days=1)  # type: ignore[union-attr]
        if grants[pair] != grant:
            continue
        agreement = agreements.get(pair)
        terms = agreement or grant
        owner = terms.owner
        is_own = actor.person is not None and actor.person in {owner, grant.requested_by}
        is_yours = is_own or permissions.can_use(actor, credential_id=grant.credential_id)
        is_automatic = automatic_end(grant, today=today) == last_day
        left = (last_day - today).days
        ends_text = f"Ends in {pluralize(left, 'day')}"
        label = ends_text if left else "Deleted tonight" if is_automatic else "Ends tonight"
        yield Item(
            kind="ends",
            badge=Badge(label, "danger" if is_automatic and not left else "warn", "clock"),
            pair=grant,
            types=grant.types_after,
            note=join_facts(
                "Org Admin deletes it" if is_automatic else "Org Admin asks people to delete it",
                str(owner or terms.owner_text),
            ),
            at=grant.end_due_at,
            deadline="deleted" if is_automatic else "ends",
            url=access_request_url(RequestKind.EXTEND, pair)
            if is_yours
            else reverse("access-request-detail", args=[grant.pk]),
            action="Extend…" if is_yours else "View",
            is_yours=is_yours,
        )


def starting_reviews(situation: Situation) -> Iterator[Item]:
    """Access reviews that Org Admin starts soon, because one repeats."""
    if not permissions.can_manage_access_reviews(situation.actor):
        return
    repeating = (each for each in situation.repeating if not each.repeat_failed_at)
    for review, start in find_next_starts(repeating):
        if start and start - situation.now < SOON:
            yield Item(
                kind="review_starts",
                badge=Badge("Access review starts", "info", "clock"),
                name=review.name,
                note="Org Admin starts it, because the last one repeats",
                at=start,
                deadline="starts",
                url=reverse("access-review-detail", args=[review.pk]),
                action="Change…",
            )


def failed_verification(situation: Situation) -> Iterator[Item]:
    """The newest verification of the audit log failed. To other people, a banner says so."""
    last = situation.verification
    if last and last.fault and permissions.can_audit(situation.actor):
        yield Item(
            kind="verification_failed",
            badge=AuditLogStatus.FAILED.value,
            name="Audit log",
            note=last.message,
            at=last.checked_at,
            url=reverse("audit-list"),
            action="View audit log",
        )


def stopped_work(situation: Situation) -> Iterator[Item]:
    """The hold, and a clock that is behind. To other people, a banner says so."""
    if not permissions.can_administer(situation.actor):
        return
    if hold := situation.hold:
        yield Item(
            kind="hold",
            badge=Badge("On hold", "warn", "clock"),
            name="Org Admin does nothing by itself",
            note=hold.reason,
            at=hold.put_on_at,
            url=reverse("hold"),
            action="Release…",
        )
    if problem := situation.clock.problem:
        yield Item(
            kind="clock",
            badge=Badge("Clock is behind", "danger", "warning"),
            name="Nothing is confirmed, sent or ended",
            note=problem,
            url=reverse("hold"),
            action="View status",
        )
