"""Setting agreements: of the rows selected in a list, or of one pair."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django_htmx.http import HttpResponseClientRedirect

from connections.access.actor import Actor
from connections.agreements.setting import (
    AgreementsSet,
    OlderVersionError,
    require_pairs,
    set_agreements,
)
from connections.agreements.texts import result_text
from connections.core.errors import InvalidInputError
from connections.inventory.pairs import PairRow, find_pair_rows
from connections.web.agreements.forms import AgreementForm, pairs_in
from connections.web.agreements.list import agreement_page, pair_row_views
from connections.web.framework.actions import NOT_REFUSED, Refusal, Subject, service_action
from connections.web.framework.addresses import is_local_url
from connections.web.framework.http import SeeOther, actor_of, time_of, wants_fragment

# As many of the agreements that were changed in the meantime are shown.
MAX_CHANGED = 10


def agreement_form(request: HttpRequest) -> HttpResponse:
    """The form for what `pair` and `connection` name, or htmx's part of it.

    A POST saves nothing: it is for more rows than an address can name.
    """
    actor = actor_of(request)
    named = request.POST if request.method == "POST" else request.GET
    form = AgreementForm()
    form.pairs = pairs_in(named, actor=actor)
    return _form_page(request, Refusal(form=form), back=named.get("back", ""))


def _page(request: HttpRequest, refusal: Refusal = NOT_REFUSED) -> HttpResponse:
    """The list or, after a refused POST, the form with what was typed."""
    if refusal.error is None:
        return agreement_page(request)
    return _form_page(request, refusal, back=request.POST.get("back", ""))


def _form_page(request: HttpRequest, refusal: Refusal, *, back: str) -> HttpResponse:
    actor, form, error = actor_of(request), refusal.form, refusal.error
    try:
        require_pairs(form.pairs, actor=actor)
    except InvalidInputError as problem:
        # There is nothing to set. The page says so above an empty form.
        error, form.pairs = problem, []
        if not form.is_bound:
            form = AgreementForm.about(actor, {})
            form.is_valid()
            form.add_errors(problem)
    today = time_of(request).date()
    rows = find_pair_rows(form.pairs, actor=actor, today=today)
    form.show(rows)
    changed: list[PairRow] = []
    if isinstance(error, OlderVersionError):
        changed = [row for row in rows if row.listed.pair in error.newest]
        form.replace_shown(rows)
    context = {
        "form": form,
        "rows": pair_row_views(rows, today=today),
        "conflict": str(error) if changed else "",
        "changed": pair_row_views(changed[:MAX_CHANGED], today=today),
        "changed_more": max(len(changed) - MAX_CHANGED, 0),
        "back": back if is_local_url(request, back) else reverse("agreement-list"),
    }
    template = "agreements/fields.html" if wants_fragment(request) else "agreements/form.html"
    return render(request, template, context, status=Refusal(error=error).status)


def _saved(
    request: HttpRequest, actor: Actor, opened: Actor, result: AgreementsSet
) -> HttpResponse:
    del actor, opened
    messages.success(request, result_text(result))
    back = request.POST.get("back", "")
    url = back if is_local_url(request, back) else reverse("agreement-list")
    return HttpResponseClientRedirect(url) if wants_fragment(request) else SeeOther(url)


# The list. A POST sets the agreements of all the pairs that it names, or of none of them.
agreement_list = service_action(
    Subject(name="", find=lambda actor: actor, page=_page, respond=_saved),
    "agreement-list",
    set_agreements,
    form=AgreementForm,
)
