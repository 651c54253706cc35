"""The form for a comment on a deletion, and posting it."""

from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from connections.access import permissions
from connections.core.errors import InvalidInputError
from connections.deletions.comments import comment_on_deletion
from connections.web.deletions.forms import CommentForm, show_errors
from connections.web.deletions.responses import (
    DETAIL,
    find_deletion,
    render_outcome,
    require_valid,
    wants_fragment,
)
from connections.web.rate_limits import limited
from connections.web.support import SeeOther, actor_of

TOO_MANY = "Not added: too many comments within a minute. Wait a minute, then add it again."


def _form_page(
    request: HttpRequest, pk: UUID, *, error: InvalidInputError, status: int
) -> HttpResponse:
    """The form with what was typed and why it was not added; for htmx alone."""
    actor = actor_of(request)
    deletion = find_deletion(actor=actor, pk=pk)
    form = CommentForm(request.POST)
    show_errors(form, error)
    if not wants_fragment(request):
        return render_outcome(request, deletion=deletion, actor=actor, comment=form, status=status)
    context = {"deletion": deletion, "comment": form}
    return render(request, f"{DETAIL}#comment_form", context, status=status)


def _too_many(request: HttpRequest, pk: UUID) -> HttpResponse:
    permissions.require(permissions.can_comment(actor_of(request)), "comment on deletions")
    return _form_page(request, pk, error=InvalidInputError({"text": TOO_MANY}), status=429)


@limited("comments", per_minute=30, over=_too_many)
def deletion_comment(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Add a comment; for htmx the form alone, empty again or with what is wrong."""
    actor = actor_of(request)
    deletion = find_deletion(actor=actor, pk=pk)
    permissions.require(permissions.can_comment(actor), "comment on deletions")
    form = CommentForm(request.POST)
    try:
        require_valid(form)
        comment_on_deletion(deletion=deletion, actor=actor, text=form.cleaned_data["text"])
    except InvalidInputError as error:
        return _form_page(request, pk, error=error, status=422)
    if not wants_fragment(request):
        return SeeOther(f"{reverse('deletion-detail', args=[pk])}#comment")
    context = {"deletion": deletion, "comment": CommentForm(), "is_added": True}
    response = render(request, f"{DETAIL}#comment_form", context)
    response["HX-Trigger"] = "deletionChanged"
    return response
