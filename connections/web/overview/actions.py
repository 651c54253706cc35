"""Acknowledging what failed."""

from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from connections.access_requests.problems import acknowledge_problem
from connections.core.errors import InvalidInputError
from connections.web.framework.http import SeeOther, actor_of


class ProblemAcknowledgementForm(forms.Form):
    """The note, and the entry of the navigation whose list the person came from."""

    note = forms.CharField(required=False)
    entry = forms.ChoiceField(
        choices={name: name for name in ("deletion-list", "access-request-list")}, required=False
    )


def problem_acknowledge(request: HttpRequest, kind: str, pk: UUID) -> HttpResponse:
    """Acknowledge a problem, and go back to the list."""
    form = ProblemAcknowledgementForm(request.POST)
    form.full_clean()
    try:
        new = acknowledge_problem(
            actor=actor_of(request), kind=kind, subject_id=pk, note=form.cleaned_data["note"]
        )
    except InvalidInputError as error:
        messages.error(request, " ".join(error.fields.values()))
    else:
        done = "Acknowledged." if new else "Already acknowledged. The first one stands."
        messages.success(request, done)
    entry = form.cleaned_data.get("entry")
    return SeeOther(reverse(entry, query={"needs": "you"}) if entry else reverse("overview"))
