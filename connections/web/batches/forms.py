"""Forms about bulk deletions. The services validate most of the input."""

from typing import Any

from django import forms

from connections.batches.splitting import SplitBy
from connections.batches.stopping import MAX_PROBLEMS_IN_A_ROW
from connections.web.framework.forms import (
    ConfirmationForm,
    ListField,
    ServiceForm,
    reason_field,
)


class PlanRequestForm(ConfirmationForm):
    """Requests the plan that the page showed."""

    digest = forms.CharField(required=False, widget=forms.HiddenInput)
    reason = reason_field()
    ticket = forms.CharField(label="Ticket", required=False)
    stop_at_first_problem = forms.BooleanField(
        label="Pause at the first failure",
        help_text=f"Otherwise it pauses after {MAX_PROBLEMS_IN_A_ROW} failures in a row with the "
        "same credential.",
        required=False,
    )


class PlanApprovalForm(ServiceForm):
    """Approves the plan that the page showed."""

    digest = forms.CharField(required=False)


class SplitForm(ServiceForm):
    """Splits a draft."""

    by = forms.TypedChoiceField(
        choices=SplitBy.choices, required=False, empty_value=SplitBy.CREDENTIAL
    )


class RowsForm(ServiceForm):
    """Some rows of a draft, named "<site>/<connection ID>"."""

    connection = ListField(required=False)

    @property
    def arguments(self) -> dict[str, Any]:
        """The connections, and the other fields."""
        arguments = self.cleaned_data.copy()
        return {"connections": arguments.pop("connection")} | arguments


class RowSenderForm(RowsForm):
    """The credential that sends some rows of a draft."""

    credential = forms.CharField(required=False)
