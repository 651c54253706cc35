"""The forms of a deletion. They hold what was typed; the services say what is wrong with it."""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from django import forms

from connections.deletions.comments import LONGEST_COMMENT
from connections.deletions.lifecycle import LONGEST_REASON, OUT_OF_DATE
from connections.web.forms import ServiceForm


class ConnectionChoiceForm(ServiceForm):
    """Which connection, by its id, and which credential sends."""

    credential = forms.ChoiceField(
        label="Credential", required=False, help_text="The key pair that sends the request."
    )
    connection_id = forms.CharField(
        label="Connection id",
        required=False,
        help_text="As Datadog shows it: 12345678-90ab-cdef-1234-567890abcdef.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    # Carried along, so that nothing is typed twice.
    reason = forms.CharField(required=False, widget=forms.HiddenInput)
    ticket = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(
        self,
        data: Mapping[str, Any] | None = None,
        *,
        credentials: Iterable[tuple[str, str]],
        initial: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(data, initial=initial)
        choices = [("", "Choose a credential"), *credentials]
        self.fields["credential"] = forms.ChoiceField(
            label="Credential",
            required=False,
            choices=choices,
            help_text="The key pair that sends the request.",
        )
        self.order_fields(["credential", "connection_id"])


class DeletionForm(ServiceForm):
    """What a review is posted with."""

    credential = forms.UUIDField(widget=forms.HiddenInput)
    connection_id = forms.CharField(widget=forms.HiddenInput)
    # Made by the page, so that the same form posted twice is one deletion.
    request_id = forms.UUIDField(
        widget=forms.HiddenInput,
        error_messages={"required": OUT_OF_DATE, "invalid": OUT_OF_DATE},
    )
    digest = forms.CharField(required=False, widget=forms.HiddenInput)
    reason = forms.CharField(
        label="Why?",
        required=False,
        max_length=LONGEST_REASON,
        help_text="Kept for good, also when a person is erased: name nobody here.",
        widget=forms.Textarea(attrs={"rows": 2, "required": True}),
    )
    ticket = forms.CharField(label="Ticket", required=False)
    confirmation = forms.CharField(label="Confirmation", required=False, strip=False)

    @property
    def request_id_or_none(self) -> UUID | None:
        """The request id as far as it can be read, whatever else is wrong."""
        value: UUID | None = self.cleaned_data.get("request_id") if self.is_bound else None
        return value


class ConfirmationForm(ServiceForm):
    """The typed confirmation of a deletion that was asked for before."""

    confirmation = forms.CharField(label="Confirmation", required=False, strip=False)
    skip_recheck = forms.BooleanField(
        label="Send without reading it again; it will be recorded as unreviewed", required=False
    )


class ReasonForm(ServiceForm):
    """The reason for declining or closing."""

    reason = forms.CharField(label="Why?", required=False, max_length=LONGEST_REASON)


class CommentForm(ServiceForm):
    """A comment on a deletion."""

    text = forms.CharField(
        label="What should be known of it?",
        required=False,
        max_length=LONGEST_COMMENT,
        help_text="It stands in the record for good: it cannot be changed or removed, not even "
        "when a person is erased. Name nobody here.",
        widget=forms.Textarea(attrs={"rows": 2, "required": True}),
    )


class BreakGlassForm(ServiceForm):
    """Why nobody can be waited for, and the typed confirmation."""

    break_glass_reason = forms.CharField(required=False)
    confirmation = forms.CharField(required=False, strip=False)


class BreakGlassReviewForm(ServiceForm):
    """What was found when somebody looked back at a broken glass."""

    note = forms.CharField(required=False)


class ApprovalForm(ServiceForm):
    """Which text was approved, by its digest, and for which sending, by the round."""

    digest = forms.CharField(required=False)
    approval_round = forms.IntegerField(required=False)

    def clean_approval_round(self) -> int:
        """The round that the page showed; a form without one is of the first."""
        return self.cleaned_data["approval_round"] or 1
