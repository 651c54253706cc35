"""The rows of a bulk deletion, and how many have which result."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import StrEnum
from typing import Any

from django.db.models import Case, Q, QuerySet, When
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.urls import reverse

from connections import models
from connections.access import visibility
from connections.access.actor import Actor
from connections.agreements.agreed import find_agreements
from connections.batches.progress import Progress
from connections.deletions.history import has_any
from connections.deletions.status import (
    OutcomeGroup,
    outcome_group,
    status_at,
    status_of,
    statuses_in,
)
from connections.deletions.texts import result_text
from connections.web.agreed import AgreedView, agreed_view
from connections.web.badges import (
    ALREADY_DELETED,
    Badge,
    deletion_badge,
    row_problem_badge,
)
from connections.web.batches.plan import Plan, PlanFilter
from connections.web.change_requests.excluded import Excluded
from connections.web.deletions.bars import BarPart, bar_parts
from connections.web.framework.http import time_of
from connections.web.framework.lists import (
    ViewLink,
    numbered_links,
    numbered_page,
    part_links,
)

LEFT_OUT = "left-out"
# Sorted before the others. Those in OPEN are in progress, except the ones without effect.
_NOT_DELETED = (OutcomeGroup.UNKNOWN, OutcomeGroup.REFUSED, OutcomeGroup.NOTHING_SENT)
# The outcome of the rows of a bulk deletion that ended in this state before it was confirmed.
_ENDED_AS = {
    models.BatchState.DECLINED: models.Outcome.DECLINED,
    models.BatchState.EXPIRED: models.Outcome.EXPIRED,
    models.BatchState.CANCELLED: models.Outcome.WITHDRAWN,
}


@dataclass(frozen=True, kw_only=True)
class BatchRowView:
    """One row: of the plan, or the deletion that it became."""

    row: models.BatchRow | models.Deletion
    # "<site>/<connection ID>", or the text that isn't an ID.
    key: str
    # "Labs to Mobile", or the key if the orgs are unknown.
    name: str
    url: str
    credential: str
    badge: Badge | None
    # None until the row is a deletion.
    deletion: models.Deletion | None
    result: str
    # In a plan with agreements.
    agreed: AgreedView | None = None
    # The visible access request that deleting it ends.
    excluded: Excluded | None = None


@dataclass(frozen=True, kw_only=True)
class RowsPage:
    """A page of rows, and the links to the other pages."""

    views: list[BatchRowView]
    links: list[ViewLink]
    shows_plan: bool
    shows_results: bool
    # Whether the plan has a column for why a row is left out.
    has_problems: bool
    # Whether it has a column for who answers for the access.
    has_agreements: bool
    first_url: str
    next_url: str


def progress_parts(batch: models.Batch, *, progress: Progress) -> list[BarPart]:
    """The parts of the progress bar. Rows not sent yet, or withdrawn, leave it blank."""
    counts = Counter[OutcomeGroup]()
    for outcome, count in progress.by_outcome.items():
        counts[outcome_group(state=models.State.SETTLED, outcome=outcome)] += count
    for state, count in progress.by_open_state.items():
        counts[outcome_group(state=state, outcome="")] += count
    if not batch.has_ended:
        return [
            replace(part, is_blank=part.group == OutcomeGroup.OPEN) for part in bar_parts(counts)
        ]
    blank = OutcomeGroup.NOTHING_SENT if batch.state == models.BatchState.CANCELLED else None
    # "Open" would contradict "Finished".
    is_all_sent = set(progress.by_open_state) <= {models.State.STILL_PRESENT, models.State.UNKNOWN}
    no_effect = models.State.STILL_PRESENT.label
    return [
        replace(
            part,
            label=no_effect if part.group == OutcomeGroup.OPEN and is_all_sent else part.label,
            is_blank=part.group == blank,
        )
        for part in bar_parts(counts)
    ]


def plan_rows(
    request: HttpRequest,
    *,
    batch: models.Batch,
    actor: Actor,
    plan: Plan,
    current: Sequence[models.BatchRow] = (),
) -> RowsPage:
    """The rows of a plan that has not been confirmed yet. `current` is as in `load_plan`."""
    chosen = _selected_filter(request, PlanFilter, PlanFilter.ALL)
    page = numbered_page(request, plan.rows_of(chosen))
    links = [("All", "", len(plan.rows))]
    for part in (PlanFilter.TO_DELETE, PlanFilter.LEFT_OUT):
        if 0 < (count := len(plan.rows_of(part))) < len(plan.rows):
            links.append((str(part.label), part.value, count))
    ids = {row.id for row in page.object_list}
    if current:
        shown = [row for row in current if row.pk in ids]
        views = [
            _plan_row(row, other=plan.others.get(row.pk), excluded=plan.excluded.get(row.pk))
            for row in shown
        ]
    else:
        stored = visibility.visible_batch_rows(batch, actor=actor).filter(pk__in=ids)
        stored = stored.select_related("credential", "deletion").order_by("position")
        views = [
            _plan_row(
                row,
                deletion=getattr(row, "deletion", None),
                excluded=plan.excluded.get(row.pk),
            )
            for row in stored
        ]
    views = _with_agreements(views, today=time_of(request).date())
    return RowsPage(
        views=views,
        links=part_links(request, links, current=chosen) if len(links) > 1 else [],
        shows_plan=True,
        shows_results=False,
        has_problems=any(view.badge for view in views),
        has_agreements=any(view.agreed for view in views),
        **numbered_links(request, page, seen="", every=""),
    )


def result_rows(
    request: HttpRequest, *, batch: models.Batch, actor: Actor, progress: Progress
) -> RowsPage:
    """The deletions of a bulk deletion: what wasn't deleted first, then the newest results."""
    chosen = request.GET.get("show", "")
    left_out = visibility.visible_batch_rows(batch, actor=actor).exclude(problem="")
    rows: QuerySet[Any] = left_out.select_related("credential").order_by("position")
    if chosen != LEFT_OUT:
        group = _selected_filter(request, OutcomeGroup, None)
        rows = _deletions_of(batch, group=group).prefetch_related("attempts")
    page = numbered_page(request, rows)
    links = [("All", "", progress.total)]
    links += [
        (part.label, part.group.value, part.count)
        for part in progress_parts(batch, progress=progress)
    ]
    if count := left_out.count():
        links.append(("Left out", LEFT_OUT, count))
    return RowsPage(
        views=[
            _plan_row(row)
            if isinstance(row, models.BatchRow)
            else _result_row(row, now=time_of(request))
            for row in page.object_list
        ],
        links=part_links(request, links, current=chosen, seen="", every="")
        if len(links) > 2
        else [],
        shows_plan=False,
        shows_results=True,
        has_problems=False,
        has_agreements=False,
        **numbered_links(request, page, seen="", every=""),
    )


