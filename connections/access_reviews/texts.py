"""Texts about access reviews: decisions, counts and due dates."""

from collections import Counter
from datetime import date, datetime

from connections.core.text import format_span, join_some_names, pluralize
from connections.models import AccessReview, Assignment, RowState

# How many names of reviewers a page shows.
MAX_REVIEWERS = 5
# What happened after a decision to delete, if no deletion shows it.
REMOVED_OUTSIDE = "Removed outside Org Admin"
NOT_DELETED = "Not deleted"
# Notes on a row that reviewers still decide on, or can't decide on.
NOT_LISTED = "No credential in use lists this."
HIDDEN_NOW = "Now listed only by credentials that you can't see, so you can't decide on it."


def due_text(review: AccessReview, *, now: datetime) -> str:
    """ "Due in 5 days", "Overdue by 3 h"."""
    if review.due_at < now:
        return f"Overdue by {format_span(now - review.due_at)}"
    return f"Due in {format_span(review.due_at - now)}"


def reviewers_text(review: AccessReview) -> str:
    """Who decides, with at most MAX_REVIEWERS names."""
    if not review.is_for_everyone:
        names = [reviewer.name for reviewer in review.reviewers.all()]
        return join_some_names(names, limit=MAX_REVIEWERS)
    everyone = "every Operator, Approver and Auditor"
    if review.assignment == Assignment.OWNERS:
        return f"the owner of each connection, or else {everyone}"
    return everyone


def age_text(created_at: datetime | None, *, now: datetime) -> str:
    """ "54 d", or "2.1 y" after a year; "" if Datadog doesn't say when it was created."""
    if created_at is None:
        return ""
    days = max((now - created_at).days, 0)
    return f"{days} d" if days < 365 else f"{days / 365.25:.1f} y"


def decision_text(decision: str, *, keep_until: date | None) -> str:
    """ "Keep", "Keep until 31 Mar 2027", "Delete"."""
    label = RowState(decision).label
    return f"{label} until {keep_until:%-d %b %Y}" if keep_until else label


def decided_text(counts: Counter[str]) -> str:
    """ "31 of 40 decided". A connection that is gone needs no decision."""
    decided = counts[RowState.KEEP] + counts[RowState.DELETE]
    return f"{decided:,} of {decided + counts[RowState.PENDING]:,} decided"


def counts_text(counts: Counter[str], *, is_closed: bool) -> str:
    """ "24 keep · 7 delete · 9 to decide · 1 gone"."""
    labels = {
        RowState.KEEP: "keep",
        RowState.DELETE: "delete",
        RowState.PENDING: "left open" if is_closed else "to decide",
        RowState.GONE: "gone",
    }
    always = {RowState.KEEP, RowState.DELETE}
    return " · ".join(
        f"{counts[state]:,} {label}"
        for state, label in labels.items()
        if counts[state] or state in always
    )


def undecided_text(pending: int) -> str:
    """ "9 connections are undecided."."""
    verb = "is" if pending == 1 else "are"
    return f"{pluralize(pending, 'connection')} {verb} undecided."
