"""The actions on one access request: those of every kind of change request."""

from functools import partial

from connections.change_requests import approvals, lifecycle, reconciliation
from connections.lookups import objects
from connections.models import AccessRequest
from connections.web.access_requests.detail import PAGE, access_request_detail
from connections.web.deletions.forms import ApprovalForm
from connections.web.framework.actions import Subject, service_action
from connections.web.framework.forms import ConfirmationForm, ReasonForm
from connections.web.framework.person_limits import limited

_SUBJECT = Subject[AccessRequest](
    name="change_request",
    find=lambda actor, pk: objects.find_access_request(actor=actor, pk=pk),
    page=access_request_detail,
    respond=lambda request, actor, item, result: PAGE.respond(request, item, actor=actor),
)
_action = partial(service_action, _SUBJECT)

# Approves what the page showed, and sends nothing.
access_request_approve = _action(
    "access-request-approve",
    approvals.approve,
    form=ApprovalForm,
    reauthenticate=True,
    require=lambda actor, item: approvals.require_approver(change_request=item, actor=actor),
)
access_request_decline = _action("access-request-decline", approvals.decline, form=ReasonForm)
access_request_withdraw = _action("access-request-withdraw", lifecycle.withdraw, form=ReasonForm)
# Confirms with the typed text, and sends the POST or PATCH or, to move a connection, the DELETE.
access_request_execute = _action(
    "access-request-execute", lifecycle.execute, form=ConfirmationForm, reauthenticate=True
)
# Checks Datadog's list now.
access_request_reconcile = limited("reconcile", per_minute=30)(
    _action("access-request-reconcile", reconciliation.check)
)
access_request_close = _action("access-request-close", lifecycle.close, form=ReasonForm)
