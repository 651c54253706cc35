"""Forms about credentials. Keys leave them only as a Secret."""

from collections.abc import Mapping
from typing import Any

from django import forms

from connections.core.datadog_keys import DatadogKeys
from connections.core.errors import InvalidInputError
from connections.core.secret import Secret
from connections.core.sites import all_sites
from connections.credentials.access_lists import AccessEntries
from connections.credentials.keys import choose_keys
from connections.models import AccessKind, ApprovalPolicy
from connections.web.forms import ServiceForm


class KeyField(forms.Field):
    """A key, never shown again. The service validates it."""

    def __init__(self, *, label: str, help_text: str = "") -> None:
        attributes = {"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"}
        widget = forms.PasswordInput(attrs=attributes, render_value=False)
        # Either the two keys or the access token, so the browser requires none of them.
        widget.use_required_attribute = lambda initial: False  # type: ignore[method-assign]
        super().__init__(label=label, widget=widget, help_text=help_text)

    def to_python(self, value: Any) -> Secret:
        """The key as entered; an empty one is a Secret too."""
        return Secret(value or "")


def site_choices() -> list[tuple[str, str]]:
    """All sites, after an empty choice, so that no key goes to a default site by mistake."""
    return [("", "Choose a site"), *((site.site, site.label) for site in all_sites())]


class RotateForm(ServiceForm):
    """New keys for a credential: a key pair or an access token."""

    api_key = KeyField(label="API key")
    application_key = KeyField(label="Application key")
    access_token = KeyField(
        label="Access token", help_text="In place of the two keys: ddpat_… or ddsat_…"
    )

    def clean(self) -> dict[str, Any]:
        """Put the keys into `cleaned_data["keys"]`."""
        cleaned = super().clean() or self.cleaned_data
        names = ("api_key", "application_key", "access_token")
        try:
            cleaned["keys"] = choose_keys(**{name: cleaned[name] for name in names})
        except InvalidInputError as error:
            self.add_errors(error)
        return cleaned

    @property
    def keys(self) -> DatadogKeys:
        """The key pair or access token; only after `is_valid()`."""
        keys: DatadogKeys = self.cleaned_data["keys"]
        return keys


class CredentialForm(RotateForm):
    """The keys of one org on one site."""

    name = forms.CharField(
        required=False,
        max_length=100,
        help_text="Leave empty to use the org's name.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    site = forms.ChoiceField(choices=site_choices, help_text="The keys are sent to this site only.")

    field_order = ("name", "site", "api_key", "application_key", "access_token")

    def clean(self) -> dict[str, Any]:
        """Refuse a key pasted as the name, which would be stored and shown in plain text."""
        cleaned = super().clean()
        if _holds_a_key(cleaned):
            self.data = {"site": self.data.get("site", "")}
            self.add_error("name", "This contains a key. Enter a name, or leave it empty.")
        return cleaned


def _holds_a_key(cleaned: dict[str, Any]) -> bool:
    name: str = cleaned.get("name", "")
    secrets = map(cleaned.get, ("api_key", "application_key", "access_token"))
    keys = (secret.reveal().strip() for secret in secrets if secret)
    return any(len(key) >= 16 and key in name for key in keys)


class RenameForm(ServiceForm):
    """The new name of a credential."""

    name = forms.CharField(max_length=100, widget=forms.TextInput(attrs={"autocomplete": "off"}))


class PolicyForm(forms.Form):
    """How many other people must approve."""

    policy = forms.TypedChoiceField(
        label="Approvals per deletion",
        choices=ApprovalPolicy.choices,
        coerce=ApprovalPolicy,
        help_text="Applies to new requests. Open deletions keep their policy.",
    )


class AccessForm(ServiceForm):
    """The access lists of a credential; the page shows them as columns of one table."""

    def __init__(
        self,
        data: Mapping[str, Any] | None,
        *,
        stored: AccessEntries,
        choices: list[tuple[str, str]],
    ) -> None:
        super().__init__(data, initial={kind.value: names for kind, names in stored.items()})
        self.choices = choices
        for kind in AccessKind:
            self.fields[kind.value] = forms.MultipleChoiceField(
                label=kind.label, choices=choices, required=False
            )

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Each role and person, with whether each list holds it."""
        ticked = {kind: set(self[kind.value].value()) for kind in AccessKind}
        return [
            {
                "value": value,
                "label": label,
                "is_role": value.startswith("role:"),
                "ticks": [(kind, value in ticked[kind]) for kind in AccessKind],
            }
            for value, label in self.choices
        ]

    @property
    def entries(self) -> AccessEntries:
        """The selected entries by list; only after `is_valid()`."""
        return {kind: self.cleaned_data.get(kind.value, []) for kind in AccessKind}
