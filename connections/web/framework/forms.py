"""The base of forms whose input a service checks, fields that several have, and warnings."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from django import forms

from connections.core.errors import InvalidInputError
from connections.core.typed_text import MAX_REASON_LENGTH, NO_REASON, too_long_text

# In an empty field of a form about several rows: if it stays empty, nothing is changed.
DIFFERENT = "Different, left as they are"
KEPT = "Kept permanently. Don't include personal data."


@dataclass(frozen=True, kw_only=True)
class PageWarning:
    """Something to know before going on."""

    headline: str
    detail: str = ""
    # How many rows it is about, and the address that shows only these.
    count: int = 0
    rows_url: str = ""
    # What the link says, if not "View" and the count.
    link: str = ""


def reason_field(
    *, label: str = "Reason", help_text: str = KEPT, required: bool = False
) -> forms.CharField:
    """A field for a reason or a comment. Without `required`, the service says what is missing."""
    return forms.CharField(
        label=label,
        required=required,
        max_length=MAX_REASON_LENGTH,
        help_text=help_text,
        widget=forms.Textarea(attrs={"rows": 2, "required": True}),
        error_messages={"required": NO_REASON, "max_length": too_long_text(label.lower())},
    )


class ListField(forms.Field):
    """A field that is posted any number of times."""

    widget = forms.MultipleHiddenInput


class ServiceForm(forms.Form):
    """A form that shows the errors of the service that it calls."""

    @classmethod
    def about(cls, subject: Any, data: Mapping[str, Any] | None = None) -> Self:
        """The form about an object, for forms whose choices depend on it."""
        del subject
        return cls(data)

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments for the service. Use it only after `require_valid`."""
        return self.cleaned_data

    def require_valid(self) -> None:
        """Raise InvalidInputError with the form's own messages, if it has any."""
        if not self.is_valid():
            raise InvalidInputError({name: str(texts[0]) for name, texts in self.errors.items()})

    def add_errors(self, error: InvalidInputError) -> None:
        """Show each message with its field, or above the form if it shows no such field.

        A service's message replaces the form's own message about the same field.
        """
        for name, message in error.fields.items():
            self.errors.pop(name, None)
            is_shown = name in self.fields and not self[name].is_hidden
            self.add_error(name if is_shown else None, message)
        if first := next((field for field in self.visible_fields() if field.errors), None):
            first.field.widget.attrs["autofocus"] = True


class ConfirmationForm(ServiceForm):
    """A form that is confirmed by typing a text.

    `components/forms/danger_box.html` renders its fields, so that a new one appears by itself.
    """

    confirmation = forms.CharField(label="Confirmation", required=False, strip=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The last one, also in the summary of errors.
        self.fields["confirmation"] = self.fields.pop("confirmation")


class ReasonForm(ServiceForm):
    """Why something is declined, withdrawn, closed or removed."""

    reason = reason_field()
