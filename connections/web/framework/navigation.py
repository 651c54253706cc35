"""The navigation: where a person can go, what waits for them there, and how much there is."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from typing import Any

from django.db import connection
from django.db.models import Exists, Expression, F, OuterRef, Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse

from connections.access import permissions, visibility
from connections.access.actor import Actor
from connections.access_reviews.progress import (
    count_awaiting_decisions,
    find_awaiting_decisions,
    find_possibly_awaiting,
)
from connections.batches.progress import find_to_approve, find_to_continue
from connections.changes.changes import AWAITING_QUERY, find_awaiting_acknowledgement
from connections.core import clock
from connections.core.database import Statement, counting_statement
from connections.inventory.orgs import find_connections
from connections.models import (
    RUN_BY_BATCH,
    AccessRequest,
    Agreement,
    Approval,
    ApprovalFields,
    ApprovalPolicy,
    Change,
    ChangeRequest,
    Deletion,
    Person,
    Role,
    State,
    Visibility,
)
from connections.web.framework.support import actor_of, signed_in_person, time_of

# The name of a URL, and rows to count.
type _Counted = tuple[str, QuerySet[Any, Any]]

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
# The part of a list that waits for the reader.
_WAITING = {"change-list": AWAITING_QUERY}
# Not a URL: access reviews for which the count in the statement might be too low.
_POSSIBLY_AWAITING = "possibly awaiting"


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
    """The entries that this person can open. `waiting` is how many items wait for them in all."""

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
    waiting, listed = _count(person, actor=actor, today=time_of(request).date())
    listed["agreement-list"] += listed["org-connection-list"] > _AGREED_ABOVE
    current = _current_name(request.path)
    groups = [
        [
            NavItem(
                name=name,
                label=label,
                url=reverse(name, query=_WAITING.get(name) if waiting[name] else None),
                is_current=name == current,
                count=_number(waiting[name] or (name not in _ONLY_IN_USE and listed[name])),
                is_waiting=waiting[name] > 0,
            )
            for label, name, can_open in group
            if can_open(actor) and (name not in _ONLY_IN_USE or listed[name])
        ]
        for group in GROUPS
    ]
    return Navigation(groups=groups, waiting=_number(waiting.total()))


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


@dataclass(frozen=True, kw_only=True)
class _Reader:
    """A person, with everything that decides which items wait for them."""

    person: Person
    roles: frozenset[Role]
    visibility: Visibility
    actor: Actor = field(compare=False)


def _count(person: Person, *, actor: Actor, today: date) -> tuple[Counter[str], Counter[str]]:
    """By the name of a URL: how many items wait there for this person, and how many it lists."""
    reader = _Reader(person=person, roles=person.roles, visibility=person.visibility, actor=actor)
    # The expression is always the same, so the statement is built once a day.
    names, statement = _counting_statement(reader, clock.now_in_query(), today)
    waiting: Counter[str] = Counter()
    listed: Counter[str] = Counter()
    with connection.cursor() as cursor:
        cursor.execute(*statement)
        for (name, is_waiting), count in zip(names, cursor.fetchone(), strict=True):
            (waiting if is_waiting else listed)[name] += count
    if waiting.pop(_POSSIBLY_AWAITING, 0):
        waiting["access-review-list"] = count_awaiting_decisions(actor=actor)
    return waiting, listed


# Every page runs this statement, and building it takes ten times as long as running it.
@lru_cache(maxsize=200)
def _counting_statement(
    reader: _Reader, now: Expression, today: date
) -> tuple[list[tuple[str, bool]], Statement]:
    """The lists that are counted, each with whether only what waits is, and the statement."""
    listed, waiting = _listed(reader.actor), _waiting(reader.actor, now=now, today=today)
    names = [(name, False) for name, _ in listed] + [(name, True) for name, _ in waiting]
    return names, counting_statement(*(rows for _, rows in listed + waiting))


def _listed(actor: Actor) -> list[_Counted]:
    """Of lists that are hidden until they are in use, one row at most."""
    changes = visibility.visible_changes(Change.objects.order_by(), actor=actor).values("pk")
    agreements = visibility.visible_agreements(Agreement.objects.order_by(), actor=actor)
    requests = visibility.visible_access_requests(actor=actor).order_by().values("pk")
    reviews = visibility.visible_access_reviews(actor=actor).order_by().values("pk")
    return [
        ("org-connection-list", find_connections(actor=actor)[: _MOST + 1]),
        ("org-list", visibility.visible_orgs(actor=actor).order_by().values("pk")[: _MOST + 1]),
        ("change-list", changes[:1]),
        ("access-request-list", requests[:1]),
        ("agreement-list", agreements.values("pk")[:1]),
        ("access-review-list", reviews[:1]),
    ]


def _waiting(actor: Actor, *, now: Expression, today: date) -> list[_Counted]:
    # A deletion counts once for a person who can both approve and delete.
    mine, requests = Q(), Q()
    waiting: list[_Counted] = []
    if permissions.can_approve_any(actor):
        deletions = _find_awaiting_approval(Deletion, actor=actor, now=now).exclude(RUN_BY_BATCH)
        deletions = deletions.exclude(break_glass_round=F("approval_round"))
        mine |= Q(pk__in=deletions.values("pk"))
        to_approve = _find_awaiting_approval(AccessRequest, actor=actor, now=now)
        requests |= Q(pk__in=to_approve.values("pk"))
        # Deletions that are approved through a bulk deletion count as one.
        waiting += [("deletion-list", find_to_approve(actor=actor, now=now))]
    if permissions.can_delete(actor):
        own = (Q(requested_by=actor.person) | _requested_by_org_admin(actor)) & ~RUN_BY_BATCH
        mine |= Q(pk__in=_find_to_continue(Deletion, own, actor=actor, now=now).values("pk"))
        to_confirm = _find_to_continue(AccessRequest, Q(), actor=actor, now=now)
        requests |= Q(pk__in=to_confirm.values("pk"))
        waiting += [("deletion-list", find_to_continue(actor=actor, now=now))]
    if mine:
        waiting += [("deletion-list", Deletion.objects.filter(mine, settled_at=None))]
    if requests:
        visible = visibility.visible_access_requests(actor=actor)
        waiting += [("access-request-list", visible.filter(requests, settled_at=None))]
    if permissions.can_acknowledge(actor):
        waiting += [("change-list", find_awaiting_acknowledgement(actor=actor))]
    if permissions.can_be_reviewer(actor):
        waiting += [
            ("access-review-list", find_awaiting_decisions(actor=actor, today=today)),
            (_POSSIBLY_AWAITING, find_possibly_awaiting(actor=actor, today=today)),
        ]
    return [(name, rows.order_by().values("pk")) for name, rows in waiting]


def _find_to_continue[R: ChangeRequest](
    model: type[R], confirmable: Q, *, actor: Actor, now: Expression
) -> QuerySet[R]:
    """Requests that this person can confirm, or whose outcome they can find out.

    `confirmable` are those that they can confirm if they are approved.
    """
    has_expired = Q(expires_at__lte=now)
    to_confirm = Q(state=State.APPROVED) | Q(state=State.REQUESTED, policy=ApprovalPolicy.NONE)
    to_confirm &= confirmable & ~has_expired
    to_resolve = Q(state__in=(State.UNKNOWN, model.no_effect))
    unusable = permissions.visibility_of(actor).unusable
    waiting = visibility.visible(model._default_manager.filter(settled_at=None), actor=actor)
    return waiting.filter(to_confirm | to_resolve).exclude(credential__in=unusable)


def _requested_by_org_admin(actor: Actor) -> Q:
    """The deletions that no person requested, which anyone confirms who hasn't approved them."""
    decided = Approval.objects.filter(
        deletion=OuterRef("pk"), round=OuterRef("approval_round"), approver=actor.person
    )
    return Q(~Exists(decided), requested_by=None)


