"""Another person's yes or no to a deletion."""

from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_POST

from connections.forms.deletions import ApprovalForm, ReasonForm
from connections.services import approvals
from connections.views.deletion_answers import do_act


@require_POST
def deletion_approve(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Agree to what was shown. Sends nothing."""
    return do_act(
        request,
        pk,
        form=ApprovalForm(request.POST),
        act=lambda deletion, actor, typed: approvals.approve_deletion(
            deletion=deletion, actor=actor, **typed
        ),
    )


@require_POST
def deletion_decline(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Say no, with a reason."""
    return do_act(
        request,
        pk,
        form=ReasonForm(request.POST),
        act=lambda deletion, actor, typed: approvals.decline_deletion(
            deletion=deletion, actor=actor, **typed
        ),
    )
