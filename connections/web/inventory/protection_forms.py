"""The forms of a protection."""

from uuid import UUID

from django import forms
from django.core.exceptions import ValidationError

from connections.core.errors import InvalidInputError
from connections.deletions import reviews
from connections.inventory.protections import (
    LONGEST_REASON,
    NO_REASON_TO_LIFT,
    NO_REASON_TO_PROTECT,
)
from connections.web.credentials.forms import site_choices
from connections.web.people.forms import ServiceErrorsMixin


def _reason(*, missing: str) -> forms.CharField:
    return forms.CharField(
        label="Why?",
        max_length=LONGEST_REASON,
        help_text="Kept for good, also when a person is erased: name nobody here.",
        widget=forms.Textarea(attrs={"rows": 2}),
        error_messages={"required": missing},
    )


class RemovalForm(ServiceErrorsMixin):
    """Why it may be deleted again."""

    reason = _reason(missing=NO_REASON_TO_LIFT)


class ProtectionForm(ServiceErrorsMixin):
    """Which connection must stay, and why."""

    site = forms.ChoiceField(
        choices=site_choices,
        error_messages={
            "required": "Choose the site of its orgs.",
            "invalid_choice": "Choose one of the sites.",
        },
    )
    connection_id = forms.CharField(
        label="Connection id",
        help_text="As Datadog shows it: 12345678-90ab-cdef-1234-567890abcdef.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
        error_messages={"required": "Paste the id of the connection that must stay."},
    )
    reason = _reason(missing=NO_REASON_TO_PROTECT)

    def clean_connection_id(self) -> UUID:
        """The id; what is wrong with it in the service's own words."""
        try:
            return reviews.parse_connection_id(self.cleaned_data["connection_id"])
        except InvalidInputError as error:
            raise ValidationError(error.fields["connection_id"]) from None
