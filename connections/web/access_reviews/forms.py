"""Forms about access reviews. The services validate most of the input."""

import re
from collections.abc import Mapping
from typing import Any, Self, cast

from django import forms

from connections.access import permissions
from connections.access_reviews.decisions import TERMS
from connections.access_reviews.population import REPETITIONS
from connections.agreements.setting import Terms
from connections.models import Assignment, Person
from connections.web.agreements.forms import OwnerForm
from connections.web.framework.forms import KEPT, ListField, ServiceForm


def reviewer_choices() -> list[Person]:
    """Everyone who can be a reviewer, by name."""
    return sorted(
        permissions.possible_reviewers(), key=lambda person: person.display_name.casefold()
    )


class ReviewersForm(ServiceForm):
    """One checkbox for each person who can be a reviewer."""

    reviewers_help = "Each reviewer decides only on the connections that they can see."
    # What can be selected in place of people: each value with its label.
    other_choices: tuple[tuple[str, str], ...] = ()

    @classmethod
    def about(cls, subject: Any, data: Mapping[str, Any] | None = None) -> Self:
        """The form with the reviewers of an open access review."""
        names = list(subject.reviewers.values_list("person__username", flat=True))
        return cls(data, people=reviewer_choices(), initial={"reviewers": names})

    def __init__(
        self,
        data: Mapping[str, Any] | None = None,
        *,
        people: list[Person],
        initial: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(data, initial=initial)
        others = dict(self.other_choices)
        self._people = {each.username: each for each in people if each.username not in others}
        self.fields["reviewers"] = forms.MultipleChoiceField(
            label="Reviewers",
            required=False,
            choices=[
                *others.items(),
                *((name, person.display_name) for name, person in self._people.items()),
            ],
            help_text=self.reviewers_help,
            widget=forms.CheckboxSelectMultiple,
            error_messages={"invalid_choice": "A selected person can no longer be a reviewer."},
        )

    @property
    def chosen_reviewers(self) -> list[Person]:
        """The people whose checkboxes are checked."""
        chosen = self["reviewers"].value() or []
        return [self._people[name] for name in chosen if name in self._people]

    @property
    def arguments(self) -> dict[str, Any]:
        """The fields, with the reviewers as people."""
        return self.cleaned_data | {"reviewers": self.chosen_reviewers}


def _repetition_field() -> forms.TypedChoiceField:
    months = [(number, text.capitalize()) for number, text in REPETITIONS.items()]
    return forms.TypedChoiceField(
        label="Repeat",
        required=False,
        coerce=int,
        empty_value=None,
        choices=[("", "Never"), *months],
        help_text="A new access review starts that long after this one, with the same filters.",
    )


class RepetitionForm(ServiceForm):
    """How often an access review repeats."""

    repeat_months = _repetition_field()


class StartForm(ReviewersForm):
    """A new access review. `scope` is a query string of the inventory.

    In place of people, `reviewers` can be "owners".
    """

    scope = forms.CharField(max_length=4000, required=False, widget=forms.HiddenInput)
    name = forms.CharField(
        label="Name",
        max_length=200,
        help_text="For example: Q4 2026.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        error_messages={"required": "Enter a name."},
    )
    due = forms.DateField(
        label="Due",
        help_text=(
            "The last day (UTC). Reviewers are reminded by email a week before and a day before."
        ),
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        error_messages={"required": "Enter a date.", "invalid": "Enter a date such as 2026-01-31."},
    )

    repeat_months = _repetition_field()

    reviewers_help = (
        "Each reviewer decides only on the connections that they can see. With no one selected, "
        "every Operator, Approver and Auditor is a reviewer. An owner is the one that the "
        "agreement names, or else the owner of the source org. If neither can decide, everyone can."
    )
    other_choices = ((Assignment.OWNERS.value, "The owner of each connection"),)

    @property
    def arguments(self) -> dict[str, Any]:
        """The fields, with the reviewers as people and whether owners decide."""
        chosen = self.cleaned_data["reviewers"]
        is_by_owners = Assignment.OWNERS in chosen
        assignment = Assignment.OWNERS if is_by_owners else Assignment.REVIEWERS
        return super().arguments | {"assignment": assignment}

    @property
    def shown_scope(self) -> str:
        """The scope that the page is about, valid or not."""
        return self["scope"].value() or ""


class DecisionForm(OwnerForm):
    """One decision about all selected connections.

    A decision to keep can set what their agreements lack.
    """

    # Named "<site>/<connection ID>".
    connection = ListField(required=False)
    # What the page showed of each connection, separated by spaces: its name, a digest, and the
    # number of the agreement's version, 0 without one.
    digest = ListField(required=False)
    decision = forms.CharField(label="Decision", required=False)
    reason = forms.CharField(label="Reason", required=False)
    keep_until = forms.DateField(
        label="Keep until",
        required=False,
        error_messages={"invalid": "Enter a date such as 2026-01-31."},
    )

    @property
    def typed_terms(self) -> list[str]:
        """The fields of the agreement that were filled in."""
        return [name for name in TERMS if self.data.get(name)]

    @property
    def typed(self) -> list[str]:
        """The terms of the agreement that were filled in."""
        return [name for name in TERMS if self.data.get(name)]

    @property
    def arguments(self) -> dict[str, Any]:
        """The decision, its connections, what was shown of each, and what to agree."""
        arguments = self.cleaned_data.copy()
        terms = {name: value for name in TERMS if (value := arguments.pop(name))}
        if not terms.keys().isdisjoint({"owner", "owner_text"}):
            # In place of any other owner.
            terms = {"owner": None, "owner_text": ""} | terms
        digests: dict[str, str] = {}
        versions: dict[str, int] = {}
        for text in arguments.pop("digest"):
            name, _, shown = text.partition(" ")
            digests[name], _, version = shown.partition(" ")
            # Anything else is no version that is saved, so nothing is decided.
            versions[name] = int(version) if re.fullmatch("[0-9]{1,9}", version) else -1
        del arguments["version"]
        return arguments | {
            "connections": arguments.pop("connection"),
            "digests": digests,
            "versions": versions,
            "terms": cast(Terms, terms),
        }


class DecidingOwnerForm(ServiceForm):
    """Who alone decides on connections of an access review by owners."""

    # Named "<site>/<connection ID>".
    connection = ListField(required=False, widget=forms.MultipleHiddenInput)
    owner = forms.ModelChoiceField(
        label="Who decides on the connections listed above",
        help_text="Filter the list to choose the connections. The change is recorded.",
        queryset=Person.objects.none(),
        to_field_name="username",
        error_messages={
            "required": "Choose a person.",
            "invalid_choice": "The owner must be active and have a role.",
        },
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        people = permissions.possible_owners().order_by("first_name", "username")
        cast("forms.ModelChoiceField[Person]", self.fields["owner"]).queryset = people

    @property
    def arguments(self) -> dict[str, Any]:
        """The person and the connections."""
        data = self.cleaned_data
        return {"owner": data["owner"], "connections": data["connection"]}


class ClosingForm(ServiceForm):
    """Why connections are left undecided."""

    open_reason = forms.CharField(
        label="Reason for leaving them open",
        required=False,
        help_text=KEPT,
        widget=forms.Textarea(attrs={"rows": 2}),
    )
    shown_pending = forms.CharField(required=False, max_length=64)
