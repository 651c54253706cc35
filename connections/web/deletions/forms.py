"""Forms about deletions. The services validate most of the input."""

from collections.abc import Iterable, Mapping
from typing import Any, Self
from uuid import UUID

from django import forms

from connections.change_requests.requesting import OUT_OF_DATE
from connections.core.causes import Cause
from connections.web.framework.forms import ConfirmationForm, ServiceForm, reason_field


class ConnectionChoiceForm(ServiceForm):
    """Which connection, by its ID, and which credential sends the DELETE."""

    connection_id = forms.CharField(
        label="Connection ID",
        required=False,
        help_text="As Datadog shows it: 12345678-90ab-cdef-1234-567890abcdef.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    # Passed on to the confirmation page.
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
            help_text="The credential that sends the DELETE.",
        )
        self.order_fields(["credential", "connection_id"])


class DeletionForm(ConfirmationForm):
    """The form on the confirmation page."""

    credential = forms.UUIDField(widget=forms.HiddenInput)
    connection_id = forms.CharField(widget=forms.HiddenInput)
    # Created by the page, so that the same form posted twice requests one deletion.
    request_id = forms.UUIDField(
        widget=forms.HiddenInput,
        error_messages={"required": OUT_OF_DATE, "invalid": OUT_OF_DATE},
    )
    digest = forms.CharField(required=False, widget=forms.HiddenInput)
    reason = reason_field()
    ticket = forms.CharField(label="Ticket", required=False)

    @property
    def request_id_or_none(self) -> UUID | None:
        """The request ID. None if it is missing or invalid."""
        value: UUID | None = self.cleaned_data.get("request_id") if self.is_bound else None
        return value


class ExecutionForm(ConfirmationForm):
    """The typed confirmation of a requested deletion."""

    skip_recheck = forms.BooleanField(label="Skip the pre-send check (recorded)", required=False)

    @classmethod
    def about(cls, subject: Any, data: Mapping[str, Any] | None = None) -> Self:
        """The form. Only after a failed check, the next one can be skipped."""
        form = cls(data)
        if subject.cause != Cause.LISTING_FAILED:
            del form.fields["skip_recheck"]
        return form


class CommentForm(ServiceForm):
    """A comment on a deletion."""

    text = reason_field(
        label="Comment",
        help_text="Kept permanently and can't be changed. Don't include personal data.",
    )


class BreakGlassForm(ConfirmationForm):
    """Why the deletion can't wait for approval, and the typed confirmation."""

    break_glass_reason = reason_field(label="Why can't this wait for approval?")


class LateApprovalForm(ServiceForm):
    """What another person found about a use of break glass."""

    note = reason_field(label="Findings")


class ApprovalForm(ServiceForm):
    """What is approved: the digest of the request, and the approval round."""

    digest = forms.CharField(required=False)
    approval_round = forms.IntegerField(required=False)

    def clean_approval_round(self) -> int:
        """The round that the page showed. 1 if the form has none."""
        return self.cleaned_data["approval_round"] or 1
