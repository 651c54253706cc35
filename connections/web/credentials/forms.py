"""Forms about credentials. Keys leave them only as a Secret."""

from collections.abc import Mapping
from typing import Any, Self

from django import forms

from connections.core.errors import InvalidInputError
from connections.core.secret import Secret
from connections.core.sites import all_sites
from connections.credentials import access_lists
from connections.credentials.import_file import decode_file
from connections.credentials.keys import NAME_IS_A_KEY, choose_keys, contains_a_key
from connections.models import AccessKind, ApprovalPolicy, Credential
from connections.web.framework.forms import ServiceForm


class _SecretWidget(forms.Widget):
    """Never shows a value. The browser requires none, because there are several ways to give it."""

    def format_value(self, value: Any) -> str:
        """None, because the value is never shown again."""
        return ""

    def use_required_attribute(self, initial: Any) -> bool:
        """False, because the form says what is missing."""
        return False


class _SecretInput(_SecretWidget, forms.PasswordInput):
    pass


class _SecretTextarea(_SecretWidget, forms.Textarea):
    pass


class SecretField(forms.Field):
    """A text that contains keys and is never shown again. The service validates it."""

    def __init__(
        self, *, label: str, help_text: str = "", widget: type[_SecretWidget] = _SecretInput
    ) -> None:
        attributes = {"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"}
        super().__init__(label=label, widget=widget(attrs=attributes), help_text=help_text)

    def to_python(self, value: Any) -> Secret:
        """The text as entered, as a Secret even if it is empty."""
        return Secret(value or "")


def site_choices() -> list[tuple[str, str]]:
    """All sites after an empty choice, so that no key goes to a default site by mistake."""
    return [("", "Choose a site"), *((site.site, site.label) for site in all_sites())]


_PAIR = ("api_key", "application_key")
_TOKEN = ("access_token",)


class RotateForm(ServiceForm):
    """New keys for a credential: a key pair or an access token.

    `kind` says which of the two is shown, and counts only if both were pasted.
    """

    kind = forms.ChoiceField(
        label="Keys",
        choices=[("pair", "Key pair"), ("token", "Access token")],
        initial="pair",
        required=False,
        widget=forms.RadioSelect(attrs={"required": True}),
    )
    api_key = SecretField(label="API key", help_text="In Datadog: Organization settings → API keys")
    application_key = SecretField(
        label="Application key",
        help_text="In Datadog: Organization settings → Application keys, or → Service accounts",
    )
    access_token = SecretField(
        label="Access token", help_text="In place of the two keys: ddpat_… or ddsat_…"
    )

    def clean(self) -> dict[str, Any]:
        """Put the keys into `cleaned_data["keys"]`."""
        cleaned = super().clean() or self.cleaned_data
        secrets = {name: cleaned[name] for name in (*_PAIR, *_TOKEN)}
        hidden = {"pair": _TOKEN, "token": _PAIR}.get(cleaned.get("kind", ""), ())
        if any(secret for name, secret in secrets.items() if name not in hidden):
            secrets |= dict.fromkeys(hidden, Secret(""))
        try:
            cleaned["keys"] = choose_keys(**secrets)
        except InvalidInputError as error:
            self.add_errors(error)
        return cleaned

    @property
    def arguments(self) -> dict[str, Any]:
        """The key pair or access token."""
        return {"keys": self.cleaned_data["keys"]}


