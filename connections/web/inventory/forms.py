"""The filters of the orgs, and the form for a protection."""

from typing import Any, cast
from uuid import UUID

from django import forms
from django.core.exceptions import BadRequest, ValidationError
from django.db.models import Q

from connections.core.any_of import SearchField
from connections.core.errors import InvalidInputError
from connections.deletions import confirmations
from connections.inventory.org_details import MAX_GROUP_LENGTH
from connections.inventory.rate_limits import OrgKey
from connections.models import Org, OrgConnectionKey, Person
from connections.web.credentials.forms import site_choices
from connections.web.framework.forms import DIFFERENT, ListField, ServiceForm, reason_field


class OrgFilters(forms.Form):
    """The filters of the orgs, from the query string. All are optional."""

    site = forms.CharField(max_length=100, required=False)
    group = forms.CharField(max_length=MAX_GROUP_LENGTH, required=False)
    q = SearchField(label="Org, credential, ID")


class OrgDetailsForm(ServiceForm):
    """The group and the owner of some orgs. A field that isn't posted stays as it is."""

    org = ListField(error_messages={"required": "Select at least 1 org."})
    # Those of the other two fields in which the orgs differ: left empty, they stay.
    differing = ListField(required=False)
    group = forms.CharField(
        required=False,
        max_length=MAX_GROUP_LENGTH,
        help_text="Such as production, or acquired 2026.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "list": "groups"}),
    )
    owner = forms.ModelChoiceField(
        # An owner who left stays until someone else is chosen.
        Person.objects.filter(
            Q(is_active=True, is_program=False)
            | Q(pk__in=Org.objects.exclude(owner=None).values("owner"))
        ).order_by("username"),
        to_field_name="username",
        required=False,
        empty_label="None",
        help_text="Answers for access to this org's data where no agreement names an owner.",
        error_messages={"invalid_choice": "Choose a person from the list."},
    )

    @property
    def arguments(self) -> dict[str, Any]:
        """The orgs, and the details that were posted."""
        differing = self.cleaned_data["differing"] or []
        details = {
            name: self.cleaned_data[name]
            for name in ("group", "owner")
            if name in self.data and (self.cleaned_data[name] or name not in differing)
        }
        keys = (text.partition("/")[::2] for text in self.cleaned_data["org"])
        return {
            "orgs": [OrgKey(site=site, org_id=org_id) for site, org_id in keys],
            "details": details,
        }

    def mark_differing(self) -> None:
        """Say in each field in which the orgs differ that it stays as it is if it stays empty."""
        differing = self["differing"].value() or []
        if "group" in differing:
            self.fields["group"].widget.attrs["placeholder"] = DIFFERENT
        if "owner" in differing:
            cast("forms.ModelChoiceField[Person]", self.fields["owner"]).empty_label = DIFFERENT

    def clean_org(self) -> list[str]:
        """The orgs, as "<site>/<org ID>". Raises BadRequest for NUL, which PostgreSQL refuses."""
        if any("\0" in text for text in self.cleaned_data["org"]):
            raise BadRequest("This isn't an org.")
        return list(self.cleaned_data["org"])


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
