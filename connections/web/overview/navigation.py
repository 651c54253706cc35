"""The navigation: where a person can go, what waits for them there, and how much there is."""

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256

from django.core.cache import cache
from django.db import DatabaseError
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils.deprecation import MiddlewareMixin

from connections.access import permissions, visibility
from connections.access.actor import Actor
from connections.core.database import count_each
from connections.inventory.orgs import find_connections
from connections.inventory.syncs import credentials_in_use
from connections.models import Agreement, Change, ChangeRequest
from connections.web.framework.http import actor_of, signed_in_person, time_of
from connections.web.overview.attention import (
    Item,
    Situation,
    access_requests,
    bulk_deletions,
    deletion_requests,
)
from connections.web.overview.kinds import count_by_entry, find_items

logger = logging.getLogger(__name__)

# Label, name of the URL, and who can open it. The second group manages what the first one is about.
GROUPS: tuple[tuple[tuple[str, str, Callable[[Actor], bool]], ...], ...] = (
    (
        ("Overview", "overview", permissions.can_see),
        ("Connections", "org-connection-list", permissions.can_see),
        ("Deletions", "deletion-list", permissions.can_see),
        ("Changes", "change-list", permissions.can_see),
        ("Access requests", "access-request-list", permissions.can_see),
        ("Agreements", "agreement-list", permissions.can_see),
        ("Access reviews", "access-review-list", permissions.can_see),
    ),
    (
        ("Orgs", "org-list", permissions.can_see),
        ("Audit log", "audit-list", permissions.can_audit),
        ("Settings", "settings", permissions.can_see),
    ),
)
# Pages without an entry of their own, and the entry that they belong to.
_PART_OF = {
    "deletion-confirm": "org-connection-list",
    "credential-list": "org-list",
    "evidence-detail": "audit-list",
    "person-list": "settings",
    "notification-list": "settings",
}
# Hidden until they list something. How much they list says nothing.
_ONLY_IN_USE = ("change-list", "access-request-list", "agreement-list", "access-review-list")
# With more connections, agreements can be made in the list before there is one.
_AGREED_ABOVE = 12
# So many are counted of a list, because every page does.
_MOST = 1000
# Lists with a part "Needs you", which the entry leads to while it counts something.
_WITH_PART = (
    *("deletion-list", "change-list"),
    *("access-request-list", "agreement-list", "access-review-list"),
)


@dataclass(frozen=True, kw_only=True)
class NavItem:
    """One entry of the navigation."""

    # The name of its URL pattern.
    name: str
    label: str
    url: str
    is_current: bool
    # How many items wait for this person or, if not `is_waiting`, how many there are; "" for none.
    count: str
    is_waiting: bool


@dataclass(frozen=True, kw_only=True)
class Navigation:
    """The entries that this person can open. `waiting` is how many items wait for them in all,
    also where no entry counts them.
    """

    groups: list[list[NavItem]]
    waiting: str

    @property
    def items(self) -> list[NavItem]:
        """The entries of all groups."""
        return [item for group in self.groups for item in group]


def navigation_of(request: HttpRequest) -> Navigation | None:
    """The navigation of the signed-in person. None for a person without a role."""
    person = signed_in_person(request)
    if person is None or not permissions.can_see(actor := actor_of(request)):
        return None
    found, listed = _count(request, actor=actor)
    total = found.total()
    waiting = Counter({name: found[name] for name in _WITH_PART})
    listed["agreement-list"] += listed["org-connection-list"] > _AGREED_ABOVE
    current = _current_name(request.path)
    groups = [
        [
            NavItem(
                name=name,
                label=label,
                url=reverse(name, query={"needs": "you"} if waiting[name] else None),
                is_current=name == current,
                count=_number(waiting[name] or (name not in _ONLY_IN_USE and listed[name])),
                is_waiting=waiting[name] > 0,
            )
            for label, name, can_open in group
            if can_open(actor) and (name not in _ONLY_IN_USE or listed[name])
        ]
        for group in GROUPS
    ]
    return Navigation(groups=groups, waiting=_number(total))


def _number(count: int) -> str:
    if count > _MOST:
        return f"{_MOST:,}+"
    return f"{count:,}" if count else ""


def _current_name(path: str) -> str:
    """The name of the entry that the page at this path belongs to; "" if there is none."""
    names = [name for group in GROUPS for _, name, _ in group]
    entries = {reverse(name): name for name in names if name != "overview"}
    entries |= {reverse(part): name for part, name in _PART_OF.items()}
    entry = max((url for url in entries if path.startswith(url)), key=len, default="")
    return "overview" if path == reverse("overview") else entries.get(entry, "")


