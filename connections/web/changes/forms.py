"""The filters of the changes, and the note that acknowledges changes."""

from typing import Any

from django import forms

from connections.changes.changes import ChangeFilter
from connections.changes.texts import KIND_LABELS
from connections.web.framework.forms import ServiceForm

KINDS = [(kind.value, label) for kind, label in KIND_LABELS.items()]
ATTENTION = [("yes", "Needed")]
ACKNOWLEDGED = [("no", "Not acknowledged"), ("yes", "Acknowledged")]


class ChangeFilterForm(forms.Form):
    """The filters, from the query string. All are optional."""

    kind = forms.ChoiceField(choices=KINDS, required=False)
    site = forms.CharField(max_length=100, required=False)
    org = forms.CharField(max_length=1000, required=False)
    attention = forms.ChoiceField(choices=ATTENTION, required=False)
    acknowledged = forms.ChoiceField(choices=ACKNOWLEDGED, required=False)
    q = forms.CharField(max_length=200, required=False)

    def change_filter(self) -> ChangeFilter:
        """The filter from the valid fields."""
        data: dict[str, Any] = self.cleaned_data
        return ChangeFilter(
            kind=data.get("kind", ""),
            site=data.get("site", ""),
            org=data.get("org", ""),
            text=data.get("q", ""),
            needs_attention=data.get("attention") == "yes",
            acknowledged=data.get("acknowledged", ""),
        )


class AcknowledgementForm(ServiceForm):
    """The note that acknowledges changes."""

    note = forms.CharField(label="Note", required=False)
