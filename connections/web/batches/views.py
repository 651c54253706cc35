"""Bulk deletions: the list, the page of each one from plan to result, and its actions."""

from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import BadRequest
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse, QueryDict, StreamingHttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.html import format_html, format_html_join

from connections.access import permissions, visibility
from connections.access.actor import Actor
from connections.batches import confirming, decisions, drafts, requesting, stopping
from connections.core import clock
from connections.core.errors import DomainError, InvalidInputError
from connections.core.text import pluralize
from connections.deletions.export import prepare_export
from connections.deletions.history import HistoryFilter
from connections.inventory.filters import parse_filter
from connections.lookups.objects import find_batch, find_credential
from connections.models import Batch
from connections.web.batches.forms import PlanApprovalForm, PlanConfirmationForm, PlanRequestForm
from connections.web.batches.page import batch_context, get_liveness, page_version
from connections.web.deletions.views import error_status_and_text
from connections.web.framework import lists
from connections.web.framework.actions import NOT_REFUSED, Refusal, Subject, service_action
from connections.web.framework.forms import ReasonForm, ServiceForm
from connections.web.framework.rate_limits import limited
from connections.web.framework.support import (
    SeeOther,
    actor_of,
    download,
    export_format,
    find_posted_org,
    uuid_or_none,
    wants_fragment,
)

DETAIL = "batches/detail.html"


def batch_list(request: HttpRequest) -> HttpResponse:
    """All bulk deletions, newest first. A POST makes the draft of another one."""
    if request.method == "POST":
        return _create_draft(request)
    return _list(request)