class CredentialForm(RotateForm):
    """The keys of one org on one site."""

    name = forms.CharField(
        required=False,
        max_length=100,
        help_text="The org's name if empty.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    site = forms.ChoiceField(choices=site_choices, help_text="The keys are sent to this site only.")

    # As the page shows them, for the summary of errors.
    field_order = ("site", "kind", *_PAIR, *_TOKEN, "name")

    @property
    def arguments(self) -> dict[str, Any]:
        """The name, the site, and the key pair or access token."""
        return {name: self.cleaned_data[name] for name in ("name", "site", "keys")}

    def clean(self) -> dict[str, Any]:
        """Refuse a key pasted as the name, because a name is stored and shown in plain text."""
        cleaned = super().clean()
        if _name_contains_key(cleaned):
            self.data = {"site": self.data.get("site", "")}
            self.add_error("name", "This contains a key. Enter a name, or leave it empty.")
        return cleaned


def _name_contains_key(cleaned: dict[str, Any]) -> bool:
    name: str = cleaned.get("name", "")
    secrets = map(cleaned.get, (*_PAIR, *_TOKEN))
    return contains_a_key(name, keys=[secret for secret in secrets if secret])


class CredentialImportForm(ServiceForm):
    """Lines of CSV, pasted or as a file. It never shows them again."""

    csv = SecretField(label="Lines", help_text="Paste CSV with its header.", widget=_SecretTextarea)
    file = forms.FileField(label="Or choose a file", required=False)
    rotate = forms.BooleanField(
        label="Replace the keys of credentials with the same name (rotate)", required=False
    )

    def clean(self) -> dict[str, Any]:
        """Put the text into `cleaned_data["text"]`."""
        cleaned = super().clean() or self.cleaned_data
        upload, pasted = cleaned.get("file"), cleaned["csv"]
        if bool(upload) == bool(pasted) and not self.errors:
            self.add_error("csv", "Paste lines, or choose one file of at most 256 KB.")
        elif upload:
            try:
                cleaned["text"] = decode_file(upload.read())
            except InvalidInputError as error:
                self.add_errors(error)
        else:
            cleaned["text"] = pasted
        return cleaned


class RenameForm(ServiceForm):
    """The new name of a credential."""

    name = forms.CharField(max_length=100, widget=forms.TextInput(attrs={"autocomplete": "off"}))

    def clean(self) -> dict[str, Any]:
        """Refuse a key pasted as the name, because a name is stored and shown in plain text."""
        cleaned = super().clean() or self.cleaned_data
        if contains_a_key(cleaned.get("name", ""), keys=()):
            self.data = {}
            self.add_error("name", NAME_IS_A_KEY)
        return cleaned


class PolicyForm(ServiceForm):
    """How many other people must approve."""

    policy = forms.TypedChoiceField(
        label="Approvals per deletion or access request",
        choices=ApprovalPolicy.choices,
        coerce=ApprovalPolicy,
        help_text="The strictest policy of all credentials of both orgs applies. "
        "Open requests keep their policy.",
    )


class CreatorForm(ServiceForm):
    """Whether a person's keys can create connections."""

    allow_person = forms.TypedChoiceField(
        label="Keys of a person can create connections",
        choices=[("no", "No"), ("yes", "Yes")],
        coerce=lambda answer: answer == "yes",
        help_text="Datadog deletes a connection when the account of its creator is deactivated.",
    )


class AccessListForm(ServiceForm):
    """The access lists of a credential, which the page shows as columns of one table."""

    choices: list[tuple[str, str]]

    @classmethod
    def about(cls, subject: Credential, data: Mapping[str, Any] | None = None) -> Self:
        """The form with the stored entries."""
        stored = access_lists.get_access_entries(subject)
        form = cls(data, initial={kind.value: names for kind, names in stored.items()})
        form.choices = access_lists.list_entry_choices(stored)
        for kind in AccessKind:
            form.fields[kind.value] = forms.MultipleChoiceField(
                label=kind.label, choices=form.choices, required=False
            )
        return form

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Each role and person, and whether each list contains it."""
        ticked = {kind: set(self[kind.value].value()) for kind in AccessKind}
        return [
            {
                "value": value,
                "label": label,
                "is_role": value.startswith("role:"),
                "checkboxes": [(kind, value in ticked[kind]) for kind in AccessKind],
            }
            for value, label in self.choices
        ]

    @property
    def arguments(self) -> dict[str, Any]:
        """The selected entries by list."""
        return {"wanted": {kind: self.cleaned_data.get(kind.value, []) for kind in AccessKind}}
