"""Another person's yes or no to a deletion."""

from uuid import UUID

from django.http import HttpRequest, HttpResponse

from connections.access import permissions
from connections.deletions import approvals
from connections.web.deletions.forms import ApprovalForm, ReasonForm
from connections.web.deletions.responses import back_to_page, run_action
from connections.web.reauthentication_views import requires_reauthentication


@requires_reauthentication(
    comes_back=back_to_page(
        lambda actor, deletion: permissions.can_approve(actor, deletion=deletion),
        "approve or decline this deletion",
    )
)
def deletion_approve(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Agree to what was shown. Sends nothing."""
    return run_action(
        request,
        pk,
        form=ApprovalForm(request.POST),
        act=lambda deletion, actor, typed: approvals.approve_deletion(
            deletion=deletion, actor=actor, **typed
        ),
    )


def deletion_decline(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Say no, with a reason."""
    return run_action(
        request,
        pk,
        form=ReasonForm(request.POST),
        act=lambda deletion, actor, typed: approvals.decline_deletion(
            deletion=deletion, actor=actor, **typed
        ),
    )
