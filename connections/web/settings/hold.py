"""The page of the hold: what waits for its release. An administrator puts it on and releases it."""

from functools import partial
from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from connections.operations import holds
from connections.web.framework.actions import NOT_REFUSED, Refusal, Subject, service_action
from connections.web.framework.addresses import subject_url
from connections.web.framework.forms import ReasonForm, ServiceForm
from connections.web.framework.http import SeeOther


class ReleaseForm(ServiceForm):
    """Releases the hold, if what waits is still what the page showed."""

    digest = forms.CharField(required=False)


def _hold_page(request: HttpRequest, refusal: Refusal = NOT_REFUSED) -> HttpResponse:
    work = holds.find_held_work()
    form = refusal.form if isinstance(refusal.form, ReasonForm) else ReasonForm()
    context: dict[str, Any] = {
        "work": work,
        "requests": [(subject_url(each.noun, str(each.pk)), each) for each in work.requests],
        "form": form,
        "conflict": None if form.errors else refusal.error,
    }
    return render(request, "settings/hold.html", context, status=refusal.status)


_action = partial(
    service_action,
    Subject[None](
        name="",
        find=lambda actor: None,
        page=_hold_page,
        respond=lambda request, actor, item, result: SeeOther(reverse("hold")),
    ),
    reauthenticate=True,
)
hold = _action(
    "hold",
    holds.put_on_hold,
    form=ReasonForm,
    done=lambda item, result: "Org Admin is on hold.",
)
hold_release = _action(
    "hold-release",
    holds.release_holds,
    form=ReleaseForm,
    done=lambda item, result: "The hold is released. Org Admin acts by itself again.",
)
