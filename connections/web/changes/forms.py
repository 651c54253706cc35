"""The filters of the changes, and the note that acknowledges changes."""

from typing import Any

from django import forms

from connections.changes.changes import ChangeFilter
from connections.changes.texts import KIND_LABELS
from connections.web.framework.forms import ServiceForm


class ChangeFilters(forms.Form):
    """The filters, from the query string. All are optional."""

    attention = forms.ChoiceField(label="Attention", choices={"yes": "Needed"}, required=False)
    acknowledged = forms.ChoiceField(
        label="Acknowledgement",
        choices={"no": "Not acknowledged", "yes": "Acknowledged"},
        required=False,
    )
    kind = forms.ChoiceField(label="Change", choices=KIND_LABELS, required=False)
    site = forms.CharField(max_length=100, required=False)
    org = forms.CharField(max_length=1000, required=False)
    q = forms.CharField(label="Org, ID, creator", max_length=200, required=False)

    def filters(self) -> ChangeFilter:
        """The filters, or none if one of them is invalid."""
        if not self.is_valid():
            return ChangeFilter()
        values: dict[str, Any] = dict(self.cleaned_data)
        needs_attention, text = values.pop("attention") == "yes", values.pop("q")
        return ChangeFilter(needs_attention=needs_attention, text=text, **values)


class AcknowledgementForm(ServiceForm):
    """The note that acknowledges changes."""

    note = forms.CharField(label="Note", required=False)
