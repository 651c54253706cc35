"""Doing without missing approvals, and the look back at it."""

from uuid import UUID

from django.http import HttpRequest, HttpResponse

from connections.access import permissions
from connections.deletions import break_glass
from connections.web.deletions.forms import BreakGlassForm, GlassReviewForm
from connections.web.deletions.responses import back_to_page, do_act
from connections.web.reauthentication_views import guarded


@guarded(
    comes_back=back_to_page(
        lambda actor, deletion: permissions.can_break_glass(actor, deletion=deletion), "break glass"
    )
)
def deletion_break_glass(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Confirm by the typed text, and send without the approvals that are missing."""
    return do_act(
        request,
        pk,
        form=BreakGlassForm(request.POST),
        act=lambda deletion, actor, typed: break_glass.break_glass(
            deletion=deletion, actor=actor, **typed
        ),
    )


@guarded(
    comes_back=back_to_page(
        lambda actor, deletion: permissions.can_review_glass(actor, deletion=deletion),
        "review this broken glass",
    )
)
def deletion_review_glass(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Look back at it, with a note."""
    return do_act(
        request,
        pk,
        form=GlassReviewForm(request.POST),
        act=lambda deletion, actor, typed: break_glass.review_broken_glass(
            deletion=deletion, actor=actor, **typed
        ),
    )
