"""One search over everything that a person can see. Each list searches its own rows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from operator import or_

from django.db.models import OuterRef, Q, Subquery
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from connections.access import permissions, visibility
from connections.access.actor import Actor
from connections.access_requests.concealing import conceal
from connections.access_requests.listing import AccessRequestFilter, list_access_requests
from connections.agreements.agreed import find_agreements
from connections.batches.texts import batch_origin_text
from connections.changes.changes import ChangeFilter, get_change_page
from connections.changes.texts import change_subject
from connections.core.any_of import MAX_SEARCH_LENGTH
from connections.core.sites import site_name
from connections.core.text import fold_query, join_facts, uuid_or_none
from connections.deletions.history import HistoryFilter, history_page
from connections.deletions.texts import pair_text
from connections.inventory.inventory import build_inventory, current_snapshots
from connections.inventory.matching import InventoryFilter, KnownOrg, split_pair
from connections.inventory.orgs import list_known_orgs
from connections.models import (
    AccessRequest,
    Batch,
    BatchOrigin,
    Deletion,
    OrgConnectionKey,
    OrgPair,
    Person,
    RequestKind,
    newest_agreements,
)
from connections.web.badges import Badge, review_badge
from connections.web.batches.list import status_of, title_of, titled_batches
from connections.web.changes.rows import change_row_views
from connections.web.framework.addresses import (
    access_request_url,
    by_id_links,
    connection_url,
    org_url,
)
from connections.web.framework.http import actor_of, time_of, wants_fragment
from connections.web.framework.person_limits import limited
from connections.web.overview.navigation import GROUPS
from connections.web.search.parts import list_parts

# A shorter text finds too much to be of use.
MIN_LENGTH = 2
# Every word is looked for in many columns. Lists allow as many characters.
MAX_WORDS = 10
# How many of each kind that has a list with a search are listed. That list has the others.
MOST = 5


@dataclass(frozen=True, kw_only=True)
class Hit:
    """One line of the results: a name, which is a link, and facts about it."""

    name: str
    url: str
    facts: str = ""
    # What has a status has its badge, everything else an icon.
    status: Deletion | AccessRequest | Badge | None = None
    by: str = ""
    at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class HitGroup:
    """What was found of one kind. `all_url` is the list that has the others; "" if none is left."""

    title: str
    icon: str
    hits: list[Hit]
    all_url: str = ""
    # How many there are. 0 if they aren't counted.
    total: int = 0

    def place(self, text: str) -> int:
        """Where it stands: first if it has exactly this name, then an org whose name starts so."""
        names = [hit.name.casefold() for hit in self.hits]
        if text.casefold() in names:
            return 0
        is_start = any(name.startswith(text.casefold()) for name in names)
        return 1 if self.title == "Orgs" and is_start else 2


@limited("search", per_minute=60)
def search(request: HttpRequest) -> HttpResponse:
    """The page, or only the results for htmx. Looks for nothing if the text is too long."""
    typed = request.GET.get("q", "").replace("\0", "").strip()
    actor, text = actor_of(request), fold_query(typed)
    is_too_long = len(typed) > MAX_SEARCH_LENGTH or len(_split_words(text)) > MAX_WORDS
    if is_too_long:
        text = text[:MAX_SEARCH_LENGTH]
    is_too_short = len(text) < MIN_LENGTH
    is_searched = not (is_too_short or is_too_long)
    known = list_known_orgs(actor=actor) if is_searched else []
    groups = _find_all(text, known, actor=actor, now=time_of(request)) if is_searched else []
    connection_id = uuid_or_none(text)
    context = {
        "text": text,
        "is_too_short": is_too_short,
        "is_too_long": is_too_long,
        "groups": groups,
        "words": _split_words(text) if is_searched else [],
        "unconnected": _find_unconnected(text, known, actor=actor) if is_searched else [],
        "by_id_links": by_id_links(connection_id, actor=actor)
        if connection_id and not groups
        else [],
    }
    if wants_fragment(request):
        # htmx shows only a 200 where the results are.
        return render(request, "search/results.html", context)
    return render(request, "search/search.html", context, status=400 if is_too_long else 200)


@dataclass(frozen=True, kw_only=True)
class Unconnected:
    """A pair of orgs without a connection, and the page that requests one."""

    name: str
    url: str
    # Whether the search named the orgs the other way round.
    is_reverse: bool


def _find_unconnected(text: str, known: list[KnownOrg], *, actor: Actor) -> list[Unconnected]:
    """In which directions the two orgs that "Labs → Robotics" names have no connection."""
    source, sink = split_pair(text)
    if source is None or not (source.strip() and sink.strip()):
        return []
    pairs = [
        (one, other)
        for one in _named(source, known)
        for other in _named(sink, known)
        if one.site == other.site and one != other
    ]
    if len(pairs) != 1:
        return []
    wanted = {
        OrgPair(one.site, one.org_id, other.org_id): (one, other)
        for one, other in (pairs[0], pairs[0][::-1])
    }
    ids = [org.org_id for org in pairs[0]]
    rows = current_snapshots(actor=actor).filter(
        site=pairs[0][0].site, source_org_id__in=ids, sink_org_id__in=ids
    )
    connected = {OrgPair(*row) for row in rows.values_list(*OrgPair._fields)}
    requestable = visibility.visible_pairs(wanted, actor=actor) - connected
    return [
        Unconnected(
            name=f"{one.name or one.org_id} → {other.name or other.org_id}",
            url=access_request_url(RequestKind.CREATE, pair),
            is_reverse=(one, other) != pairs[0],
        )
        for pair, (one, other) in wanted.items()
        if pair in requestable
    ]


def _named(text: str, known: list[KnownOrg]) -> list[KnownOrg]:
    """The orgs with exactly this name or else, with a part of it."""
    name = text.strip().casefold()
    exact = [org for org in known if org.name.casefold() == name]
    return exact or [org for org in known if org.matches(name)]


def _split_words(text: str) -> list[str]:
    """The words of a search without an arrow."""
    return text.replace("->", "→").replace("→", " ").casefold().split()


def _find_all(text: str, known: list[KnownOrg], *, actor: Actor, now: datetime) -> list[HitGroup]:
    """What the text finds. A kind with something of that name comes first."""
    groups = [
        _connections(text, actor),
        _orgs(text, known),
        _agreements(text, actor, known),
        _access_requests(text, actor),
        _deletions(text, actor),
        _bulk_deletions(text, actor, now),
        _access_reviews(text, actor, now),
        _changes(text, actor),
        _people(text, actor),
        _list_parts(text, actor),
        _actions(text, actor),
        _pages(text, actor),
    ]
    return sorted((each for each in groups if each.hits), key=lambda group: group.place(text))


def _all_url(name: str, *, text: str, has_more: bool) -> str:
    return reverse(name, query={"q": text}) if has_more else ""


def _connections(text: str, actor: Actor) -> HitGroup:
    inventory = build_inventory(actor=actor, filters=InventoryFilter(text=text))
    first = inventory.matches[:MOST]
    agreements = find_agreements([OrgPair(*listed.pair) for listed in first])
    hits = []
    for listed in first:
        agreement = agreements.get(OrgPair(*listed.pair))
        owner = f"owner {agreement.owner_text or agreement.owner}" if agreement else "no agreement"
        key = OrgConnectionKey(site=listed.site, connection_id=listed.connection_id)
        hit = Hit(
            name=f"{listed.source_org.name} → {listed.sink_org.name}",
            url=connection_url(key),
            facts=join_facts(", ".join(listed.types), site_name(listed.site), owner),
            by=f"Created by {listed.creator_name}" if listed.creator_name else "",
        )
        hits.append(hit)
    has_more = len(inventory.matches) > MOST
    all_url = _all_url("org-connection-list", text=text, has_more=has_more)
    total = len(inventory.matches)
    return HitGroup(title="Connections", icon="arrow", hits=hits, all_url=all_url, total=total)


def _orgs(text: str, known: list[KnownOrg]) -> HitGroup:
    # Both orgs of a pair.
    sides = [side for side in split_pair(text) if side and side.strip()]
    found = [
        org
        for org in known
        if any(org.matches(side) for side in sides)
        or text.casefold() in {org.site, site_name(org.site).casefold()}
    ]
    found.sort(key=lambda org: not org.name.casefold().startswith(text.casefold()))
    hits = [
        Hit(name=org.name or org.org_id, url=org_url(org), facts=site_name(org.site))
        for org in found
    ]
    all_url = _all_url("org-list", text=text, has_more=len(hits) > MOST)
    total = len(hits)
    return HitGroup(title="Orgs", icon="org", hits=hits[:MOST], all_url=all_url, total=total)


def _agreements(text: str, actor: Actor, known: list[KnownOrg]) -> HitGroup:
    agreements = visibility.visible_agreements(newest_agreements(), actor=actor)
    words = _split_words(text)
    # The connection of these orgs is a hit of its own, with its owner.
    says_more = Q(connection=None)
    columns = ("site", "source_org_id", "sink_org_id")
    current = current_snapshots(actor=actor).filter(**{name: OuterRef(name) for name in columns})
    agreements = agreements.annotate(connection=Subquery(current.values("connection_id")[:1]))
    for word in words:
        orgs = [org.org_id for org in known if org.matches(word)]
        is_named = _contains(word, "purpose", "ticket", "owner_text", *_OWNER)
        says_more |= is_named
        agreements = agreements.filter(
            is_named | Q(source_org_id__in=orgs) | Q(sink_org_id__in=orgs)
        )
    matches = agreements.filter(says_more)
    newest = list(matches.select_related("owner").order_by("-set_at", "-id")[: MOST + 1])
    names = {org[:2]: org.name for org in known}
    hits = []
    for agreement in newest[:MOST]:
        site, source, sink = agreement.pair
        name = f"{names.get((site, source)) or source} → {names.get((site, sink)) or sink}"
        key = OrgConnectionKey(site=site, connection_id=agreement.connection)
        hit = Hit(
            name=name,
            url=connection_url(key)
            if agreement.connection
            else reverse("agreement-list", query={"q": name}),
            facts=join_facts(agreement.ticket, agreement.purpose),
            by=f"Owner {agreement.owner_text or agreement.owner}",
            at=agreement.set_at,
        )
        hits.append(hit)
    all_url = _all_url("agreement-list", text=" ".join(words), has_more=len(newest) > MOST)
    return HitGroup(title="Agreements", icon="person", hits=hits, all_url=all_url)


_OWNER = ("owner__username", "owner__first_name", "owner__last_name")


def _access_requests(text: str, actor: Actor) -> HitGroup:
    words = " ".join(_split_words(text))
    filters = AccessRequestFilter(text=words)
    found = list_access_requests(actor=actor, filters=filters)[: MOST + 1]
    newest = conceal(found, actor=actor)
    hits = [
        Hit(
            name=access_request.pair,
            url=reverse("access-request-detail", args=[access_request.pk]),
            facts=join_facts(access_request.ticket, f"“{access_request.reason}”"),
            status=access_request,
            by=access_request.requested_by_name,
            at=access_request.requested_at,
        )
        for access_request in newest[:MOST]
    ]
    all_url = _all_url("access-request-list", text=words, has_more=len(newest) > MOST)
    return HitGroup(title="Access requests", icon="arrow", hits=hits, all_url=all_url)


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


_ORIGIN_TEXTS = {each: batch_origin_text(Batch(origin=each)).casefold() for each in BatchOrigin}


def _bulk_deletions(text: str, actor: Actor, now: datetime) -> HitGroup:
    batches = titled_batches(actor=actor)
    for word in _split_words(text):
        origins = [each for each in BatchOrigin if word in _ORIGIN_TEXTS[each]]
        is_named = _contains(word, "reason", "ticket", "org_name", "review_name", "first_pair")
        batches = batches.filter(is_named | Q(origin__in=origins))
    newest = list(batches.order_by("-created_at", "-id")[: MOST + 1])
    hits = [
        Hit(
            name=title_of(batch),
            url=reverse("batch-detail", args=[batch.pk]),
            facts=join_facts(batch.ticket, f"“{batch.reason}”" if batch.reason else ""),
            status=status_of(batch, now=now),
            by=batch.requested_by_name or batch.created_by_name,
            at=batch.requested_at or batch.created_at,
        )
        for batch in newest[:MOST]
    ]
    all_url = reverse("batch-list") if len(newest) > MOST else ""
    return HitGroup(title="Bulk deletions", icon="minus", hits=hits, all_url=all_url)


def _access_reviews(text: str, actor: Actor, now: datetime) -> HitGroup:
    reviews = visibility.visible_access_reviews(actor=actor)
    for word in _split_words(text):
        reviews = reviews.filter(_contains(word, "name"))
    newest = list(reviews.order_by("-created_at", "-id")[: MOST + 1])
    hits = [
        Hit(
            name=review.name,
            url=reverse("access-review-detail", args=[review.pk]),
            status=review_badge(review, now=now),
            by=review.created_by_name,
            at=review.created_at,
        )
        for review in newest[:MOST]
    ]
    all_url = reverse("access-review-list") if len(newest) > MOST else ""
    return HitGroup(title="Access reviews", icon="check", hits=hits, all_url=all_url)


def _contains(word: str, *columns: str) -> Q:
    """Whether a column contains the word, or the ID is the word."""
    conditions = (Q(**{f"{column}__icontains": word}) for column in columns)
    return reduce(or_, conditions, Q(pk=uuid_or_none(word)))


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


def _list_parts(text: str, actor: Actor) -> HitGroup:
    words = _split_words(text)
    hits = []
    for part in [each for each in list_parts() if each.is_named(words)]:
        count = part.count(actor)
        if count != 0:
            by = "many" if count is None else f"{count:,}"
            hits.append(Hit(name=part.name, url=part.url, by=by))
    return HitGroup(title="Lists", icon="search", hits=hits)


# Every page on which something is started, its URL name, and who can open it.
_ACTIONS: tuple[tuple[str, str, Callable[[Actor], bool]], ...] = (
    ("Request access…", "access-request-new", permissions.can_request_access),
    ("Delete by ID…", "deletion-confirm", permissions.can_delete),
    ("Protect by ID…", "org-connection-protect", permissions.can_protect),
    ("New access review…", "access-review-new", permissions.can_manage_access_reviews),
    ("Import agreements…", "agreement-import", permissions.can_set_agreements),
    ("Add a credential…", "credential-new", permissions.can_manage_credentials),
    ("Import credentials…", "credential-import", permissions.can_manage_credentials),
    ("Add a person…", "person-new", permissions.can_administer),
)
# Every other page that needs no object.
_PAGES: tuple[tuple[str, str, Callable[[Actor], bool]], ...] = (
    *(page for group in GROUPS for page in group),
    ("Evidence", "evidence-detail", permissions.can_audit),
    ("People", "person-list", permissions.can_administer),
    ("Notifications", "notification-list", permissions.can_administer),
    ("System status", "settings-status", permissions.can_administer),
    ("Account security", "mfa_index", permissions.can_see),
    ("Sessions", "session-list", permissions.can_see),
    ("Keyboard shortcuts", "shortcuts", permissions.can_see),
)


def _actions(text: str, actor: Actor) -> HitGroup:
    return HitGroup(title="Actions", icon="plus", hits=_named_pages(text, _ACTIONS, actor=actor))


def _pages(text: str, actor: Actor) -> HitGroup:
    return HitGroup(title="Pages", icon="page", hits=_named_pages(text, _PAGES, actor=actor))


def _named_pages(
    text: str, pages: Sequence[tuple[str, str, Callable[[Actor], bool]]], *, actor: Actor
) -> list[Hit]:
    return [
        Hit(name=label, url=reverse(name))
        for label, name, can_open in pages
        if all(word in label.casefold() for word in text.casefold().split()) and can_open(actor)
    ]
