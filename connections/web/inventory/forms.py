"""The filters of the orgs, and the form for a protection."""

from typing import Any
from uuid import UUID

from django import forms
from django.core.exceptions import ValidationError

from connections.core.any_of import SearchField
from connections.core.errors import InvalidInputError
from connections.deletions import confirmations
from connections.models import OrgConnectionKey
from connections.web.credentials.forms import site_choices
from connections.web.framework.forms import ServiceForm, reason_field


class OrgFilters(forms.Form):
    """The filters of the orgs, from the query string. All are optional."""

    site = forms.CharField(max_length=100, required=False)
    q = SearchField(label="Org, site, credential, ID")


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

    @property
    def arguments(self) -> dict[str, Any]:
        """The connection and the reason."""
        key = OrgConnectionKey(
            site=self.cleaned_data["site"], connection_id=self.cleaned_data["connection_id"]
        )
        return {"key": key, "reason": self.cleaned_data["reason"]}

    def clean_connection_id(self) -> UUID:
        """The ID. Raises ValidationError with the service's message."""
        try:
            return confirmations.parse_connection_id(self.cleaned_data["connection_id"])
        except InvalidInputError as error:
            raise ValidationError(error.fields["connection_id"]) from None
