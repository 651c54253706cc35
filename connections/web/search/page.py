"""One search over everything that a person can see. Each list searches its own rows."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from connections.access import permissions
from connections.access.actor import Actor
from connections.changes.changes import ChangeFilter, get_change_page
from connections.changes.texts import change_subject
from connections.core.sites import site_name
from connections.core.text import join_facts, uuid_or_none
from connections.deletions.history import HistoryFilter, history_page
from connections.deletions.texts import pair_text
from connections.inventory.inventory import build_inventory
from connections.inventory.matching import InventoryFilter, split_pair
from connections.inventory.orgs import list_known_orgs
from connections.models import Deletion, OrgConnectionKey, Person
from connections.web.badges import Badge
from connections.web.changes.rows import change_row_views
from connections.web.framework.navigation import GROUPS
from connections.web.framework.support import (
    actor_of,
    connection_url,
    org_url,
    wants_fragment,
)

# A shorter text finds too much to be of use.
MIN_LENGTH = 2
# How many of each kind that has a list with a search are listed. That list has the others.
MOST = 5


@dataclass(frozen=True, kw_only=True)
class Hit:
    """One line of the results: a name, which is a link, and facts about it."""

    name: str
    url: str
    facts: str = ""
    # What has a status has its badge, everything else an icon.
    status: Deletion | Badge | None = None
    by: str = ""
    at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class HitGroup:
    """What was found of one kind. `all_url` is the list that has the others; "" if none is left."""

    title: str
    icon: str
    hits: list[Hit]
    all_url: str = ""

    def has_name(self, text: str) -> bool:
        """Whether one of them has exactly this name."""
        return any(hit.name.casefold() == text.casefold() for hit in self.hits)


def search(request: HttpRequest) -> HttpResponse:
    """The page, or only the results for htmx."""
    actor, text = actor_of(request), " ".join(request.GET.get("q", "").replace("\0", "").split())
    groups = _find_all(text, actor=actor) if len(text) >= MIN_LENGTH else []
    connection_id = uuid_or_none(text)
    context = {
        "text": text,
        "is_too_short": len(text) < MIN_LENGTH,
        "groups": groups,
        "words": _split_words(text),
        "delete_by_id_url": reverse("deletion-confirm", query={"connection_id": text})
        if connection_id and not groups and permissions.can_delete(actor)
        else "",
    }
    return render(
        request, f"search/{'results' if wants_fragment(request) else 'search'}.html", context
    )


def _split_words(text: str) -> list[str]:
    """The words of a search without an arrow."""
    return text.replace("->", "→").replace("→", " ").casefold().split()


def _find_all(text: str, *, actor: Actor) -> list[HitGroup]:
    """What the text finds. A kind with something of exactly that name comes first."""
    groups = [find(text, actor) for find in _KINDS]
    return sorted(
        (group for group in groups if group.hits), key=lambda group: not group.has_name(text)
    )


def _all_url(name: str, *, text: str, has_more: bool) -> str:
    return reverse(name, query={"q": text}) if has_more else ""


def _connections(text: str, actor: Actor) -> HitGroup:
    inventory = build_inventory(actor=actor, filters=InventoryFilter(text=text))
    hits = [
        Hit(
            name=f"{listed.source_org.name} → {listed.sink_org.name}",
            url=connection_url(
                OrgConnectionKey(site=listed.site, connection_id=listed.connection_id)
            ),
            facts=join_facts(", ".join(listed.types), site_name(listed.site)),
            by=f"Created by {listed.creator_name}" if listed.creator_name else "",
        )
        for listed in inventory.matches[:MOST]
    ]
    has_more = len(inventory.matches) > MOST
    all_url = _all_url("org-connection-list", text=text, has_more=has_more)
    return HitGroup(title="Connections", icon="arrow", hits=hits, all_url=all_url)


def _orgs(text: str, actor: Actor) -> HitGroup:
    # Both orgs of a pair.
    sides = [side for side in split_pair(text) if side and side.strip()]
    known = [
        org
        for org in list_known_orgs(actor=actor)
        if any(org.matches(side) for side in sides)
        or text.casefold() in {org.site, site_name(org.site).casefold()}
    ]
    hits = [
        Hit(name=org.name or org.org_id, url=org_url(org), facts=site_name(org.site))
        for org in known
    ]
    all_url = _all_url("org-list", text=text, has_more=len(hits) > MOST)
    return HitGroup(title="Orgs", icon="org", hits=hits[:MOST], all_url=all_url)


def _deletions(text: str, actor: Actor) -> HitGroup:
    words = " ".join(_split_words(text))
    page = history_page(actor=actor, filters=HistoryFilter(text=words), size=MOST)
    hits = [
        Hit(
            name=pair_text(deletion),
            url=reverse("deletion-detail", args=[deletion.pk]),
            facts=join_facts(deletion.ticket, f"“{deletion.reason}”"),
            status=deletion,
            by=deletion.requested_by_name,
            at=deletion.requested_at,
        )
        for deletion in page.deletions
    ]
    all_url = _all_url("deletion-list", text=words, has_more=page.next is not None)
    return HitGroup(title="Deletions", icon="minus", hits=hits, all_url=all_url)


def _changes(text: str, actor: Actor) -> HitGroup:
    words = " ".join(_split_words(text))
    page = get_change_page(actor=actor, filters=ChangeFilter(text=words), size=MOST)
    hits = [
        Hit(
            name=view.name or change_subject(view.row.change),
            url=view.url or reverse("change-list", query={"q": words}),
            facts=f"“{view.row.change.note}”" if view.row.change.note else "",
            status=view.badge,
            at=view.row.change.detected_at,
        )
        for view in change_row_views(page.rows, actor=actor)
    ]
    all_url = _all_url("change-list", text=words, has_more=page.next is not None)
    return HitGroup(title="Changes", icon="refresh", hits=hits, all_url=all_url)


def _people(text: str, actor: Actor) -> HitGroup:
    people = Person.objects.none()
    if permissions.can_administer(actor):
        people = Person.objects.order_by("username")
    for word in text.split():
        is_named = Q(first_name__icontains=word) | Q(last_name__icontains=word)
        people = people.filter(is_named | Q(username__icontains=word) | Q(email__icontains=word))
    hits = [
        Hit(
            name=person.display_name,
            url=reverse("person-detail", args=[person.pk]),
            facts=join_facts(person.username, person.email),
        )
        # All of them: the list of people has no search.
        for person in people
    ]
    return HitGroup(title="People", icon="people", hits=hits)


# Every page that needs no object, its URL name, and who can open it.
_PAGES: tuple[tuple[str, str, Callable[[Actor], bool]], ...] = (
    *(page for group in GROUPS for page in group),
    ("Delete by ID", "deletion-confirm", permissions.can_delete),
    ("Add a credential", "credential-new", permissions.can_manage_credentials),
    ("Import credentials", "credential-import", permissions.can_manage_credentials),
    ("Evidence", "evidence-detail", permissions.can_audit),
    ("People", "person-list", permissions.can_administer),
    ("Notifications", "notification-list", permissions.can_administer),
    ("System status", "settings-status", permissions.can_administer),
    ("Account security", "mfa_index", permissions.can_see),
    ("Sessions", "session-list", permissions.can_see),
)


def _pages(text: str, actor: Actor) -> HitGroup:
    hits = [
        Hit(name=label, url=reverse(name))
        for label, name, can_open in _PAGES
        if all(word in label.casefold() for word in text.casefold().split()) and can_open(actor)
    ]
    return HitGroup(title="Pages", icon="page", hits=hits)


_KINDS = (_connections, _orgs, _deletions, _changes, _people, _pages)
