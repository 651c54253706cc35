"""Forms about bulk deletions. The services validate most of the input."""

from django import forms

from connections.batches.stopping import MAX_PROBLEMS_IN_A_ROW
from connections.web.framework.forms import KEPT, ServiceForm, reason_field


class PlanRequestForm(ServiceForm):
    """Requests the plan that the page showed."""

    digest = forms.CharField(required=False, widget=forms.HiddenInput)
    reason = reason_field(help_text=f"One for all connections. {KEPT}")
    ticket = forms.CharField(label="Ticket", required=False)
    stop_at_first_problem = forms.BooleanField(
        label="Pause at the first problem",
        required=False,
        help_text=f"Otherwise, it pauses after {MAX_PROBLEMS_IN_A_ROW} problems in a row with the "
        "same credential.",
    )
    confirmation = forms.CharField(label="Confirmation", required=False, strip=False)


class PlanApprovalForm(ServiceForm):
    """Approves the plan that the page showed."""

    digest = forms.CharField(required=False)


class PlanConfirmationForm(ServiceForm):
    """The typed confirmation."""

    confirmation = forms.CharField(label="Confirmation", required=False, strip=False)
