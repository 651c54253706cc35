"""The actions on one deletion."""

from dataclasses import replace
from functools import partial
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from connections.access import permissions
from connections.change_requests import approvals, lifecycle, reconciliation
from connections.core.errors import InvalidInputError
from connections.deletions import break_glass
from connections.deletions.comments import comment_on_deletion
from connections.lookups import objects
from connections.models import Deletion
from connections.web.deletions import forms
from connections.web.deletions.detail import PAGE, deletion_detail
from connections.web.framework.actions import Refusal, Subject, service_action
from connections.web.framework.forms import ReasonForm
from connections.web.framework.http import SeeOther
from connections.web.framework.person_limits import limited

_SUBJECT = Subject[Deletion](
    name="change_request",
    find=lambda actor, pk: objects.find_deletion(Deletion.objects.all(), actor=actor, pk=pk),
    page=deletion_detail,
    respond=lambda request, actor, deletion, result: PAGE.respond(request, deletion, actor=actor),
)
# An action that every kind of request has, and one that only deletions have.
_action = partial(service_action, _SUBJECT)
_deletion_action = partial(service_action, replace(_SUBJECT, name="deletion"))

# Confirms with the typed text, and sends the DELETE.
deletion_execute = _action(
    "deletion-execute", lifecycle.execute, form=forms.ExecutionForm, reauthenticate=True
)
deletion_withdraw = _action("deletion-withdraw", lifecycle.withdraw, form=ReasonForm)
# Checks Datadog's list now.
deletion_reconcile = limited("reconcile", per_minute=30)(
    _action("deletion-reconcile", reconciliation.check)
)
# Closes an unknown or still-present deletion as unresolved.
deletion_close = _action("deletion-close", lifecycle.close, form=ReasonForm)
# Approves what the page showed, and sends nothing.
deletion_approve = _action(
    "deletion-approve",
    approvals.approve,
    form=forms.ApprovalForm,
    reauthenticate=True,
    require=lambda actor, item: approvals.require_approver(change_request=item, actor=actor),
)
deletion_decline = _action("deletion-decline", approvals.decline, form=ReasonForm)
# Confirms with the typed text, and sends without the missing approvals.
deletion_break_glass = _deletion_action(
    "deletion-break-glass",
    break_glass.break_glass,
    form=forms.BreakGlassForm,
    reauthenticate=True,
    require=lambda actor, deletion: permissions.require(
        permissions.can_break_glass(actor, deletion=deletion), "break glass"
    ),
)
deletion_late_approval = _deletion_action(
    "deletion-late-approval",
    break_glass.approve_late,
    form=forms.LateApprovalForm,
    reauthenticate=True,
    require=lambda actor, deletion: permissions.require(
        permissions.can_give_late_approval(actor, deletion=deletion), "give late approval"
    ),
)

TOO_MANY_COMMENTS = "Too many comments. Nothing was added. Try again in a minute."


def _too_many_comments(request: HttpRequest, pk: UUID) -> HttpResponse:
    form = forms.CommentForm(request.POST)
    error = InvalidInputError({"text": TOO_MANY_COMMENTS})
    form.add_errors(error)
    response = deletion_detail(request, pk, Refusal(form=form, error=error))
    response.status_code = 429
    return response


deletion_comment = limited("comments", per_minute=30, over=_too_many_comments)(
    _deletion_action(
        "deletion-comment",
        comment_on_deletion,
        form=forms.CommentForm,
        respond=lambda request, actor, deletion, result: SeeOther(
            reverse("deletion-detail", args=[deletion.pk], fragment="record")
        ),
    )
)