def _find_awaiting_approval[R: ChangeRequest](
    model: type[R], *, actor: Actor, now: Expression
) -> QuerySet[R]:
    """Other people's requests that this person can still approve or decline."""
    person, unapprovable = actor.person, permissions.visibility_of(actor).unapprovable
    [decisions] = [rows for rows in ApprovalFields.__subclasses__() if rows.parent == model.noun]
    this_round = decisions._default_manager.filter(
        **{model.noun: OuterRef("pk")}, round=OuterRef("approval_round")
    )
    approvals = this_round.filter(decision=ApprovalFields.Decision.APPROVED).order_by()
    has_expired = Q(expires_at__lte=now)
    lacks_approvals = Q(state=State.REQUESTED) & ~has_expired
    for policy in ApprovalPolicy:
        # Also those without effect after an attempt, while this round lacks approvals.
        if needed := policy.approvals_needed:
            last = approvals[needed - 1 : needed]
            lacks_approvals |= Q(~Exists(last), state=model.no_effect, policy=policy)
    waiting = model._default_manager.filter(lacks_approvals, settled_at=None)
    waiting = waiting.exclude(policy=ApprovalPolicy.NONE)
    if unapprovable:
        waiting = waiting.exclude(credential__in=unapprovable)
    decided = this_round.filter(approver=person)
    return waiting.exclude(requested_by=person).exclude(Exists(decided))
