"""The forms of a protection."""

from django import forms

from connections.forms.credentials import site_choices
from connections.forms.people import ServiceErrorsMixin
from connections.services.protections import LONGEST_REASON


class LiftingForm(ServiceErrorsMixin):
    """Why it may be deleted again."""

    reason = forms.CharField(
        label="Why?",
        required=False,
        max_length=LONGEST_REASON,
        help_text="Kept for good, also when a person is erased: name nobody here.",
        widget=forms.Textarea(attrs={"rows": 2, "required": True}),
    )


class ProtectionForm(LiftingForm):
    """Which connection must stay, and why."""

    site = forms.ChoiceField(choices=site_choices, required=False)
    connection_id = forms.CharField(
        label="Connection id",
        required=False,
        help_text="As Datadog shows it: 12345678-90ab-cdef-1234-567890abcdef.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    field_order = ("site", "connection_id", "reason")
