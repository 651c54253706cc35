"""Filters that take several values."""

from collections.abc import Iterable
from typing import Any

from django import forms


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

    def clean(self, value: Any) -> tuple[Any, ...]:
        """Each value once, in the order given. Raises ValidationError if one isn't valid."""
        return tuple(dict.fromkeys(self.each.clean(each) for each in value or () if each))
