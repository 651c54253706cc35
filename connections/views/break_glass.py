"""Doing without missing approvals, and the look back at it."""

from uuid import UUID

from django.http import HttpRequest, HttpResponse

from connections import policies
from connections.forms.deletions import BreakGlassForm, GlassReviewForm
from connections.services.deletions import break_glass
from connections.views.deletion_answers import back_to_page, do_act
from connections.views.step_up import guarded


@guarded(
    comes_back=back_to_page(
        lambda actor, deletion: policies.can_break_glass(actor, deletion=deletion), "break glass"
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
        lambda actor, deletion: policies.can_review_glass(actor, deletion=deletion),
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
