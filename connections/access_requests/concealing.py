"""Conceals how access requests ended from those who don't see the pair's connection.

Someone can request access between two orgs that they see although a connection of these orgs is
hidden from them. How it ended would tell whether there is one, so every end that gave nothing reads
the same to them, whatever the reason.
"""

import copy
from collections.abc import Iterable

from django.db.models import Exists, OuterRef, Prefetch, Q, prefetch_related_objects

from connections.access import permissions, visibility
from connections.access.actor import Actor
from connections.access_requests.actions import pair_of
from connections.core.causes import Cause
from connections.models import (
    AccessOutcome,
    AccessRequest,
    AccessRequestAttempt,
    Credential,
    OrgConnectionSnapshot,
    Step,
)

CONCEALED_OUTCOMES = (
    AccessOutcome.ALREADY_EXISTS,
    AccessOutcome.ALREADY_AS_REQUESTED,
    AccessOutcome.EXISTS_UNATTRIBUTED,
    AccessOutcome.CHANGED_ELSEWHERE,
    AccessOutcome.GONE,
    AccessOutcome.REFUSED,
    AccessOutcome.NOT_SENT,
    AccessOutcome.STALE,
)
# What people did before anything was sent.
_READABLE = (Step.REQUESTED, Step.APPROVED, Step.DECLINED, Step.CONFIRMED, Step.WITHDRAWN)
READABLE_CODES = frozenset(AccessRequest.event_code(step) for step in _READABLE)


def conceal(requests: Iterable[AccessRequest], *, actor: Actor) -> list[AccessRequest]:
    """These requests as the actor may read them. Those that are concealed are copies.

    Never save what this returns.
    """
    requests = list(requests)
    if not permissions.visibility_of(actor).hidden:
        return requests
    ended = [each for each in requests if each.outcome in CONCEALED_OUTCOMES]
    seen = visibility.visible_pairs({pair_of(each) for each in ended}, actor=actor)
    concealed = {each.pk for each in ended if pair_of(each) not in seen}
    return [_concealed(each) if each.pk in concealed else each for each in requests]


def _concealed(access_request: AccessRequest) -> AccessRequest:
    shown = copy.copy(access_request)
    # What was prefetched belongs to the original.
    shown.__dict__.pop("_prefetched_objects_cache", None)
    prefetch_related_objects(
        [shown], Prefetch("attempts", queryset=AccessRequestAttempt.objects.none()), "approvals"
    )
    shown.outcome, shown.cause = AccessOutcome.NOT_SENT, Cause.CONCEALED
    shown.cause_details = {"operator": name_operator(access_request)}
    shown.connection_id = shown.moved_from = shown.removed_at = None
    shown.connection_types, shown.creator_name = [], ""
    shown.epoch, shown.sending_at, shown.due_at = 0, None, None
    shown.verified_at = shown.contradicted_at = shown.last_checked_at = None
    shown.settled_by_name = shown.settled_reason = ""
    return shown


def name_operator(access_request: AccessRequest) -> str:
    """An Operator who sees every credential of both orgs; "an administrator" if there is none.

    It doesn't depend on whether a connection exists.
    """
    orgs = [access_request.source_org_id, access_request.sink_org_id]
    of_orgs = Credential.objects.filter(site=access_request.site, org_id__in=orgs)
    needed = frozenset(of_orgs.values_list("pk", flat=True))
    operators = permissions.people_who_can_delete().order_by("is_superuser", "username")
    hidden = visibility.hidden_from(operators)
    names = (each.display_name for each in operators if hidden[each.pk].isdisjoint(needed))
    return next(names, "an administrator")


def has_status(status: str, *, actor: Actor) -> Q:
    """Whether rows of access requests have this state or outcome, as the actor may read it."""
    if status not in AccessOutcome.values:
        return Q(state=status)
    hidden = permissions.visibility_of(actor).hidden
    if not hidden or status not in CONCEALED_OUTCOMES:
        return Q(outcome=status)
    listed = OrgConnectionSnapshot.objects.filter(
        site=OuterRef("site"),
        source_org_id=OuterRef("source_org_id"),
        sink_org_id=OuterRef("sink_org_id"),
    ).exclude(credential__in=hidden)
    if status == AccessOutcome.NOT_SENT:
        return Q(outcome=status) | Q(outcome__in=CONCEALED_OUTCOMES) & ~Q(Exists(listed))
    return Q(outcome=status) & Q(Exists(listed))
