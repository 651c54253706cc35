"""Fields of filters: several values, and a text to search for."""

from collections.abc import Iterable
from typing import Any

from django import forms

from connections.core.text import fold_query

# Each value can become a query of its own.
MAX_VALUES = 50
# Characters of a text to search for.
MAX_SEARCH_LENGTH = 200


class AnyOf(forms.Field):
    """A filter that any of several values matches. Its parameter can be repeated.

    The field `each` checks a single value, and has the label and the choices. Cleaned, it is a
    tuple.
    """

    widget = forms.SelectMultiple

    def __init__(self, each: forms.Field) -> None:
        super().__init__(required=False, label=each.label)
        self.each = each
        self.widget.choices = self.choices

    @property
    def choices(self) -> Iterable[tuple[Any, Any]]:
        """The choices for each value. Empty if it is any text."""
        return getattr(self.each, "choices", ())

    def prepare_value(self, value: Any) -> list[Any]:
        """The values as the widget has them."""
        return [self.each.prepare_value(each) for each in value or ()]

    def clean(self, value: Any) -> tuple[Any, ...]:
        """Each value once, in the order given.

        Raises ValidationError if one isn't valid, or if there are more than MAX_VALUES.
        """
        values = dict.fromkeys(self.each.clean(each) for each in (value or ())[:MAX_VALUES] if each)
        if len(value or ()) > MAX_VALUES:
            raise forms.ValidationError(f"Choose at most {MAX_VALUES}.")
        return tuple(values)


class SearchField(forms.CharField):
    """What a list is searched for, cleaned by `fold_query`."""

    def __init__(self, *, label: str) -> None:
        errors = {"max_length": f"Enter at most {MAX_SEARCH_LENGTH} characters."}
        super().__init__(
            label=label, max_length=MAX_SEARCH_LENGTH, required=False, error_messages=errors
        )

    def to_python(self, value: Any) -> str:
        """The words."""
        return fold_query(super().to_python(value) or "")


class EndedSinceField(forms.DateTimeField):
    """When something ended at the earliest, as an ISO time that links contain: it has no widget."""

    widget = forms.HiddenInput

    def __init__(self) -> None:
        super().__init__(label="Ended since", required=False)
