"""The form of a credential's allow-lists."""

from collections.abc import Mapping
from typing import Any

from django import forms

from connections.models import AccessKind
from connections.web.people.forms import ServiceErrorsMixin


class AccessForm(ServiceErrorsMixin):
    """What is ticked in each list; the page draws them as the columns of one table."""

    def __init__(self, data: Mapping[str, Any] | None, *, choices: list[tuple[str, str]]) -> None:
        super().__init__(data)
        self.choices = choices
        for kind in AccessKind:
            self.fields[kind.value] = forms.MultipleChoiceField(
                label=kind.label, choices=choices, required=False
            )

    @property
    def entries(self) -> dict[AccessKind, list[str]]:
        """What was ticked and can be listed, by list; only after `is_valid()`."""
        return {kind: self.cleaned_data.get(kind.value, []) for kind in AccessKind}
