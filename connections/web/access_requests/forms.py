"""The filters of access requests, and the form that requests one."""

from datetime import date
from typing import Any, cast

from django import forms

from connections.access_requests.listing import AccessRequestFilter
from connections.access_requests.targets import AccessTarget
from connections.change_requests.requesting import OUT_OF_DATE
from connections.core import clock
from connections.core.any_of import AnyOf, EndedSinceField, SearchField
from connections.core.months import months_after
from connections.models import AccessOutcome, AccessState, RequestKind
from connections.web.agreements.forms import PERSON, TEAM, OwnerForm, owner_choices
from connections.web.framework.forms import ConfirmationForm, ListField, reason_field

# In how many months access ends.
MONTHS = {"1m": 1, "3m": 3, "1y": 12}
NO_END, ON_DATE = "none", "date"
END_CHOICES = {
    "1m": "1 month",
    "3m": "3 months",
    "1y": "1 year",
    NO_END: "No end",
    ON_DATE: "Date…",
}
_STATUSES = {
    "Open": dict(AccessState.choices[:-1]),
    "Closed": dict(AccessOutcome.choices),
}


class AccessRequestFilters(forms.Form):
    """The filters, from the query string. All are optional."""

    status = AnyOf(forms.ChoiceField(choices=_STATUSES))
    kind = AnyOf(forms.ChoiceField(choices=RequestKind.choices))
    site = AnyOf(forms.CharField(max_length=100))
    org = AnyOf(forms.CharField(max_length=1000))
    group = AnyOf(forms.CharField(max_length=60))
    owner = AnyOf(forms.CharField(max_length=150))
    ended_since = EndedSinceField()
    q = SearchField(label="Org, reason, ticket")

    def filters(self) -> AccessRequestFilter:
        """The filters, or none if one of them is invalid."""
        if not self.is_valid():
            return AccessRequestFilter()
        data: dict[str, Any] = dict(self.cleaned_data)
        return AccessRequestFilter(text=data.pop("q"), **data)


class AccessRequestForm(OwnerForm, ConfirmationForm):
    """What access is requested, and the typed confirmation."""

    kind = forms.CharField(widget=forms.HiddenInput)
    source = forms.CharField(widget=forms.HiddenInput)
    destination = forms.CharField(widget=forms.HiddenInput)
    deletion = forms.UUIDField(required=False, widget=forms.HiddenInput)
    credential = forms.UUIDField(
        required=False, widget=forms.HiddenInput, error_messages={"invalid": OUT_OF_DATE}
    )
    # Created by the page, so that the same form posted twice makes one request.
    request_id = forms.UUIDField(
        widget=forms.HiddenInput,
        error_messages={"required": OUT_OF_DATE, "invalid": OUT_OF_DATE},
    )
    digest = forms.CharField(required=False, widget=forms.HiddenInput)
    connection_types = ListField(
        label="Data types", required=False, widget=forms.CheckboxSelectMultiple
    )
    reason = reason_field()
    ticket = forms.CharField(label="Ticket", required=False)
    version = None  # type: ignore[assignment]
    purpose = forms.CharField(
        label="What is it for?", required=False, widget=forms.TextInput(attrs={"required": True})
    )
    # What isn't a date from `ends_on`. All are valid, because an older page can offer them.
    ends_in = forms.ChoiceField(
        label="Ends", choices=END_CHOICES, widget=forms.RadioSelect, required=False
    )
    owner_kind = forms.ChoiceField(
        label="Owner",
        choices={PERSON: "Person", TEAM: "Team or other"},
        widget=forms.RadioSelect,
        required=False,
    )

    def clean(self) -> dict[str, Any]:
        """Require the date that was chosen. Without it, access wouldn't end."""
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("ends_in") == ON_DATE and cleaned.get("ends_on", "") is None:
            self.add_error("ends_on", "Enter the last day, or choose “No end”.")
        return cleaned

    def show(self, target: AccessTarget, *, start: date) -> None:
        """Fill in the choices. `start` is the day from which access ends in so many months."""
        latest = target.latest_day(today=clock.now().date())
        cast(forms.ChoiceField, self.fields["ends_in"]).choices = [
            (value, label)
            for value, label in END_CHOICES.items()
            if latest is None
            or value == ON_DATE
            or (value in MONTHS and months_after(start, MONTHS[value]) <= latest)
        ]
        left = target.agreement.owner if target.agreement else None
        owners = [("", "Choose a person"), *owner_choices()]
        if left and not left.is_active:
            owners.append((left.username, f"{left} (account disabled)"))
        cast(forms.Select, self.fields["owner"].widget).choices = owners
        self.fields["ends_on"].widget.attrs["required"] = target.latest_end is not None
