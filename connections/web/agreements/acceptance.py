"""Owners accept their agreements, or say that one isn't theirs."""

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.urls import reverse

from connections.access.actor import Actor
from connections.agreements.accepting import accept_agreements, refuse_agreement
from connections.core.errors import InvalidInputError
from connections.core.text import pluralize
from connections.notifications.notified import refusal_text
from connections.web.agreements.forms import PairsForm, is_version
from connections.web.agreements.list import NEEDS_YOU, agreement_page
from connections.web.framework.actions import Refusal, Subject, service_action
from connections.web.framework.forms import ListField, reason_field
from connections.web.framework.http import SeeOther
from connections.web.framework.lists import as_page_request


class AcceptanceForm(PairsForm):
    """The version that was shown of each pair's agreement, in the same order."""

    version = ListField(required=False)

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments for the service. Raises InvalidInputError."""
        numbers = self.cleaned_data["version"] or []
        if len(numbers) != len(self.pairs) or not all(map(is_version, numbers)):
            raise InvalidInputError({"version": "Name the version of each agreement once."})
        return {
            "pairs": self.pairs,
            "versions": dict(zip(self.pairs, map(int, numbers), strict=True)),
        }


class RefusalForm(AcceptanceForm):
    """Why one pair isn't the person's."""

    reason = reason_field()

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments for the service. Raises Http404 unless it names one pair."""
        if len(self.pairs) != 1:
            raise Http404("This isn't one agreement.")
        [(pair, version)] = super().arguments["versions"].items()
        return {"pair": pair, "version": version, "reason": self.cleaned_data["reason"]}


def _page(request: HttpRequest, refusal: Refusal) -> HttpResponse:
    """What needs the person, and what was wrong."""
    path = reverse("agreement-list")
    page = as_page_request(request, path=path, query=QueryDict(NEEDS_YOU))
    return agreement_page(page, refusal)


def _respond(*_: object) -> HttpResponse:
    return SeeOther(f"{reverse('agreement-list')}?{NEEDS_YOU}")


_SUBJECT = Subject[Actor](name="", find=lambda actor: actor, page=_page, respond=_respond)
agreement_accept = service_action(
    _SUBJECT,
    "agreement-accept",
    accept_agreements,
    form=AcceptanceForm,
    done=lambda actor, new: f"Accepted {pluralize(len(new), 'agreement')}.",
)
agreement_refuse = service_action(
    _SUBJECT,
    "agreement-refuse",
    refuse_agreement,
    form=RefusalForm,
    done=lambda actor, refused: f"Saved. {refusal_text(refused)}",
)
