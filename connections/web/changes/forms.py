"""The filters of the changes, and the note that acknowledges changes."""

from collections.abc import Mapping
from typing import Any, Self
from uuid import UUID

from django import forms
from django.core.exceptions import BadRequest

from connections.changes.changes import ChangeFilter
from connections.core.any_of import AnyOf, SearchField
from connections.models import Change
from connections.web.framework.forms import ListField, ServiceForm


class ChangeFilters(forms.Form):
    """The filters, from the query string. All are optional."""

    # The parts of the list.
    attention = forms.ChoiceField(choices={"yes": "yes"}, required=False)
    acknowledged = forms.ChoiceField(choices={"no": "no", "yes": "yes"}, required=False)
    kind = AnyOf(forms.ChoiceField(label="Change", choices=Change.Kind.choices))
    site = AnyOf(forms.CharField(max_length=100))
    org = AnyOf(forms.CharField(max_length=1000))
    group = AnyOf(forms.CharField(max_length=60))
    q = SearchField(label="Org, ID, creator")

    def filters(self) -> ChangeFilter:
        """The valid filters."""
        self.is_valid()
        values = {name: value for name, value in self.cleaned_data.items() if value}
        text, is_needed = values.pop("q", ""), "attention" in values
        values.pop("attention", "")
        return ChangeFilter(needs_attention=is_needed, text=text, **values)


class AcknowledgementForm(ServiceForm):
    """The note that acknowledges one change, or all selected ones."""

    note = forms.CharField(label="Note", required=False)
    change = ListField(required=False)
    # None for the selected ones.
    opened: UUID | None = None

    @classmethod
    def about(cls, subject: Any, data: Mapping[str, Any] | None = None) -> Self:
        """The form about the change with the ID `subject`, or about the selected ones."""
        form = cls(data)
        form.opened = subject
        return form

    @property
    def selected(self) -> list[UUID]:
        """The selected changes."""
        return list(self.cleaned_data.get("change", ()))

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments for the service."""
        change_ids = [self.opened] if self.opened else self.selected
        return {"change_ids": change_ids, "note": self.cleaned_data["note"]}

    def clean_change(self) -> list[UUID]:
        """The IDs. Raises BadRequest, because only a form that Org Admin didn't make has others."""
        try:
            return [UUID(text) for text in self.cleaned_data["change"] or []]
        except ValueError:
            raise BadRequest("The selection contains an invalid change ID.") from None
