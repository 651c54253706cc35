"""The overview: what needs attention, the facts of the inventory, and what changed lately."""

from datetime import timedelta
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from connections.access import permissions
from connections.access.actor import Actor
from connections.agreements.agreed import NotAgreed
from connections.changes.changes import ChangeFilter, get_change_page
from connections.core.text import format_limit
from connections.inventory.agreed_counts import AgreedCounts
from connections.inventory.orgs import list_known_orgs
from connections.inventory.syncs import newest_syncs
from connections.models import Credential
from connections.operations import heartbeats
from connections.people import people
from connections.web.badges import audit_log_badge
from connections.web.changes.rows import ChangeRowView, change_row_views
from connections.web.credentials.forms import CredentialForm
from connections.web.framework.http import actor_of
from connections.web.framework.lists import shared_names
from connections.web.overview.attention import Item, change_item
from connections.web.overview.first_steps import find_first_steps
from connections.web.overview.navigation import items_of, situation_of
from connections.web.overview.since import find_since
from connections.web.overview.texts import no_worker_text

# How many items are shown at once, and how many recent changes. With more items, the changes that
# are shown still fit on a screen of 900 px.
MAX_ITEMS = 10
MAX_CHANGES = 5
MAX_CHANGES_BELOW_ITEMS = 1
RECENT = timedelta(days=7)


def _facts(credentials: list[Credential], *, actor: Actor, agreed: AgreedCounts) -> dict[str, Any]:
    """The inventory in a few numbers, as this person sees it."""
    newest, known = newest_syncs(), list_known_orgs(actor=actor)
    complete = {
        credential: sync.started_at
        for credential in credentials
        if (sync := newest.get(credential.pk)) and sync.is_complete
    }
    own, synced = (
        {(each.site, each.org_id) for each in some if each.org_id}
        for some in (credentials, complete)
    )
    orgs = own | {org[:2] for org in known}
    without_credential = [org for org in known if org[:2] not in own]
    return {
        "agreed": agreed,
        "first_steps": find_first_steps(
            actor=actor, agreed=agreed, orgs=len(own), without_credential=without_credential
        ),
        # Those that hold for some connection: code, label and number.
        "reasons": [
            (reason.value, reason.label, agreed.reasons[reason])
            for reason in NotAgreed
            if agreed.reasons[reason]
        ],
        "orgs": len(orgs),
        "without_credential": len(without_credential),
        # Orgs with credentials, of which none completed its newest sync.
        "not_synced": len(own - synced),
        # When the oldest of the newest complete syncs began.
        "synced_at": min(complete.values(), default=None),
        "shared": shared_names(known),
    }


def _recent_item(view: ChangeRowView) -> Item:
    person = view.row.change.acknowledged_by
    note = f"Acknowledged by {person}" if person else "".join(view.cause)
    return change_item(view, note=note, action="")


def overview(request: HttpRequest) -> HttpResponse:
    """The overview or, without a credential, how to add the first one.

    The number of queries is fixed, and each uses an index.
    """
    actor = actor_of(request)
    situation, items = situation_of(request), items_of(request)
    now = situation.now
    credentials = situation.credentials
    settled = ChangeFilter(is_settled=True)
    yours = [item for item in items if item.is_yours]
    size = MAX_CHANGES_BELOW_ITEMS if len(yours) > MAX_ITEMS else MAX_CHANGES
    changes = get_change_page(actor=actor, filters=settled, size=size).rows
    worker_seen_at = heartbeats.last_seen_at()
    has_worker = heartbeats.is_alive(worker_seen_at, now=now)
    facts = _facts(credentials, actor=actor, agreed=situation.agreed)
    can_manage = permissions.can_manage_credentials(actor)
    # To those who can act on it, a line says it.
    says_clock = situation.clock.problem and not permissions.can_administer(actor)
    context: dict[str, Any] = {
        "has_credential": bool(credentials),
        "first": yours[:MAX_ITEMS],
        "rest": yours[MAX_ITEMS:],
        "count": sum(item.count for item in yours),
        "others": [item for item in items if not item.is_yours],
        "period": format_limit(RECENT),
        "recent": [
            _recent_item(view)
            for view in change_row_views(changes, actor=actor)
            if view.row.change.detected_at > now - RECENT
        ],
        **facts,
        "since": find_since(
            actor=actor,
            wanted=request.GET.get("since", ""),
            now=now,
            not_synced=facts["not_synced"],
        )
        if credentials
        else None,
        "hold": situation.hold,
        "verification": situation.verification,
        "audit_log": audit_log_badge(situation.verification, now=now),
        "can_audit": permissions.can_audit(actor),
        "no_worker": None if has_worker else no_worker_text(worker_seen_at),
        "clock": situation.clock.explanation if says_clock else None,
        "can_sync": permissions.can_sync(actor),
        "form": CredentialForm() if can_manage and not credentials else None,
        "administrators": [] if credentials else people.list_administrator_names(),
    }
    return render(request, "overview/overview.html", context)
