"""The base of forms whose input a service checks."""

from django import forms

from connections.core.errors import InvalidInputError


class ServiceForm(forms.Form):
    """A form that shows the errors of the service that it is for."""

    def require_valid(self) -> None:
        """Raise InvalidInputError with the form's own messages, if it has any."""
        if not self.is_valid():
            raise InvalidInputError({name: str(texts[0]) for name, texts in self.errors.items()})

    def add_errors(self, error: InvalidInputError) -> None:
        """Put each message beside its field, or above the form where it has no such field.

        A service's message takes the place of the form's own about the same field.
        """
        for name, message in error.fields.items():
            self.errors.pop(name, None)
            self.add_error(name if name in self.fields else None, message)
