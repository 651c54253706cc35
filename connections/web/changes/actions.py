"""Acknowledging changes."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.urls import reverse

from connections.access.actor import Actor
from connections.changes.acknowledgement import acknowledge_changes
from connections.changes.texts import change_subject
from connections.core.text import pluralize
from connections.models import Change
from connections.web.changes.forms import AcknowledgementForm
from connections.web.changes.list import change_list
from connections.web.framework.actions import Subject, service_action
from connections.web.framework.http import SeeOther
from connections.web.framework.lists import as_page_request


def _filters(request: HttpRequest) -> QueryDict:
    return QueryDict(request.POST.get("filters", ""))


def _refused(request: HttpRequest, /, *args: Any) -> HttpResponse:
    """The list, with the note to correct."""
    page = as_page_request(request, path=reverse("change-list"), query=_filters(request))
    return change_list(page, form=args[-1].form, status=args[-1].status)


def _acknowledged(
    request: HttpRequest, actor: Actor, opened: UUID | None, new: list[Change]
) -> HttpResponse:
    del actor, opened
    if len(new) == 1:
        messages.success(request, f"Acknowledged: {change_subject(new[0])}.")
    elif new:
        messages.success(request, f"{pluralize(len(new), 'change')} acknowledged.")
    else:
        messages.info(request, "Already acknowledged. The first acknowledgement stands.")
    return SeeOther(reverse("change-list", query=_filters(request)))


# Acknowledges one change, or the selected ones, with a note: either all of them or none.
change_acknowledge = service_action(
    Subject(name="", find=lambda actor, pk=None: pk, page=_refused, respond=_acknowledged),
    "change-acknowledge",
    acknowledge_changes,
    form=AcknowledgementForm,
)
