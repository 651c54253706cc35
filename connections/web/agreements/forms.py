"""The filters of the agreements, and the form that sets what is agreed about one or many pairs."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Self, cast
from uuid import UUID

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.http import Http404, QueryDict

from connections.access.actor import Actor
from connections.agreements.agreed import NotAgreed
from connections.agreements.setting import FIELDS, LISTED, Terms
from connections.core.any_of import AnyOf
from connections.core.data_types import DATA_TYPES
from connections.inventory.pairs import PairFilter, PairRow, find_pairs_of
from connections.models import Agreement, OrgConnectionKey, OrgPair, Person
from connections.web.framework.forms import DIFFERENT, ListField, ServiceForm

# The value of `reason` that stands for all of them.
ANY = "any"
PERSON, TEAM = "person", "team"
AS_AGREED, CHOSEN = "agreed", "choose"


class PairFilters(forms.Form):
    """The filters, from the query string. All are optional."""

    reason = AnyOf(forms.ChoiceField(choices=[(ANY, "Not agreed"), *NotAgreed.choices]))
    owner = AnyOf(forms.CharField(max_length=150))
    org = AnyOf(forms.CharField(max_length=1000))
    group = AnyOf(forms.CharField(max_length=60))
    site = AnyOf(forms.CharField(max_length=100))
    ends_within = forms.CharField(
        label="Ends",
        validators=[RegexValidator(r"\A[0-9]{1,4}\Z", "Enter a number of days.")],
        # A part of the list sets it.
        widget=forms.HiddenInput,
        required=False,
    )
    # A part of the list sets it too.
    needs = forms.ChoiceField(
        choices=[("you", "Needs you")], widget=forms.HiddenInput, required=False
    )
    q = forms.CharField(label="Org, owner, purpose", max_length=200, required=False)

    def filters(self) -> PairFilter:
        """The valid filters."""
        self.is_valid()
        values = {name: value for name, value in self.cleaned_data.items() if value}
        if ANY in values.get("reason", ()):
            values["reason"] = tuple(NotAgreed)
        days, text = values.pop("ends_within", None), values.pop("q", "")
        return PairFilter(
            ends_within=int(days) if days else None,
            needs_actor=bool(values.pop("needs", "")),
            text=text,
            **values,
        )


def is_version(text: str) -> bool:
    """Whether this is the number of a version."""
    return text.isascii() and text.isdecimal() and len(text) < 10


def pairs_in(data: QueryDict, *, actor: Actor) -> list[OrgPair]:
    """The pairs that a form names, by themselves or by a connection.

    Raises Http404 for a connection that the actor can't see, and for what names neither.
    """
    pairs = [OrgPair(*_split(text, parts=3)) for text in data.getlist("pair")]
    try:
        connections = [
            OrgConnectionKey(site=site, connection_id=UUID(text))
            for site, text in (_split(text, parts=2) for text in data.getlist("connection"))
        ]
    except ValueError:
        raise Http404("This isn't the ID of a connection.") from None
    return list(dict.fromkeys([*pairs, *find_pairs_of(connections, actor=actor)]))


def _split(text: str, *, parts: int) -> list[str]:
    found = text.split("/")
    # PostgreSQL refuses NUL.
    if len(found) != parts or "\0" in text:
        raise Http404("This isn't a connection.")
    return found


def owner_choices() -> list[tuple[str, str]]:
    """Username and name of everyone who can be an owner, by name."""
    people = Person.objects.filter(is_active=True, is_program=False)
    named = sorted(people, key=lambda person: person.display_name.casefold())
    return [(person.username, person.display_name) for person in named]


class PairsForm(ServiceForm):
    """The pairs that it names."""

    pairs: Sequence[OrgPair] = ()

    @classmethod
    def about(cls, subject: Actor, data: Mapping[str, Any] | None = None) -> Self:
        """The posted form, with the pairs as `subject` can see them. Raises Http404."""
        form = cls(data)
        if isinstance(data, QueryDict):
            form.pairs = pairs_in(data, actor=subject)
        return form


class OwnerForm(ServiceForm):
    """Who answers for the access of a pair, for what, and until when."""

    owner = forms.CharField(label="Person", widget=forms.Select, required=False)
    owner_text = forms.CharField(label="Team or other", required=False)
    purpose = forms.CharField(required=False, widget=forms.TextInput(attrs={"required": True}))
    ends_on = forms.DateField(
        label="Ends",
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        error_messages={"invalid": "Enter a date, such as 2027-06-30."},
    )
    # The number of the version that was shown of each pair, 0 if there was none.
    version = forms.IntegerField(min_value=0, required=False, widget=forms.HiddenInput)

    def clean_owner(self) -> Person | None:
        """The person. Raises ValidationError if no one has this username."""
        username = self.cleaned_data["owner"]
        owner = Person.objects.filter(username=username).first() if username else None
        if username and owner is None:
            raise ValidationError(f"There is no person with the username “{username}”.")
        return owner

    def replace_version(self, newest: Collection[Agreement]) -> None:
        """Let the form replace this agreement, which the page now shows."""
        self.data = self.data.copy()  # type: ignore[attr-defined]
        [agreement] = newest if len(newest) == 1 else [None]
        self.data["version"] = agreement.version if agreement else ""  # type: ignore[index]


class AgreementForm(PairsForm, OwnerForm):
    """What is agreed about one pair, or about each of several.

    A field that isn't posted stays as agreed, and so does an empty one that `different` names.
    """

    owner_kind = forms.ChoiceField(
        label="Owner",
        choices={PERSON: "Person", TEAM: "Team or other"},
        widget=forms.RadioSelect,
        required=False,
    )
    types = forms.ChoiceField(
        label="Agreed data types",
        choices={
            LISTED: "What each shares now",
            AS_AGREED: "As agreed before",
            CHOSEN: "Choose…",
        },
        required=False,
    )
    connection_types = ListField(required=False, widget=forms.CheckboxSelectMultiple)
    ticket = forms.CharField(required=False)
    different = ListField(required=False)
    # The version that was shown of each of several pairs, as "<pair>/<number>" separated by spaces.
    # Rows that were selected while the form was open aren't among them.
    shown = forms.CharField(required=False, widget=forms.HiddenInput)

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments for the service."""
        version = self.cleaned_data["version"]
        versions = (
            self.cleaned_data["shown"] if version is None else dict.fromkeys(self.pairs, version)
        )
        return {"pairs": self.pairs, "terms": self._terms(), "versions": versions}

    def _terms(self) -> Terms:
        cleaned = self.cleaned_data
        left = set(cleaned["different"] or ())
        sent = {
            name for name in FIELDS if name in self.data and (cleaned[name] or name not in left)
        }
        terms = cast(Terms, {name: cleaned[name] for name in sent})
        # What the other kind of owner has is hidden.
        if cleaned["owner_kind"] == PERSON:
            terms.pop("owner_text", None)
            if "owner" in sent:
                terms["owner_text"] = ""
        elif cleaned["owner_kind"] == TEAM:
            terms.pop("owner", None)
            if "owner_text" in sent:
                terms["owner"] = None
        if cleaned["types"] == LISTED:
            terms["connection_types"] = LISTED
        elif cleaned["types"] == AS_AGREED:
            terms.pop("connection_types", None)
        return terms

    def clean_shown(self) -> dict[OrgPair, int]:
        """The version of each pair. Raises ValidationError."""
        shown = [text.rpartition("/") for text in self.cleaned_data["shown"].split()]
        if not all(is_version(number) for _, _, number in shown):
            raise ValidationError("These aren't versions. Open the form again.")
        versions = {pair: int(number) for pair, _, number in shown}
        return {pair: versions[pair.reference] for pair in self.pairs if pair.reference in versions}

    def clean(self) -> dict[str, Any]:
        """Require at least one data type if they are to be chosen."""
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("types") == CHOSEN and not cleaned.get("connection_types"):
            self.add_error("connection_types", "Choose at least 1 data type.")
        return cleaned

    def show(self, rows: Sequence[PairRow]) -> None:
        """Fill in what these rows have in common, and the choices."""
        agreements = [row.agreement for row in rows if row.agreement]
        different = set()
        for name, get in _SHOWN.items():
            values = [get(agreement) for agreement in agreements]
            if len(set(values)) > 1 or 0 < len(values) < len(rows):
                different.add(name)
                if name == "ends_on":
                    self[name].help_text = f"{DIFFERENT}."
                elif name != "owner":
                    self.fields[name].widget.attrs |= {"placeholder": DIFFERENT, "required": False}
            elif values:
                self.initial[name] = values[0]
        if different & {"owner", "owner_text"}:
            different |= {"owner", "owner_text"}
        kind = TEAM if self.initial.get("owner_text") else PERSON
        has_both = bool(self.initial.get("owner") and self.initial.get("owner_text"))
        if not self.is_bound:
            shown = self.fields["owner_text" if kind == TEAM else "owner"]
            shown.widget.attrs["data-focus"] = True
        self.initial["different"] = sorted(different)
        # A type that wasn't agreed has to be chosen.
        self.initial["types"] = AS_AGREED if agreements else LISTED
        self.initial["owner_kind"] = "" if has_both else kind
        self.initial["shown"] = shown_versions(rows)
        none = DIFFERENT if "owner" in different else "Choose a person"
        left = [
            (owner.username, f"{owner} (account disabled)")
            for owner in {agreement.owner for agreement in agreements}
            if owner and not owner.is_active
        ]
        self._offer("owner", [("", none), *owner_choices(), *left])
        self._offer("connection_types", [(name, name) for name in _types_of(rows)])

    def replace_shown(self, rows: Sequence[PairRow]) -> None:
        """Let the form replace the agreements of these rows, which the page now shows."""
        self.replace_version(())
        self.data["shown"] = shown_versions(rows)  # type: ignore[index]

    def _offer(self, name: str, choices: list[tuple[str, str]]) -> None:
        cast(forms.Select, self.fields[name].widget).choices = choices


def shown_versions(rows: Iterable[PairRow]) -> str:
    """The version of each row as the field `shown` has it."""
    versions = ((row.listed.pair, row.agreement) for row in rows)
    return " ".join(
        f"{pair.reference}/{agreement.version if agreement else 0}" for pair, agreement in versions
    )


# How the form shows each field of an agreement.
_SHOWN: dict[str, Callable[[Agreement], Any]] = {
    "owner": lambda agreement: agreement.owner.username if agreement.owner else "",
    "owner_text": lambda agreement: agreement.owner_text,
    "purpose": lambda agreement: agreement.purpose,
    "ticket": lambda agreement: agreement.ticket,
    "ends_on": lambda agreement: agreement.ends_on,
}


def _types_of(rows: Iterable[PairRow]) -> list[str]:
    types: dict[str, None] = dict.fromkeys(DATA_TYPES)
    for row in rows:
        agreed = row.agreement.connection_types if row.agreement else []
        types |= dict.fromkeys([*row.listed.types, *agreed])
    return list(types)
