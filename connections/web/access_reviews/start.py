"""What the page that starts an access review shows: how many connections match, and warnings."""

from collections.abc import Iterable, Sequence
from typing import Any

from connections.access import permissions
from connections.access.actor import Actor
from connections.access_reviews.current import about_connections
from connections.access_reviews.population import PopulationPreview, preview_population
from connections.core.errors import InvalidInputError
from connections.core.text import join_some_names, pluralize
from connections.models import OrgConnectionKey, OrgConnectionSnapshot, Person
from connections.web.access_reviews.filters import scope_text, scope_url
from connections.web.access_reviews.forms import StartForm
from connections.web.framework.support import PageWarning

# How many names a warning has, and the list below the warnings.
MAX_NAMES = 5
MAX_LISTED = 100


def reviewer_choices() -> list[Person]:
    """Everyone who can be a reviewer, by name."""
    return sorted(
        permissions.possible_reviewers(), key=lambda person: person.display_name.casefold()
    )


def new_context(*, form: StartForm, actor: Actor) -> dict[str, Any]:
    """Template variables of the page."""
    preview, problem = None, ""
    try:
        preview = preview_population(
            actor=actor, scope=form.scope_shown, reviewers=form.reviewers_shown
        )
    except InvalidInputError as error:
        problem = error.fields["scope"]
    without_reviewer = preview.without_reviewer if preview else []
    return {
        "form": form,
        "scope": "" if problem else scope_text(form.scope_shown),
        "scope_url": scope_url("" if problem else form.scope_shown),
        "problem": problem,
        "preview": preview,
        "warnings": _warnings(preview) if preview else [],
        "without_reviewer": _connection_names(without_reviewer[:MAX_LISTED])
        if len(without_reviewer) > MAX_NAMES
        else [],
        "without_reviewer_count": len(without_reviewer),
    }


def _warnings(preview: PopulationPreview) -> list[PageWarning]:
    found = coverage_warnings(preview.coverage)
    if preview.without_reviewer:
        found.insert(0, without_reviewer_warning(preview.without_reviewer))
    return found


def without_reviewer_warning(keys: list[OrgConnectionKey]) -> PageWarning:
    """The warning that no reviewer can see some connections."""
    shown = [*_connection_names(keys[:MAX_NAMES]), *("" for _ in keys[MAX_NAMES:])]
    return PageWarning(
        headline=f"{pluralize(len(keys), 'connection')} that no reviewer can decide on",
        detail=f"{join_some_names(shown, limit=MAX_NAMES)}. Choose another active "
        "reviewer, or change who can see their credentials.",
    )


def _connection_names(keys: Sequence[OrgConnectionKey]) -> list[str]:
    """ "Labs → Mobile" for each connection."""
    snapshots = OrgConnectionSnapshot.objects.filter(about_connections(keys)).order_by(
        "last_seen_at"
    )
    names = {
        snapshot.key: f"{snapshot.source_org_name} → {snapshot.sink_org_name}"
        for snapshot in snapshots.only("site", "connection_id", "source_org_name", "sink_org_name")
    }
    return [names[key] for key in keys]


def coverage_warnings(coverage: dict[str, Any]) -> list[PageWarning]:
    """What the inventory might lack: lists from failed syncs, and orgs without a credential."""
    failed = [org for org in coverage["orgs"] if not org["is_complete"]]
    without = coverage["without_credential"]
    found = []
    if failed:
        found.append(
            PageWarning(
                headline=f"{pluralize(len(failed), 'credential')} not fully synced",
                detail=f"{_names(org['credential'] for org in failed)}. Connections that only "
                "they list might be missing or out of date.",
            )
        )
    if without:
        found.append(
            PageWarning(
                headline=f"{pluralize(len(without), 'org')} without a credential",
                detail=f"{_names(org['org_name'] or org['org_id'] for org in without)}. "
                "Connections between them can't be seen.",
            )
        )
    return found


def _names(names: Iterable[str]) -> str:
    return join_some_names(list(names), limit=MAX_NAMES)
