"""The list of bulk deletions, and making the draft of another one."""

from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.core.exceptions import BadRequest
from django.db.models import Count, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce, Concat, NullIf
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render

from connections.access import visibility
from connections.access.actor import Actor
from connections.batches import drafts
from connections.batches.texts import batch_title
from connections.core.errors import DomainError
from connections.core.text import pluralize, uuid_or_none
from connections.inventory.filters import parse_filter
from connections.lookups.objects import find_batch
from connections.models import GONE_OUTCOMES, SENDABLE, Batch, BatchRow, Outcome
from connections.web.badges import Badge, batch_badge
from connections.web.batches.detail import notice_about
from connections.web.deletions.list import BULK, view_links
from connections.web.framework import lists
from connections.web.framework.actions import Refusal
from connections.web.framework.http import actor_of, find_posted_org, redirect_to, time_of

_PAIR = Concat(
    Coalesce(NullIf("source_org_name", Value("")), "source_org_id"),
    Value(" → "),
    Coalesce(NullIf("sink_org_name", Value("")), "sink_org_id"),
)


def batch_list(request: HttpRequest) -> HttpResponse:
    """All bulk deletions, newest first. A POST makes the draft of another one."""
    if request.method == "POST":
        return _create_draft(request)
    return _list(request)


def titled_batches(*, actor: Actor) -> QuerySet[Batch, Any]:
    """The bulk deletions that the actor can see, with their titles, statuses and counts."""
    reviews = visibility.visible_access_reviews(actor=actor).filter(pk=OuterRef("access_review"))
    rows = BatchRow.objects.filter(SENDABLE, batch=OuterRef("pk")).order_by("position")
    return visibility.visible_batches(actor=actor).annotate(
        connections=Count("rows", filter=Q(rows__problem="", rows__removed_at=None)),
        deleted=Count("rows", filter=Q(rows__deletion__outcome=Outcome.DELETED)),
        gone=Count("rows", filter=Q(rows__deletion__outcome__in=GONE_OUTCOMES)),
        review_name=Subquery(reviews.values("name")),
        first_pair=Subquery(rows.values_list(_PAIR)[:1]),
    )


def title_of(batch: Any) -> str:
    """What one of `titled_batches` deletes."""
    return batch_title(
        batch,
        review_name=batch.review_name or "",
        first_pair=batch.first_pair or "",
        count=batch.connections,
    )


def status_of(batch: Any, *, now: datetime) -> Badge:
    """The status of one of `titled_batches`."""
    return batch_badge(
        batch,
        has_expired=drafts.has_expired(batch, now=now),
        is_all_gone=batch.gone == batch.connections,
    )


def _list(request: HttpRequest, *, problem: str = "", status: int = 200) -> HttpResponse:
    batches = titled_batches(actor=actor_of(request))
    page = lists.numbered_page(request, batches.order_by("-created_at", "-id"))
    context = {
        "title": "Deletions",
        "views": view_links(request, current=BULK),
        "count": pluralize(page.paginator.count, "bulk deletion"),
        "rows": [
            (batch, status_of(batch, now=time_of(request)), title_of(batch))
            for batch in page.object_list
        ],
        "problem": problem,
        **lists.numbered_links(request, page),
    }
    return render(request, "batches/list.html", context, status=status)


def _create_draft(request: HttpRequest) -> HttpResponse:
    """Freeze what was posted as a draft, and continue to its review."""
    actor = actor_of(request)
    try:
        batch = _draft_of(request.POST, actor=actor)
    except DomainError as error:
        page = lists.as_page_request(request, path=request.path)
        refusal = Refusal(error=error)
        return _list(page, problem=notice_about(refusal), status=refusal.status)
    return redirect_to(batch)


def _draft_of(posted: QueryDict, *, actor: Actor) -> Batch:
    """The draft.

    The rest of another bulk deletion, one org, several orgs or a filter takes the place of a
    selection.
    """
    if "batch" in posted:
        pk = uuid_or_none(posted.get("batch", ""))
        if pk is None:
            raise BadRequest("This isn't the ID of a bulk deletion.")
        batch = find_batch(actor=actor, pk=pk)
        return drafts.create_draft_of_remaining(batch=batch, actor=actor)
    orgs = posted.getlist("org")
    if len(orgs) == 1:
        org = find_posted_org(posted, actor=actor).org
        return drafts.create_draft_from_org(actor=actor, org=org)
    if orgs or "filter" in posted:
        query = urlencode({"org": orgs}, doseq=True) if orgs else posted.get("filter", "")
        filters, text = parse_filter(query)
        return drafts.create_draft_from_filter(actor=actor, filters=filters, filter_text=text)
    return drafts.create_draft_from_selection(actor=actor, connections=posted.getlist("connection"))
