"""The page of one connection."""

from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from connections.access import permissions
from connections.access_requests.listing import find_approved_end, list_of_connection
from connections.access_reviews.progress import list_decisions
from connections.agreements.agreed import list_versions
from connections.agreements.setting import can_set
from connections.changes.changes import ChangeFilter, get_change_page
from connections.core.sites import site_name
from connections.inventory import timeline
from connections.lookups.objects import require_connection
from connections.models import Agreement, OrgConnectionKey, OrgPair, RequestKind
from connections.web.agreed import AgreedView, agreed_view, version_views
from connections.web.badges import ROW_BADGES
from connections.web.deletions.detail import confirm_url
from connections.web.framework.addresses import access_request_url
from connections.web.framework.http import actor_of, time_of
from connections.web.inventory.protections import protection_page
from connections.web.inventory.timeline import timeline_of
from connections.web.timeline import event_entry


def org_connection_detail(request: HttpRequest, site: str, connection_id: UUID) -> HttpResponse:
    """One connection: details, credentials that list it, timeline, deletions."""
    actor = actor_of(request)
    if not site.isprintable():
        raise Http404("There is no such site.")
    key = OrgConnectionKey(site=site, connection_id=connection_id)
    require_connection(key, actor=actor)
    history = timeline.get_connection_history(actor=actor, site=site, connection_id=connection_id)
    protection = protection_page(key=key, actor=actor)
    if history is None:
        if not protection.is_known:
            raise Http404("No sync listed this connection and no one requested its deletion.")
        events = timeline.list_events(site=site, connection_id=connection_id, deletions=[])
        context = {
            "key": key,
            "site_name": site_name(site),
            "protection": protection,
            "events": [event_entry(event, actor=actor) for event in events],
        }
        return render(request, "inventory/unknown.html", context)
    snapshot = history.snapshot
    pair = OrgPair(snapshot.site, snapshot.source_org_id, snapshot.sink_org_id)
    # Without one, only a deletion makes the connection known here, and its pair can be hidden.
    versions = list(list_versions(pair)) if history.observations else []
    agreement = versions[0] if versions else None
    is_owner = agreement is not None and agreement.owner == actor.person
    is_free = history.open_deletion is None and protection.active is None
    decisions = list_decisions(actor=actor, key=key)
    requests = list_of_connection(key, pair, actor=actor) if history.observations else []
    agreed = agreed_view(agreement, snapshot.connection_types, today=time_of(request).date())
    context = {
        **_request_urls(history, pair, agreed=agreed, is_protected=protection.active is not None),
        "last_decision": decisions[-1] if decisions else None,
        "decision_badge": ROW_BADGES[decisions[-1].decision.decision] if decisions else None,
        "protection": protection,
        "connection": history,
        "snapshot": snapshot,
        "agreed": agreed,
        # The day after which Org Admin deletes it.
        "approved_end": find_approved_end(key, pair) if agreement and agreement.ends_on else None,
        "versions": version_views(versions, requests=requests),
        "set_url": reverse("agreement-form", query={"pair": pair.reference, "back": request.path})
        if history.observations and (is_owner or can_set(actor=actor, pairs=[pair]))
        else "",
        "accept_url": _accept_url(agreement) if agreement and is_owner else "",
        "site_name": site_name(site),
        "timeline": timeline_of(
            history,
            changes=get_change_page(actor=actor, filters=ChangeFilter(connection=key)).rows,
            decisions=decisions,
            requests=requests,
            actor=actor,
            now=time_of(request),
        ),
        "delete_url": next(
            (
                confirm_url(credential=observation.credential.pk, connection_id=connection_id)
                for observation in history.observations
                if is_free
                and observation.is_current
                and permissions.can_use(actor, credential_id=observation.credential.pk)
            ),
            "",
        ),
    }
    return render(request, "inventory/detail.html", context)


def _accept_url(agreement: Agreement) -> str:
    """The list where its owner accepts it, also after refusing it. "" if it is accepted."""
    if agreement.accepted_at:
        return ""
    query = {"needs": "you"}
    if agreement.is_refused and agreement.owner:
        org = f"{agreement.site}/{agreement.source_org_id}"
        query = {"owner": agreement.owner.username, "org": org}
    return reverse("agreement-list", query=query)


def _request_urls(
    history: timeline.ConnectionHistory, pair: OrgPair, *, agreed: AgreedView, is_protected: bool
) -> dict[str, str]:
    """The pages that request other data types, only those agreed, a later end or other keys."""
    if not history.is_listed or history.open_deletion:
        return {}
    urls = {
        "change_url": access_request_url(RequestKind.CHANGE, pair),
        "narrow_url": access_request_url(RequestKind.CHANGE, pair, types=agreed.narrower)
        if agreed.narrower
        else "",
    }
    if agreed.agreement and agreed.agreement.ends_on:
        urls["extend_url"] = access_request_url(RequestKind.EXTEND, pair)
    if _can_move(history) and not is_protected:
        urls["move_url"] = access_request_url(RequestKind.MOVE, pair)
    return urls


def _can_move(history: timeline.ConnectionHistory) -> bool:
    """Whether a person created it, and keys of a service account of its source org list it."""
    snapshot = history.snapshot
    return snapshot.creator_is_service_account is False and any(
        each.credential.org_id == snapshot.source_org_id
        and each.credential.key_owner_is_service_account
        for each in history.observations
    )
