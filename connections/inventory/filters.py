"""The filters of the inventory, as its query string has them."""

from typing import Any
from urllib.parse import parse_qsl, urlencode

from django import forms
from django.core.validators import RegexValidator
from django.http import QueryDict

from connections.core.any_of import MAX_VALUES, AnyOf, SearchField
from connections.core.errors import InvalidInputError
from connections.inventory.matching import Flag, InventoryFilter

DISABLED = ("disabled", "Account disabled")
# Parameters of the list that filter nothing.
_NOT_FILTERS = frozenset({"page", "sort", "view"})


class ConnectionFilters(forms.Form):
    """Every filter of the inventory, in the order of the page. All are optional."""

    site = AnyOf(forms.CharField(max_length=100))
    org = AnyOf(forms.CharField(max_length=1000))
    type = AnyOf(forms.CharField(label="Data type", max_length=1000))
    creator = AnyOf(forms.CharField(max_length=1000))
    flag = AnyOf(
        forms.ChoiceField(
            label="Needs a look",
            choices={
                "any": "For any reason",
                Flag.CREATOR_DISABLED: "Creator disabled",
                Flag.AUDIT: "Shares audit events",
                Flag.OUT_OF_DATE: "Sync failing",
                Flag.CHANGE: "Open change",
            },
        )
    )
    created = forms.ChoiceField(
        choices={
            "31": "Last month",
            "182": "Last 6 months",
            "over-182": "Over 6 months ago",
            "over-365": "Over 1 year ago",
            "over-730": "Over 2 years ago",
        },
        required=False,
    )
    reviewed = forms.ChoiceField(
        choices={"never": "Never", "365": "Not in the last year"}, required=False
    )
    protected = forms.ChoiceField(
        label="Protection", choices={"yes": "Protected", "no": "Not protected"}, required=False
    )
    changed = forms.ChoiceField(
        choices={"1": "Last day", **{str(days): f"Last {days} days" for days in (7, 30)}},
        required=False,
    )
    agreed = forms.ChoiceField(
        label="Agreement", choices={"yes": "Agreed", "no": "Not agreed"}, required=False
    )
    owner = AnyOf(forms.CharField(max_length=150))
    group = AnyOf(forms.CharField(max_length=60))
    ends_within = forms.CharField(
        label="Ends",
        validators=[RegexValidator(r"\A[0-9]{1,4}\Z", "Enter a number of days.")],
        required=False,
    )
    source = forms.CharField(max_length=200, required=False)
    destination = forms.CharField(max_length=200, required=False)
    q = SearchField(label="Org, creator, ID")

    def values(self) -> dict[str, Any]:
        """The valid filters that are set, by parameter: a text, or a tuple of texts."""
        self.is_valid()
        return {name: value for name, value in self.cleaned_data.items() if value}

    def filters(self) -> InventoryFilter:
        """The valid filters."""
        values = self.values()
        if "any" in values.get("flag", ()):
            values["flag"] = tuple(Flag)
        connection_type, text = values.pop("type", ()), values.pop("q", "")
        return InventoryFilter(connection_type=connection_type, text=text, **values)


def parse_filter(query: str) -> tuple[InventoryFilter, str]:
    """The filter of the inventory's query string, and that string without anything else.

    Raises InvalidInputError for `scope` if the list would ignore a parameter, because more
    connections would then match.
    """
    try:
        pairs = parse_qsl(
            query.removeprefix("?"), max_num_fields=MAX_VALUES, keep_blank_values=True
        )
    except ValueError:
        message = f"A filter can have at most {MAX_VALUES} values."
        raise InvalidInputError({"scope": message}) from None
    posted = QueryDict(mutable=True)
    for name, value in pairs:
        if name not in _NOT_FILTERS:
            posted.appendlist(name, value)
    form = ConnectionFilters(posted)
    ignored = (posted.keys() - form.fields.keys()) | form.errors.keys()
    if ignored:
        raise InvalidInputError(
            {"scope": f"These filters aren't valid: {', '.join(sorted(ignored))}."}
        )
    return form.filters(), urlencode(form.values(), doseq=True)
