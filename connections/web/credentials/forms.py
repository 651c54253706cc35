"""Forms about credentials. Keys leave them only as a Secret."""

from collections.abc import Mapping
from typing import Any

from django import forms

from connections.core.secret import Secret
from connections.core.sites import all_sites
from connections.credentials.access_lists import AccessEntries
from connections.models import AccessKind, ApprovalPolicy, KeyPair
from connections.web.forms import ServiceForm


class KeyField(forms.Field):
    """A key, never shown again. The service validates it."""

    def __init__(self, *, label: str) -> None:
        attributes = {"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"}
        widget = forms.PasswordInput(attrs=attributes, render_value=False)
        super().__init__(label=label, widget=widget)

    def to_python(self, value: Any) -> Secret:
        """The key as entered; an empty one is a Secret too."""
        return Secret(value or "")


def site_choices() -> list[tuple[str, str]]:
    """All sites, after an empty choice, so that no key goes to a default site by mistake."""
    return [("", "Choose a site"), *((site.site, site.label) for site in all_sites())]


class RotateForm(ServiceForm):
    """A new key pair for a credential."""

    api_key = KeyField(label="API key")
    application_key = KeyField(label="Application key")

    @property
    def keys(self) -> KeyPair:
        """The key pair; only after `is_valid()`."""
        return KeyPair(
            api_key=self.cleaned_data["api_key"],
            application_key=self.cleaned_data["application_key"],
        )


class CredentialForm(RotateForm):
    """The key pair of one org on one site."""

    name = forms.CharField(
        required=False,
        max_length=100,
        help_text="Leave empty to use the org's name.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    site = forms.ChoiceField(choices=site_choices, help_text="The keys are sent to this site only.")

    field_order = ("name", "site", "api_key", "application_key")

    def clean(self) -> dict[str, Any]:
        """Refuse a key pasted as the name, which would be stored and shown in plain text."""
        cleaned = super().clean() or self.cleaned_data
        if _holds_a_key(cleaned):
            self.data = {"site": self.data.get("site", "")}
            self.add_error("name", "This contains a key. Enter a name, or leave it empty.")
        return cleaned


def _holds_a_key(cleaned: dict[str, Any]) -> bool:
    name: str = cleaned.get("name", "")
    secrets = (cleaned.get("api_key"), cleaned.get("application_key"))
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