def _deletions_of(batch: models.Batch, *, group: OutcomeGroup | None) -> QuerySet[models.Deletion]:
    deletions = models.Deletion.objects.filter(batch=batch)
    if group:
        deletions = deletions.filter(has_any(statuses_in(group)))
    not_deleted = Q(contradicted_at__isnull=False) | Q(state=models.State.STILL_PRESENT)
    for problem in _NOT_DELETED:
        not_deleted |= has_any(statuses_in(problem))
    newest = Coalesce("settled_at", "sending_at").desc(nulls_last=True)
    return deletions.order_by(
        Case(When(not_deleted, then=0), default=1), newest, "batch_row__position"
    )


def _selected_filter[T: StrEnum](request: HttpRequest, values: type[T], default: Any) -> Any:
    try:
        return values(request.GET.get("show", ""))
    except ValueError:
        return default


def _plan_row(
    row: models.BatchRow,
    *,
    deletion: models.Deletion | None = None,
    other: models.Deletion | None = None,
    excluded: Excluded | None = None,
) -> BatchRowView:
    """A row of a plan. `other` is the deletion that keeps a row of a draft from being deleted."""
    url = ""
    if linked := deletion or other:
        url = reverse("deletion-detail", args=[linked.pk])
    elif row.connection_id and row.problem != models.RowProblem.NOT_VISIBLE:
        url = reverse("org-connection-detail", args=[row.site, row.connection_id])
    return BatchRowView(
        row=row,
        key=row.reference,
        name=_name(row) or row.reference,
        url=url,
        credential=row.credential.name if row.credential and not row.problem else "",
        badge=ALREADY_DELETED if other and other.is_settled else _plan_badge(row, deletion),
        deletion=deletion,
        result="",
        excluded=excluded if excluded and excluded.visible else None,
    )


def _with_agreements(views: list[BatchRowView], *, today: date) -> list[BatchRowView]:
    """The rows with what was agreed about them, if anything was agreed about one of them."""
    # Only a credential that the person can see has made the pair of such a row known to them.
    pairs = {
        view.key: models.OrgPair(view.row.site, view.row.source_org_id, view.row.sink_org_id)
        for view in views
        if view.row.credential_id and view.row.source_org_id
    }
    agreements = find_agreements(list(pairs.values()))
    if not agreements:
        return views
    return [
        replace(
            view,
            agreed=agreed_view(
                agreements.get(pairs[view.key]), view.row.connection_types, today=today
            ),
        )
        if view.key in pairs
        else view
        for view in views
    ]


def _plan_badge(row: models.BatchRow, deletion: models.Deletion | None) -> Badge | None:
    """Why the row is not deleted, unless the whole bulk deletion ended that way."""
    if row.problem:
        return row_problem_badge(row.problem)
    is_ended = deletion is not None and deletion.outcome != _ENDED_AS.get(
        models.BatchState(row.batch.state), ""
    )
    # A withdrawn row must not look like those still to approve.
    return deletion_badge(deletion, status=status_of(deletion)) if deletion and is_ended else None


def _result_row(deletion: models.Deletion, *, now: datetime) -> BatchRowView:
    status = status_at(deletion, now=now)
    return BatchRowView(
        row=deletion,
        key=deletion.key.reference,
        name=_name(deletion),
        url=reverse("deletion-detail", args=[deletion.pk]),
        credential=deletion.credential_name,
        badge=deletion_badge(deletion, status=status),
        deletion=deletion,
        result=result_text(deletion, status=status),
    )


def _name(row: models.SnapshotFields) -> str:
    source = row.source_org_name or row.source_org_id
    return f"{source} to {row.sink_org_name or row.sink_org_id}" if source else ""
