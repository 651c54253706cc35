"""The filters of the inventory, and the forms for protections."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from uuid import UUID

from django import forms
from django.core.exceptions import ValidationError

from connections.core.errors import InvalidInputError
from connections.core.text import format_limit
from connections.deletions import reviews
from connections.inventory.inventory import CHANGED_DAYS, KnownOrg
from connections.inventory.orgs import OrgCoverage, OrgFilter
from connections.web.credentials.forms import site_choices
from connections.web.framework.forms import ServiceForm, reason_field
from connections.web.framework.lists import Filter, org_filter, type_filter

PROTECTED = [("yes", "Protected"), ("no", "Not protected")]
CREATOR = [("disabled", "Account disabled")]
_CHANGED = [(days, f"Last {format_limit(timedelta(days=int(days)))}") for days in CHANGED_DAYS]


def connection_filters(*, orgs: Iterable[KnownOrg], types: Iterable[str]) -> list[Filter]:
    """The filters of the list and the matrix, for connections of these orgs and data types."""
    return [
        org_filter(orgs),
        type_filter(types),
        Filter(name="protected", label="Protection", options=PROTECTED),
        Filter(name="creator", label="Creator", options=CREATOR),
        Filter(name="changed", label="Changed", options=_CHANGED),
    ]


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
