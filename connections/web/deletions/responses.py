"""How the pages of a deletion answer: a whole page, htmx's fragment, a redirect, a refusal."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django import forms
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
from connections.web.deletions.outcome import Typed, outcome_page
from connections.web.deletions.page import record_context
from connections.web.support import SeeOther, actor_of
from connections.wording import attempt_facts, unavailable_text

DETAIL = "connections/deletion_detail.html"


def wants_fragment(request: HttpRequest) -> bool:
    """Whether htmx asks for a piece of the page; a boosted link asks for all of it."""
    return bool(request.htmx) and not request.htmx.boosted  # type: ignore[attr-defined]


def require_valid(form: forms.Form) -> None:
    """Raise InvalidInputError with the form's own messages, if it has any."""
    if not form.is_valid():
        raise InvalidInputError({name: str(texts[0]) for name, texts in form.errors.items()})


def error_status_and_text(
    error: DomainError, *, deletion: Deletion | None = None
) -> tuple[int, str]:
    """The status for an act that did not happen, and what to say over the form.

    `deletion`: the one that the act was about; None for a request for a new one.
    """
    if isinstance(error, InvalidInputError):
        return 422, error.fields.get("request_id", error.fields.get("credential", ""))
    if isinstance(error, UnavailableError):
        nothing = attempt_facts.nothing_new_of(deletion) if deletion else "Nothing was sent."
        return 503, f"{nothing} {unavailable_text(cause=error.cause, why=str(error))}"
    return 409, str(error)


def deletions_with_details() -> QuerySet[Deletion]:
    """Deletions with all that their page shows."""
    return Deletion.objects.select_related(
        "credential", "requested_by", "confirmed_by", "break_glass_by", "break_glass_review"
    ).prefetch_related("attempts", "approvals")


def find_deletion(*, actor: Actor, pk: UUID) -> Deletion:
    """The deletion with this id. Raises Http404, also when the actor's access lists hide it."""
    return lookups.find_deletion(deletions_with_details(), actor=actor, pk=pk)


def respond(
    request: HttpRequest, *, deletion: Deletion, actor: Actor, is_apart: bool = False
) -> HttpResponse:
    """After an act: look there; for htmx the outcome itself."""
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
    typed: Typed | None = None,
    status: int = 200,
    is_apart: bool = False,
    comment: CommentForm | None = None,
) -> HttpResponse:
    """The page of one deletion; for htmx its `#outcome` alone."""
    context: dict[str, Any] = {
        "deletion": deletion,
        "outcome": outcome_page(deletion=deletion, actor=actor, typed=typed, is_apart=is_apart),
    }
    if not wants_fragment(request):
        context |= record_context(deletion=deletion, links_to_evidence=permissions.can_audit(actor))
        if permissions.can_comment(actor):
            context["comment"] = comment or CommentForm()
        return render(request, DETAIL, context, status=status)
    part = "outcome_on_review" if is_apart else "outcome"
    response = render(request, f"{DETAIL}#{part}", context, status=status)
    # The record stands beside the outcome and brings itself up to date.
    response["HX-Trigger"] = "deletionChanged"
    return response


def run_action(
    request: HttpRequest,
    pk: UUID,
    *,
    act: Callable[[Deletion, Actor, dict[str, Any]], Deletion],
    form: forms.Form | None = None,
) -> HttpResponse:
    """Do one act on a deletion, or say on its page why it was not done."""
    actor = actor_of(request)
    deletion = find_deletion(actor=actor, pk=pk)
    try:
        if form:
            require_valid(form)
        deletion = act(deletion, actor, form.cleaned_data if form else {})
    except DomainError as error:
        status, notice = error_status_and_text(error, deletion=deletion)
        typed = Typed(
            values=request.POST.dict(),
            errors=error.fields if isinstance(error, InvalidInputError) else {},
            notice=notice,
        )
        deletion = find_deletion(actor=actor, pk=pk)
        return render_outcome(request, deletion=deletion, actor=actor, typed=typed, status=status)
    return respond(request, deletion=deletion, actor=actor)


def page_with_input(
    may: Callable[[Actor, Deletion], bool] = lambda actor, deletion: True, act: str = ""
) -> Callable[[HttpRequest, UUID], HttpResponse]:
    """The `on_missing` of an action on a deletion: its page, with everything typed.

    `may` is what the action asks beyond its URL's permission; who lacks it is refused, as the
    service would, before being asked for a password.
    """

    def on_missing(request: HttpRequest, pk: UUID) -> HttpResponse:
        actor = actor_of(request)
        deletion = find_deletion(actor=actor, pk=pk)
        permissions.require(may(actor, deletion), act)
        typed = Typed(values=request.POST.dict())
        return render_outcome(request, deletion=deletion, actor=actor, typed=typed)

    return on_missing
