"""The account of a person at the sign-in provider."""

from django import forms

from connections.web.people.forms import ServiceErrorsMixin


class ProviderAccountForm(ServiceErrorsMixin):
    """Which account there is theirs, as the provider's own pages show it to an administrator."""

    subject = forms.CharField(
        label="Subject",
        max_length=255,
        help_text="The provider's own id of the account (sub), to the letter. Never a name or an "
        "e-mail address. Whoever signs in there without being connected is shown theirs.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
