"""Starting an access review: how many connections match, and warnings."""

from collections.abc import Iterable, Sequence
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from connections.access.actor import Actor
from connections.access_reviews import population
from connections.access_reviews.current import about_connections
from connections.core.errors import InvalidInputError
from connections.core.text import join_some_names, pluralize
from connections.inventory.choices import find_agreement_choices
from connections.models import OrgConnectionKey, OrgConnectionSnapshot
from connections.web.access_reviews.filters import scope_bar
from connections.web.access_reviews.forms import StartForm, reviewer_choices
from connections.web.framework import lists
from connections.web.framework.forms import PageWarning
from connections.web.framework.http import actor_of, redirect_to, wants_fragment
from connections.web.inventory.filters import agreement_choices, connection_choices

# How many names a warning has, and the list below the warnings.
MAX_NAMES = 5
MAX_LISTED = 100


def access_review_new(request: HttpRequest) -> HttpResponse:
    """Start an access review of the connections that match a filter.

    A POST with `check` changes nothing: it shows how many connections match, and warnings.
    """
    actor = actor_of(request)
    people = reviewer_choices()
    if request.method != "POST":
        # The filters of this page are the address's own parameters.
        scope = request.GET.get("scope", request.GET.urlencode())
        return _page(request, form=StartForm(initial={"scope": scope}, people=people))
    form = StartForm(request.POST, people=people)
    if "check" in request.POST:
        typed = request.POST.dict() | {"reviewers": request.POST.getlist("reviewers")}
        return _page(request, form=StartForm(initial=typed, people=people))
    try:
        form.require_valid()
        review = population.start_review(actor=actor, **form.arguments)
    except InvalidInputError as error:
        form.add_errors(error)
        return _page(request, form=form, status=422)
    messages.success(
        request, f"Access review of {pluralize(review.row_count, 'connection')} started."
    )
    return redirect_to(review)


def _page(request: HttpRequest, *, form: StartForm, status: int = 200) -> HttpResponse:
    name = "access_reviews/new.html"
    if request.method == "POST" and wants_fragment(request):
        name += "#population"
    context = _page_context(request, form=form, actor=actor_of(request))
    return render(request, name, context, status=status)


def _page_context(request: HttpRequest, *, form: StartForm, actor: Actor) -> dict[str, Any]:
    preview, problem = None, ""
    choices: dict[str, lists.Options] = {}
    try:
        preview = population.preview_population(
            actor=actor, scope=form.shown_scope, reviewers=form.chosen_reviewers
        )
        inventory = preview.inventory
        agreed = find_agreement_choices(actor=actor)
        choices = connection_choices(
            inventory.orgs, inventory.connection_types, inventory.creators
        ) | agreement_choices(agreed, actor=actor)
    except InvalidInputError as error:
        problem = error.fields["scope"]
    without_reviewer = preview.without_reviewer if preview else []
    return {
        "form": form,
        "bar": scope_bar(request, form.shown_scope, choices=choices),
        "problem": problem,
        "count": len(preview.inventory.matches) if preview else 0,
        "warnings": _warnings(preview) if preview else [],
        "without_reviewer": _connection_names(without_reviewer[:MAX_LISTED])
        if len(without_reviewer) > MAX_NAMES
        else [],
        "without_reviewer_count": len(without_reviewer),
    }


def _warnings(preview: population.PopulationPreview) -> list[PageWarning]:
    warnings = coverage_warnings(preview.coverage)
    if preview.without_reviewer:
        warnings.insert(0, without_reviewer_warning(preview.without_reviewer))
    return warnings


def without_reviewer_warning(keys: list[OrgConnectionKey]) -> PageWarning:
    """The warning that no reviewer can see some connections."""
    names = [*_connection_names(keys[:MAX_NAMES]), *("" for _ in keys[MAX_NAMES:])]
    return PageWarning(
        headline=f"{pluralize(len(keys), 'connection')} that no reviewer can decide on",
        detail=f"{join_some_names(names, limit=MAX_NAMES)}. Choose another active "
        "reviewer, or change who can see their credentials.",
    )


def _connection_names(keys: Sequence[OrgConnectionKey]) -> list[str]:
    """ "Labs → Mobile" for each connection."""
    snapshots = OrgConnectionSnapshot.objects.filter(about_connections(keys)).order_by(
        "last_seen_at"
    )
    names = {snapshot.key: snapshot.pair for snapshot in snapshots}
    return [names[key] for key in keys]


def coverage_warnings(coverage: dict[str, Any]) -> list[PageWarning]:
    """What the inventory might lack: lists from failed syncs, and orgs without a credential."""
    failed = [org for org in coverage["orgs"] if not org["is_complete"]]
    without = coverage["without_credential"]
    warnings = []
    if failed:
        warnings.append(
            PageWarning(
                headline=f"{pluralize(len(failed), 'credential')} not fully synced",
                detail=f"{_names(org['credential'] for org in failed)}. Connections that only "
                "they list might be missing or out of date.",
            )
        )
    if without:
        warnings.append(
            PageWarning(
                headline=f"{pluralize(len(without), 'org')} without a credential",
                detail=f"{_names(org['org_name'] or org['org_id'] for org in without)}. "
                "No sync lists a connection between two of them, so it can't be reviewed.",
            )
        )
    return warnings


def _names(names: Iterable[str]) -> str:
    return join_some_names(list(names), limit=MAX_NAMES)
