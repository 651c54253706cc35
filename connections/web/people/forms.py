"""Forms about people. The services validate most of the input."""

from collections.abc import Collection, Mapping
from typing import Any

from allauth.account import forms as account_forms
from django import forms

from connections.core.role_map import ADMINISTRATOR
from connections.models import Role
from connections.people.passwords import PASSWORD_RULES
from connections.web.framework.forms import ServiceForm

_ROLE_HELP = {
    Role.VIEWER: "sees connections, deletions and credentials; "
    "can request access and answer for it",
    Role.OPERATOR: "requests and confirms deletions and access to data; sets agreements; "
    "acknowledges changes",
    Role.APPROVER: "approves or declines other people's deletions and access requests; "
    "removes their protections",
    Role.CREDENTIAL_MANAGER: "adds, checks, rotates and retires credentials; can request access",
    Role.AUDITOR: "sees what a Viewer sees, the audit log and evidence; runs access reviews; "
    "exports and comments",
}


# The longest email address. SQLite can't search for a text of more than 50,000 characters.
MAX_LOGIN_LENGTH = 254


class LoginForm(account_forms.LoginForm):  # type: ignore[misc]
    """Signing in with a username or email address, and a password."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        attributes = {"autocomplete": "username", "autocapitalize": "off", "spellcheck": "false"}
        self.fields["login"] = forms.CharField(
            label="Username or email",
            max_length=MAX_LOGIN_LENGTH,
            widget=forms.TextInput(attrs=attributes | {"autofocus": not self.is_bound}),
        )


_SET_BY_PROVIDER = " (set by the identity provider)"


class _RoleCheckboxes(forms.CheckboxSelectMultiple):
    """A checkbox for each role. Those in `fixed` are shown as they are and can't be changed."""

    fixed: Mapping[str, bool] = {}

    def create_option(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The checkbox of one role."""
        option = super().create_option(*args, **kwargs)
        if option["value"] in self.fixed:
            option["attrs"] |= {"disabled": True, "checked": self.fixed[option["value"]]}
            option["label"] += _SET_BY_PROVIDER
        return option


class RolesForm(ServiceForm):
    """Which roles a person has."""

    roles = forms.TypedMultipleChoiceField(
        choices=[(role.value, f"{role.value}: {_ROLE_HELP[role]}") for role in Role],
        coerce=Role,
        required=False,
        widget=_RoleCheckboxes,
    )
    is_administrator = forms.BooleanField(
        label="Administrator: has every role; manages people and policies", required=False
    )

    def fix(self, roles: Collection[str], *, held: Collection[str]) -> None:
        """Make these roles read-only. The person has those in `held`."""
        self.fields["roles"].widget.fixed = {role: role in held for role in roles}
        if ADMINISTRATOR in roles:
            self.fields["is_administrator"].disabled = True
            self.fields["is_administrator"].label += _SET_BY_PROVIDER  # type: ignore[operator]
            self.initial["is_administrator"] = ADMINISTRATOR in held


class EmailForm(ServiceForm):
    """The email address of a person."""

    email = forms.EmailField(
        label="Email address", widget=forms.EmailInput(attrs={"autocomplete": "off"})
    )


class PersonForm(RolesForm, EmailForm):
    """A new person, or a new account for a program."""

    username = forms.CharField(
        label="Username",
        max_length=150,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    is_program = forms.BooleanField(
        label="Account for a program: it has API tokens but no email, and no one signs in to it",
        required=False,
    )
    field_order = ("username", "is_program", "email", "roles", "is_administrator")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The service says whether one is needed.
        self.fields["email"].required = False


class MakeLinkForm(ServiceForm):
    """Options of a new sign-in link."""

    removes_second_factor = forms.BooleanField(
        label="Also remove MFA, because the device is lost", required=False
    )


class AllowBreakGlassForm(ServiceForm):
    """Whether a person can use break glass: `allow=yes`, or anything else."""

    allow = forms.CharField(required=False)

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments for `set_break_glass`."""
        return {"is_allowed": self.cleaned_data["allow"] == "yes"}


class SessionForm(ServiceForm):
    """The session to end. Without one, all sessions end."""

    session = forms.CharField(required=False)


class LinkForm(ServiceForm):
    """A form that a one-time link leads to. one_time_link.js fills `token` from the fragment."""

    token = forms.CharField(
        label="Code from your link",
        max_length=1000,
        help_text="The part after #, or the whole link.",
        widget=forms.TextInput(
            attrs={"autocomplete": "off", "spellcheck": "false", "data-link-token": True}
        ),
    )

    def clean_token(self) -> str:
        """The token, even if the person pasted the whole link."""
        token: str = self.cleaned_data["token"]
        return token.rpartition("#")[2].strip()


def _new_password_field(label: str, *, required: bool) -> forms.CharField:
    return forms.CharField(
        label=label,
        required=required,
        strip=False,
        max_length=1000,
        help_text=PASSWORD_RULES,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )


class SignInLinkForm(LinkForm):
    """The form of a sign-in link."""

    password = _new_password_field("New password", required=False)


class SetUpForm(LinkForm):
    """The form for the first administrator."""

    username = forms.CharField(
        label="Username",
        max_length=150,
        widget=forms.TextInput(attrs={"autocomplete": "username", "spellcheck": "false"}),
    )
    email = forms.EmailField(
        label="Email address", widget=forms.EmailInput(attrs={"autocomplete": "email"})
    )
    password = _new_password_field("Password", required=True)


class ProviderAccountForm(ServiceForm):
    """The subject of a person's account at the identity provider, or `disconnect`."""

    subject = forms.CharField(
        label="Subject",
        max_length=255,
        help_text="The account's ID at the identity provider (sub), exactly as written there; not "
        "a name or email address. People whose account isn't connected see it when they sign in.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # When disconnecting an account, its subject isn't entered.
        self.fields["subject"].required = "disconnect" not in self.data

    @property
    def arguments(self) -> dict[str, Any]:
        """The subject, and whether the account is disconnected instead."""
        return self.cleaned_data | {"is_disconnected": "disconnect" in self.data}
