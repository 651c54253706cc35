"""Responses of the deletion views: a page, a fragment for htmx, a redirect or an error."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from connections.access import permissions
from connections.access.actor import Actor
from connections.audit import lookups
from connections.core.errors import DomainError, InvalidInputError, UnavailableError
from connections.models import Deletion
from connections.web.deletions.forms import CommentForm
from connections.web.deletions.outcome import outcome_page
from connections.web.deletions.page import record_context
from connections.web.forms import ServiceForm
from connections.web.support import SeeOther, actor_of
from connections.wording import attempt_facts, unavailable_text

DETAIL = "connections/deletion_detail.html"


def wants_fragment(request: HttpRequest) -> bool:
    """Whether htmx requests a fragment; a boosted link requests the whole page."""
    return bool(request.htmx) and not request.htmx.boosted  # type: ignore[attr-defined]


def error_status_and_text(
    error: DomainError, *, deletion: Deletion | None = None
) -> tuple[int, str]:
    """The status and message for an action that did not happen.

    `deletion`: the one that the action was about; None for a new request.
    """
    if isinstance(error, InvalidInputError):
        return 422, error.fields.get("request_id", error.fields.get("credential", ""))
    if isinstance(error, UnavailableError):
        nothing = attempt_facts.nothing_new_of(deletion) if deletion else "Nothing was sent."
        return 503, f"{nothing} {unavailable_text(cause=error.cause, why=str(error))}"
    return 409, str(error)


def deletions_with_details() -> QuerySet[Deletion]:
    """Deletions with the related rows that their page shows."""
    return Deletion.objects.select_related(
        "credential", "requested_by", "confirmed_by", "break_glass_by", "break_glass_review"
    ).prefetch_related("attempts", "approvals")


def find_deletion(*, actor: Actor, pk: UUID) -> Deletion:
    """The deletion with this id. Raises Http404, also when the actor's access lists hide it."""
    return lookups.find_deletion(deletions_with_details(), actor=actor, pk=pk)


def respond(
    request: HttpRequest, *, deletion: Deletion, actor: Actor, is_apart: bool = False
) -> HttpResponse:
    """After an action: a redirect to the deletion; for htmx its outcome."""
    url = reverse("deletion-detail", args=[deletion.pk])
    if not wants_fragment(request):
        return SeeOther(url)
    deletion = deletions_with_details().get(pk=deletion.pk)
    response = render_outcome(request, deletion=deletion, actor=actor, is_apart=is_apart)
    if is_apart:
        response["HX-Push-Url"] = url
    return response


def render_outcome(
    request: HttpRequest,
    *,
    deletion: Deletion,
    actor: Actor,
    form: ServiceForm | None = None,
    notice: str = "",
    status: int = 200,
    is_apart: bool = False,
    comment: CommentForm | None = None,
) -> HttpResponse:
    """The page of one deletion; for htmx only `#outcome`."""
    context: dict[str, Any] = {
        "deletion": deletion,
        "outcome": outcome_page(
            deletion=deletion, actor=actor, form=form, notice=notice, is_apart=is_apart
        ),
    }
    if not wants_fragment(request):
        context |= record_context(deletion=deletion, links_to_evidence=permissions.can_audit(actor))
        if permissions.can_comment(actor):
            context["comment"] = comment or CommentForm()
        return render(request, DETAIL, context, status=status)
    part = "outcome_on_review" if is_apart else "outcome"
    response = render(request, f"{DETAIL}#{part}", context, status=status)
    # The details beside the outcome reload themselves.
    response["HX-Trigger"] = "deletionChanged"
    return response


def run_action(
    request: HttpRequest,
    pk: UUID,
    *,
    action: Callable[..., Deletion],
    form: ServiceForm | None = None,
) -> HttpResponse:
    """Do one action on a deletion, or say on its page why it was not done."""
    actor = actor_of(request)
    deletion = find_deletion(actor=actor, pk=pk)
    try:
        if form:
            form.require_valid()
        values = form.cleaned_data if form else {}
        deletion = action(deletion=deletion, actor=actor, **values)
    except DomainError as error:
        if form and isinstance(error, InvalidInputError):
            form.add_errors(error)
        status, notice = error_status_and_text(error, deletion=deletion)
        deletion = find_deletion(actor=actor, pk=pk)
        return render_outcome(
            request, deletion=deletion, actor=actor, form=form, notice=notice, status=status
        )
    return respond(request, deletion=deletion, actor=actor)


def page_with_input(
    form: type[ServiceForm],
    *,
    may: Callable[[Actor, Deletion], bool] = lambda actor, deletion: True,
    what: str = "",
) -> Callable[[HttpRequest, UUID], HttpResponse]:
    """The `on_missing` of an action on a deletion: its page, with what was typed into the form.

    `may` is what the action asks beyond its URL's permission, and `what` names it: a person who
    may not do it is refused before being asked for a password.
    """

    def on_missing(request: HttpRequest, pk: UUID) -> HttpResponse:
        actor = actor_of(request)
        deletion = find_deletion(actor=actor, pk=pk)
        permissions.require(may(actor, deletion), what)
        return render_outcome(request, deletion=deletion, actor=actor, form=form(request.POST))

    return on_missing
