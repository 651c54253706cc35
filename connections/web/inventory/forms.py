"""The filters of the inventory, and the forms for protections."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django import forms
from django.core.exceptions import ValidationError

from connections.core.errors import InvalidInputError
from connections.deletions import reviews
from connections.inventory.inventory import (
    CHANGED_DAYS,
    InventoryFilter,
    filter_from_values,
)
from connections.inventory.orgs import OrgCoverage, OrgFilter
from connections.web.credentials.forms import site_choices
from connections.web.forms import ServiceForm, reason_field

PROTECTED = [("yes", "Protected"), ("no", "Not protected")]
CREATOR = [("disabled", "Account disabled")]
CHANGED = list(zip(CHANGED_DAYS, ("Last 24 hours", "Last 7 days", "Last 30 days"), strict=True))


class InventoryForm(forms.Form):
    """The filters of the inventory, from the query string. All are optional."""

    site = forms.CharField(max_length=100, required=False)
    org = forms.CharField(max_length=1000, required=False)
    type = forms.CharField(max_length=1000, required=False)
    protected = forms.ChoiceField(choices=PROTECTED, required=False)
    creator = forms.ChoiceField(choices=CREATOR, required=False)
    changed = forms.ChoiceField(choices=CHANGED, required=False)
    source = forms.CharField(max_length=200, required=False)
    destination = forms.CharField(max_length=200, required=False)
    q = forms.CharField(max_length=200, required=False)

    def values(self) -> dict[str, str]:
        """The valid filters that are set, by their name in the query string."""
        self.is_valid()
        data: Mapping[str, Any] = self.cleaned_data
        return {name: data[name] for name in self.fields if data.get(name)}

    def query(self) -> str:
        """The filters as a query string; "" if there are none."""
        return urlencode(self.values())

    def inventory_filter(self) -> InventoryFilter:
        """The filter from the valid fields."""
        return filter_from_values(self.values())


class OrgForm(forms.Form):
    """The filters of the orgs, from the query string. All are optional."""

    site = forms.CharField(max_length=100, required=False)
    coverage = forms.ChoiceField(choices=[(each, each) for each in OrgCoverage], required=False)
    q = forms.CharField(max_length=200, required=False)

    def org_filter(self) -> OrgFilter:
        """The filter from the valid fields."""
        self.is_valid()
        valid: Mapping[str, str] = self.cleaned_data
        return OrgFilter(
            site=valid.get("site", ""),
            coverage=valid.get("coverage", ""),
            text=valid.get("q", ""),
        )


class ProtectionForm(ServiceForm):
    """Which connection to protect, and why."""

    site = forms.ChoiceField(
        choices=site_choices,
        error_messages={
            "required": "Choose a site.",
            "invalid_choice": "Choose a site.",
        },
    )
    connection_id = forms.CharField(
        label="Connection ID",
        help_text="As Datadog shows it: 12345678-90ab-cdef-1234-567890abcdef.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
        error_messages={"required": "Enter a connection ID."},
    )
    reason = reason_field(required=True)

    def clean_connection_id(self) -> UUID:
        """The ID. Raises ValidationError with the service's message."""
        try:
            return reviews.parse_connection_id(self.cleaned_data["connection_id"])
        except InvalidInputError as error:
            raise ValidationError(error.fields["connection_id"]) from None
