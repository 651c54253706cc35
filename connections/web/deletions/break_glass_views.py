"""Doing without missing approvals, and the look back at it."""

from uuid import UUID

from django.http import HttpRequest, HttpResponse

from connections.access import permissions
from connections.deletions import break_glass
from connections.web.deletions.forms import BreakGlassForm, BreakGlassReviewForm
from connections.web.deletions.responses import back_to_page, run_action
from connections.web.reauthentication_views import requires_reauthentication


@requires_reauthentication(
    comes_back=back_to_page(
        lambda actor, deletion: permissions.can_break_glass(actor, deletion=deletion), "break glass"
    )
)
def deletion_break_glass(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Confirm by the typed text, and send without the approvals that are missing."""
    return run_action(
        request,
        pk,
        form=BreakGlassForm(request.POST),
        act=lambda deletion, actor, typed: break_glass.break_glass(
            deletion=deletion, actor=actor, **typed
        ),
    )


@requires_reauthentication(
    comes_back=back_to_page(
        lambda actor, deletion: permissions.can_review_break_glass(actor, deletion=deletion),
        "review this broken glass",
    )
)
def deletion_review_glass(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Look back at it, with a note."""
    return run_action(
        request,
        pk,
        form=BreakGlassReviewForm(request.POST),
        act=lambda deletion, actor, typed: break_glass.review_break_glass(
            deletion=deletion, actor=actor, **typed
        ),
    )
