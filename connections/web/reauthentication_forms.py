"""The answer to "is it you?", as it comes with a form or on a page of its own."""

from typing import Any

from django import forms
from django.http import QueryDict

from connections.core.secret import Secret
from connections.web.people.passkeys import PasskeyField


class PasswordField(forms.CharField):
    """A password: a Secret from the moment it is read, so that nothing on its way shows it."""

    def to_python(self, value: Any) -> Secret:  # type: ignore[override]
        """The password as it was typed; an empty one is a Secret too."""
        return Secret(value or "")

    def run_validators(self, value: Any) -> None:
        """None: whatever was typed is right or wrong, and the person's password decides."""


class ReauthenticationForm(forms.Form):
    """A password, or what the browser says for a passkey; never rendered with a value."""

    password = PasswordField(required=False, strip=False)
    passkey = PasskeyField(required=False)

    def __init__(self, posted: QueryDict) -> None:
        super().__init__(posted, prefix="step_up")
        self._posted = posted

    @property
    def is_filled_in(self) -> bool:
        """Whether there is an answer at all."""
        return any(self.data.get(self.add_prefix(name)) for name in self.fields)

    @property
    def the_rest(self) -> QueryDict:
        """Everything else that was posted."""
        rest = self._posted.copy()
        for name in self.fields:
            rest.pop(self.add_prefix(name), None)
        return rest
