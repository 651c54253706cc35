"""Template variables that every page has: navigation, theme, signed-in person."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import Exists, Expression, F, OuterRef, Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import SimpleLazyObject

from connections.access import permissions
from connections.access.actor import Actor
from connections.access_reviews.progress import (
    count_awaiting_decisions,
    find_awaiting_decisions,
    find_changed_since_decided,
)
from connections.batches.progress import find_to_approve
from connections.changes.changes import find_awaiting_acknowledgement
from connections.core import clock, time_limits
from connections.core.database import Statement, counting_statement
from connections.core.own_address import own_origin
from connections.models import (
    RUN_BY_BATCH,
    Approval,
    ApprovalPolicy,
    Deletion,
    Person,
    ProviderAccount,
    Role,
    State,
    Visibility,
)
from connections.people import provider_accounts
from connections.web.framework.reauthentication import prompt_for
from connections.web.framework.support import actor_of, signed_in_person, time_of
from connections.web.people import single_sign_on

# What a person can choose, stored in a cookie. The first value is the default.
THEMES = ("system", "light", "dark")


def page_context(request: HttpRequest) -> dict[str, Any]:
    """The variables. They are lazy: none queries the database until a template uses it."""
    return {
        "theme": _theme(request),
        "nav": SimpleLazyObject(lambda: _nav(request)),
        "signed_in_person": SimpleLazyObject(lambda: signed_in_person(request)),
        "role_names": SimpleLazyObject(lambda: _role_names(signed_in_person(request))),
        "reauth_prompt": SimpleLazyObject(lambda: prompt_for(request)),
        "is_demo": settings.IS_DEMO,
        "has_mail": settings.HAS_MAIL,
        "own_origin": SimpleLazyObject(lambda: own_origin(request)),
        "is_unclaimed": SimpleLazyObject(lambda: not Person.objects.exists()),
        "provider_name": SimpleLazyObject(single_sign_on.provider_name),
        "provider_account": SimpleLazyObject(lambda: _provider_account(signed_in_person(request))),
    }


def _theme(request: HttpRequest) -> str:
    theme = request.COOKIES.get("theme", "")
    return theme if theme in THEMES else THEMES[0]


@dataclass(frozen=True, kw_only=True)
class NavItem:
    """One entry of the navigation. `count` is how many items behind it need this person."""

    # The name of its URL pattern.
    name: str
    label: str
    url: str
    is_current: bool
    count: int | None


def _nav(request: HttpRequest) -> list[NavItem]:
    """The entries of the navigation that this person can open."""
    person = signed_in_person(request)
    if person is None:
        return []
    actor = actor_of(request)
    if not permissions.can_see(actor):
        return []
    entries = [
        ("Overview", "overview"),
        ("Connections", "org-connection-list"),
        ("Changes", "change-list"),
        ("Deletions", "deletion-list"),
        ("Access reviews", "access-review-list"),
        ("Orgs", "org-list"),
        ("Credentials", "credential-list"),
    ]
    if permissions.can_audit(actor):
        entries += [("Audit log", "audit-list")]
    if permissions.can_administer(actor):
        entries += [("People", "person-list"), ("Notifications", "notification-list")]
    counts = _count_waiting(person, actor=actor, today=time_of(request).date())
    return [
        NavItem(
            name=name,
            label=label,
            url=reverse(name),
            is_current=_is_current(request, reverse(name)),
            count=counts.get(name) or None,
        )
        for label, name in entries
    ]


def _is_current(request: HttpRequest, url: str) -> bool:
    # The evidence page is part of the audit log.
    path = request.path.replace(reverse("evidence-detail"), reverse("audit-list"), 1)
    return path == url if url == reverse("overview") else path.startswith(url)


@dataclass(frozen=True, kw_only=True)
class _Reader:
    """A person, with everything that decides which items wait for them."""

    person: Person
    roles: frozenset[Role]
    visibility: Visibility
    actor: Actor = field(compare=False)


def _count_waiting(person: Person, *, actor: Actor, today: date) -> Counter[str]:
    """How many items wait for this person, by the name of the URL that lists them."""
    reader = _Reader(person=person, roles=person.roles, visibility=person.visibility, actor=actor)
    # The expression is always the same, so the statement is built once a day.
    names, statement = _waiting_statement(reader, clock.now_in_query(), today)
    counts: Counter[str] = Counter()
    if names:
        with connection.cursor() as cursor:
            cursor.execute(*statement)
            for name, count in zip(names, cursor.fetchone(), strict=True):
                counts[name] += count
    if counts[_CHANGED_SINCE_DECIDED]:
        counts["access-review-list"] = count_awaiting_decisions(actor=actor)
    return counts


# Not a URL: access reviews for which the count in the statement might be too low.
_CHANGED_SINCE_DECIDED = "changed since decided"


# Every page runs this statement, and building it takes ten times as long as running it.
@lru_cache(maxsize=200)
def _waiting_statement(
    reader: _Reader, now: Expression, today: date
) -> tuple[list[str], Statement]:
    """The lists of what waits for this person, and the statement that counts each."""
    actor = reader.actor
    waiting: list[tuple[str, QuerySet[Any]]] = []
    if permissions.can_approve_any(actor):
        # Deletions that are approved through a bulk deletion count as one.
        waiting += [("deletion-list", _find_awaiting_approval(actor, now=now))]
        waiting += [("deletion-list", find_to_approve(actor=actor, now=now))]
    if permissions.can_acknowledge(actor):
        waiting += [("change-list", find_awaiting_acknowledgement(actor=actor))]
    if permissions.can_be_reviewer(actor):
        waiting += [
            ("access-review-list", find_awaiting_decisions(actor=actor, today=today)),
            (_CHANGED_SINCE_DECIDED, find_changed_since_decided(actor=actor, today=today)),
        ]
    return [name for name, _ in waiting], counting_statement(*(rows for _, rows in waiting))


def _find_awaiting_approval(actor: Actor, *, now: Expression) -> QuerySet[Deletion]:
    """Other people's deletions that this person can still approve or decline."""
    person, unapprovable = actor.person, permissions.visibility_of(actor).unapprovable
    this_round = Approval.objects.filter(deletion=OuterRef("pk"), round=OuterRef("approval_round"))
    given = this_round.filter(decision=Approval.Decision.APPROVED).order_by()
    has_expired = clock.has_passed_in_query(
        "expires_at", within=time_limits.APPROVAL_WINDOW, now=now
    )
    lacks_approvals = Q(state=State.REQUESTED) & ~has_expired
    for policy in ApprovalPolicy:
        # Also those still present after an attempt, while this round lacks approvals.
        if needed := policy.approvals_needed:
            last = given[needed - 1 : needed]
            lacks_approvals |= Q(~Exists(last), state=State.STILL_PRESENT, policy=policy)
    waiting = Deletion.objects.filter(lacks_approvals, settled_at=None)
    waiting = waiting.exclude(RUN_BY_BATCH).exclude(policy=ApprovalPolicy.NONE)
    waiting = waiting.exclude(break_glass_round=F("approval_round"))
    if unapprovable:
        waiting = waiting.exclude(credential__in=unapprovable)
    decided = this_round.filter(approver=person)
    return waiting.exclude(requested_by=person).exclude(Exists(decided))


def _provider_account(person: Person | None) -> ProviderAccount | None:
    if person is None:
        return None
    return provider_accounts.find_account(person=person, issuer=settings.OIDC_ISSUER)


def _role_names(person: Person | None) -> str:
    if person is None:
        return ""
    if person.is_superuser:
        return "Administrator"
    return ", ".join(sorted(role.value for role in person.roles)) or "No role yet"
