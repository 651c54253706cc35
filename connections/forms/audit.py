"""The filters of the record of acts, as they stand in the address."""

from collections.abc import Mapping
from typing import Any

from django import forms

from connections.services.audit_trail import EventFilter


class EventForm(forms.Form):
    """Every filter of the record. All of them are optional and stand in the address."""

    actor = forms.CharField(max_length=200, required=False)
    code = forms.CharField(max_length=60, required=False)
    subject = forms.CharField(max_length=64, required=False)
    q = forms.CharField(max_length=200, required=False)
    # The page holds the events with smaller numbers.
    below = forms.IntegerField(required=False, min_value=1, max_value=2**63 - 1)

    def values(self) -> dict[str, str]:
        """The filters that are set and can be read, by their name in the address."""
        self.is_valid()
        data: Mapping[str, Any] = self.cleaned_data
        return {name: data[name] for name in self.fields if name != "below" and data.get(name)}

    def event_filter(self) -> EventFilter:
        """The filter that the readable fields make."""
        values = self.values()
        return EventFilter(
            actor=values.get("actor", ""),
            code=values.get("code", ""),
            subject_id=values.get("subject", ""),
            text=values.get("q", ""),
        )