def _list(request: HttpRequest, *, problem: str = "", status: int = 200) -> HttpResponse:
    actor = actor_of(request)
    batches = visibility.visible_batches(actor=actor).annotate(
        connections=Count("rows", filter=Q(rows__problem="", rows__removed_at=None))
    )
    page = lists.numbered_page(request, batches.order_by("-created_at", "-id"))
    context = {
        "title": "Bulk deletions",
        "rows": page.object_list,
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
        status, text = _status_and_text(error)
        return _list(page, problem=text, status=status)
    return SeeOther(_url(batch))


def _draft_of(posted: QueryDict, *, actor: Actor) -> Batch:
    """The draft.

    The rest of another bulk deletion, an org or a filter takes the place of a selection.
    """
    if "batch" in posted:
        pk = uuid_or_none(posted.get("batch", ""))
        if pk is None:
            raise BadRequest("This isn't the ID of a bulk deletion.")
        batch = find_batch(actor=actor, pk=pk)
        return drafts.create_draft_of_remaining(batch=batch, actor=actor)
    if "org" in posted:
        org = find_posted_org(posted, actor=actor).org
        return drafts.create_draft_from_org(actor=actor, org=org)
    if "filter" in posted:
        filters, text = parse_filter(posted.get("filter", ""))
        return drafts.create_draft_from_filter(actor=actor, filters=filters, filter_text=text)
    return drafts.create_draft_from_selection(actor=actor, connections=posted.getlist("connection"))


def _url(batch: Batch) -> str:
    return reverse("batch-detail", args=[batch.pk])


def _status_and_text(error: DomainError) -> tuple[int, str]:
    """The status and the message for an action that was refused."""
    if isinstance(error, InvalidInputError):
        return 422, " ".join(error.fields.values())
    return error_status_and_text(error)


def batch_detail(request: HttpRequest, pk: UUID) -> HttpResponse:
    """One bulk deletion: the review of its plan, its approval, its progress and its result."""
    actor = actor_of(request)
    batch = find_batch(actor=actor, pk=pk)
    if not wants_fragment(request):
        return _page(request, batch=batch, actor=actor)
    liveness = get_liveness(batch, now=clock.now())
    if request.GET.get("seen") == page_version(batch, liveness=liveness):
        # If nothing is new, nothing on the page is replaced.
        return HttpResponse(status=204)
    context = batch_context(request, batch=batch, actor=actor)
    return render(request, f"{DETAIL}#batch", context)


@limited("export", per_minute=30)
def batch_export(request: HttpRequest, pk: UUID) -> HttpResponse | StreamingHttpResponse:
    """The deletions of one bulk deletion, streamed as a file."""
    actor = actor_of(request)
    batch = find_batch(actor=actor, pk=pk)
    file_format = export_format(request)
    export = prepare_export(
        actor=actor,
        filters=HistoryFilter(batch=batch.pk),
        file_format=file_format,
        query=f"batch={batch.pk}",
    )
    return download(request, export=export, name=f"bulk-deletion-{str(batch.pk)[-8:]}")


def _page(
    request: HttpRequest,
    *,
    batch: Batch,
    actor: Actor,
    form: ServiceForm | None = None,
    notice: str = "",
    status: int = 200,
) -> HttpResponse:
    """The page. After a POST that was refused, with its `form` and a `notice` that says why."""
    if request.method == "POST":
        request = lists.as_page_request(request, path=_url(batch))
    context = batch_context(request, batch=batch, actor=actor, form=form, notice=notice)
    return render(request, DETAIL, context, status=status)


def _show(request: HttpRequest, pk: UUID, refusal: Refusal = NOT_REFUSED) -> HttpResponse:
    actor, form, error = actor_of(request), refusal.form, refusal.error
    batch = find_batch(actor=actor, pk=pk)
    if error is None:
        return _page(request, batch=batch, actor=actor, form=form)
    status, notice = _status_and_text(error)
    if isinstance(error, InvalidInputError) and error.fields.keys() & form.fields.keys():
        notice = ""
    return _page(request, batch=batch, actor=actor, form=form, notice=notice, status=status)


def _has_confirmation(request: HttpRequest) -> bool:
    return bool(request.POST.get("confirmation"))


_action = partial(
    service_action,
    Subject(
        name="batch",
        find=lambda actor, pk: find_batch(actor=actor, pk=pk),
        page=_show,
        respond=lambda request, actor, batch, result: SeeOther(_url(batch)),
    ),
)

# Without a confirmation, this only requests approval and sends nothing.
batch_request = _action(
    "batch-request",
    requesting.request_batch,
    form=PlanRequestForm,
    reauthenticate=True,
    when=_has_confirmation,
    is_allowed=lambda actor, batch: (
        actor.person is not None and actor.person.pk == batch.created_by_id
    ),
    what="request this bulk deletion, which another person drafted",
)
batch_approve = _action(
    "batch-approve",
    decisions.approve_batch,
    form=PlanApprovalForm,
    reauthenticate=True,
    is_allowed=lambda actor, batch: permissions.can_approve_batch(actor, batch=batch),
    what="approve or decline this bulk deletion",
)
batch_decline = _action("batch-decline", decisions.decline_batch, form=ReasonForm)
# Confirms with the typed text. A worker sends.
batch_execute = _action(
    "batch-execute", confirming.execute_batch, form=PlanConfirmationForm, reauthenticate=True
)
batch_pause = _action("batch-pause", stopping.pause_batch)
batch_resume = _action(
    "batch-resume",
    stopping.resume_batch,
    form=PlanConfirmationForm,
    reauthenticate=True,
    when=_has_confirmation,
)
batch_cancel = _action("batch-cancel", stopping.cancel_batch)


def _change_draft(
    request: HttpRequest, *, pk: UUID, change: Callable[[Batch, Actor], Any]
) -> HttpResponse:
    """Change a draft, and return to the rows that the page showed."""
    actor = actor_of(request)
    batch = find_batch(actor=actor, pk=pk)
    try:
        drafts.require_own_draft(batch, actor=actor)
        change(batch, actor)
    except DomainError as error:
        status, notice = _status_and_text(error)
        batch = find_batch(actor=actor, pk=pk)
        return _page(request, batch=batch, actor=actor, notice=notice, status=status)
    query = QueryDict(request.POST.get("filters", ""))
    return SeeOther(reverse("batch-detail", args=[batch.pk], query=query))


def batch_remove(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Remove rows from a draft."""
    return _change_draft(
        request,
        pk=pk,
        change=lambda batch, actor: drafts.remove_rows(
            batch=batch, actor=actor, connections=request.POST.getlist("connection")
        ),
    )


def batch_credential(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Let another credential send some rows of a draft."""

    def change(batch: Batch, actor: Actor) -> None:
        chosen = uuid_or_none(request.POST.get("credential", ""))
        if chosen is None:
            raise InvalidInputError({"credential": "Choose a credential."})
        drafts.change_credential(
            batch=batch,
            actor=actor,
            connections=request.POST.getlist("connection"),
            credential=find_credential(actor=actor, pk=chosen),
        )

    return _change_draft(request, pk=pk, change=change)


def batch_split(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Make one draft per credential, and link to the new ones."""

    def split(batch: Batch, actor: Actor) -> None:
        _, *new = drafts.split_draft(batch=batch, actor=actor)
        links = format_html_join(", ", '<a href="{}">{}</a>', map(_draft_link, new))
        messages.success(request, format_html("Split by credential. New drafts: {}", links))

    return _change_draft(request, pk=pk, change=split)


def _draft_link(batch: Batch) -> tuple[str, str]:
    """The address and the name of a draft with a single credential."""
    rows = batch.rows.values_list("credential__name", flat=True)
    return _url(batch), f"{pluralize(len(rows), 'connection')} with {rows[0]}"
