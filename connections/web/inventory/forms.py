"""The inventory's filters, as they stand in the address."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from django import forms

from connections.inventory.inventory import InventoryFilter

PROTECTED = [("yes", "Protected"), ("no", "Not protected")]


class InventoryForm(forms.Form):
    """Every filter of the inventory. All of them are optional and stand in the address."""

    site = forms.CharField(max_length=100, required=False)
    org = forms.CharField(max_length=1000, required=False)
    type = forms.CharField(max_length=1000, required=False)
    protected = forms.ChoiceField(choices=PROTECTED, required=False)
    q = forms.CharField(max_length=200, required=False)

    def values(self) -> dict[str, str]:
        """The filters that are set and can be read, by their name in the address."""
        self.is_valid()
        data: Mapping[str, Any] = self.cleaned_data
        return {name: data[name] for name in self.fields if data.get(name)}

    def query(self) -> str:
        """The filters as a query string, "" without any."""
        return urlencode(self.values())

    def inventory_filter(self) -> InventoryFilter:
        """The filter that the readable fields make."""
        values = self.values()
        return InventoryFilter(
            site=values.get("site", ""),
            org=values.get("org", ""),
            connection_type=values.get("type", ""),
            text=values.get("q", ""),
            protected=values.get("protected", ""),
        )
