"""Finds access reviews that wait for people, and Keep decisions that expired, one line each."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, time

from django.urls import reverse

from connections.access import permissions
from connections.access_reviews.progress import find_expired_keeps, list_waiting_reviews
from connections.core.text import pluralize
from connections.web.badges import Badge
from connections.web.framework.addresses import connection_url
from connections.web.overview.attention import SOON, Item, Situation


def access_reviews(situation: Situation) -> Iterator[Item]:
    """Open access reviews with something to decide, or that this person can close or repeat."""
    if permissions.can_manage_access_reviews(situation.actor):
        for review in situation.repeating:
            if not review.repeat_failed_at:
                continue
            yield Item(
                kind="repeat_failed",
                badge=Badge("Not repeated", "danger", "warning"),
                name=review.name,
                note="The next access review wasn't started.",
                at=review.repeat_failed_at,
                url=reverse("access-review-detail", args=[review.pk]),
            )
    for waiting in list_waiting_reviews(actor=situation.actor):
        review = waiting.review
        note, action, query = "Ready to close: every connection has a decision", "Close…", {}
        if waiting.to_decide:
            query = {"show": "to-decide"}
            note, action = (
                f"{pluralize(waiting.to_decide, 'connection')} for you to decide",
                "Continue",
            )
        elif waiting.pending:
            note = f"{pluralize(waiting.pending, 'connection')} to decide"
            action = "View"
        is_soon = review.due_at - situation.now < SOON
        yield Item(
            kind="review",
            badge=Badge("Access review", "warn" if is_soon else "info", "clock"),
            name=review.name,
            note=note,
            at=review.due_at,
            deadline="due",
            url=reverse("access-review-detail", args=[review.pk], query=query),
            action=action,
            # The person who closes it waits until everyone has decided.
            is_yours=action != "View",
        )


def expired_keeps(situation: Situation) -> Iterator[Item]:
    """Connections that were kept until a date that has passed."""
    keeps = find_expired_keeps(
        actor=situation.actor, today=situation.now.date(), limit=situation.limit
    )
    for decision in keeps.earliest:
        row, last_day = decision.row, decision.keep_until
        item = Item(
            kind="keep_ended",
            badge=Badge("Keep date passed", "warn", "clock"),
            pair=row,
            note=f"{decision.decided_by_name} in {row.review.name}: “{decision.reason}”",
            at=datetime.combine(last_day, time.max, UTC) if last_day else None,
            deadline="ended",
            url=connection_url(row.key),
            action="View connection",
            is_yours=permissions.can_be_reviewer(situation.actor),
        )
        yield item
    if keeps.count > situation.limit:
        yield replace(item, count=keeps.count - situation.limit)
