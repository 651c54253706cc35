"""Finds access requests that failed, and access that did not end, one line each."""

from collections.abc import Iterator
from typing import Any

from django.urls import reverse

from connections.access_requests import ending, problems
from connections.access_requests.actions import pair_of
from connections.access_requests.status import GAVE_NOTHING, access_status_at
from connections.models import AccessRequest, RequestKind
from connections.web.badges import Badge, access_request_badge
from connections.web.framework.addresses import access_request_url, request_again_url
from connections.web.overview.attention import Item, Situation


def failed_access_requests(situation: Situation) -> Iterator[Item]:
    """Those that failed, are contradicted, or left a pair without its connection."""
    rows = problems.find_failed_access_requests(actor=situation.actor)
    for access_request in rows.select_related("requested_by", "owner").order_by("settled_at", "id"):
        status = access_status_at(access_request, now=situation.now)
        can_act = problems.can_act(situation.actor, subject=access_request)
        is_again = can_act and access_request.outcome in GAVE_NOTHING
        yield Item(
            # Annotated by the query.
            kind=access_request.problem,  # type: ignore[attr-defined]
            badge=access_request_badge(access_request, status=status),
            note=f"{access_request.requested_by_name} requested access: “{access_request.reason}”",
            at=access_request.settled_at,
            url=request_again_url(access_request)
            if is_again
            else reverse("access-request-detail", args=[access_request.pk]),
            action="Request again…" if is_again else "View request",
            **_fields(access_request, situation),
        )


def not_ended(situation: Situation) -> Iterator[Item]:
    """Access whose last day is over, and whose connection Org Admin could not delete."""
    for failed in problems.list_not_ended(actor=situation.actor, today=situation.now.date()):
        access_request = failed.access_request
        is_own = problems.can_act(situation.actor, subject=access_request)
        detail = reverse("access-request-detail", args=[access_request.pk])
        yield Item(
            kind="not_ended",
            badge=Badge("Not ended", "danger", "warning"),
            note=ending.why_text(failed.cause),
            at=failed.at,
            url=access_request_url(RequestKind.EXTEND, pair_of(access_request))
            if is_own
            else detail,
            action="Extend…" if is_own else "View request",
            **_fields(access_request, situation),
        )


def _fields(access_request: AccessRequest, situation: Situation) -> dict[str, Any]:
    """The fields that the lines have in common."""
    can_acknowledge = problems.can_acknowledge(situation.actor, subject=access_request)
    return {
        "pair": access_request,
        "types": access_request.types_after,
        "is_yours": problems.can_act(situation.actor, subject=access_request),
        "acknowledges": access_request.pk if can_acknowledge else None,
    }