# Every page counts, and finding what waits takes as many statements as the overview.
_COUNTED_FOR = timedelta(seconds=15)


def _count(request: HttpRequest, *, actor: Actor) -> tuple[Counter[str], Counter[str]]:
    """By the name of a URL: how many items wait there for this person, and how many it lists.

    From the cache that all processes share, unless the person has just changed something.
    """
    key = _cache_key(actor)
    cached: tuple[Counter[str], Counter[str]] | None = None
    if request.method != "POST":
        cached = cache.get(key)
    if cached and not hasattr(request, "_attention"):
        return cached
    counts = count_by_entry(items_of(request)), _list_sizes(actor)
    if counts != cached:
        cache.set(key, counts, timeout=_COUNTED_FOR.total_seconds())
    return counts


def items_of(request: HttpRequest) -> list[Item]:
    """What the overview lists for the signed-in person, found once for each request."""
    if not hasattr(request, "_attention"):
        request._attention = find_items(situation_of(request))  # type: ignore[attr-defined]
    items: list[Item] = request._attention  # type: ignore[attr-defined]
    return items


def situation_of(request: HttpRequest) -> Situation:
    """Who looks, and when."""
    actor = actor_of(request)
    if not hasattr(request, "_situation"):
        credentials = credentials_in_use(actor=actor)
        situation = Situation(actor=actor, now=time_of(request), credentials=credentials)
        request._situation = situation  # type: ignore[attr-defined]
    found: Situation = request._situation  # type: ignore[attr-defined]
    return found


@dataclass(frozen=True, kw_only=True)
class NextDecision:
    """How many requests wait for this person's approval, and the page of the most urgent one."""

    count: int
    url: str


def find_next_decision(request: HttpRequest, *, decided: ChangeRequest) -> NextDecision | None:
    """None if this person has not decided about that request, or if no other one waits."""
    if not decided.is_decided_by(actor_of(request).person):
        return None
    situation = situation_of(request)
    sources = (
        deletion_requests,
        access_requests,
        bulk_deletions,
    )
    waiting = [
        item
        for find in sources
        for item in find(situation)
        if item.kind == "approval" and item.is_yours
    ]
    # One of Org Admin's own has no deadline.
    waiting.sort(key=lambda item: (not item.deadline, item.at))
    return NextDecision(count=len(waiting), url=waiting[0].url) if waiting else None


def _cache_key(actor: Actor) -> str:
    """Of this person with today's roles and access lists, which decide what they can see."""
    limits = permissions.visibility_of(actor)
    credentials = (limits.hidden, limits.unusable, limits.unapprovable)
    parts = [sorted(map(str, each)) for each in (*credentials, actor.person.roles)]  # type: ignore[union-attr]
    digest = sha256(repr(parts).encode()).hexdigest()
    return f"orgadmin:counts:{actor.person.pk}:{digest}"  # type: ignore[union-attr]


def _list_sizes(actor: Actor) -> Counter[str]:
    """How many rows a list has. Of one that is hidden until it is in use, one at most."""
    changes = visibility.visible_changes(Change.objects.all(), actor=actor)
    agreements = visibility.visible_agreements(Agreement.objects.all(), actor=actor)
    sizes = {
        "org-list": visibility.visible_orgs(actor=actor).order_by().values("pk")[: _MOST + 1],
        "org-connection-list": find_connections(actor=actor)[: _MOST + 1],
    }
    uses = {
        "change-list": changes,
        "access-request-list": visibility.visible_access_requests(actor=actor),
        "agreement-list": agreements,
        "access-review-list": visibility.visible_access_reviews(actor=actor),
    }
    lists = sizes | {name: rows.order_by().values("pk")[:1] for name, rows in uses.items()}
    counts = count_each(*lists.values())
    return Counter(dict(zip(lists, counts, strict=True)))


class CountsMiddleware(MiddlewareMixin):
    """Forgets what a person's numbers were once they have changed something."""

    def process_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        """After a POST that did something."""
        person = signed_in_person(request)
        if request.method == "POST" and response.status_code < 400 and person:
            try:
                cache.delete(_cache_key(actor_of(request)))
            except DatabaseError:
                # The response says what was sent, which must reach the person.
                logger.warning("The numbers in the navigation could not be dropped from the cache.")
        return response
