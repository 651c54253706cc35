"""The filters of the record of acts, as they stand in the address."""

from datetime import UTC, datetime, timedelta
from typing import Any

from django import forms

from connections.audit.search import EventFilter, codes_with

# A day, or a minute of it: what is written is meant as a whole.
_MINUTE, _DAY = "%Y-%m-%d %H:%M", "%Y-%m-%d"
_AS_WRITTEN = {
    "invalid": "Write a day as 2026-01-31, or a time as 2026-01-31 14:05 (UTC).",
}


class EventForm(forms.Form):
    """Every filter of the record. All of them are optional and stand in the address."""

    code = forms.CharField(max_length=60, required=False, label="Act")
    actor = forms.CharField(max_length=200, required=False, label="Who")
    subject = forms.CharField(max_length=64, required=False, label="Id it is about")
    deletion = forms.UUIDField(
        required=False,
        label="Deletion",
        error_messages={"invalid": "This is not the id of a deletion."},
    )
    request = forms.CharField(max_length=64, required=False, label="Request")
    since = forms.DateTimeField(
        required=False, label="From", input_formats=[_MINUTE, _DAY], error_messages=_AS_WRITTEN
    )
    until = forms.DateTimeField(
        required=False, label="To", input_formats=[_MINUTE, _DAY], error_messages=_AS_WRITTEN
    )
    q = forms.CharField(max_length=200, required=False, label="Search")
    # The page holds the events with smaller numbers.
    below = forms.IntegerField(required=False, min_value=1, max_value=2**63 - 1)

    def clean_code(self) -> str:
        """Some act is called so, or begins so."""
        code: str = self.cleaned_data["code"]
        if not codes_with(code):
            raise forms.ValidationError("No act is called so.")
        return code

    def values(self) -> dict[str, str]:
        """What was asked for, as it was typed, by its name in the address."""
        return {
            name: self.data[name] for name in self.fields if name != "below" and self.data.get(name)
        }

    def event_filter(self) -> EventFilter:
        """The filter that the readable fields make; what cannot be read filters nothing."""
        data: dict[str, Any] = self.cleaned_data
        return EventFilter(
            since=_utc(data.get("since")),
            until=_end_of(_utc(data.get("until")), self.data.get("until", "")),
            actor=data.get("actor", ""),
            code=data.get("code", ""),
            subject_id=data.get("subject", ""),
            deletion=data.get("deletion"),
            request_id=data.get("request", ""),
            text=data.get("q", ""),
        )


def _utc(at: datetime | None) -> datetime | None:
    return at.replace(tzinfo=UTC) if at else None


def _end_of(at: datetime | None, written: str) -> datetime | None:
    if at is None:
        return None
    try:
        return at + (timedelta(minutes=1) if ":" in written else timedelta(days=1))
    except OverflowError:
        # The last day there is ends nothing.
        return None
